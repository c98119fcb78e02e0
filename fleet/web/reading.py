"""What the page reads of a fleet: a port, so that a richer store can stand behind it.

Times are Unix times in seconds. Counters of a slot or a device are sums, so that a figure is computed from
them and never averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from fleet.agreeing import Agreement
from fleet.alerts import Alert
from fleet.class_names import ClassNames
from fleet.findings import ReleaseFacts
from fleet.health_rules import Verdict
from fleet.progress import Rollout
from fleet.spans import Slot, VitalsSpan
from fleet.view import DeviceRow
from wire.counters import ModelCounters
from wire.errors import EdgeflockError
from wire.manifest import Preprocessing, TensorSpec
from wire.messages import Event, Release, Vitals


@dataclass(frozen=True)
class Window:
    """A stretch of time, cut into slots of `resolution_s`."""

    since_s: float
    until_s: float
    resolution_s: float


@dataclass(frozen=True)
class DeviceNow:
    """One device: a row for each of its models, how it is, when it spoke last, its groups, and what its
    last report counted of what serves now; `board` is what kind of board it is, as far as it told."""

    rows: tuple[DeviceRow, ...]
    verdict: Verdict
    last_seen_s: float
    groups: tuple[str, ...] = ()
    latest: tuple[ModelCounters, ...] = ()
    vitals: Vitals | None = None
    board: str = ""

    @property
    def row(self) -> DeviceRow:
        """Its first model, and what is the same for all of them."""
        return self.rows[0]

    @property
    def name(self) -> str:
        return self.rows[0].device

    @property
    def lost(self) -> int:
        """Answers that failed, and what was dropped, since the first report and the last boot."""
        return sum(row.errors for row in self.rows) + self.rows[0].dropped

    def runs(self, release: str) -> bool:
        """Return whether the device runs a release now."""
        return any(row.current == release for row in self.rows)


@dataclass(frozen=True)
class EventLine:
    """One line of a device's journal; `number` grows in the order in which the server took them."""

    number: int
    device: str
    time_s: float
    event: Event


@dataclass(frozen=True)
class SampleLine:
    """One sampled answer. `label` is what a person said here, `truth` what the device knew; names are
    those of the release's labels, None where there are none."""

    device: str
    release: str
    sample_id: str
    time_s: float
    predicted: int
    confidence: float | None
    truth: int | None = None
    policy: str = ""
    slices: tuple[str, ...] = ()
    outputs: tuple[float, ...] = ()
    input_base64: str | None = None
    label: int | None = None
    labelled_by: str = ""
    predicted_name: str | None = None
    truth_name: str | None = None
    label_name: str | None = None

    @property
    def known(self) -> int | None:
        """What is right, as far as anybody knows: a person here has the last word."""
        return self.truth if self.label is None else self.label

    @property
    def known_name(self) -> str | None:
        return self.truth_name if self.label is None else self.label_name


@dataclass(frozen=True)
class Meaning:
    """What the numbers of a release stand for: its classes, and its inputs' shapes, preparation, columns."""

    classes: ClassNames = field(default_factory=ClassNames)
    inputs: tuple[TensorSpec, ...] = ()
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    columns: Mapping[str, str] = field(default_factory=dict)


#: Which samples: the least sure ones without truth, those that were wrong, or all, the newest first.
SHOWS: Final = ("unsure", "wrong", "all")


@dataclass(frozen=True)
class SampleQuery:
    """Which samples: those of a release (None: of all), one of `SHOWS`, at most `limit`."""

    release: str | None = None
    show: str = "unsure"
    limit: int = 60


class Reading(Protocol):
    """What the page reads; each method may raise UnavailableError when the store cannot answer."""

    def devices(self) -> Sequence[DeviceNow]:
        """Return each device as it is now, by name."""

    def releases(self) -> Sequence[Release]:
        """Return all releases, oldest first."""

    def rollouts(self) -> Sequence[Rollout]:
        """Return each plan and how far it is, oldest first."""

    def alerts(self) -> Sequence[Alert]:
        """Return the alerts that stand: those that nobody has noted first, critical ones before others."""

    def total(self, release: str) -> ModelCounters:
        """Return everything that was ever counted of a release, by the whole fleet."""

    def by_device(self, release: str, window: Window) -> Mapping[str, ModelCounters]:
        """Return what was counted of a release in a window, by device; it may reach back to a full hour."""

    def meaning(self, release: str) -> Meaning:
        """Return what the numbers of a release stand for; of an unknown one nothing."""

    def agreements(self, release: str) -> Sequence[Agreement]:
        """Return how far a release agreed with reference models, the newest first."""

    def compared(self, release: str) -> ReleaseFacts | None:
        """Return what a release that serves is held against: the one before, and what it is used to meet."""

    def fleet(self, release: str, window: Window) -> Sequence[Slot]:
        """Return what was counted of a release over all devices, oldest slot first, without empty ones."""

    def device(self, device: str, release: str | None, window: Window) -> Sequence[Slot]:
        """Return what one device counted of a release (None: of all), oldest slot first."""

    def device_releases(self, device: str, window: Window) -> Mapping[str, ModelCounters]:
        """Return what one device counted in a window, by release."""

    def vitals(self, device: str, window: Window, points: int) -> Sequence[VitalsSpan]:
        """Return what one device said of itself, oldest first, merged into at most `points`."""

    def events(self, device: str | None, limit: int) -> Sequence[EventLine]:
        """Return the newest lines of one journal or of all, newest first."""

    def samples(self, query: SampleQuery) -> Sequence[SampleLine]:
        """Return samples, newest first; of `unsure` ones the least sure first."""

    def refusals(self) -> Mapping[str, int]:
        """Return how many messages were not understood, by kind."""


class NotThereError(EdgeflockError):
    """What is asked for is not in this fleet."""


def device_named(reading: Reading, name: str) -> DeviceNow:
    """Return a device; raise NotThereError for one that has said nothing."""
    found = next((device for device in reading.devices() if device.name == name), None)
    if found is None:
        raise NotThereError(f"no device {name!r} has reported")
    return found


def release_named(reading: Reading, name: str) -> Release:
    """Return a release; raise NotThereError where there is none of that name."""
    found = next((release for release in reading.releases() if release.name == name), None)
    if found is None:
        raise NotThereError(f"no release {name!r}")
    return found


def rollout_of(reading: Reading, group: str, model: str) -> Rollout:
    """Return the rollout of a model in a group; raise NotThereError where there is none."""
    found = next((r for r in reading.rollouts() if (r.group, r.model) == (group, model)), None)
    if found is None:
        raise NotThereError(f"no rollout of {model} in {group}")
    return found
