"""What the paths do: from a whole request to its reply, without waiting for anything.

`open` looks at a request before its body is read, `answer` takes the body and gives the reply, or says
that a model has to be waited for: the application does that, and `finish` makes the reply then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from itertools import count
from typing import Any, Final

from edge.backend import Array
from edge.remembered import ROWS, Remembered
from edge.runtime import Runtime
from edge.web import inference_v2, tensorflow_rest
from edge.web.admission import Admission, Limits
from edge.web.batching import Batching
from edge.web.counts import Counts, Level
from edge.web.decoding import TAGS, Body, Decoder, Json, RequestHeaders, Visit, Waiting, number, waiting
from edge.web.feedback import Feedback, OnJudgement, said
from edge.web.lane import Answer, Lane, MakeWorkers
from edge.web.plan import LONG_BYTES, Observe, Plan
from edge.web.prometheus import render
from edge.web.question import ENVELOPE_BYTES, Question
from edge.web.reply import BINARY, TEXT, HttpError, Reply
from edge.web.routing import POSTED, Action, Route, route
from edge.web.shelf import Shelf, version_of
from wire.deadline import Clock

#: Routes of paths that were asked before; a client that invents paths fills it and no more.
_KNOWN_PATHS: Final = 256

_OPEN: Final = frozenset({Action.LIVE, Action.READY})  # without a token: they tell nothing


@dataclass(frozen=True)
class Ports:
    """What the service uses of the world.

    `boot` begins every prediction's id: different at each start, so that ids never return.
    `connections` tells how many are open. `observers` are told of single inputs and answers. Answers
    wait in `remembered` for their truth, with their confidences; without it in a place of the service's own.
    """

    json: Json
    make_workers: MakeWorkers
    clock: Clock
    boot: str
    connections: Callable[[], int] = lambda: 0
    observers: Mapping[Runtime, Observe] = field(default_factory=dict)
    remembered: Remembered | None = None


@dataclass(frozen=True)
class Options:
    """Settings of the service."""

    limits: Limits = field(default_factory=Limits)
    token: bytes = b""
    batching: Batching | None = None
    version: str = ""
    #: Rows that wait for their truth: 250 bytes each.
    remembered: int = ROWS


class Service:
    """Answers requests about the models on a shelf. Lives on one event loop."""

    def __init__(
        self, shelf: Shelf, ports: Ports, options: Options, on_judgement: OnJudgement | None = None
    ) -> None:
        self.admission = Admission(options.limits)
        self.counts = Counts(self._is_served)
        self.dumps = ports.json.dumps
        self.decoder = Decoder(ports.json, self.admission, f"{ports.boot}-")
        self._shelf = shelf
        self._ports = ports
        self._options = options
        self._on_judgement = on_judgement
        self._remembered = Remembered(options.remembered) if ports.remembered is None else ports.remembered
        self._feedback = Feedback(self._remembered)
        self._lanes: dict[Runtime, Lane] = {}
        self._routes: dict[tuple[str, str], Route] = {}
        self._numbers = count(1)

    def close(self) -> None:
        """End the threads of slow models."""
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()

    def open(self, method: str, path: str, headers: RequestHeaders) -> Visit | Reply:
        """Let a request in, or answer one that has no body; raise HttpError."""
        asked = self._routes.get((method, path)) or self._find_route(method, path)
        action = asked.action
        if self._options.token and action not in _OPEN:
            self._check_token(headers)
        if action not in POSTED:
            return self._look(asked)
        self.admission.check_open()
        if action is Action.FEEDBACK:
            visit = Visit(asked, headers, ENVELOPE_BYTES)
        else:
            place = self._shelf.find(asked.model, asked.version, asked.label)
            lane = self._lanes.get(place.runtime) or self._make_lane(place.runtime)
            plan = lane.plan_for(place)
            visit = Visit(asked, headers, plan.longest_body, lane, plan, self._shelf.changes)
        length = headers.get(b"content-length")
        if length is not None:
            self.admission.check_length(number(length, b"content-length"), visit.longest)
        return visit

    def answer(self, visit: Visit, body: Body) -> Reply | Waiting:
        """Answer a request whose body is whole; raise HttpError, InputError or ModelError."""
        decoder = self.decoder
        if b"content-encoding" in visit.headers:
            body = decoder.inflated(visit, body)
        lane, plan = visit.lane, visit.plan
        if plan is None or lane is None:
            return self._judge(decoder.parse(body))
        v2 = visit.asked.action is Action.INFER
        if b"inference-header-content-length" in visit.headers and v2:
            question = decoder.binary(visit, plan, body)
        else:
            document = decoder.parse(body)
            values = plan.plain_v2(document) if v2 else plan.plain_rows(document)
            if values is not None and TAGS not in visit.headers:
                return self._answer_plain(lane, plan, values, v2=v2)
            question = decoder.document(visit, plan, document)
        if plan.reply_bytes(question) > LONG_BYTES:  # whoever waits for it holds its bytes
            return waiting(visit, question, body)
        answer = lane.ask_now(question, plan.model)
        if answer is None:
            return waiting(visit, question, body)
        return self.finish(plan, question, answer, v2=v2)

    def still_open(self, visit: Visit) -> bool:
        """Tell whether `open` would say the same to the same request again."""
        return (
            visit.plan is not None
            and visit.lane is not None
            and visit.lane.serves(visit.plan)
            and visit.changes == self._shelf.changes
            and not self.admission.draining
        )

    def finish(self, plan: Plan, question: Question, answer: Answer, *, v2: bool) -> Reply:
        """Return the reply for an answered question, and remember it."""
        identity = question.id or self._next_id()
        self._record(plan, answer, question.rows, identity, question.tags)
        if not question.signature:
            plan.observed(_inputs(question), answer, identity, question.tags)
        if v2:
            return self._reply_v2(plan, question, answer, identity)
        document = tensorflow_rest.encode(answer.outputs, question, batches=plan.batches)
        return Reply(self.dumps(document), headers=((b"prediction-id", identity.encode()),))

    # --- questions that need no model -----------------------------------------------------------

    def _look(self, asked: Route) -> Reply:
        match asked.action:
            case Action.LIVE:
                return self._reply({"live": True})
            case Action.READY:
                ready = not self.admission.draining and all(place.runtime.model for place in self._shelf)
                return self._reply({"ready": ready}, 200 if ready else 503)
            case Action.SERVER:
                return self._reply(inference_v2.server_metadata(self._options.version))
            case Action.METRICS:
                return Reply(render(self.counts.families(self._level())), content_type=TEXT)
            case _:
                return self._look_at_model(asked)

    def _look_at_model(self, asked: Route) -> Reply:
        place = self._shelf.find(asked.model, asked.version, asked.label)
        places = [place] if asked.version or asked.label else self._shelf.versions(asked.model)
        if asked.action is Action.TF_STATUS:
            states = [(p.version, p.runtime.model is not None) for p in places]
            return self._reply(tensorflow_rest.status(states))
        if asked.action is Action.MODEL_READY:
            ready = place.runtime.model is not None and not self.admission.draining
            return self._reply({"name": place.name, "ready": ready}, 200 if ready else 503)
        if asked.action is Action.TF_METADATA:
            return self._reply(tensorflow_rest.metadata(place.name, place.version, place.model()))
        versions = [p.version for p in places]
        return self._reply(inference_v2.model_metadata(place.name, versions, place.model()))

    def _level(self) -> Level:
        return Level(
            self.admission.in_flight,
            self.admission.reading,
            self.admission.held_bytes,
            self._ports.connections(),
            len(self._remembered),
            self.admission.draining,
            tuple((p.name, p.version, p.runtime.model is not None) for p in self._shelf),
        )

    # --- inference ------------------------------------------------------------------------------

    def _answer_plain(self, lane: Lane, plan: Plan, values: Array, *, v2: bool) -> Reply | Waiting:
        """Answer the commonest kind of request in the fewest steps; `finish` gives the same reply."""
        answer = lane.ask_plain(values, plan.model)
        if answer is None:
            return Waiting(lane, plan, plan.question(values), v2, values.nbytes)
        identity = self._next_id()
        body = plan.plain_reply(answer, identity, self.dumps) if v2 else None
        if body is None:
            return self.finish(plan, plan.question(values), answer, v2=v2)
        self._record(plan, answer, 1, identity)
        plan.observed(values, answer, identity)
        return Reply(body)

    def _next_id(self) -> str:
        return f"{self._ports.boot}-{next(self._numbers)}"

    def _record(
        self, plan: Plan, answer: Answer, rows: int, identity: str, tags: tuple[str, ...] = ()
    ) -> None:
        name = plan.counted if answer.release == plan.release else plan.served_as(answer.release)
        self.counts.answered(name, rows, answer.latency_ns)
        scoring = plan.scoring if self._ports.remembered is not None else None
        answered = said(name, answer, plan.task, plan.labels, plan.classes, scoring=scoring, tags=tags)
        if answered is not None:
            self._remembered.remember(identity, answered)

    def _reply_v2(self, plan: Plan, question: Question, answer: Answer, identity: str) -> Reply:
        if question.codes:
            outputs = {tensor.key: raw for tensor, raw in zip(plan.outputs, answer.raw, strict=True)}
        else:
            outputs = dict(answer.outputs)
        document, blobs = inference_v2.encode(
            plan.name, version_of(answer.release), identity, outputs, question
        )
        text = self.dumps(document)
        if not blobs:
            return Reply(text)
        length = (b"inference-header-content-length", b"%d" % len(text))
        return Reply(b"".join([text, *blobs]), content_type=BINARY, headers=(length,))

    # --- feedback -------------------------------------------------------------------------------

    def _judge(self, document: Any) -> Reply:
        judgement = self._feedback.judge(document)
        self.counts.judged(judgement)
        if self._on_judgement:
            self._on_judgement(judgement)
        return self._reply(
            {"release": judgement.release, "correct": judgement.correct, "wrong": judgement.wrong}
        )

    # --- the rest -------------------------------------------------------------------------------

    def _find_route(self, method: str, path: str) -> Route:
        found = route(method, path)
        if len(self._routes) < _KNOWN_PATHS:
            self._routes[method, path] = found
        return found

    def _is_served(self, release: str) -> bool:
        return any(release == f"{place.name}/{place.version}" for place in self._shelf)

    def _make_lane(self, runtime: Runtime) -> Lane:
        limits = self._options.limits
        ports = self._ports
        lane = Lane(
            runtime,
            ports.make_workers,
            ports.clock,
            self._options.batching,
            limits,
            observe=ports.observers.get(runtime),
        )
        self._lanes[runtime] = lane
        return lane

    def _check_token(self, headers: RequestHeaders) -> None:
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() != b"bearer" or not compare_digest(given.strip(), self._options.token):
            challenge = (b"www-authenticate", b"Bearer")
            text = "a token is needed: Authorization: Bearer …"
            raise HttpError(401, text, reason="token", hang_up=True, headers=(challenge,))

    def _reply(self, document: Any, status: int = 200) -> Reply:
        return Reply(self.dumps(document), status)


def _inputs(question: Question) -> Any:
    """Return the inputs of a question as a runtime takes them: an only one as it is."""
    return next(iter(question.values.values())) if len(question.values) == 1 else question.values
