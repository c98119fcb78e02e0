"""Figures of a release: right values, and intervals that are as wide as devices differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from fleet.calibration import calibration
from fleet.comparing import compare
from fleet.estimating import column, share
from fleet.per_class import merged, per_class
from fleet.quality import quality
from fleet.statistics import wilson
from tests.support.examples import counters
from wire.counters import Buckets, Cells, Classes, ModelCounters, Reliability, SliceCounters
from wire.histogram import bucket_of


def labelled(correct: int, count: int) -> ModelCounters:
    return replace(counters(inferences=2 * count, total=2 * count), labelled=count, correct=correct)


def cells(truth: np.ndarray, predicted: np.ndarray) -> Cells:
    pairs, counts = np.unique(np.stack([truth, predicted]), axis=1, return_counts=True)
    return Cells(*(tuple(map(int, row)) for row in (*pairs, counts)))


def answers(seed: int, devices: int = 8, classes: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    """Truths and answers of some devices that are differently good."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(devices):
        truth = rng.integers(0, classes, rng.integers(20, 200))
        right = rng.random(len(truth)) < rng.beta(20, 4)
        found.append((truth, np.where(right, truth, rng.integers(0, classes, len(truth)))))
    return found


def test_the_shares_of_merged_matrices_are_scikit_learns() -> None:
    found = answers(1)
    truth, predicted = (np.concatenate(column) for column in zip(*found, strict=True))
    figures, macro = per_class([cells(*pair) for pair in found])
    expected = precision_recall_fscore_support(truth, predicted)
    for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
        assert [getattr(f, name).value for f in figures] == pytest.approx(list(values))
        assert getattr(macro, name).value == pytest.approx(np.mean(values))
    assert [f.truths for f in figures] == list(expected[3])


def test_matrices_add_up() -> None:
    found = answers(2)
    whole = merged([cells(*pair) for pair in found])
    dense = np.zeros((5, 5), int)
    np.add.at(dense, (list(whole.truth), list(whole.predicted)), whole.counts)
    truth, predicted = (np.concatenate(column) for column in zip(*found, strict=True))
    assert (dense == confusion_matrix(truth, predicted)).all()


def test_a_class_that_is_never_the_answer_counts_as_0_in_the_mean_and_has_no_precision() -> None:
    figures, macro = per_class([Cells((0, 1), (0, 0), (50, 50))])
    assert figures[1].precision is None
    assert macro.precision
    assert macro.precision.value == 0.25
    assert macro.recall
    assert macro.recall.value == 0.5


def test_the_macro_interval_is_the_jackknifes_over_devices() -> None:
    found = [cells(*pair) for pair in answers(3, devices=30)]
    _, macro = per_class(found)
    without = []
    for i in range(len(found)):
        _, rest = per_class(found[:i] + found[i + 1 :])
        assert rest.f1
        without.append(rest.f1.value)
    assert macro.f1
    jackknife = np.sum((np.array(without) - macro.f1.value) ** 2) * (len(found) - 1) / len(found)
    half = (macro.f1.high - macro.f1.low) / 2
    assert half == pytest.approx(np.sqrt(jackknife) * 2.045, rel=0.05)  # t of 29 degrees


@pytest.mark.parametrize(("devices", "each"), [(5, 100), (30, 20), (200, 5)])
def test_the_interval_holds_the_truth_in_95_of_100_fleets_whose_devices_differ(
    devices: int, each: int
) -> None:
    rng = np.random.default_rng(devices)
    held = pooled = 0
    for _ in range(400):
        right = rng.binomial(each, rng.beta(28, 12, devices)).astype(float)  # 0.7, correlation 0.024
        found = share(right, np.full(devices, float(each)))
        assert found
        held += found.low <= 0.7 <= found.high
        low, high = wilson(int(right.sum()), devices * each) or (0, 0)
        pooled += low <= 0.7 <= high
    assert held >= 0.92 * 400
    assert held > pooled  # the interval that takes all answers as independent is too narrow


def test_one_device_is_judged_by_wilson_and_says_so() -> None:
    found = quality({"pi-1": labelled(81, 263)}).accuracy
    assert found
    assert (round(found.low, 4), round(found.high, 4), found.method) == (0.2553, 0.3662, "answers")
    assert found.design_effect is None


def test_the_same_counts_from_devices_that_differ_have_a_wider_interval() -> None:
    alike = quality({f"pi-{i}": labelled(90, 100) for i in range(10)}).accuracy
    apart = quality({f"pi-{i}": labelled(100 if i % 2 else 80, 100) for i in range(10)}).accuracy
    assert alike
    assert apart
    assert alike.value == apart.value
    assert apart.design_effect
    assert apart.design_effect > 10
    assert apart.high - apart.low > 3 * (alike.high - alike.low)


def test_a_device_that_claims_a_billion_answers_makes_the_figure_uncertain() -> None:
    fleet = {f"pi-{i}": labelled(90 + i % 3, 100) for i in range(20)}
    found = quality(fleet | {"liar": labelled(10**9, 10**9)}).accuracy
    assert found
    assert found.low < 0.5


def test_all_answers_right_is_no_certainty() -> None:
    found = quality({f"pi-{i}": labelled(10, 10) for i in range(5)}).accuracy
    assert found
    assert found.value == found.high == 1
    assert 0.8 < found.low < 0.97


