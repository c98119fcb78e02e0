"""How a device is, by rules in a table: each with its state, its threshold in words, and the reason it gives.

Rules about these rules:
- a device has the worst state that any rule finds (`offline`, `silent`, `frozen`, `degraded`, else
  `healthy`), and every reason that was found; of one that does not speak only that is said, for what it
  said last is no news;
- what counts since boot (losses, under-voltages) is held against `earlier`, a report of the same boot, so
  that a fault of last week does not mark a device for ever; without one, since boot;
- what is not known (a board without a thermometer) finds nothing.

docs/reference/metrics.md lists the table; a test keeps them in step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from fleet.health import SILENT_AFTER_INTERVALS, presence
from fleet.plain_text import printable
from fleet.timing import AHEAD_S
from wire.messages import Loss, Reported, Telemetry, Vitals

State = Literal["offline", "silent", "frozen", "degraded", "healthy"]

#: The worst first.
STATES: Final[tuple[State, ...]] = ("offline", "silent", "frozen", "degraded", "healthy")
#: Characters of what a device wrote that a reason repeats.
_LONGEST_TEXT: Final = 200

#: Counts that stand still for so many intervals, where they moved before.
STILL_INTERVALS: Final = 10.0
#: Answers in one bin of every feature: a lens cap, not a calm day.
UNCHANGED_ANSWERS: Final = 1000
ERROR_SHARE: Final = 0.01
LEAST_ERRORS: Final = 3
DROP_SHARE: Final = 0.01
#: Raspberry Pi boards begin to slow down at 80 °C (raspberrypi.com, documentation, "Frequency management").
HOT_C: Final = 80.0
FREE_DISK_BYTES: Final = 200_000_000
FREE_MEMORY_BYTES: Final = 50_000_000

#: Bits of the firmware's word, from the lowest (`Vitals.throttled`).
_THROTTLING: Final = ("under-voltage", "clock capped", "throttled", "soft limit of temperature")


@dataclass(frozen=True)
class HealthFacts:
    """What is known of one device. `telemetry` is its newest report and `earlier` one of the same boot.

    `silent_for_s` is how long it has said nothing, at most as long as we listen; `still_for_s` how long the
    counts of a device that reports have stood still, None where they never moved. `now_s` is Unix time.
    """

    device: str
    online: bool
    silent_for_s: float
    interval_s: float
    now_s: float
    reported: Reported | None = None
    telemetry: Telemetry | None = None
    earlier: Telemetry | None = None
    still_for_s: float | None = None
    stale_metadata: bool = False

    @property
    def vitals(self) -> Vitals | None:
        return self.telemetry.vitals if self.telemetry else None

    @cached_property
    def lost(self) -> Loss:
        """What was lost since `earlier`, or since boot."""
        now = self.telemetry.loss if self.telemetry else Loss()
        before = self.earlier.loss if self.earlier else Loss()
        return Loss(**{name: max(0, count - getattr(before, name)) for name, count in vars(now).items()})


@dataclass(frozen=True)
class Reason:
    """Why a device is not healthy: the rule's name, and what it found in words."""

    rule: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """How a device is, and why."""

    state: State
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class HealthRule:
    """`find` returns what it found in words, or None; `threshold` says for people when that is."""

    name: str
    state: State
    threshold: str
    find: Callable[[HealthFacts], str | None]


def judge(facts: HealthFacts) -> Verdict:
    """Return how a device is."""
    found = [(rule, text) for rule in RULES if (text := rule.find(facts)) is not None]
    states: set[State] = {rule.state for rule, _ in found} | {"healthy"}
    worst = min(states, key=STATES.index)
    if worst in ("offline", "silent"):
        found = [(rule, text) for rule, text in found if rule.state == worst]
    return Verdict(worst, tuple(Reason(rule.name, text) for rule, text in found))


def throttling(bits: int) -> list[str]:
    """Return what slows a board down, from the lowest bits of the firmware's word."""
    return [name for bit, name in enumerate(_THROTTLING) if bits >> bit & 1]


def _offline(facts: HealthFacts) -> str | None:
    return None if facts.online else f"not connected, last word {_ago(facts.silent_for_s)} ago"


def _silent(facts: HealthFacts) -> str | None:
    there = presence(online=facts.online, silent_for_s=facts.silent_for_s, interval_s=facts.interval_s)
    return f"connected, but no word for {_ago(facts.silent_for_s)}" if there == "silent" else None


def _stale(facts: HealthFacts) -> str | None:
    return "follows an older timestamp than the newest" if facts.stale_metadata else None


def _waiting(facts: HealthFacts) -> str | None:
    telemetry = facts.telemetry
    if telemetry is None or not telemetry.queue_depth or _answers(telemetry) or _errors(telemetry):
        return None
    return f"{telemetry.queue_depth} inputs wait and none is answered"


def _still(facts: HealthFacts) -> str | None:
    if facts.still_for_s is None or facts.still_for_s <= STILL_INTERVALS * facts.interval_s:
        return None
    return f"has answered nothing for {_ago(facts.still_for_s)}"


def _stuck(facts: HealthFacts) -> str | None:
    stuck = facts.lost.stuck_outputs
    return f"one answer to everything, self-test failed ({stuck} times)" if stuck else None


def _unchanged(facts: HealthFacts) -> str | None:
    for counters in facts.telemetry.models if facts.telemetry else ():
        seen = [sum(feature.counts) for feature in counters.features]
        if seen and min(seen) >= UNCHANGED_ANSWERS and all(
            max(feature.counts) == sum(feature.counts) for feature in counters.features
        ):  # fmt: skip
            return f"every input looks the same ({min(seen)} of them)"
    return None


