"""What a look at the fleet finds: from facts to findings. Pure; thresholds are in fleet/alert_kinds.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fleet.alert_kinds import ERROR_SHARE, LEAST_CALLS, LEAST_REFUSALS, REFUSAL_SHARE, SLOWER
from fleet.alerts import Finding
from fleet.binned import Reference
from fleet.comparing import compare
from fleet.drift import drift
from fleet.expiring import Notice
from fleet.health_rules import HealthFacts, Verdict
from fleet.progress import Rollout
from fleet.quality import accuracy, latency
from wire.counters import ModelCounters

ByDevice = Mapping[str, ModelCounters]


@dataclass(frozen=True)
class ReleaseFacts:
    """One release that serves: what it did, what the release before it did, and what it is held against.

    `window` is long enough for labels to come, `recent` short enough to see what goes wrong now.
    `promised` is the accuracy that its bundle states. `reference` is the bundle's, or the windows in which
    the release gave its first answers; None where there is neither.
    """

    release: str
    window: ByDevice
    recent: ByDevice
    before_name: str | None = None
    before: ByDevice = field(default_factory=dict)
    promised: float | None = None
    reference: Reference | Sequence[ByDevice] | None = None


@dataclass(frozen=True)
class FleetFacts:
    """All that one look sees. `lost` is by device: messages that were dropped and never came. `health` is
    what the verdicts of `devices` were made of."""

    devices: Mapping[str, Verdict]
    releases: Sequence[ReleaseFacts] = ()
    rollouts: Sequence[Rollout] = ()
    notices: Sequence[Notice] = ()
    lost: Mapping[str, int] = field(default_factory=dict)
    health: Sequence[HealthFacts] = ()


def findings(facts: FleetFacts) -> list[Finding]:
    """Return all that is found now."""
    return [
        *_of_devices(facts.devices, facts.lost),
        *(finding for release in facts.releases for finding in _of_release(release)),
        *_of_rollouts(facts.rollouts),
        *_of_notices(facts.notices),
    ]


def _of_devices(devices: Mapping[str, Verdict], lost: Mapping[str, int]) -> Iterator[Finding]:
    for device, verdict in devices.items():
        if verdict.state != "healthy":
            text = "; ".join(reason.text for reason in verdict.reasons)
            yield Finding(f"device-{verdict.state}", device, text)
    for device, count in lost.items():
        if count:
            yield Finding("messages-lost", device, f"{count} messages were dropped and never came", count)


def _of_release(facts: ReleaseFacts) -> Iterator[Finding]:
    yield from _accuracy(facts)
    yield from _errors(facts)
    yield from _latency(facts)
    yield from _drift(facts)


def _accuracy(facts: ReleaseFacts) -> Iterator[Finding]:
    difference = compare(facts.before, facts.window)
    if difference is not None and difference.verdict == "worse":
        points, low, high = (100 * v for v in (difference.value, difference.low, difference.high))
        text = f"{points:+.1f} points against {facts.before_name} [{low:+.1f}, {high:+.1f}]"
        on = f"{text} on {difference.devices} devices"
        yield Finding("accuracy-before", facts.release, on, difference.value)
    found = accuracy(facts.window)
    if found is not None and facts.promised is not None and found.high < facts.promised:
        text = (
            f"accuracy {found.value:.1%} [{found.low:.1%}, {found.high:.1%}] of {found.answers} labelled "
            f"answers, its bundle had {facts.promised:.1%}"
        )
        yield Finding("accuracy-promised", facts.release, text, found.value)


def _errors(facts: ReleaseFacts) -> Iterator[Finding]:
    errors = sum(c.errors for c in facts.recent.values())
    calls = errors + sum(c.inferences for c in facts.recent.values())
    if calls >= LEAST_CALLS and errors > ERROR_SHARE * calls:
        share = errors / calls
        yield Finding("errors", facts.release, f"{share:.1%} of {calls} calls fail", share)


def _latency(facts: ReleaseFacts) -> Iterator[Finding]:
    """Compare on devices that have run both: a slower board is no slower release."""
    shared = facts.recent.keys() & facts.before.keys()
    now, before = ([side[d] for d in shared] for side in (facts.recent, facts.before))
    if min(sum(c.inferences for c in side) for side in (now, before)) < LEAST_CALLS:
        return
    _, p99_us = latency(c.latency_us for c in now)
    _, before_us = latency(c.latency_us for c in before)
    if p99_us is not None and before_us is not None and p99_us > SLOWER * before_us:
        text = f"p99 {p99_us:.0f} µs, {facts.before_name} had {before_us:.0f} µs on the same devices"
        yield Finding("latency", facts.release, text, p99_us / before_us)


def _drift(facts: ReleaseFacts) -> Iterator[Finding]:
    if not facts.reference:
        return
    reference: Reference | list[tuple[str, ModelCounters]]
    if isinstance(facts.reference, Reference):
        reference, origin = facts.reference, "the data of its bundle"
    else:
        reference = [item for window in facts.reference for item in window.items()]
        origin = "its first days"
    moved = [found for found in drift(facts.recent.items(), reference) if found.alarm]
    if moved:
        names = ", ".join(f"{found.kind} {found.name}".strip() for found in moved)
        worst = max(found.effect_bits or 0.0 for found in moved)
        text = f"{names} moved away from {origin}, up to {worst:.3f} bits above chance"
        yield Finding("drift", facts.release, text, worst)


def _of_rollouts(rollouts: Iterable[Rollout]) -> Iterator[Finding]:
    for rollout in rollouts:
        refused, done = rollout.count("refused"), rollout.count("done") + rollout.count("probation")
        tried = refused + done
        if rollout.state == "run" and refused >= LEAST_REFUSALS and refused >= REFUSAL_SHARE * tried:
            text = f"{rollout.release} is refused by {refused} of the {tried} devices that tried it"
            yield Finding("rollout-refused", f"{rollout.group}/{rollout.model}", text, refused / tried)


def _of_notices(notices: Iterable[Notice]) -> Iterator[Finding]:
    for expired in (True, False):
        texts = [notice.text for notice in notices if notice.expired is expired]
        if texts:
            yield Finding("expired" if expired else "expiring", "", "; ".join(texts))
