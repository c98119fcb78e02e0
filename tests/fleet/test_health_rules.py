"""How a device is: each rule fires for its fault and for nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.health_rules import RULES, STATES, HealthFacts, judge
from tests.support.examples import VITALS, counters, telemetry
from wire.counters import FeatureCounts
from wire.messages import Loss, ModelState, Reported

NOW_S = 1_800_000_000.0
TOLD = Reported("b1", 1, NOW_S - 60, (), clock="system")
WELL = HealthFacts("pi-1", True, 5.0, 60.0, NOW_S, TOLD, telemetry())


def with_vitals(**values: float) -> HealthFacts:
    return replace(WELL, telemetry=replace(telemetry(), vitals=replace(VITALS, **values)))  # type: ignore[arg-type]


def with_loss(**counts: int) -> HealthFacts:
    return replace(WELL, telemetry=telemetry(loss=Loss(**counts)))


FROZEN_LENS = replace(
    counters(inferences=2000, total=2000),
    features=(FeatureCounts("brightness", (0, 2000)), FeatureCounts("blur", (2000, 0))),
)

FAULTS = {
    "offline": replace(WELL, online=False),
    "silent": replace(WELL, silent_for_s=500.0),
    "metadata": replace(WELL, stale_metadata=True),
    "waiting": replace(WELL, telemetry=replace(telemetry(counters(inferences=0)), queue_depth=7)),
    "still": replace(WELL, still_for_s=700.0),
    "stuck": with_loss(stuck_outputs=1),
    "unchanged": replace(WELL, telemetry=telemetry(FROZEN_LENS)),
    "errors": replace(WELL, telemetry=telemetry(replace(counters(inferences=90, total=90), errors=10))),
    "drops": with_loss(results_dropped=3),
    "outbox": with_loss(outbox_dropped=1),
    "refused": with_loss(bad_messages=1),
    "golden": replace(WELL, telemetry=telemetry(replace(counters(), golden_runs=3, golden_failed=1))),
    "blocked": replace(WELL, reported=replace(TOLD, models=(ModelState("digits", "blocked", error="no"),))),
    "throttled": with_vitals(throttled=0b101),
    "power": with_vitals(undervoltages=2),
    "hot": with_vitals(temperature_c=80.0),
    "disk": with_vitals(disk_free_bytes=100_000_000),
    "memory": with_vitals(memory_available_bytes=1_000_000),
    "filesystem": with_vitals(filesystem_errors=1),
    "clock": replace(WELL, reported=replace(TOLD, clock="saved")),
}


def test_a_device_without_a_fault_is_healthy() -> None:
    assert judge(WELL) == judge(replace(WELL, reported=None, telemetry=None))
    assert judge(WELL).state == "healthy"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_finds_its_fault_and_no_other_does(rule) -> None:  # type: ignore[no-untyped-def]
    verdict = judge(FAULTS[rule.name])
    assert (verdict.state, [reason.rule for reason in verdict.reasons]) == (rule.state, [rule.name])
    assert verdict.reasons[0].text


def test_the_worst_state_wins_and_all_reasons_are_told() -> None:
    facts = replace(with_vitals(temperature_c=85.0, filesystem_errors=2), stale_metadata=True)
    verdict = judge(facts)
    assert (verdict.state, {r.rule for r in verdict.reasons}) == ("frozen", {"metadata", "hot", "filesystem"})
    assert [r.rule for r in judge(replace(facts, online=False)).reasons] == ["offline"]
    assert STATES[-1] == "healthy"


def test_what_was_lost_before_is_no_news() -> None:
    facts = with_loss(outbox_dropped=5, stuck_outputs=1)
    assert judge(replace(facts, earlier=facts.telemetry)).state == "healthy"
    powered = with_vitals(undervoltages=4)
    assert judge(replace(powered, earlier=powered.telemetry)).state == "healthy"


def test_what_happened_once_since_boot_is_not_what_happens_now() -> None:
    assert judge(with_vitals(throttled=0x50000)).state == "healthy"


def test_a_clock_from_2099_is_not_believed() -> None:
    facts = replace(WELL, reported=replace(TOLD, time_s=4_070_908_800.0))
    assert [r.text for r in judge(facts).reasons] == ["its clock is 26284 days ahead"]


def test_few_errors_are_no_share() -> None:
    facts = replace(WELL, telemetry=telemetry(replace(counters(), errors=2)))
    assert judge(facts).state == "healthy"


def test_a_reason_repeats_one_short_line_of_what_a_device_wrote() -> None:
    wicked = ModelState("digits", "blocked", error="no\n2026-01-01 ERROR forged \x1b[2J" + "x" * 10_000)
    (reason,) = judge(replace(WELL, reported=replace(TOLD, models=(wicked,)))).reasons
    assert reason.text.isprintable()
    assert len(reason.text) < 300
