"""The REST API: one table of operations, from which the routes and the OpenAPI document are made.

Rules:
- reading takes a session or a token, changing takes the token of an operator: a browser does not send that
  by itself, so no other site can;
- a list has a limit, and says where to go on;
- errors are JSON with one line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fleet.adapters.web_desk import Store
from fleet.progress import STANDINGS
from fleet.web.access import Session
from fleet.web.api_answers import (
    AlertsAnswer,
    DeviceAnswer,
    DevicesAnswer,
    EventsAnswer,
    ModelAnswer,
    ReleasesAnswer,
    RolloutAnswer,
    RolloutsAnswer,
    SamplesAnswer,
    SeriesAnswer,
    alert_answer,
    device_answer,
    event_answer,
    model_answer,
    point,
    release_answer,
    rollout_answer,
)
from fleet.web.model_page import model_readings
from fleet.web.reading import SHOWS, SampleQuery, Window, device_named, release_named, rollout_of
from fleet.web.steering import steer
from fleet.web.visit import Visit
from wire.errors import SettingsError


@dataclass(frozen=True)
class Ask:
    """Who asks for what, of which store, and when."""

    visit: Visit
    store: Store
    session: Session
    now_s: float


Answering = Callable[[Ask], Any]

MOST: Final = 1000
_FEW: Final = 100
_DAY_S: Final = 86_400.0
_MOST_POINTS: Final = 2000


@dataclass(frozen=True)
class Parameter:
    """A value in the query; all are optional."""

    name: str
    kind: str
    meaning: str


@dataclass(frozen=True)
class Operation:
    """One path with one method. `names` in braces in the path are texts."""

    path: str
    summary: str
    answering: Answering
    answer: type
    parameters: Sequence[Parameter] = ()
    method: str = "GET"


_LIMIT: Final = Parameter("limit", "integer", f"how many at most ({_FEW}; up to {MOST})")
_STRETCH: Final = (
    Parameter("since_s", "number", "from this Unix time on (a day ago)"),
    Parameter("until_s", "number", "before this Unix time (now)"),
    Parameter("resolution_s", "number", f"length of a point (what makes at most {_MOST_POINTS} points)"),
)


def _devices(ask: Ask) -> DevicesAnswer:
    limit, after = _limit(ask.visit), ask.visit.query.get("after", "")
    wanted, release = ask.visit.query.get("condition"), ask.visit.query.get("release")
    chosen = [d for d in ask.store.reading.devices() if release is None or d.runs(release)]
    answers = [a for a in map(device_answer, chosen) if wanted in (None, a.condition)]
    rest = [answer for answer in answers if answer.name > after]
    more = rest[limit - 1].name if len(rest) > limit else None
    return DevicesAnswer(rest[:limit], len(answers), more)


def _device(ask: Ask) -> DeviceAnswer:
    return device_answer(device_named(ask.store.reading, ask.visit.names["device"]))


def _series(ask: Ask) -> SeriesAnswer:
    slots = ask.store.reading.device(
        ask.visit.names["device"], ask.visit.query.get("release"), _window(ask.visit, ask.now_s)
    )
    return SeriesAnswer([point(slot) for slot in slots])


def _models(ask: Ask) -> ReleasesAnswer:
    devices = ask.store.reading.devices()
    return ReleasesAnswer(
        [
            release_answer(
                release,
                sum(d.runs(release.name) for d in devices),
                ask.store.reading.total(release.name),
            )
            for release in ask.store.reading.releases()
        ]
    )


def _model(ask: Ask) -> ModelAnswer:
    window, reading = _window(ask.visit, ask.now_s), ask.store.reading
    release = release_named(reading, f"{ask.visit.names['model']}/{ask.visit.names['version']}")
    return model_answer(release, model_readings(reading, release.name, window))


def _rollouts(ask: Ask) -> RolloutsAnswer:
    return RolloutsAnswer([rollout_answer(r, STANDINGS) for r in ask.store.reading.rollouts()])


def _steer(ask: Ask) -> RolloutAnswer:
    steer(ask.visit, ask.store, ask.session, None)
    names = ask.visit.names
    return rollout_answer(rollout_of(ask.store.reading, names["group"], names["model"]), STANDINGS)


def _alerts(ask: Ask) -> AlertsAnswer:
    return AlertsAnswer([alert_answer(alert) for alert in ask.store.reading.alerts()])


def _events(ask: Ask) -> EventsAnswer:
    found = ask.store.reading.events(ask.visit.query.get("device"), _limit(ask.visit))
    return EventsAnswer([event_answer(line) for line in found])


def _samples(ask: Ask) -> SamplesAnswer:
    show = ask.visit.query.get("show", "all")
    if show not in SHOWS:
        raise SettingsError(f"show: one of {', '.join(SHOWS)}")
    query = SampleQuery(ask.visit.query.get("release"), show, _limit(ask.visit))
    return SamplesAnswer(ask.store.reading.samples(query))


#: Every operation of the API.
OPERATIONS: Final = (
    Operation("/api/v1/devices", "The devices, by name", _devices, DevicesAnswer, (
        _LIMIT,
        Parameter("after", "string", "only those behind this name"),
        Parameter("condition", "string", "only those that are healthy, degraded, silent, frozen or offline"),
        Parameter("release", "string", "only those that run this release now"),
    )),
    Operation("/api/v1/devices/{device}", "One device", _device, DeviceAnswer),
    Operation("/api/v1/devices/{device}/series", "What a device counted over time", _series, SeriesAnswer,
              (*_STRETCH, Parameter("release", "string", "only of this release (all together, named '')"))),
    Operation("/api/v1/models", "All releases", _models, ReleasesAnswer),
    Operation("/api/v1/models/{model}/{version}", "One release over time", _model, ModelAnswer, _STRETCH),
    Operation("/api/v1/rollouts", "The rollouts", _rollouts, RolloutsAnswer),
    Operation("/api/v1/rollouts/{group}/{model}/{act}", "pause, resume, abort or undo a rollout", _steer,
              RolloutAnswer, method="POST"),
    Operation("/api/v1/alerts", "The alerts that stand", _alerts, AlertsAnswer),
    Operation("/api/v1/events", "Transitions of models on devices", _events, EventsAnswer,
              (_LIMIT, Parameter("device", "string", "only of this device"))),
    Operation("/api/v1/samples", "Sampled answers", _samples, SamplesAnswer, (
        _LIMIT,
        Parameter("release", "string", "only of this release"),
        Parameter("show", "string", "unsure (least sure first, without truth), wrong, or all (newest first)"),
    )),
)  # fmt: skip


def _limit(visit: Visit) -> int:
    return int(_number(visit, "limit", _FEW, 1, MOST))


def _window(visit: Visit, now_s: float) -> Window:
    until_s = _number(visit, "until_s", now_s, 0, 1e11)
    since_s = _number(visit, "since_s", until_s - _DAY_S, -1e11, until_s)
    least_s = max(1.0, (until_s - since_s) / _MOST_POINTS)
    return Window(since_s, until_s, _number(visit, "resolution_s", max(60.0, least_s), least_s, 1e9))


def _number(visit: Visit, name: str, usual: float, least: float, most: float) -> float:
    text = visit.query.get(name)
    if text is None:
        return usual
    try:
        value = float(text)
    except ValueError as error:
        raise SettingsError(f"{name}: {text[:40]!r} is no number") from error
    if not least <= value <= most:
        raise SettingsError(f"{name}: {least:g} to {most:g}")
    return value
