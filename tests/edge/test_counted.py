"""A program without an agent counts its own answers, and says what was right by a call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge import Counted, open_bundle
from tests.support.tiny_bundle import write_tiny_bundle
from wire.errors import DataError

ROW = np.array([0.0, 0.5, 1.0, 0.0], np.float32)  # the third is the largest: c


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    with open_bundle(write_tiny_bundle(tmp_path / "tiny.bundle")) as runtime:
        yield Counted(runtime, tags=("site=lab",))


def test_answers_and_their_truths_are_counted_by_release(counted: Counted) -> None:
    for identity in ("a", "b", None):
        assert counted.predict(ROW, id=identity, tags=("light=dark",)).label == "c"
    assert counted.feedback("a", "c")
    assert not counted.feedback("b", 0)
    (counters,) = counted.take()
    assert (counters.release, counters.inferences, counters.labelled, counters.correct) == ("tiny/1", 3, 2, 1)
    assert (counters.predicted.classes, counters.predicted.counts) == ((2,), (3,))
    assert sorted(zip(counters.confusion.truth, counters.confusion.predicted, strict=True)) == [
        (0, 2),
        (2, 2),
    ]
    assert {s.tag: (s.inferences, s.labelled) for s in counters.slices} == {
        "site=lab": (3, 2),
        "light=dark": (3, 2),
    }
    assert counted.take() == ()


@pytest.mark.parametrize(
    ("identity", "truth", "why"),
    [
        ("never", 1, "no prediction 'never'"),
        ("a", "z", "not one of a, b, c, d"),
        ("a", 4, "classes are 0 to 3"),
    ],
)
def test_a_truth_that_cannot_count_is_refused_and_the_answer_still_waits(
    counted: Counted, identity: str, truth: int | str, why: str
) -> None:
    counted.predict(ROW, id="a")
    with pytest.raises(DataError, match=why):
        counted.feedback(identity, truth)
    assert counted.feedback("a", 2)
    with pytest.raises(DataError, match="its truth is known"):
        counted.feedback("a", 2)
