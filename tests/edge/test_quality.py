"""What is counted of answers: every one, in the class and with the confidence that it had, and only once."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.backend import Tensor
from edge.meter import Meter
from edge.quality import MAX_TAGS, MAX_WAITING, OTHER, Quality, allotted
from edge.recorder import Recorder
from edge.scoring import Scoring, scoring_for
from tests.support.examples import MANIFEST
from wire.counters import MAX_CLASSES, Cells
from wire.manifest import Manifest, Postprocessing

FLOATS = np.dtype(np.float32)
CODES = np.dtype(np.int8)
THREE = Tensor(0, "y", FLOATS, (1, 3))


def manifest(task: str = "classes", **how: str) -> Manifest:
    return Manifest(
        *(MANIFEST.model, "1", "int8", "a" * 64, 1, MANIFEST.inputs, MANIFEST.outputs, MANIFEST.golden),
        task=task,
        postprocessing=Postprocessing(**how),  # type: ignore[arg-type]
    )


def scoring(tensor: Tensor = THREE, **how: str) -> Scoring:
    found = scoring_for((tensor,), manifest(**how))
    assert found
    return found


def rows(*values: list[float]) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(values, np.float32)


# reading


@pytest.mark.parametrize(
    ("tensor", "how", "raw", "said", "confidence"),
    [
        (THREE, {}, rows([0.1, 0.7, 0.2]), 1, 0.7),
        (THREE, {"activation": "softmax"}, rows([0.0, 0.0, np.log(2)]), 2, 0.5),
        (THREE, {"activation": "sigmoid"}, rows([-1.0, 0.0, -2.0]), 1, 0.5),
        (Tensor(0, "y", CODES, (1, 3), 0.01, -10), {}, np.array([[-10, 40, 0]], np.int8), 1, 0.5),
        (Tensor(0, "y", FLOATS, (1, 1)), {"task": "binary"}, rows([0.2]), 0, 0.8),
        (Tensor(0, "y", FLOATS, (1, 1)), {"task": "binary"}, rows([0.5]), 1, 0.5),
        (
            Tensor(0, "y", CODES, (1, 1), 1 / 256, -128),
            {"task": "binary"},
            np.array([[64]], np.int8),
            1,
            0.75,
        ),
        (THREE, {}, rows([0.1, np.nan, 0.2]), -1, np.nan),
        (THREE, {}, rows([0.1, np.inf, 0.2]), -1, np.nan),
    ],
)
def test_an_answer_is_read_as_its_task_and_activation_say(
    tensor: Tensor,
    how: dict[str, str],
    raw: np.ndarray,
    said: int,
    confidence: float,  # type: ignore[type-arg]
) -> None:
    reader = scoring(tensor, **how)
    classes, confidences = reader.read(np.concatenate([raw, raw]))
    assert classes.tolist() == [said, said]
    assert confidences.tolist() == pytest.approx([confidence] * 2, rel=1e-6, nan_ok=True)
    assert reader.read_one(raw) == pytest.approx((said, confidence), rel=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("shape", "how"),
    [
        ((1, 3), {"task": "values"}),
        ((1, 3), {"kind": "boxes"}),
        ((1, 1), {"task": "unlabelled"}),
        ((1, MAX_CLASSES + 1), {}),
        ((1, 8, 8, 3), {}),
        ((), {}),
        ((1, 0), {}),
    ],
)
def test_answers_that_are_no_classes_are_not_counted_as_such(
    shape: tuple[int, ...], how: dict[str, str]
) -> None:
    assert scoring_for((Tensor(0, "y", FLOATS, shape),), manifest(**how)) is None


# counting


def counted(answers: list[list[float]], **how: str) -> Meter:
    meter = Meter()
    meter.count_answers(scoring(**how))
    assert meter.outputs is not None
    for values in answers:
        meter.outputs.append(rows(values))
        meter.pending.append(1000)
    return meter


@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), max_size=50), st.integers(1, 5))
def test_each_answer_is_in_one_class_and_one_bin_of_the_sum_of_all_reports(
    answers: list[list[float]], cells: int
) -> None:
    meter, classes, bins = counted(answers), Counter[int](), 0
    for _ in range(5):
        cut = meter.take_quality(cells)
        assert cut.cells <= cells
        classes.update(dict(zip(cut.predicted.classes, cut.predicted.counts, strict=True)))
        bins += sum(cut.confidence)
    assert classes == Counter(int(np.argmax(row)) for row in answers)
    assert bins == len(answers) == meter.inferences
    assert meter.take_quality(cells).cells == 0


def test_batches_are_counted_row_by_row_beside_single_calls() -> None:
    meter = counted([[0.9, 0.1, 0.0]])
    meter.add(1000, 2, rows([0.9, 0.1, 0.0], [0.0, 0.1, 0.9]))
    cut = meter.take_quality(10)
    assert (cut.predicted.classes, cut.predicted.counts) == ((0, 2), (2, 1))
    assert meter.inferences == 3


def test_an_output_of_another_shape_is_passed_over() -> None:
    meter = counted([[0.9, 0.1, 0.0], [0.1, 0.2, 0.3, 0.4], [0.0, 0.1, 0.9]])
    assert meter.take_quality(10).predicted.counts == (1, 1)
    meter.judged(1, rows([0.1, 0.2]))
    assert meter.judgements() == (0, 0)


def test_truth_makes_a_confusion_matrix_and_bins_of_reliability() -> None:
    meter = counted([])
    for truth, values in ((0, [0.95, 0.0, 0.05]), (1, [0.95, 0.0, 0.05]), (1, [0.95, 0.0, 0.0])):
        meter.judged(truth, rows(values))
    meter.judged_later([2], [0.55], [2])
    cut = meter.take_quality(10)
    cells = zip(cut.confusion.truth, cut.confusion.predicted, cut.confusion.counts, strict=True)
    assert set(cells) == {(0, 0, 1), (1, 0, 2), (2, 2, 1)}
    assert cut.reliability.labelled == (0, 0, 0, 0, 0, 1, 0, 0, 0, 3)
    assert cut.reliability.correct == (0, 0, 0, 0, 0, 1, 0, 0, 0, 1)
    assert cut.reliability.confidence == (0, 0, 0, 0, 0, 550, 0, 0, 0, 2850), "in thousandths"
    assert meter.take_quality(10).reliability.confidence == (), "each is told once"
    assert meter.judgements() == (4, 2)


def test_a_truth_without_a_known_confidence_is_in_no_bin_of_reliability() -> None:
    meter = counted([])
    meter.judged_later([1, -1], [float("nan"), float("nan")], [1, 1])
    cut = meter.take_quality(10)
    assert (cut.confusion.counts, cut.reliability.labelled) == ((1,), ())
    assert meter.judgements() == (2, 1)  # an answer without a class is wrong


def test_values_that_are_no_shares_are_not_counted_as_confidences() -> None:
    meter = counted([[0.1, 0.7, 0.2], [3.0, 0.1, 0.2]])
    assert meter.take_quality(10).confidence == ()
    assert meter.outputs is not None
    meter.outputs.append(rows([0.1, 0.7, 0.2]))  # looks like a share, and is none
    cut = meter.take_quality(10)
    assert (cut.confidence, cut.predicted.counts) == ((), (1,))


def test_what_has_no_room_waits_for_the_next_report_and_nothing_is_lost() -> None:
    recorder, truths = Recorder(), range(200)
    for release in ("a/1", "b/1"):
        meter = recorder.meter(release)
        meter.count_answers(scoring(Tensor(0, "y", FLOATS, (1, 200))))
        meter.judged_later([0] * 200, [0.5] * 200, list(truths))
    seen: Counter[tuple[str, int]] = Counter()
    reports = 0
    while cut := recorder.cut(cells=160):
        reports += 1
        assert sum(len(c.confusion.counts) for c in cut) <= 160
        for c in cut:
            seen.update(
                {
                    (c.release, truth): n
                    for truth, n in zip(c.confusion.truth, c.confusion.counts, strict=True)
                }
            )
    assert reports == 3
    assert seen == Counter({(release, truth): 1 for release in ("a/1", "b/1") for truth in truths})


def test_answers_are_counted_under_their_tags_and_under_those_of_the_device() -> None:
    recorder = Recorder(("site=lab",))
    meter = recorder.meter("a/1")
    meter.count_answers(scoring())
    meter.pending += [1000] * 3
    meter.judged(1, rows([0.0, 1.0, 0.0]), ("light=dark",))
    meter.judged(None, rows([0.0, 1.0, 0.0]), ("light=dark",))
    (cut,) = recorder.cut()
    told = {s.tag: (s.inferences, s.labelled, s.correct) for s in cut.slices}
    assert told == {"site=lab": (3, 1, 1), "light=dark": (2, 1, 1)}


@pytest.mark.parametrize(("said", "truth"), [(12_000, 9_999), (9_999, 12_000), (12_000, 12_000)])
def test_classes_past_those_that_are_counted_apart_are_labelled_and_in_no_cell(said: int, truth: int) -> None:
    meter = Meter()
    meter.judged_later([said], [float("nan")], [truth])
    assert meter.judgements() == (1, said == truth)
    assert meter.take_quality(1000).confusion == Cells()


def test_cells_that_wait_have_an_end_and_their_counts_have_none() -> None:
    quality, classes = Quality(), 1000
    cells = np.arange(MAX_WAITING + 500)
    for _ in range(2):
        quality.judged(cells % classes, np.full(len(cells), np.nan), cells // classes, classes)
    counts = quality.take(10**6).confusion.counts
    assert len(counts) == MAX_WAITING
    assert set(counts) == {2}


def test_tags_without_end_are_counted_together() -> None:
    quality = Quality()
    for number in range(MAX_TAGS + 10):
        quality.tagged([f"n={number}"], labelled=False, correct=False)
    slices = quality.take(1000).slices
    assert len(slices) == MAX_TAGS + 1
    assert (slices[-1].tag, slices[-1].inferences) == (OTHER, 10)
    quality.tagged(["n=1000", "n=1001"], labelled=True, correct=True)
    assert [(s.tag, s.inferences) for s in quality.take(1000).slices] == [(OTHER, 1)]  # one answer


def test_a_tag_of_the_device_is_counted_once_where_its_samples_have_it_too() -> None:
    recorder = Recorder(("site=lab",))
    meter = recorder.meter("a/1")
    meter.count_answers(scoring())
    meter.add(1_000, 1, rows([0.0, 1.0, 0.0]))
    meter.judged(1, rows([0.0, 1.0, 0.0]), ("site=lab",))
    (cut,) = recorder.cut()
    assert [(s.tag, s.inferences) for s in cut.slices] == [("site=lab", 1)]


def test_tests_on_the_golden_set_are_reported_also_of_a_model_that_nobody_asks() -> None:
    recorder = Recorder()
    recorder.meter("a/1").tested(passed=True)
    recorder.meter("a/1").tested(passed=False)
    (cut,) = recorder.cut()
    assert (cut.inferences, cut.golden_runs, cut.golden_failed) == (0, 2, 1)
    assert recorder.cut() == ()


def test_a_truth_that_is_no_class_of_the_model_is_wrong_and_in_no_cell() -> None:
    meter = counted([])
    meter.judged(3, rows([0.0, 1.0, 0.0]))
    assert meter.take_quality(10).confusion.counts == ()
    assert meter.judgements() == (1, 0)


def test_no_report_beside_a_running_stream_counts_more_classes_than_answers() -> None:
    recorder, n = Recorder(), 20_000
    meter = recorder.meter("a/1")
    meter.count_answers(scoring())
    raw = rows([0.1, 0.7, 0.2])

    def stream() -> None:
        for _ in range(n):
            meter.pending.append(1000)
            assert meter.outputs is not None
            meter.outputs.append(raw)
            meter.judged(1, raw)

    thread = threading.Thread(target=stream)
    thread.start()
    classes, labelled = 0, 0
    running = True
    while running:
        running = thread.is_alive()  # looked at before the cut: the last one is of a stream that has ended
        for cut in recorder.cut():
            classes, labelled = classes + sum(cut.predicted.counts), labelled + cut.labelled
            assert max(classes, labelled) <= cut.total
    thread.join()
    assert classes == labelled == n


def test_a_model_of_many_classes_leaves_room_for_its_other_counts() -> None:
    meter = Meter()
    meter.count_answers(scoring(Tensor(0, "y", FLOATS, (1, 500))))
    assert meter.outputs is not None
    meter.outputs.append(np.eye(500, dtype=np.float32))
    meter.judged_later([0] * 500, [0.5] * 500, list(range(500)))
    meter.count_features({"x[0]": np.ones(10, np.int64), "x[1]": np.ones(10, np.int64)})
    meter.judged(None, np.eye(500, dtype=np.float32)[:1], ("light=dark",))
    cut = meter.take_quality(100)
    assert (len(cut.features), len(cut.slices)) == (2, 1)
    assert cut.cells == 100
    assert abs(len(cut.predicted.counts) - len(cut.confusion.counts)) <= 1


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(-5, 120))
def test_room_is_shared_so_that_nobody_takes_what_another_needs(wanted: list[int], room: int) -> None:
    given_ = allotted(wanted, room)
    assert sum(given_) <= max(0, room)
    assert all(got <= want for got, want in zip(given_, wanted, strict=True))
    fair = max(0, room) // len(wanted)
    assert all(got >= min(want, fair) for got, want in zip(given_, wanted, strict=True))
