"""Drift: how often it cries wolf, what it finds, and that every number in it is scipy's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from fleet.binned import Reference, baseline
from fleet.drift import ALPHA, LEAST_EFFECT_BITS, adjusted, drift
from tests.support.examples import counters
from wire.counters import Classes, FeatureCounts, ModelCounters

BINS = 10
EDGES = np.concatenate([[-40.0], stats.norm.ppf(np.linspace(0, 1, BINS + 1)[1:-1]), [40.0]])
NAMES = ("brightness", "contrast", "blur")

Fleet = Mapping[str, ModelCounters]


class World:
    """Devices that see different places: the mean of each feature has a spread of `apart` over them."""

    def __init__(self, seed: int, devices: int, *, apart: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.devices, self.apart = devices, apart
        self.move()

    def move(self) -> None:
        """Let other places be seen from now on."""
        self.places = self.rng.normal(0, self.apart, (self.devices, len(NAMES)))

    def window(self, each: int, shift: float = 0.0) -> Fleet:
        """Return a window with `each` answers of every device, its brightness moved by `shift` sd."""
        centres = self.places / np.hypot(1, self.apart) + [shift, 0, 0]
        shares = np.diff(stats.norm.cdf(EDGES, centres[..., None], 1 / np.hypot(1, self.apart)))
        confident = np.full(20, 0.05)
        even = np.full((self.devices, 10), 0.1)
        classes = self.rng.dirichlet([20] * 10, self.devices) if self.apart else even
        return {
            f"pi-{i}": replace(
                counters(inferences=each, total=each),
                features=tuple(
                    FeatureCounts(name, tuple(map(int, self.rng.multinomial(each, shares[i, j]))))
                    for j, name in enumerate(NAMES)
                ),
                confidence=tuple(map(int, self.rng.multinomial(each, confident))),
                predicted=Classes(tuple(range(10)), tuple(map(int, self.rng.multinomial(each, classes[i])))),
            )
            for i in range(self.devices)
        }

    def reference(self, rows: int = 3000) -> Reference:
        even = {name: tuple(map(int, self.rng.multinomial(rows, [1 / BINS] * BINS))) for name in NAMES}
        classes = tuple(map(int, self.rng.multinomial(rows, [0.1] * 10)))
        return Reference(
            even, self.rng.multinomial(rows, [0.05] * 20).tolist(), Classes(tuple(range(10)), classes)
        )


@pytest.mark.parametrize(
    ("devices", "each", "apart"), [(1, 150, 0.0), (6, 80, 0.5), (25, 30, 0.5), (60, 40, 0.3)]
)
def test_at_most_two_of_a_hundred_healthy_windows_alarm(devices: int, each: int, apart: float) -> None:
    world, alarms, windows = World(devices, devices, apart=apart), 0, 250
    for _ in range(windows):
        world.move()
        found = drift(world.window(each).items(), world.reference())
        alarms += any(f.alarm for f in found)
        assert len(found) == 5
    assert alarms <= 0.02 * windows


def test_the_same_windows_alarm_far_more_often_where_answers_are_taken_as_independent() -> None:
    world, alarms = World(7, 10, apart=0.8), 0
    for _ in range(40):
        world.move()
        window = world.window(80)
        pooled = {name: np.zeros(BINS, int) for name in NAMES}
        for of_device in window.values():
            for feature in of_device.features:
                pooled[feature.name] += feature.counts
        alone = replace(
            counters(),
            features=tuple(FeatureCounts(name, tuple(map(int, row))) for name, row in pooled.items()),
        )
        alarms += any(f.alarm for f in drift([("all", alone)], world.reference()))
    assert alarms > 10


@pytest.mark.parametrize(("devices", "each", "found_at_least"), [(1, 1000, 38), (20, 50, 34), (60, 40, 38)])
def test_a_feature_that_moves_by_half_its_spread_is_found_and_named(
    devices: int, each: int, found_at_least: int
) -> None:
    world, hits = World(8, devices, apart=0.3 if devices > 1 else 0.0), 0
    for _ in range(40):
        world.move()
        alarms = [f for f in drift(world.window(each, shift=0.5).items(), world.reference()) if f.alarm]
        hits += any(f.name == "brightness" for f in alarms)
    assert hits >= found_at_least


def test_a_million_answers_do_not_make_a_trifle_an_alarm() -> None:
    world = World(9, 1, apart=0.0)
    (trifle,) = (
        f
        for f in drift(world.window(1_000_000, 0.03).items(), world.reference(1_000_000))
        if f.name == "brightness"
    )
    assert trifle.p is not None
    assert trifle.p < 1e-9
    assert trifle.effect_bits is not None
    assert 0 < trifle.effect_bits < LEAST_EFFECT_BITS
    assert not trifle.alarm


def test_too_few_answers_are_not_tested() -> None:
    world = World(10, 3, apart=0.0)
    assert {(f.p, f.alarm) for f in drift(world.window(33, 3.0).items(), world.reference())} == {
        (None, False)
    }


def test_the_baseline_is_the_first_windows_that_hold_enough_and_its_devices_are_matched() -> None:
    world = World(11, 20, apart=0.5)
    windows = [world.window(20) for _ in range(6)]
    assert baseline(windows, 20 * 20 * 2) == 2
    assert baseline(windows, 20 * 20 * 6) == 0  # the last window is what is looked at
    first = [item for window in windows[:3] for item in window.items()]
    assert not any(f.alarm for f in drift(windows[5].items(), first))
    moved = drift(world.window(60, 0.6).items(), first)
    assert [f.name for f in moved if f.alarm] == ["brightness"]
    assert {f.devices for f in moved} == {20}


def test_with_independent_answers_the_p_value_is_pearsons() -> None:
    old, new = (400, 300, 200, 100), (70, 80, 60, 40)
    one = replace(counters(), predicted=Classes((0, 1, 2, 5), new))
    (found,) = drift([("pi-1", one)], Reference(classes=Classes((0, 1, 2, 5), old)))
    expected = stats.chi2_contingency(np.array([old, new]), correction=False).pvalue
    assert found.p == pytest.approx(expected, rel=1e-9)
    assert (found.method, found.answers, found.reference_answers) == ("answers", 250, 1000)


def test_rare_bins_are_put_together() -> None:
    one = replace(counters(), predicted=Classes((0, 1, 7, 8, 9), (500, 490, 3, 4, 3)))
    (found,) = drift([("pi-1", one)], Reference(classes=Classes((0, 1, 6, 8), (500, 491, 5, 4))))
    assert found.psi_floor == pytest.approx(2 * (1 / 1000 + 1 / 1000))  # 0, 1 and the heap
    same = replace(counters(), features=(FeatureCounts("frozen", (0, 500, 0)),))
    (still,) = drift([("pi-1", same)], Reference({"frozen": (0, 900, 0)}))
    assert (still.p, still.alarm) == (1.0, False)


def test_a_device_that_counts_in_other_bins_is_left_out() -> None:
    world = World(12, 12, apart=0.0)
    window = dict(world.window(40))
    window["liar"] = replace(counters(), features=(FeatureCounts("brightness", (10**9, 1)),))
    found = {f.name: f for f in drift(window.items(), world.reference())}
    assert found["brightness"].answers == 480
    assert not found["brightness"].alarm


def test_the_adjustment_is_benjamini_and_hochbergs() -> None:
    ps = [0.001, 0.04, 0.03, 0.5, 0.011]
    *found, untested = adjusted([*ps, None])
    assert found == pytest.approx(stats.false_discovery_control(ps).tolist())
    assert untested is None
    assert ALPHA == 0.01
