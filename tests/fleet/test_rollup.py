"""Sums are exact whatever the order, bounded whatever is invented, and stay in the form of a report."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.adapters.msgspec_codec import encode, parse
from fleet.reliability_sums import middles
from fleet.rollup import MAX_CELLS, MAX_FEATURES, MAX_SLICES, Sums
from wire import codec
from wire.counters import (
    CONFIDENCE_BINS,
    MAX_COUNT,
    RELIABILITY_BINS,
    Buckets,
    Cells,
    Classes,
    FeatureCounts,
    ModelCounters,
    Moments,
    Reliability,
    SliceCounters,
    ValueCounters,
)

_N = st.integers(0, 1000)


def _bins(n: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.just(()) | st.tuples(*[_N] * n)


@st.composite
def _moments(draw: st.DrawFn) -> Moments:
    numbers = draw(st.lists(st.integers(-1000, 1000), min_size=1, max_size=3))  # of which sums are exact
    squares = sum(number * number for number in numbers)
    return Moments(len(numbers), *map(float, (sum(numbers), squares, min(numbers), max(numbers))))


@st.composite
def _counters(draw: st.DrawFn) -> ModelCounters:
    pairs = draw(st.dictionaries(st.tuples(st.integers(0, 9999), st.integers(0, 9999)), _N, max_size=5))
    classes = draw(st.dictionaries(st.integers(0, 9999), _N, max_size=5))
    labelled = draw(_bins(RELIABILITY_BINS))
    features = draw(st.dictionaries(st.sampled_from("abc"), st.lists(_N, min_size=2, max_size=3), max_size=3))
    tags = draw(st.lists(st.sampled_from(["site=a", "site=b", "light=day"]), unique=True))
    return ModelCounters(
        "digits/1", draw(_N), draw(_N),
        Buckets(draw(st.integers(0, 800)), tuple(draw(st.lists(_N, max_size=9)))),
        draw(_N), draw(_N), draw(_N),
        Cells(tuple(t for t, _ in pairs), tuple(p for _, p in pairs), tuple(pairs.values())),
        Classes(tuple(classes), tuple(classes.values())),
        draw(_bins(CONFIDENCE_BINS)),
        Reliability(labelled, tuple(n // 2 for n in labelled), tuple(middles(labelled))),
        tuple(FeatureCounts(name, tuple(n)) for name, n in features.items()),
        tuple(SliceCounters(tag, draw(_N), *draw(st.sampled_from([(0, 0), (5, 0), (5, 3)]))) for tag in tags),
        draw(_N), draw(_N),
        tuple(
            ValueCounters(column, draw(_moments()), *draw(st.just(()) | st.tuples(_moments(), _N.map(float))))
            for column in draw(st.lists(st.integers(0, 7), unique=True, max_size=2))
        ),
    )  # fmt: skip


def merge(parts: list[ModelCounters], release: str | None = None) -> ModelCounters:
    """Return the sum of reports or sums, named `release` (default: as the first part, "" without any)."""
    sums = Sums()
    for part in parts:
        release = part.release if release is None else release
        sums.add(part)
    return sums.counters(release or "")


def _facts(parts: list[ModelCounters]) -> Counter[object]:
    """Every count of some reports by what it counts: the sum, done the slow way."""
    facts: Counter[object] = Counter()
    for c in parts:
        for name in ("inferences", "errors", "labelled", "correct", "golden_runs", "golden_failed"):
            facts[name] += getattr(c, name)
        facts.update({("latency", i): n for i, n in enumerate(c.latency_us.counts, c.latency_us.first)})
        cells = c.confusion
        facts.update({(t, p): n for t, p, n in zip(cells.truth, cells.predicted, cells.counts, strict=True)})
        facts.update({("class", k): n for k, n in zip(c.predicted.classes, c.predicted.counts, strict=True)})
        facts.update({("confidence", i): n for i, n in enumerate(c.confidence)})
        facts.update({("known", i): n for i, n in enumerate(c.reliability.labelled)})
        facts.update({("sure", i): n for i, n in enumerate(c.reliability.confidence)})
        facts.update({("right", i): n for i, n in enumerate(c.reliability.correct)})
        for f in c.features:
            facts.update({(f.name, len(f.counts), i): n for i, n in enumerate(f.counts)})
        for s in c.slices:
            facts.update({(s.tag, "n"): s.inferences, (s.tag, "l"): s.labelled, (s.tag, "c"): s.correct})
    return +facts


@given(st.lists(_counters(), max_size=5))
def test_a_sum_counts_everything_once(parts: list[ModelCounters]) -> None:
    assert _facts([merge(parts)]) == _facts(parts)


@given(st.lists(_counters(), min_size=2, max_size=5), st.randoms())
def test_neither_order_nor_grouping_matters(parts: list[ModelCounters], random: object) -> None:
    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merge([merge(shuffled[:2]), merge(shuffled[2:], "digits/1")]) == merge(parts)


@given(st.lists(_counters(), min_size=1, max_size=3))
def test_a_sum_comes_back_from_the_store_as_it_was(parts: list[ModelCounters]) -> None:
    sums = Sums()
    for part in parts:
        sums.add(part)
    stored = parse(encode(sums.plain("digits/1")))
    assert Sums().add_plain(stored).counters("digits/1") == sums.counters("digits/1")


@given(_counters())
def test_a_report_is_added_as_a_device_wrote_it(report: ModelCounters) -> None:
    """Without what has its default: a tag of which nothing is known, a value that was never off."""
    assert Sums().add_plain(parse(codec.encode(report))).counters("digits/1") == merge([report])


def test_a_sum_may_be_larger_than_what_one_device_may_say() -> None:
    one = ModelCounters("a", 0, 0, Buckets(0, ()), 0, 0, 0, confidence=(MAX_COUNT,) * CONFIDENCE_BINS)
    assert merge([one, one]).confidence[0] == 2 * MAX_COUNT


def test_the_sum_of_nothing_is_nothing() -> None:
    assert merge([]) == ModelCounters("", 0, 0, Buckets(0, ()), 0, 0, 0)


@pytest.mark.parametrize("part", ["cells", "features", "slices"])
def test_what_is_invented_without_end_is_left_out_and_counted(part: str) -> None:
    sums = Sums()
    rounds = {"cells": MAX_CELLS, "features": MAX_FEATURES, "slices": MAX_SLICES}[part] + 10
    for n in range(rounds):
        sums.add(
            ModelCounters(
                "a", 3, 0, Buckets(0, ()), 3, 3, 3,
                Cells((n % 9999,), (n // 9999,), (3,)) if part == "cells" else Cells(),
                features=(FeatureCounts(f"f{n}", (1, 2)),) if part == "features" else (),
                slices=(SliceCounters(f"s={n}", 3),) if part == "slices" else (),
            )
        )  # fmt: skip
    made = sums.counters("a")
    assert sums.left_out == 30
    assert (made.inferences, made.labelled) == (3 * rounds, 3 * rounds)
    assert max(len(made.confusion.counts), len(made.features), len(made.slices)) == rounds - 10
