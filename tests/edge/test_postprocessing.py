"""From outputs to an answer in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.postprocessing import answer, suppress
from wire.errors import BundleError
from wire.manifest import Postprocessing

CATS = ("cat", "dog", "owl")


def scores(*values: float) -> dict[str, Any]:
    return {"y": np.array([values], np.float32)}


def read(how: Postprocessing, *values: float, labels: tuple[str, ...] = CATS) -> list[dict[str, object]]:
    return answer(scores(*values), how, labels, "classes")


# classes and values


def test_without_a_declared_way_the_task_says_how_to_read() -> None:
    plain = Postprocessing()
    assert read(plain, 0.1, 0.7, 0.2) == [{"label": "dog", "class": 1, "score": 0.7}]
    assert read(plain, 0.1, 0.7, 0.2, labels=()) == [{"label": None, "class": 1, "score": 0.7}]
    assert answer(scores(0.7), plain, ("no", "yes"), "binary") == [{"label": "yes", "class": 1, "score": 0.7}]
    assert answer(scores(0.2), plain, ("fire",), "binary") == [{"label": None, "class": 0, "score": 0.2}]
    assert answer(scores(1.5, 2), plain, (), "values") == [{"output": "y", "values": [1.5, 2.0]}]
    maps = {"y": np.array([[[[0, 1], [1, 0]]]], np.float32)}
    assert answer(maps, plain, (), "classes") == [{"classes": [[1, 0]]}]


def test_the_best_come_first_and_only_those_above_the_threshold() -> None:
    assert [a["label"] for a in read(Postprocessing("top-k", top_k=2), 0.2, 0.5, 0.3)] == ["dog", "owl"]
    strict = Postprocessing("top-k", top_k=3, threshold=0.25)
    assert [a["label"] for a in read(strict, 0.2, 0.5, 0.3)] == ["dog", "owl"]
    several = Postprocessing("threshold", threshold=0.5)
    assert [a["class"] for a in read(several, 0.5, 0.1, 0.9)] == [2, 0]
    assert read(several, 0.1, 0.1, 0.1) == []


def test_equal_scores_go_by_the_lower_class() -> None:
    assert [a["class"] for a in read(Postprocessing("top-k", top_k=3), 1, 1, 1)] == [0, 1, 2]


def test_softmax_and_sigmoid_only_when_declared() -> None:
    softmax = read(Postprocessing("top-k", top_k=3, activation="softmax"), 1000, 1000, -1000)
    assert [a["score"] for a in softmax] == [0.5, 0.5, 0.0]
    assert read(Postprocessing(activation="softmax"), 0, 0, 0, labels=())[0]["score"] == pytest.approx(1 / 3)
    sigmoid = Postprocessing("threshold", threshold=0.5, activation="sigmoid")
    assert [a["class"] for a in read(sigmoid, -1, 0, 3)] == [2, 1]
    yes = answer(scores(-2), Postprocessing(activation="sigmoid"), (), "binary")
    assert (yes[0]["class"], yes[0]["score"]) == (0, pytest.approx(0.1192, abs=1e-4))


def test_the_first_label_may_be_for_a_later_class() -> None:
    how = Postprocessing("top-k", top_k=3, first_class=1)
    assert read(how, 0.9, 0.5, 0.4) == [
        {"label": "cat", "class": 1, "score": 0.5},
        {"label": "dog", "class": 2, "score": 0.4},
    ]


@given(
    hnp.arrays(np.float32, st.integers(0, 6), elements=st.floats(width=32)),
    st.sampled_from(["none", "top-k", "threshold"]),
    st.sampled_from(["none", "softmax", "sigmoid"]),
    st.sampled_from(["classes", "binary", "values", "unlabelled"]),
)
def test_nan_and_infinity_end_in_no_answer_and_never_in_the_json(
    row: Any, kind: str, activation: str, task: str
) -> None:
    how = Postprocessing(kind, top_k=3, threshold=-1e30, activation=activation)
    json.dumps(answer({"y": row[np.newaxis]}, how, CATS, task), allow_nan=False)


# boxes

corner = st.integers(0, 12)
box = st.tuples(corner, corner, corner, corner)


def iou(a: list[float], b: list[float]) -> float:
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(height, 0) * max(width, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union else 0.0


def naive(boxes: list[Any], marks: list[float], classes: list[int], limit: float, most: int) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-marks[i], i)):
        if all(classes[i] != classes[k] or iou(boxes[i], boxes[k]) <= limit for k in kept):
            kept.append(i)
    return kept[:most]


@given(
    st.lists(st.tuples(box, st.integers(0, 5), st.integers(0, 2)), max_size=25),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.integers(1, 9),
)
def test_suppression_is_the_naive_one(things: list[Any], limit: float, most: int) -> None:
    boxes = [[min(a, c), min(b, d), max(a, c), max(b, d)] for (a, b, c, d), _, _ in things]
    marks, classes = [float(mark) for _, mark, _ in things], [kind for _, _, kind in things]
    ours = suppress(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(marks), np.array(classes), limit, most
    )
    assert ours.tolist() == naive(boxes, marks, classes, limit, most)


def corners(boxes: Any, marks: Any) -> Mapping[str, Any]:
    return {"boxes": np.array([boxes], np.float32), "scores": np.array([marks], np.float32)}


FOUND = corners(
    [[0, 0, 10, 10], [1, 0, 10, 10], [5, 5, 0, 0], [20, 20, 30, 30]],
    [[0.9, 0.1], [0.8, 0.7], [0.0, 0.0], [0.3, 0.6]],
)


def test_of_overlapping_boxes_of_a_class_the_best_stays() -> None:
    found = answer(FOUND, Postprocessing("boxes", threshold=0.25), ("cat", "dog"), "unlabelled")
    assert found == [
        {"box": [0.0, 0.0, 10.0, 10.0], "label": "cat", "class": 0, "score": 0.9},
        {"box": [1.0, 0.0, 10.0, 10.0], "label": "dog", "class": 1, "score": 0.7},
        {"box": [20.0, 20.0, 30.0, 30.0], "label": "dog", "class": 1, "score": 0.6},
        {"box": [20.0, 20.0, 30.0, 30.0], "label": "cat", "class": 0, "score": 0.3},
    ]


def test_background_is_no_thing_and_outputs_may_be_named() -> None:
    turned = {"s": FOUND["scores"], "b": FOUND["boxes"]}
    how = Postprocessing("boxes", threshold=0.25, outputs=("b", "s"), first_class=1, top_k=1)
    assert [(a["label"], a["score"]) for a in answer(turned, how, ("dog",), "")] == [("dog", 0.7)]
    by_place = replace(how, outputs=("1", "0"))
    assert answer(turned, by_place, ("dog",), "") == answer(turned, how, ("dog",), "")


def test_one_column_of_scores_is_one_class() -> None:
    one = {"b": np.zeros((1, 3, 4), np.float32), "s": np.ones((1, 3), np.float32)}
    assert len(answer(one, Postprocessing("boxes", iou=0.5), ("face",), "")) == 3  # no area, no overlap


def test_detections_are_read_up_to_their_count() -> None:
    outputs = {
        "b": np.array([[[0, 0, 0.5, 0.5], [0.1, 0.1, 0.2, 0.2], [0, 0, 1, 1]]], np.float32),
        "c": np.array([[1, 0, 1]], np.float32),
        "s": np.array([[0.4, 0.8, 0.99]], np.float32),
        "n": np.array([2], np.float32),
    }
    how = Postprocessing("boxes", threshold=0.3, layout="detections")
    found = answer(outputs, how, CATS, "")
    assert [(a["label"], a["score"], a["box"]) for a in found] == [
        ("cat", 0.8, [0.1, 0.1, 0.2, 0.2]),
        ("dog", 0.4, [0.0, 0.0, 0.5, 0.5]),
    ]
    for count in (0.0, -3.0, np.nan):
        assert answer({**outputs, "n": np.array([count], np.float32)}, how, CATS, "") == []


def test_nothing_found_is_an_empty_answer() -> None:
    empty = corners(np.zeros((0, 4)), np.zeros((0, 2)))
    assert answer(empty, Postprocessing("boxes"), CATS, "") == []
    assert answer(FOUND, Postprocessing("boxes", threshold=2.0), CATS, "") == []


@given(
    hnp.arrays(np.float32, (5, 4), elements=st.floats(width=32)),
    hnp.arrays(np.float32, (5, 2), elements=st.floats(width=32)),
)
def test_no_number_in_boxes_or_scores_breaks_the_answer(boxes: Any, marks: Any) -> None:
    found = answer(corners(boxes, marks), Postprocessing("boxes", threshold=-1e38), CATS, "")
    json.dumps(found, allow_nan=False)


def test_a_flood_of_candidates_is_bounded() -> None:
    flood = corners(np.zeros((2000, 4)), np.ones((2000, 20)))
    assert len(answer(flood, Postprocessing("boxes"), (), "")) == 100


@pytest.mark.parametrize(
    ("outputs", "how"),
    [
        (scores(1), Postprocessing("masks")),
        (scores(1), Postprocessing("top-k", activation="relu")),
        (scores(1), Postprocessing("boxes")),
        (FOUND, Postprocessing("boxes", outputs=("boxes", "marks"))),
        (FOUND, Postprocessing("boxes", layout="detections")),
        (FOUND, Postprocessing("boxes", layout="rings")),
        (corners(np.zeros((2, 5)), np.zeros((2, 1))), Postprocessing("boxes")),
    ],
)
def test_a_way_that_does_not_fit_the_outputs_is_a_bundle_error(outputs: Any, how: Postprocessing) -> None:
    with pytest.raises(BundleError):
        answer(outputs, how, CATS, "classes")
