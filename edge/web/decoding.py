"""From a request's body to a question: inflated, parsed and put into arrays. Pure.

Rules:
- a short body is decoded at once, on the event loop; a long one with `unpack` and `decode` on another
  thread, after what it takes was counted: parsed JSON is many times its text;
- what is short is told by what the body may become, never by what the client says of it.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any, Final, Protocol

from edge.web import inference_v2, tensorflow_rest
from edge.web.admission import Admission
from edge.web.compression import MOST_INFLATED, inflate
from edge.web.lane import Lane
from edge.web.plan import LONG_BYTES, Plan
from edge.web.question import Question, add_tags, parsed_bytes
from edge.web.reply import bad_request
from edge.web.routing import Action, Route

#: A body of tensors as they are is only looked through for numbers that are not finite.
_LONG_BINARY_BYTES: Final = 1_000_000

#: Under which the answers of a request are counted apart.
TAGS: Final = b"x-edgeflock-tags"

_JSON_LENGTH: Final = b"inference-header-content-length"

Body = bytes | bytearray
RequestHeaders = dict[bytes, bytes]


class Json(Protocol):
    """Reads and writes JSON; arrays are written as nested lists, numbers that are not finite as null."""

    def loads(self, data: bytes | bytearray | memoryview) -> Any:
        """Return the document; raise ValueError."""

    def dumps(self, document: Any) -> bytes:
        """Return UTF-8."""


@dataclass(slots=True)
class Visit:
    """A request that was let in: where it goes, and how long its body may be."""

    asked: Route
    headers: RequestHeaders
    longest: int
    lane: Lane | None = None
    plan: Plan | None = None
    changes: int = 0

    @property
    def is_binary(self) -> bool:
        """Whether tensors follow the JSON as they are."""
        return _JSON_LENGTH in self.headers and self.asked.action is Action.INFER

    @property
    def encoding(self) -> bytes:
        """The body's compression; empty for none."""
        encoding = self.headers.get(b"content-encoding", b"")
        return encoding if encoding != b"identity" else b""


@dataclass(slots=True)
class Waiting:
    """A question that takes a while: ask the lane, then finish. It holds `holds` bytes with its answer."""

    lane: Lane
    plan: Plan
    question: Question
    v2: bool
    holds: int


class Decoder:
    """Decodes bodies; ids that begin with `ours` are no client's. May be used by any thread."""

    def __init__(self, json: Json, admission: Admission, ours: str) -> None:
        self._loads = json.loads
        self._admission = admission
        self._ours = ours

    def is_long(self, visit: Visit, body: Body) -> bool:
        """Tell whether a body takes long to decode; raise HttpError 400 for a length that is none."""
        if visit.plan is None or max(len(body), self.longest_inflated(visit, body)) <= LONG_BYTES:
            return False
        if visit.encoding or len(body) > _LONG_BINARY_BYTES:
            return True
        return _json_length(visit, body) > LONG_BYTES

    def longest_inflated(self, visit: Visit, body: Body) -> int:
        """Return how long an inflated body may be; 0 if it is not compressed."""
        if not visit.encoding:
            return 0
        return min(self._admission.longest(visit.longest), len(body) * MOST_INFLATED)

    def unpack(self, visit: Visit, body: Body) -> tuple[Body, int]:
        """Return the body inflated, and the bytes that its JSON takes when parsed; raise HttpError."""
        body = self.inflated(visit, body)
        return body, parsed_bytes(body, _json_length(visit, body))

    def decode(self, visit: Visit, body: Body) -> Waiting:
        """Return the question in an unpacked body; raise HttpError.

        The garbage collector would look through a large document many times while it grows.
        """
        assert visit.plan is not None
        collects = gc.isenabled()
        gc.disable()
        try:
            if visit.is_binary:
                question = self.binary(visit, visit.plan, body)
            else:
                question = self.document(visit, visit.plan, self.parse(body))
        finally:
            if collects:
                gc.enable()
        return waiting(visit, question, body)

    def inflated(self, visit: Visit, body: Body) -> Body:
        """Return the body without its compression; raise HttpError 400, 413 or 415."""
        if not visit.encoding:
            return body
        return inflate(body, visit.encoding, self._admission.longest(visit.longest))

    def parse(self, data: bytes | bytearray | memoryview) -> Any:
        """Return a JSON document; raise HttpError 400."""
        try:
            return self._loads(data)
        except ValueError as error:
            raise bad_request(f"the body is no JSON: {' '.join(str(error).split())[:200]}") from error

    def document(self, visit: Visit, plan: Plan, document: Any) -> Question:
        """Return the question in a parsed body without tensors after it; raise HttpError 400."""
        v2 = visit.asked.action is Action.INFER
        decode = inference_v2.decode_json if v2 else tensorflow_rest.decode
        return self._checked(visit, decode(document, plan))

    def binary(self, visit: Visit, plan: Plan, body: Body) -> Question:
        """Return the question in a body with tensors after its JSON; raise HttpError 400."""
        length, whole = number(visit.headers[_JSON_LENGTH], _JSON_LENGTH), memoryview(body)
        if length > len(whole):
            raise bad_request(f"{_JSON_LENGTH.decode()} is {length}, the body has {len(whole)} bytes")
        return self._checked(visit, inference_v2.decode(self.parse(whole[:length]), whole[length:], plan))

    def _checked(self, visit: Visit, question: Question) -> Question:
        if TAGS in visit.headers:
            add_tags(question, visit.headers[TAGS].decode("utf-8", errors="replace"))
        if question.id.startswith(self._ours):
            raise bad_request("an id that begins like those of the server: choose another")
        return question


def waiting(visit: Visit, question: Question, body: Body = b"") -> Waiting:
    """Return a question with what it holds: its arrays may be parts of `body`."""
    assert visit.lane is not None
    assert visit.plan is not None
    arrays = sum(array.nbytes for array in question.values.values())
    if visit.is_binary:
        arrays = max(arrays, len(body))
    holds = arrays + visit.plan.reply_bytes(question)
    return Waiting(visit.lane, visit.plan, question, visit.asked.action is Action.INFER, holds)


def number(value: bytes, name: bytes) -> int:
    """Return a header's number; raise HttpError 400."""
    if not value.isdigit() or len(value) > 18:
        raise bad_request(f"{name.decode()} is no number")
    return int(value)


def _json_length(visit: Visit, body: Body) -> int:
    return min(len(body), number(visit.headers[_JSON_LENGTH], _JSON_LENGTH)) if visit.is_binary else len(body)