def test_where_there_is_nothing_there_is_no_number() -> None:
    empty = quality({})
    assert (empty.accuracy, empty.coverage, empty.error_share, empty.p99_us) == (None, None, None, None)
    assert (empty.calibration, empty.macro.f1, empty.classes, empty.slices) == (None, None, (), ())
    silent = quality({"pi-1": replace(counters(), labelled=0, correct=0)})
    assert silent.accuracy is None
    assert silent.coverage == 0


def test_latency_is_of_all_values_together() -> None:
    slow, fast = bucket_of(50_000), bucket_of(100)
    whole = quality(
        {
            "pi-1": replace(counters(inferences=9_900, total=9_900), latency_us=Buckets(fast, (9_900,))),
            "pi-2": replace(counters(inferences=101, total=101), latency_us=Buckets(slow, (101,))),
        }
    )
    assert whole.p50_us == pytest.approx(100, rel=0.02)
    assert whole.p99_us == pytest.approx(50_000, rel=0.02)


def test_slices_and_label_coverage_are_counted_apart() -> None:
    one = replace(
        counters(inferences=100, total=100),
        labelled=20,
        correct=15,
        confusion=Cells((0, 1), (0, 0), (15, 5)),
        predicted=Classes((0, 1), (40, 60)),
        slices=(SliceCounters("site=lab", 60, 12, 12), SliceCounters("site=hall", 40, 8, 3)),
    )
    found = quality({f"pi-{i}": one for i in range(4)})
    assert found.coverage == 0.2
    assert found.class_coverage == {0: 0.5, 1: 0.0}
    assert [(s.tag, s.labelled, s.accuracy and s.accuracy.value) for s in found.slices] == [
        ("site=hall", 32, 0.375),
        ("site=lab", 48, 1.0),
    ]


def test_calibration_separates_what_is_wrong_from_what_bins_and_chance_show() -> None:
    sure = calibration([Reliability((0,) * 9 + (1000,), (0,) * 9 + (990,))])
    assert sure
    assert sure.error == pytest.approx(0.04)
    assert sure.at_least == 0  # a model that says 0.99 looks like this
    wrong = calibration([Reliability((0,) * 9 + (500,), (0,) * 9 + (300,))] * 2)
    assert wrong
    assert wrong.at_least == pytest.approx(0.3)
    assert wrong.gap == pytest.approx(0.35)
    assert wrong.by_chance < 0.01
    assert wrong.bins[9].accuracy == 0.6
    assert wrong.bins[0].accuracy is None


def test_where_devices_tell_how_sure_they_were_a_bin_has_its_mean_and_not_its_middle() -> None:
    telling = Reliability((0,) * 9 + (1000,), (0,) * 9 + (990,), (0,) * 9 + (990_000,))
    found = calibration([telling])
    assert found
    assert (found.told, found.bins[9].confidence) == (True, 0.99)
    assert found.error == pytest.approx(0.0)
    older = replace(telling, confidence=())
    mixed = calibration([older, telling, older])
    assert mixed
    assert mixed.bins[9].confidence == pytest.approx((0.95 + 0.99 + 0.95) / 3)
    assert mixed == calibration([telling, older, older]), "in whatever order they come"


@pytest.mark.parametrize("sums", [(0,) * 9, (0,) * 9 + (3000,), (0,) * 9 + (1700,), (0,) * 8 + (900, 0)])
def test_a_mean_confidence_lies_in_its_bin(sums: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"bin"):
        Reliability((0,) * 9 + (2,), (0,) * 9 + (1,), sums)


def test_a_release_is_compared_with_the_one_before_on_the_same_devices() -> None:
    rng = np.random.default_rng(5)
    level = rng.beta(20, 4, 40)
    before = {f"pi-{i}": labelled(int(rng.binomial(400, p)), 400) for i, p in enumerate(level)}
    after = {f"pi-{i}": labelled(int(rng.binomial(100, p - 0.1)), 100) for i, p in enumerate(level)}
    found = compare(before, after)
    assert found
    assert found.verdict == "worse"
    assert found.low < -0.1 < found.high
    alone = share(column(c.correct for c in after.values()), column(c.labelled for c in after.values()))
    assert alone
    assert found.high - found.low < alone.high - alone.low  # how devices differ cancels


def test_a_comparison_does_not_mistake_other_devices_for_another_release() -> None:
    before = {"bright": labelled(950, 1000), "dim": labelled(7, 10), "other": labelled(0, 50)}
    after = {"bright": labelled(95, 100), "dim": labelled(700, 1000), "new": labelled(50, 50)}
    found = compare(before, after)
    assert found
    assert found.value == pytest.approx(0, abs=0.001)
    assert (found.verdict, found.method, found.devices) == ("unclear", "answers", 2)
    assert compare({"a": labelled(1, 2)}, {"b": labelled(1, 2)}) is None


def test_a_comparison_cries_wolf_in_about_one_fleet_of_twenty() -> None:
    rng = np.random.default_rng(6)
    alarms = 0
    for _ in range(400):
        level = rng.beta(20, 4, 12)
        pair = [
            {f"pi-{i}": labelled(int(rng.binomial(50, p)), 50) for i, p in enumerate(level)} for _ in range(2)
        ]
        found = compare(*pair)
        assert found
        alarms += found.verdict != "unclear"
    assert alarms <= 0.07 * 400
