"""The bench: which rows choose, which report, and what counts as true."""

from __future__ import annotations

import numpy as np
import pytest

from converter.bench import evaluated_rows, make_bench
from converter.dataset import Dataset, Split
from converter.evaluation import Array
from converter.source import Converted, InputSpec
from wire.errors import DataError, ModelError

EYE = np.eye(3, dtype=np.float32)


def split(count: int, truth: Array | None, part: str = "test") -> Split:
    return Split({"": np.zeros((count, 2), np.float32)}, truth, part)  # type: ignore[arg-type]  # a name


def data_with(choose: Split, test: Split) -> Dataset:
    return Dataset("d.npz", split(4, None, "train"), choose, test)


def converted(answers: Array) -> Converted:
    rows = (np.zeros((len(answers), 2), np.float32),)
    return Converted(
        b"", (InputSpec("x", "float32", (2,)),), ("y",), rows, (answers,), "Keras", 0, "", frozenset()
    )


CHOOSE, TEST = split(2, np.array([0, 1])), split(3, np.array([2, 0, 1]))
DATA = data_with(CHOOSE, TEST)
SOURCE = converted(EYE[[0, 1, 2, 0, 2]])


def test_both_splits_are_answered_once_one_after_the_other() -> None:
    assert len(evaluated_rows(DATA)[""]) == 5
    assert len(evaluated_rows(data_with(TEST, TEST))[""]) == 3


def test_a_search_chooses_on_one_split_and_reports_on_the_other() -> None:
    bench = make_bench(DATA, SOURCE, apart=True)
    chosen, tested = bench.marks(SOURCE.answers)
    assert (chosen.count, chosen.score) == (2, 1.0)
    assert (tested.count, tested.score) == (3, pytest.approx(2 / 3))


def test_without_a_search_all_rows_do_both() -> None:
    chosen, tested = make_bench(DATA, SOURCE, apart=False).marks(SOURCE.answers)
    assert chosen == tested
    assert (chosen.count, chosen.score) == (5, 0.8)


def test_without_truth_the_source_is_right() -> None:
    classes = make_bench(None, SOURCE, apart=True)
    assert classes.task == "unlabelled"
    assert classes.marks((EYE[[0, 1, 2, 0, 1]],))[1].score == 0.8
    values = make_bench(None, converted(np.arange(4, dtype=np.float32)[:, np.newaxis]), apart=True)
    assert values.task == "values"
    assert values.marks(values.reference)[1].score == 1.0


def test_several_values_without_truth_are_values() -> None:
    source = np.array([[300_000.0, 1.0], [200_000.0, 3.0]], np.float32)
    bench = make_bench(None, converted(source), apart=True)
    assert bench.task == "values"
    score = bench.marks((source * [1.0, 0.0],))[1].score
    assert score is not None
    assert score < 0.1


def test_truth_of_one_part_alone_is_one_line() -> None:
    with pytest.raises(DataError, match=r"y_test is there, y_val is not: give both or neither"):
        make_bench(data_with(split(2, None, "val"), TEST), SOURCE, apart=True)


def test_every_output_is_compared_with_the_sources() -> None:
    bench = make_bench(DATA, SOURCE, apart=False)
    assert bench.differences((EYE[[0, 1, 2, 0, 2]] + 0.25,)) == (0.25,)


@pytest.mark.parametrize(
    ("answers", "line"), [(EYE[:2], "it answers"), (EYE[[0, 1, 2, 0, 1]] * np.nan, "not finite")]
)
def test_answers_that_cannot_be_marked_are_refused(answers: Array, line: str) -> None:
    with pytest.raises(ModelError, match=line):
        make_bench(DATA, SOURCE, apart=False).marks((answers,))


def test_truth_that_does_not_fit_is_one_line() -> None:
    wrong = data_with(CHOOSE, split(3, np.array([2, 0, 7])))
    with pytest.raises(DataError, match=r"d.npz: y_test holds class 7, but the model has 3 outputs"):
        make_bench(wrong, SOURCE, apart=True)
