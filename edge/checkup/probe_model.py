"""Two models of 744 bytes that every interpreter should run: y = 2x + 1 for eight numbers. Pure.

Each is one FULLY_CONNECTED, as float32 and as int8: an operator that XNNPACK takes, so an interpreter
that does not hand it over has XNNPACK switched off, or lacks it for that type. They were made with the
format's own schema, and tests/edge/test_doctor.py makes them again.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Final

#: zlib, then base 64.
_PACKED: Final[Mapping[str, str]] = {
    "float": (
        "eNrjYGBgCHHzMa779/+/CJCdwsjAkAPEG5gYGJgZINgHyLcB0ixAfOn///8gWoEBBBrs8WM2Bg6gLjaoXgZGsCYHBsJg2Krp"
        "AIYfK5BRUJSflAoNEhGwFB+DBJAlwMADDjM+qLgMKE6AOAOIc6DhmJuYmceAphdEg/RyI+kFAg4BKJsFDCF6YPEKM4MJSZwR"
        "Kg5S2wPEEUCsAeVPALqdA0jzQNVVIukFiT8AyvNAxWBqkpDkecAuZAD7jwdJDYwuh+rlgKvnAdMMUPXIdleg2c0I9j9EDzeS"
        "Hk6IdzgBStYocA=="
    ),
    "int8": (
        "eNqdUT1rAkEQnbuorPEwB15hkSI/IIWgRUAjqVJZ+gcUBQP5Ik1iZ2mRn2FpYeUP8feEbN7bncXlEITs8e7N7s57M8waERk/"
        "jrpDa22BeANsiVTkQjy+gQFQAQ7II98Akp6B1MRAVVPtg8KtfwZr1K8ieP94m87BCVC4q6a0EeWSuZpNPb8GZsACeNY+XiZP"
        "r1LSkqltRFosk2tccZ/XhLkEjzQ6T/ScuQU2O85X95fonX4dn1In//xaa7RG0ErkjTUkL6M6zN/re3XCqEG3+I2s98tLfhr3"
        "ydPIJ8ytVZpb76hxfW7s2T7vyZ/aj4n8+SpXbu/9+SZ36k3O8IneZ6o73f/K1fgqzSLR/CyqQ5+6zp3hH7rgMa4="
    ),
}
KINDS: Final = tuple(_PACKED)


def probe_model(kind: str) -> bytes:
    """Return the .tflite file of `kind`, one of KINDS."""
    return zlib.decompress(base64.b64decode(_PACKED[kind]))
