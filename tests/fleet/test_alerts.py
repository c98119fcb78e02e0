"""Alerts: no flapping, grouped, acknowledged; and what a look at a fleet finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fleet.alert_kinds import KINDS
from fleet.alerts import Finding, Watches, acknowledge, changes, look, standing
from fleet.binned import Reference
from fleet.expiring import Notice
from fleet.findings import FleetFacts, ReleaseFacts, findings
from fleet.health_rules import Reason, Verdict
from fleet.progress import Part, Rollout
from tests.support.examples import counters
from wire.counters import Buckets, FeatureCounts, ModelCounters


def silent(*devices: str) -> list[Finding]:
    return [Finding("device-silent", device, "no word") for device in devices]


def looks(*rounds: list[Finding], every_s: float = 30.0, watches: Watches | None = None) -> Watches:
    for i, found in enumerate(rounds):
        watches = look(watches or {}, found, i * every_s)
    return watches or {}


def test_what_lasts_is_raised_once_and_cleared_when_it_was_away_long_enough() -> None:
    found = silent("pi-1")
    seen = [found] * 3 + [[]] * 4
    raised = [list(standing(looks(*seen[: i + 1]), 5)) for i in range(len(seen))]
    on = ["device-silent"]
    assert raised == [[], [], on, on, on, [], []]  # 60 s to raise, 60 s to clear


def test_what_comes_and_goes_is_no_alert_and_what_goes_and_comes_stays_one() -> None:
    found = silent("pi-1")
    assert not standing(looks(found, [], found, [], found, []), 5)
    before = standing(looks(found, found, found), 5)["device-silent"]
    flapping = looks(found, found, found, [], found, [], found)
    assert standing(flapping, 5)["device-silent"] == before


def test_a_hundred_silent_devices_are_one_alert_that_names_them() -> None:
    names = [f"pi-{i:03}" for i in range(100)]
    alert = standing(looks(*[silent(*names)] * 3), 200)["device-silent"]
    assert alert.text == "100 of 200 devices are silent: pi-000, pi-001, pi-002, pi-003, pi-004, …"
    assert alert.subjects == tuple(names)
    assert standing(looks(*[silent("pi-1")] * 3), 200)["device-silent"].text == "pi-1: no word"


def test_releases_are_alerts_of_their_own() -> None:
    found = [Finding("errors", "digits/2", "bad"), Finding("errors", "faces/1", "bad")]
    assert list(standing(looks(*[found] * 8), 5)) == ["errors/digits/2", "errors/faces/1"]


def test_who_joins_an_acknowledged_alert_opens_it_again() -> None:
    watches = dict(looks(*[silent("pi-1", "pi-2")] * 3))
    assert acknowledge(watches, "device-frozen", "ada", 99.0) == {}
    watches |= acknowledge(watches, "device-silent", "ada", 99.0)
    alert = standing(watches, 5)["device-silent"]
    assert (alert.acknowledged_by, alert.acknowledged_s) == ("ada", 99.0)
    for at_s in (100.0, 130.0, 160.0):
        watches = look(watches, silent("pi-1", "pi-2", "pi-3"), at_s)
    assert standing(watches, 5)["device-silent"].acknowledged_by is None


def test_it_is_told_when_it_begins_doubles_and_ends() -> None:
    one, two, three = (standing(looks(*[silent(*(f"pi-{i}" for i in range(n)))] * 3), 9) for n in (1, 2, 3))
    assert [c.what for c in changes({}, one, {})] == ["raised"]
    assert [c.what for c in changes({"device-silent": 1}, two, one)] == ["grown"]
    assert not changes({"device-silent": 2}, three, two)
    assert [c.what for c in changes({"device-silent": 2}, {}, three)] == ["cleared"]


def test_a_kind_that_this_version_does_not_know_is_dropped() -> None:
    assert looks([Finding("of-tomorrow", "", "?")]) == {}


def labelled(correct: int, count: int, **values: object) -> ModelCounters:
    known = replace(counters(inferences=count, total=count), labelled=count, correct=correct)
    return replace(known, **values)  # type: ignore[arg-type]


def fleet_of(devices: int, correct: int, count: int, **values: object) -> dict[str, ModelCounters]:
    return {f"pi-{i}": labelled(correct, count, **values) for i in range(devices)}


def release(window: dict[str, ModelCounters], *before: Any, **held_against: Any) -> ReleaseFacts:
    return ReleaseFacts("m/2", window, window, *before, **held_against)


def found_of(facts: ReleaseFacts) -> dict[str, Finding]:
    return {f.kind: f for f in findings(FleetFacts({}, releases=[facts]))}


def test_a_release_that_is_as_it_was_and_as_promised_finds_nothing() -> None:
    facts = release(fleet_of(10, 90, 100), "m/1", fleet_of(10, 91, 100), promised=0.91)
    assert found_of(facts) == {}


def test_worse_than_before_and_than_promised_is_found_with_its_interval() -> None:
    facts = release(fleet_of(10, 80, 100), "m/1", fleet_of(10, 91, 100), promised=0.91)
    found = found_of(facts)
    assert set(found) == {"accuracy-before", "accuracy-promised"}
    assert found["accuracy-before"].text.startswith("-11.0 points against m/1 [-14")
    assert found["accuracy-promised"].text.startswith("accuracy 80.0% [77")


def test_errors_and_latency_are_found_where_there_is_enough_of_them() -> None:
    slow = fleet_of(10, 9, 100, latency_us=Buckets(400, (100,)), errors=3)
    facts = release(slow, "m/1", fleet_of(10, 9, 100))
    assert set(found_of(facts)) == {"errors", "latency"}
    few = release(dict([*slow.items()][:9]), "m/1", fleet_of(10, 9, 100))
    assert set(found_of(few)) == set()
    other = {f"big-{i}": c for i, c in enumerate(slow.values())}
    assert "latency" not in found_of(release(other, "m/1", fleet_of(10, 9, 100)))


@pytest.mark.parametrize("from_the_bundle", [True, False])
def test_drift_names_what_moved(from_the_bundle: bool) -> None:
    rng = np.random.default_rng(1)

    def window(shares: list[float]) -> dict[str, ModelCounters]:
        return {
            f"pi-{i}": labelled(
                9, 10, features=(FeatureCounts("brightness", tuple(map(int, rng.multinomial(100, shares)))),)
            )
            for i in range(10)
        }

    even, dark = [0.2] * 5, [0.5, 0.2, 0.1, 0.1, 0.1]
    reference = Reference({"brightness": (200,) * 5}) if from_the_bundle else [window(even), window(even)]
    assert "drift" not in found_of(release(window(even), reference=reference))
    found = found_of(release(window(dark), reference=reference))
    origin = "the data of its bundle" if from_the_bundle else "its first days"
    assert found["drift"].text.startswith(f"feature brightness moved away from {origin}, up to 0.")


def test_devices_rollouts_and_expiry_are_found() -> None:
    parts = tuple(Part(f"pi-{i}", "refused" if i < 2 else "done") for i in range(6))
    rollout = Rollout("all", "m", "m/2", "run", 100.0, (), 1, parts)
    facts = FleetFacts(
        {"pi-1": Verdict("frozen", (Reason("still", "stands"),)), "pi-2": Verdict("healthy")},
        rollouts=[rollout, replace(rollout, group="paused", state="pause")],
        notices=[Notice("root expires in 3 days", expired=False), Notice("it is over", expired=True)],
        lost={"pi-3": 4, "pi-4": 0},
    )
    assert {(f.kind, f.subject) for f in findings(facts)} == {
        ("device-frozen", "pi-1"),
        ("messages-lost", "pi-3"),
        ("rollout-refused", "all/m"),
        ("expiring", ""),
        ("expired", ""),
    }
    assert {f.kind for f in findings(facts)} <= KINDS.keys()
