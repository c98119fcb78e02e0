"""What the REST API answers, as dataclasses: their annotations are the schemas of the OpenAPI document.

Times are Unix times in seconds, shares are of 1, units are in the names. What is not known is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

from fleet.alerts import Alert
from fleet.progress import Rollout
from fleet.quality import quality
from fleet.spans import Slot
from fleet.values import value_figures
from fleet.view import DeviceRow
from fleet.web.condition import condition
from fleet.web.figures import Share, share
from fleet.web.reading import DeviceNow, EventLine, SampleLine
from wire.counters import ModelCounters
from wire.histogram import quantile
from wire.messages import Release, Vitals


@dataclass(frozen=True)
class Problem:
    """Why there is no answer."""

    error: str


@dataclass(frozen=True)
class DeviceAnswer:
    """One device: how it is and why, its groups, its models, and its last vitals."""

    name: str
    condition: str
    reasons: Sequence[str]
    last_seen_s: float
    groups: Sequence[str]
    lost: int
    models: Sequence[DeviceRow]
    vitals: Vitals | None


@dataclass(frozen=True)
class DevicesAnswer:
    """A page of devices by name; `next` is what to ask for with `after`, null on the last page."""

    devices: Sequence[DeviceAnswer]
    total: int
    next: str | None


@dataclass(frozen=True)
class Point:
    """What was counted in one stretch of time; the interval of the accuracy is at 95 %."""

    start_s: float
    seconds: float
    release: str
    inferences: int
    errors: int
    labelled: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    p50_us: float | None
    p99_us: float | None


@dataclass(frozen=True)
class SeriesAnswer:
    """Points, the earliest first; those without a report are left out."""

    points: Sequence[Point]


@dataclass(frozen=True)
class ReleaseAnswer:
    """One release, with sums since its first report over all devices."""

    name: str
    bundle_sha256: str
    bundle_bytes: int
    recipe: str
    devices: int
    inferences: int
    errors: int
    labelled: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    p50_us: float | None
    p99_us: float | None


@dataclass(frozen=True)
class ClassAnswer:
    """One class of a release's labelled answers."""

    number: int
    labels: int
    recall: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True)
class ValueAnswer:
    """One number of the output of a model of values: the answers, and how far those with a truth were off."""

    column: int
    answers: int
    mean: float | None
    deviation: float | None
    low: float | None
    high: float | None
    judged: int
    bias: float | None
    mean_absolute_error: float | None
    root_mean_square_error: float | None


@dataclass(frozen=True)
class ModelAnswer:
    """One release in a stretch of time: figures by class and over time; its interval is one over devices."""

    name: str
    devices: int
    labelled: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    macro_f1: float | None
    classes: Sequence[ClassAnswer]
    values: Sequence[ValueAnswer]
    points: Sequence[Point]


@dataclass(frozen=True)
class ReleasesAnswer:
    releases: Sequence[ReleaseAnswer]


@dataclass(frozen=True)
class RolloutAnswer:
    """One plan, and how many devices of its group are in each standing."""

    group: str
    model: str
    release: str
    state: str
    percent: float
    canaries: Sequence[str]
    sequence: int
    taking_part: int
    counts: Mapping[str, int]


@dataclass(frozen=True)
class RolloutsAnswer:
    rollouts: Sequence[RolloutAnswer]


@dataclass(frozen=True)
class EventAnswer:
    """One transition of a model on a device."""

    device: str
    time_s: float
    model: str
    before: str
    after: str
    cause: str
    release: str | None
    detail: str | None


@dataclass(frozen=True)
class EventsAnswer:
    """The newest first."""

    events: Sequence[EventAnswer]


@dataclass(frozen=True)
class AlertAnswer:
    """One alert that stands; `subjects` are devices, a release, a rollout, or an empty text: the fleet."""

    key: str
    severity: str
    text: str
    raised_s: float
    subjects: Sequence[str]
    acknowledged_by: str | None


@dataclass(frozen=True)
class AlertsAnswer:
    alerts: Sequence[AlertAnswer]


@dataclass(frozen=True)
class SamplesAnswer:
    """Sampled answers; `label` is what a person said, `truth` what the device knew."""

    samples: Sequence[SampleLine]


def device_answer(device: DeviceNow) -> DeviceAnswer:
    state = condition(device)
    return DeviceAnswer(
        device.name, state.word, state.reasons, device.last_seen_s, device.groups, device.lost,
        device.rows, device.vitals,
    )  # fmt: skip


def point(slot: Slot) -> Point:
    counters = slot.counters
    right = share(counters.correct, counters.labelled)
    return Point(
        slot.start_s, slot.seconds, counters.release, counters.inferences, counters.errors, counters.labelled,
        right.value, right.low, right.high,
        quantile(counters.latency_us, 0.5), quantile(counters.latency_us, 0.99),
    )  # fmt: skip


def release_answer(release: Release, devices: int, total: ModelCounters) -> ReleaseAnswer:
    right = share(total.correct, total.labelled)
    return ReleaseAnswer(
        release.name, release.bundle_sha256, release.bundle_bytes, release.manifest.recipe, devices,
        total.inferences, total.errors, total.labelled, right.value, right.low, right.high,
        quantile(total.latency_us, 0.5), quantile(total.latency_us, 0.99),
    )  # fmt: skip


def model_answer(name: str, by_device: Mapping[str, ModelCounters], slots: Sequence[Slot]) -> ModelAnswer:
    figures = quality(by_device)
    right, f1 = Share.of(figures.accuracy), Share.of(figures.macro.f1)
    classes = [
        ClassAnswer(
            c.number, c.truths, Share.of(c.recall).value, Share.of(c.precision).value, Share.of(c.f1).value
        )
        for c in figures.classes
    ]
    return ModelAnswer(
        name, figures.devices, figures.labelled, right.value, right.low, right.high, f1.value, classes,
        [ValueAnswer(*astuple(one)) for one in value_figures(by_device.values())],
        [point(slot) for slot in slots],
    )  # fmt: skip


def alert_answer(alert: Alert) -> AlertAnswer:
    return AlertAnswer(
        alert.key, alert.severity, alert.text, alert.raised_s, alert.subjects, alert.acknowledged_by
    )


def rollout_answer(rollout: Rollout, standings: Sequence[str]) -> RolloutAnswer:
    return RolloutAnswer(
        rollout.group, rollout.model, rollout.release, rollout.state, rollout.percent, rollout.canaries,
        rollout.sequence, rollout.taking_part, {name: rollout.count(name) for name in standings},
    )  # fmt: skip


def event_answer(line: EventLine) -> EventAnswer:
    event = line.event
    return EventAnswer(
        line.device, line.time_s, event.model, event.before, event.after, event.cause, event.release,
        event.detail,
    )  # fmt: skip
