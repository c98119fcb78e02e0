"""Messages as a broken or hostile sender would make them: sound ones with damage, and plain bytes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

#: What may stand where something else should.
_ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 2**63, 10**30, 1e308, float("nan"), "", "\ud800", "../x", "é" * 3000, [], {}, [[]] * 50]
)


@st.composite
def mangled(draw: st.DrawFn, sound: bytes) -> bytes:
    """Draw what may come instead of `sound`, which is JSON or raw bytes."""
    how = draw(st.sampled_from(["bytes", "cut", "flip", "double", "field", "deep"]))
    at = draw(st.integers(0, max(0, len(sound) - 1)))
    match how:
        case "bytes":
            return draw(st.binary(max_size=300))
        case "cut":
            return sound[:at]
        case "flip":
            return (
                sound[:at] + bytes([sound[at] ^ draw(st.integers(1, 255))]) + sound[at + 1 :]
                if sound
                else b""
            )
        case "double":
            return sound + sound
        case "deep":
            return b'{"a":' * draw(st.sampled_from([10, 5000])) + sound
    try:
        document = json.loads(sound)
    except ValueError:
        return sound[::-1]
    return json.dumps(_with_an_odd_field(draw, document)).encode("utf-8", "surrogatepass")


def _with_an_odd_field(draw: st.DrawFn, document: Any) -> Any:
    """Put something odd somewhere into a document: in the place of a value, at any depth, or beside it."""
    if isinstance(document, dict) and document and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(document)))
        return document | {key: _with_an_odd_field(draw, document[key])}
    if isinstance(document, list) and document and draw(st.booleans()):
        n = draw(st.integers(0, len(document) - 1))
        return [*document[:n], _with_an_odd_field(draw, document[n]), *document[n + 1 :]]
    return draw(_ODD)
