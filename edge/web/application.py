"""The ASGI application: bodies, time limits and faults; what the paths do is in service.py.

Rules:
- what is too large, too much or too late is refused before memory is taken (admission.py);
- a body that takes long to unpack or to parse is decoded on another thread, one at a time: a parsed
  document is many times its text, and is gone when its arrays are there;
- a request that is not answered in time is given up: 408 while its body is missing, 504 afterwards;
- a fault of ours is one logged traceback, one counter and a 500.

It lives on one event loop; `make_workers` of its ports brings the threads for models that are slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from math import inf
from typing import Any, Final

from edge.web.admission import Holding
from edge.web.decoding import Body, Visit, Waiting
from edge.web.feedback import OnJudgement
from edge.web.plan import LONG_BYTES, Plan
from edge.web.reply import Headers, HttpError, Reply
from edge.web.service import Options, Ports, Service
from edge.web.shelf import Shelf
from wire.errors import BusyError, InputError, ModelError

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: How often requests are looked through for those that take too long.
_SWEEP_EVERY_S: Final = 0.1

#: Paths without a query and without escapes, and how many of them are remembered.
_PLAIN_PATH: Final = re.compile(rb"/[A-Za-z0-9._:/-]*")
_SHORT_PATHS: Final = 64
_LENGTH_DIGITS: Final = 8

_RETRY: Final = ((b"retry-after", b"1"),)


class Application:
    """Answers HTTP requests about the models on a shelf."""

    def __init__(
        self,
        shelf: Shelf,
        ports: Ports,
        options: Options | None = None,
        on_judgement: OnJudgement | None = None,
    ) -> None:
        options = options or Options()
        self._service = Service(shelf, ports, options, on_judgement)
        self._admission = self._service.admission
        self._decoder = self._service.decoder
        self._counts = self._service.counts
        self._clock = ports.clock
        self._timeout_s = options.limits.timeout_s
        self._due_s: dict[asyncio.Task[Any], float] = {}
        self._overdue: set[asyncio.Task[Any]] = set()
        self._sweeping = False
        self._decoding: asyncio.Lock | None = None
        self._short_paths: dict[bytes, str] = {}

    @property
    def busy(self) -> bool:
        """Whether requests are being read or answered."""
        return bool(self._due_s)

    def drain(self) -> None:
        """Answer what is inside, refuse what comes, and be not ready."""
        self._admission.draining = True

    @property
    def in_flight(self) -> int:
        """Requests that wait for a model or are in one."""
        return self._admission.in_flight

    def close(self) -> None:
        """End the threads of slow models."""
        self._service.close()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request: an ASGI 3 application."""
        if scope["type"] != "http":
            return  # no websockets; a lifespan is not needed
        task = asyncio.current_task()
        assert task is not None
        self._due_s[task] = self._clock() + self._timeout_s
        if not self._sweeping:
            self._sweep_later()
        holding = Holding(self._admission)
        try:
            reply = await self._reply(task, scope, receive, holding)
            if reply is not None:  # else the client has gone
                self._counts.responses[reply.status] += 1
                self._due_s[task] = inf  # the server ends a connection that does not read
                await _send(reply, send)
        finally:
            holding.become(0)
            del self._due_s[task]
            self._overdue.discard(task)

    # --- the short way --------------------------------------------------------------------------

    def open_short(self, url: bytes, headers: list[tuple[bytes, bytes]], limit: int) -> Visit | None:
        """Let in a POST that can be answered without waiting; None if it goes through the application.

        That is one to a path that the application has answered before, with at most `limit` bytes of
        body, for a model that answers at once. Errors go through the application too.
        """
        given = dict(headers)
        if len(given) != len(headers):
            return None
        length = given.get(b"content-length", b"")
        path = self._short_paths.get(url)
        if (
            path is None
            or not length.isdigit()
            or len(length) > _LENGTH_DIGITS
            or int(length) > limit
            or b"transfer-encoding" in given
        ):
            return None
        try:
            visit = self._service.open("POST", path, given)
        except HttpError:
            return None
        if isinstance(visit, Reply) or (visit.lane is not None and not visit.lane.is_short(visit.plan)):
            return None
        return visit

    def still_open(self, visit: Visit) -> bool:
        """Tell whether `open_short` would let in the same request again."""
        return self._service.still_open(visit)

    def answer_short(self, visit: Visit, body: bytes) -> Reply | None:
        """Answer what `open_short` let in; None if it takes a while after all."""
        try:
            found = self._service.answer(visit, body)
        except Exception as error:
            found = self._error_reply(error, visit.plan)
        if isinstance(found, Waiting):
            return None
        self._counts.responses[found.status] += 1
        return found

    # --- through the application ----------------------------------------------------------------

    async def _reply(
        self, task: asyncio.Task[Any], scope: Message, receive: Receive, holding: Holding
    ) -> Reply | None:
        """Return the reply, whatever happens; None for a client that went away."""
        plan: Plan | None = None
        try:
            visit = self._service.open(scope["method"], scope["path"], _single(scope["headers"]))
            if isinstance(visit, Reply):
                return visit
            plan = visit.plan
            body = await self._read(task, receive, visit, holding)
            if not body:
                return None
            self._admission.enter()
            try:
                return await self._answer(task, visit, body, scope.get("raw_path", b""), holding)
            finally:
                self._admission.leave()
        except Exception as error:
            return self._error_reply(error, plan)

    async def _read(
        self, task: asyncio.Task[Any], receive: Receive, visit: Visit, holding: Holding
    ) -> list[Body]:
        """Return the one body, for its last user to take out; none if the client went away."""
        self._admission.reading += 1
        try:
            message = await _receive(receive)
            if message["type"] != "http.request":
                return []
            body: Body = message["body"]
            holding.grow(len(body), hang_up=True)
            if not message["more_body"]:
                return [body]
            body = bytearray(body)
            while message["more_body"]:
                message = await _receive(receive)
                if message["type"] != "http.request":
                    return []
                part = message["body"]
                self._admission.check_length(len(body) + len(part), visit.longest)
                holding.grow(len(part), hang_up=True)
                body += part
            return [body]
        except asyncio.CancelledError:
            if task not in self._overdue:
                raise
            self._give_up(task)
            raise HttpError(408, "the body did not come in time", reason="slow", hang_up=True) from None
        finally:
            self._admission.reading -= 1

    async def _answer(
        self,
        task: asyncio.Task[Any],
        visit: Visit,
        body: list[Body],
        raw_path: bytes,
        holding: Holding,
    ) -> Reply:
        """Answer the one `body`, which is let go of when it is decoded."""
        try:
            if self._decoder.is_long(visit, body[0]):
                found = await self._decode_apart(visit, body, holding)
            else:
                answered = self._service.answer(visit, body.pop())
                if isinstance(answered, Reply):
                    self._remember_path(raw_path)
                    return answered
                found = answered
            holding.become(found.holds)
            question = found.question
            if question.timeout_s is not None:
                self._due_s[task] = min(self._due_s[task], self._clock() + question.timeout_s)
            answer = await found.lane.ask(question, found.plan.model, self._due_s[task])
        except asyncio.CancelledError:
            if task not in self._overdue:
                raise
            self._give_up(task)
            raise HttpError(504, "no answer in time", reason="late") from None
        return self._service.finish(found.plan, question, answer, v2=found.v2)

    async def _decode_apart(self, visit: Visit, body: list[Body], holding: Holding) -> Waiting:
        """Decode on another thread, when those that came before are done."""
        if self._decoding is None:
            self._decoding = asyncio.Lock()
        async with self._decoding:
            holding.become(len(body[0]) + self._decoder.longest_inflated(visit, body[0]))
            run = asyncio.get_running_loop().run_in_executor
            whole, parsed_bytes = await run(None, self._decoder.unpack, visit, body.pop())
            holding.become(len(whole))
            holding.grow(parsed_bytes)
            return await run(None, self._decoder.decode, visit, whole)

    def _remember_path(self, raw_path: bytes) -> None:
        if len(self._short_paths) < _SHORT_PATHS and _PLAIN_PATH.fullmatch(raw_path):
            self._short_paths[raw_path] = raw_path.decode("ascii")

    # --- time -----------------------------------------------------------------------------------

    def _give_up(self, task: asyncio.Task[Any]) -> None:
        """Go on after being cancelled for taking too long."""
        task.uncancel()
        self._due_s[task] = self._clock() + self._timeout_s  # to send the error
        self._overdue.discard(task)

    def _sweep_later(self) -> None:
        self._sweeping = True
        asyncio.get_running_loop().call_later(_SWEEP_EVERY_S, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        now_s = self._clock()
        for task, due_s in self._due_s.items():
            if due_s <= now_s and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()
        if self._due_s:
            self._sweep_later()

    # --- errors ---------------------------------------------------------------------------------

    def _error_reply(self, error: Exception, plan: Plan | None) -> Reply:
        match error:
            case HttpError():
                return self._error(error.status, str(error), error.reason, error.headers)
            case InputError():
                return self._error(400, str(error), "bad")
            case BusyError():
                return self._error(503, str(error), "busy", _RETRY)
            case ModelError(release=None):
                return self._error(503, str(error), "not-ready", _RETRY)
            case ModelError():
                release = error.release or ""
                self._counts.failed(plan.served_as(release) if plan else release)
                return self._error(500, str(error), "failed")
        log.error("a request met a fault of the server", exc_info=error)
        self._counts.crashes += 1
        return self._error(500, "the server failed", "crashed")

    def _error(self, status: int, text: str, reason: str, headers: Headers = ()) -> Reply:
        self._counts.refused[reason] += 1
        return Reply(self._service.dumps({"error": text}), status, headers=headers)


def _single(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by name; raise HttpError 400 for two tokens, or two lengths.

    A proxy in front may have gone by the other one. h11 takes a length beside chunks, httptools does not.
    """
    pairs = list(pairs)
    headers = dict(pairs)
    if len(headers) != len(pairs) and sum(name == b"authorization" for name, _ in pairs) > 1:
        raise HttpError(400, "more than one Authorization header", reason="token", hang_up=True)
    if b"transfer-encoding" in headers and b"content-length" in headers:
        raise HttpError(400, "Content-Length beside Transfer-Encoding", reason="bad", hang_up=True)
    return headers


async def _send(reply: Reply, send: Send) -> None:
    """Send a reply; return when the client has read all but the last of a long one, or has gone."""
    length = (b"content-length", b"%d" % len(reply.body))
    headers = [(b"content-type", reply.content_type), length, *reply.headers]
    with contextlib.suppress(OSError, RuntimeError):  # the client has gone
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        if len(reply.body) <= LONG_BYTES:
            await send({"type": "http.response.body", "body": reply.body})
            return
        await send({"type": "http.response.body", "body": reply.body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})  # the server lets it wait for the first


async def _receive(receive: Receive) -> Message:
    """Return the next message; a connection that cannot be read any more is a client that has gone."""
    try:
        return await receive()
    except (OSError, RuntimeError):
        return {"type": "http.disconnect"}