def _failing(facts: HealthFacts) -> str | None:
    telemetry = facts.telemetry
    errors = _errors(telemetry) if telemetry else 0
    if telemetry is None or errors < LEAST_ERRORS:
        return None
    share = errors / (errors + _answers(telemetry))
    return f"{share:.1%} of calls fail" if share > ERROR_SHARE else None


def _dropping(facts: HealthFacts) -> str | None:
    telemetry, dropped = facts.telemetry, facts.lost.results_dropped
    if telemetry is None or dropped <= DROP_SHARE * _answers(telemetry):
        return None
    return f"{dropped} results were dropped"


def _losing(facts: HealthFacts) -> str | None:
    lost = facts.lost.outbox_dropped
    return f"its outbox dropped {lost} messages" if lost else None


def _refusing(facts: HealthFacts) -> str | None:
    refused = facts.lost.bad_messages
    return f"it could not read {refused} messages" if refused else None


def _golden(facts: HealthFacts) -> str | None:
    for counters in facts.telemetry.models if facts.telemetry else ():
        if counters.golden_failed:
            return f"{counters.golden_failed} of {counters.golden_runs} self-tests failed"
    return None


def _blocked(facts: HealthFacts) -> str | None:
    for model in facts.reported.models if facts.reported else ():
        if model.state == "blocked":
            return f"refused {model.target}: {printable((model.error or 'no reason given')[:_LONGEST_TEXT])}"
    return None


def _throttled(facts: HealthFacts) -> str | None:
    bits = facts.vitals.throttled if facts.vitals else None
    return ", ".join(throttling(bits or 0)) or None


def _undervolted(facts: HealthFacts) -> str | None:
    edges = facts.vitals.undervoltages if facts.vitals else None
    before = facts.earlier.vitals.undervoltages if facts.earlier else None
    new = (edges or 0) - (before or 0)
    return f"under-voltage {new} times: look at its power supply" if new > 0 else None


def _hot(facts: HealthFacts) -> str | None:
    degrees = facts.vitals.temperature_c if facts.vitals else None
    return f"{degrees:.0f} °C" if degrees is not None and degrees >= HOT_C else None


def _full_disk(facts: HealthFacts) -> str | None:
    free = facts.vitals.disk_free_bytes if facts.vitals else None
    return f"{free // 1_000_000} MB of disk left" if free is not None and free < FREE_DISK_BYTES else None


def _full_memory(facts: HealthFacts) -> str | None:
    free = facts.vitals.memory_available_bytes if facts.vitals else None
    return f"{free // 1_000_000} MB of memory left" if free is not None and free < FREE_MEMORY_BYTES else None


def _damaged(facts: HealthFacts) -> str | None:
    errors = facts.vitals.filesystem_errors if facts.vitals else None
    return f"its file system has counted {errors} errors" if errors else None


def _lost_clock(facts: HealthFacts) -> str | None:
    if facts.reported is None:
        return None
    if facts.reported.time_s > facts.now_s + AHEAD_S:
        return f"its clock is {_ago(facts.reported.time_s - facts.now_s)} ahead"
    source = facts.reported.clock
    return f"it has no time but the {source} one" if source in ("saved", "built") else None


RULES: Final[tuple[HealthRule, ...]] = (
    HealthRule("offline", "offline", "The broker says that it is gone.", _offline),
    HealthRule("silent", "silent",
               f"Connected, but no word for {SILENT_AFTER_INTERVALS:g} report intervals.", _silent),
    HealthRule("metadata", "frozen",
               "It follows an older timestamp an hour after a newer one was signed.", _stale),
    HealthRule("waiting", "frozen", "Inputs wait, and the whole interval answered none and failed none.",
               _waiting),
    HealthRule("still", "frozen",
               f"It reports, but its counts have stood still for {STILL_INTERVALS:g} intervals.", _still),
    HealthRule("stuck", "frozen", "A model gave one answer to everything and failed its self-test.", _stuck),
    HealthRule("unchanged", "frozen",
               f"Every feature in one bin, of at least {UNCHANGED_ANSWERS:,} inputs.", _unchanged),
    HealthRule("errors", "degraded",
               f"More than {ERROR_SHARE:.0%} of an interval's calls fail, {LEAST_ERRORS} or more.", _failing),
    HealthRule("drops", "degraded",
               f"Results dropped, more than {DROP_SHARE:.0%} of an interval's answers.", _dropping),
    HealthRule("outbox", "degraded", "The outbox dropped a message.", _losing),
    HealthRule("refused", "degraded", "A message to it could not be read.", _refusing),
    HealthRule("golden", "degraded", "A self-test on the golden set failed in the interval.", _golden),
    HealthRule("blocked", "degraded", "It refused a release that it should run.", _blocked),
    HealthRule("throttled", "degraded", "The firmware says: under-voltage, capped, throttled or hot, now.",
               _throttled),
    HealthRule("power", "degraded", "Under-voltage began.", _undervolted),
    HealthRule("hot", "degraded", f"At least {HOT_C:g} °C.", _hot),
    HealthRule("disk", "degraded", f"Less than {FREE_DISK_BYTES // 1_000_000} MB of disk left.", _full_disk),
    HealthRule("memory", "degraded", f"Less than {FREE_MEMORY_BYTES // 1_000_000} MB of memory left.",
               _full_memory),
    HealthRule("filesystem", "degraded", "The file system has counted an error.", _damaged),
    HealthRule("clock", "degraded",
               f"Its time is the saved or the code's own, or {AHEAD_S:g} s ahead of ours.", _lost_clock),
)  # fmt: skip


def _answers(telemetry: Telemetry) -> int:
    return sum(counters.inferences for counters in telemetry.models)


def _errors(telemetry: Telemetry) -> int:
    return sum(counters.errors for counters in telemetry.models)


def _ago(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
