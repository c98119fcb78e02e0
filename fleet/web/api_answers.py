"""What the REST API answers, as dataclasses: their annotations are the schemas of the OpenAPI document.

Times are Unix times in seconds, shares are of 1, units are in the names. What is not known is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.agreeing import Agreement
from fleet.alerts import Alert
from fleet.banding import Alikeness, share_of_a_moment
from fleet.boards import BoardLatency, by_board
from fleet.class_names import ClassNames
from fleet.per_class import ClassFigures
from fleet.progress import Rollout
from fleet.quality import quality
from fleet.spans import Slot
from fleet.values import ValueFigures, value_figures
from fleet.view import DeviceRow
from fleet.web.condition import condition
from fleet.web.figures import Share, share
from fleet.web.model_page import ModelReadings, alike
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
    """One device: how it is and why, its groups, its models, its last vitals, and its kind of board."""

    name: str
    condition: str
    reasons: Sequence[str]
    last_seen_s: float
    groups: Sequence[str]
    lost: int
    models: Sequence[DeviceRow]
    vitals: Vitals | None
    board: str


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
    """One class of a release's labelled answers; `name` is its label."""

    number: int
    name: str | None
    labels: int
    recall: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True)
class AgreementAnswer:
    """How often samples that were taken for one reason were answered as a reference model does; `share` is of
    all answers, where they are a picture of all."""

    reference: str
    time_s: float
    policy: str
    answers: int
    agreeing: int
    share: float | None
    share_low: float | None
    share_high: float | None


@dataclass(frozen=True)
class ModelAnswer:
    """One release in a stretch of time: figures by class, by kind of board and over time; its intervals are
    ones over devices. `tflite_bytes` is the model's size."""

    name: str
    devices: int
    labelled: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    macro_f1: float | None
    tflite_bytes: int
    classes: Sequence[ClassAnswer]
    values: Sequence[ValueFigures]
    boards: Sequence[BoardLatency]
    agreements: Sequence[AgreementAnswer]
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
        device.rows, device.vitals, device.board,
    )  # fmt: skip


def point(slot: Slot, found: Alikeness | None = None) -> Point:
    """Return what was counted in a slot; `found` is how alike the answers of one device are, None of one."""
    counters = slot.counters
    right = share(counters.correct, counters.labelled)
    if found is not None:
        right = Share.of(share_of_a_moment(counters.correct, counters.labelled, found))
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


def model_answer(release: Release, read: ModelReadings) -> ModelAnswer:
    figures = quality(read.by_device)
    right, f1 = Share.of(figures.accuracy), Share.of(figures.macro.f1)
    found = alike(read.by_device)
    return ModelAnswer(
        name=release.name,
        devices=figures.devices,
        labelled=figures.labelled,
        accuracy=right.value,
        accuracy_low=right.low,
        accuracy_high=right.high,
        macro_f1=f1.value,
        tflite_bytes=release.manifest.tflite_bytes,
        classes=[_class_answer(figure, read.names) for figure in figures.classes],
        boards=by_board(read.by_device, read.boards),
        values=value_figures(read.by_device.values()),
        agreements=[answer for one in read.agreements for answer in _agreement_answers(one)],
        points=[point(slot, found) for slot in read.slots],
    )


def _class_answer(figure: ClassFigures, names: ClassNames) -> ClassAnswer:
    recall, precision, f1 = (Share.of(e).value for e in (figure.recall, figure.precision, figure.f1))
    return ClassAnswer(figure.number, names.name(figure.number), figure.truths, recall, precision, f1)


def _agreement_answers(found: Agreement) -> list[AgreementAnswer]:
    reference = found.against.model or found.against.file
    answers = []
    for part in found.policies:
        share_ = Share.of(part.share)
        answers.append(
            AgreementAnswer(
                reference, found.at_s, part.policy, part.answers, part.agreeing,
                share_.value, share_.low, share_.high,
            )
        )  # fmt: skip
    return answers


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
