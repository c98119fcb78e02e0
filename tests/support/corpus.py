"""`python -m tests.support.corpus`: writes what this version of the protocol says, for later ones to read.

A line for each message in each form: its name, `full` (every field says something) or `least` (what must be
said), and the payload as it travels. The files of earlier versions were written by the software of their
time, and stay as they are.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from tests.support.strategies import MESSAGES
from wire.codec import encode
from wire.counters import CONFIDENCE_BINS, RELIABILITY_BINS
from wire.protocol import VERSION

FOLDER: Final = Path(__file__).parents[1] / "wire" / "corpus"

#: What a text says where it cannot be any.
_TEXTS: Final = {
    "boot": "b1f00d", "model": "digits", "version": "2", "name": "digits/2", "release": "digits/2",
    "group": "lab", "groups": "lab", "canaries": "pi-1", "device": "pi-1", "state": "run",
    "current": "digits/2", "previous": "digits/1", "target": "digits/3", "encoding": "xz",
}  # fmt: skip
#: What a count says that others must fit.
_NUMBERS: Final = {"total": 10_000, "inferences": 14}
_LENGTHS: Final = {"blobs": 1, "ModelCounters.confidence": CONFIDENCE_BINS}


def corpus() -> str:
    """Return the lines of this version."""
    return "".join(f"{line}\n" for line in _lines())


def read(version: int) -> list[tuple[str, str, bytes]]:
    """Return what a version said: name of the message, form, and payload."""
    lines = (FOLDER / f"{version}.txt").read_text(encoding="utf-8").splitlines()
    return [(name, form, payload.encode()) for name, form, payload in (line.split(" ", 2) for line in lines)]


def _lines() -> Iterator[str]:
    for kind in MESSAGES:
        for form in ("full", "least"):
            yield f"{kind.__name__} {form} {encode(_make(kind, full=form == 'full')).decode()}"


def _make(kind: Any, *, full: bool) -> Any:
    hints = get_type_hints(kind)
    given = {}
    for field in fields(kind):
        required = field.default is MISSING and field.default_factory is MISSING
        if field.name != "v" and (required or full):
            given[field.name] = _sample(hints[field.name], kind.__name__, field.name, full=full)
    if kind.__name__ == "Reliability" and full:  # each bin's answers lie in its middle
        given["confidence"] = tuple(7 * (100 * i + 50) for i in range(RELIABILITY_BINS))
    if kind.__name__ == "Blob":  # a first blob starts from nothing
        given.pop("base_sha256", None)
    return kind(**given)


def _sample(annotation: Any, owner: str, name: str, *, full: bool) -> Any:
    origin, args = get_origin(annotation), get_args(annotation)
    if is_dataclass(annotation):
        return _make(annotation, full=full)
    if origin in (Union, types.UnionType):
        return _sample(next(a for a in args if a is not type(None)), owner, name, full=full)
    if origin is tuple:
        count = RELIABILITY_BINS if owner == "Reliability" else _LENGTHS.get(f"{owner}.{name}")
        count = count or _LENGTHS.get(name, 2)
        return tuple(_sample(args[0], owner, name, full=full) for _ in range(count))
    if origin is not None:
        return {"digits": _sample(args[1], owner, name, full=full)}
    text = "a" * 64 if "sha256" in name else _TEXTS.get(name, "text")
    return {bool: True, int: _NUMBERS.get(name, 7), float: 0.5, str: text}[annotation]


if __name__ == "__main__":
    (FOLDER / f"{VERSION}.txt").write_text(corpus(), encoding="utf-8")
