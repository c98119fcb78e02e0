"""From a method and a path to what is asked for. Pure.

GET  /v2, /v2/health/live, /v2/health/ready                   Open Inference Protocol V2
GET  /v2/models/M[/versions/V][/ready]
POST /v2/models/M[/versions/V]/infer
GET  /v1/models/M[/versions/V | /labels/L][/metadata]         TensorFlow Serving's REST interface
POST /v1/models/M[/versions/V | /labels/L]:predict
POST /feedback                                                ours
GET  /metrics                                                 Prometheus
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from edge.web.reply import HttpError, not_found


class Action(Enum):
    """What a request asks for."""

    LIVE = auto()
    READY = auto()
    SERVER = auto()
    MODEL_READY = auto()
    MODEL_METADATA = auto()
    INFER = auto()
    TF_STATUS = auto()
    TF_METADATA = auto()
    TF_PREDICT = auto()
    FEEDBACK = auto()
    METRICS = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """An action and the model it is for; an empty version is the newest."""

    action: Action
    model: str = ""
    version: str = ""
    label: str = ""


_FIXED = {
    "/v2": Route(Action.SERVER),
    "/v2/health/live": Route(Action.LIVE),
    "/v2/health/ready": Route(Action.READY),
    "/metrics": Route(Action.METRICS),
    "/feedback": Route(Action.FEEDBACK),
}
_V2_MODEL = {(): Action.MODEL_METADATA, ("ready",): Action.MODEL_READY, ("infer",): Action.INFER}
_V1_MODEL = {"": Action.TF_STATUS, "metadata": Action.TF_METADATA, "predict": Action.TF_PREDICT}
_UNSUPPORTED = (
    "classify",
    "regress",
)  # they take tf.Example protocol buffers, which a TFLite model has none of

#: What takes a body, and is refused while shutting down.
POSTED = frozenset({Action.INFER, Action.TF_PREDICT, Action.FEEDBACK})


def route(method: str, path: str) -> Route:
    """Return what `method` and `path` ask for; raise HttpError 404 or 405."""
    found = _FIXED.get(path.rstrip("/")) or _model_route(path)
    allowed = "POST" if found.action in POSTED else "GET"
    if method != allowed and not (allowed == "GET" and method == "HEAD"):
        allow = (b"allow", allowed.encode())
        raise HttpError(405, f"{path} takes {allowed}", reason="not-found", headers=(allow,))
    return found


def _model_route(path: str) -> Route:
    parts = path.split("/")
    if len(parts) > 3 and parts[2] == "models" and parts[3]:
        if parts[1] == "v2":
            return _v2(path, parts[3:])
        if parts[1] == "v1":
            return _v1(path, parts[3:])
    raise not_found(f"nothing at {path[:200]}")


def _v2(path: str, parts: list[str]) -> Route:
    model, rest = parts[0], parts[1:]
    version = ""
    if rest[:1] == ["versions"] and len(rest) > 1:
        version, rest = rest[1], rest[2:]
    action = _V2_MODEL.get(tuple(rest))
    if action is None:
        raise not_found(f"nothing at {path[:200]}")
    return Route(action, model, version)


def _v1(path: str, parts: list[str]) -> Route:
    last, _, verb = parts[-1].partition(":")
    parts = [*parts[:-1], last]
    if not verb and len(parts) in (2, 4) and last == "metadata":
        parts, verb = parts[:-1], "metadata"
    if verb in _UNSUPPORTED:
        raise HttpError(501, f":{verb} takes tf.Example; use :predict", reason="not-found")
    action = _V1_MODEL.get(verb)
    if action is None or not parts[0]:
        raise not_found(f"nothing at {path[:200]}")
    match parts:
        case [model]:
            return Route(action, model)
        case [model, "versions", version] if version:
            return Route(action, model, version)
        case [model, "labels", label] if label:
            return Route(action, model, label=label)
    raise not_found(f"nothing at {path[:200]}")
