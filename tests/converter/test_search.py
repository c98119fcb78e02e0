"""The search's rules: the plan, the choice, the front."""

from __future__ import annotations

from dataclasses import replace

import pytest

from converter.budget import Budget, Cost
from converter.evaluation import Latency
from converter.search import (
    Baseline,
    Entry,
    Variant,
    choose,
    closest,
    default_plan,
    front,
    judge,
    search_plan,
)
from tests.support.marks import marks

PERFECT = marks({})
BASELINE = Baseline(PERFECT, PERFECT, Cost(100_000, 90_000, Latency(100.0, 120.0)))


def entry(name: str, wire_bytes: int, lost: int = 0, *, later: int | None = None, us: float = 50.0) -> Entry:
    """Return an entry that lost `lost` of 400 answers on the choosing split and `later` on the other."""
    recipe, _, compression = name.partition(" ")
    spread = {c: lost // 4 + (c < lost % 4) for c in range(4)}
    after = lost if later is None else later
    spread_later = {c: after // 4 + (c < after % 4) for c in range(4)}
    cost = Cost(wire_bytes + 10_000, wire_bytes, Latency(us, us))
    return Entry(Variant(recipe, compression), marks(spread), marks(spread_later), cost)


def test_nothing_static_is_tried_without_calibration_or_on_recurrent_models() -> None:
    assert default_plan(frozenset(), calibrates=True)[0].recipe == "int8"
    for traits, calibrates in ((frozenset({"recurrent"}), True), (frozenset(), False)):
        recipes = [v.recipe for v in default_plan(traits, calibrates=calibrates)]
        assert recipes == ["weight-int8", "float16", "float32"]


def test_a_search_tries_what_is_cheap_first_and_trains_last() -> None:
    plan = search_plan(frozenset(), ["prune50", "prune80"], calibrates=True, trains=True)
    assert [bool(v.compression) for v in plan] == sorted(bool(v.compression) for v in plan)
    assert plan[-1] == Variant("int8", "prune80")
    assert not any(
        v.compression for v in search_plan(frozenset(), ["prune50"], calibrates=True, trains=False)
    )


def test_the_smallest_inside_the_budget_is_chosen() -> None:
    entries = [entry("int8", 40_000), entry("int8 prune80", 20_000, 2), entry("int8 prune95", 9_000, 12)]
    choice = choose(entries, BASELINE, Budget(loss_points=1.0), margin=True)
    assert choice.entry is entries[1]


def test_sizes_that_tie_are_decided_by_the_plan_and_not_by_the_clock() -> None:
    entries = [entry("int8", 41_000, us=90.0), entry("weight-int8", 40_000, us=10.0)]
    choice = choose(entries, BASELINE, Budget(), margin=False)
    assert choice.entry is entries[0]


def test_a_tie_with_float32_is_not_worth_quantizing() -> None:
    entries = [entry("int8", 1_500), entry("float32", 1_600)]
    assert choose(entries, BASELINE, Budget(), margin=False).entry is entries[1]


def test_luck_on_one_split_is_passed_over() -> None:
    lucky, sound = entry("int8 prune95", 9_000, 0, later=12), entry("int8", 40_000)
    choice = choose([sound, lucky], BASELINE, Budget(loss_points=1.0), margin=True)
    assert choice.entry is sound
    assert choice.passed_over == (lucky,)


def test_nothing_is_chosen_where_nothing_is_inside() -> None:
    entries = [entry("int8", 40_000, 20), entry("float16", 50_000, 10)]
    choice = choose(entries, BASELINE, Budget(loss_points=1.0), margin=False)
    assert choice.entry is None
    assert closest(entries, BASELINE, Budget(loss_points=1.0)) is entries[1]


def test_the_closest_is_the_one_that_goes_least_beyond() -> None:
    entries = [entry("int8", 21_000, 1), entry("float16", 45_000)]
    assert closest(entries, BASELINE, Budget(wire_bytes=20_000)) is entries[0]


def test_a_form_that_could_not_be_made_is_neither_chosen_nor_on_the_front() -> None:
    failed = Entry(Variant("int16"), error="no kernel for SQUARED_DIFFERENCE")
    assert judge(failed, BASELINE, Budget(), margin=False).misses == ("no kernel for SQUARED_DIFFERENCE",)
    assert choose([failed], BASELINE, Budget(), margin=False).entry is None
    assert closest([failed], BASELINE, Budget()) is None
    assert front([failed], BASELINE) == ()


def test_the_front_holds_what_nothing_beats_in_everything() -> None:
    small, exact, fast = entry("a", 10_000, 8), entry("b", 40_000), entry("c", 40_000, 2, us=10.0)
    beaten = entry("d", 45_000, 2, us=20.0)
    assert front([beaten, exact, fast, small], BASELINE) == (small, exact, fast)


@pytest.mark.parametrize("name", ["int8", "int8 prune80+4bit"])
def test_a_variant_is_named_by_its_parts(name: str) -> None:
    recipe, _, compression = name.partition(" ")
    assert Variant(recipe, compression).name == name
    assert replace(Variant(recipe, compression), fresh=True).name == f"{name} fresh"
