"""What is declared of inputs and answers: how it is written, and that it fits the model."""

from __future__ import annotations

import pytest

from converter.declaring import (
    AnswerOptions,
    fit_answers,
    fit_preprocessing,
    parse_answers,
    parse_preprocessing,
)
from wire.errors import SettingsError
from wire.manifest import Postprocessing, Preprocessing


def test_what_is_written_is_what_devices_are_told() -> None:
    assert parse_preprocessing("image") == Preprocessing("image")
    written = "image:scale=1/127.5,offset=-1,order=bgr,mean=1:2:3,std=0.5,channels-first=yes"
    assert parse_preprocessing(written) == Preprocessing(
        "image", 0, 1 / 127.5, -1.0, "bgr", (1.0, 2.0, 3.0), (0.5,), channels_first=True
    )
    assert parse_preprocessing("log-mel:rate_hz=16000,window=400,hop=160,bands=40,mel=slaney").mel == "slaney"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "choose image"),
        ("image:scale", "write image:KEY=VALUE"),
        ("image:scale=", "write image:KEY=VALUE"),
        ("image:bands=4", "'bands' is unknown, choose scale"),
        ("image:scale=1/0", "give a number, or a fraction"),
        ("image:scale=nan", "give a number, or a fraction"),
        ("image:order=grb", "choose rgb or bgr"),
        ("image:std=1:0:1", "divides by nothing"),
        ("image:height=2.5", "a whole number above 0"),
        ("image:channels_first=1", "yes or no"),
    ],
)
def test_what_no_device_could_follow_is_refused(text: str, line: str) -> None:
    with pytest.raises(SettingsError, match=line) as refusal:
        parse_preprocessing(text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "shape", "expected"),
    [
        ("image", (8, 9, 3), {"channels": 3}),
        ("image", (8, 9, 1), {"channels": 1}),
        ("image", (8, 9), {"channels": 1}),
        ("image:channels_first=yes", (3, 8, 9), {"channels": 3}),
        ("image:height=2,width=4", (24,), {"channels": 3}),
        ("log-mel:rate_hz=8000,window=200,hop=80,bands=20", (49, 20, 1), {"fft": 256}),
        ("wave:rate_hz=16000", (15600,), {}),
    ],
)
def test_what_the_models_input_tells_need_not_be_said(
    text: str, shape: tuple[int, ...], expected: dict[str, int]
) -> None:
    fitted = fit_preprocessing(parse_preprocessing(text), shape, "x")
    assert {key: getattr(fitted, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("text", "shape", "line"),
    [
        ("image", (10,), r"the input x is \[10\]: say height"),
        ("image", (8, 8, 4), "no picture of 1 or 3 channels"),
        ("image:mean=1:2", (8, 8, 3), "mean and std need 1 or 3 numbers"),
        ("wave", (8,), "say the rate"),
        ("log-mel:rate_hz=8000,window=200,hop=80", (9, 20), "give window, hop and bands"),
        ("log-mel:rate_hz=8000,window=200,hop=80,bands=21", (9, 20), "not of 21 bands"),
        ("log-mel:rate_hz=8000,window=200,hop=80,bands=20,high_hz=5000", (9, 20), "do not fit"),
    ],
)
def test_what_does_not_fit_the_input_is_refused(text: str, shape: tuple[int, ...], line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        fit_preprocessing(parse_preprocessing(text), shape, "x")


def test_options_about_answers_make_one_declaration() -> None:
    assert parse_answers(AnswerOptions()) == Postprocessing()
    best = parse_answers(AnswerOptions(top_k=3, activation="softmax"))
    assert (best.kind, best.top_k, best.threshold, best.activation) == ("top-k", 3, -1e30, "softmax")
    assert parse_answers(AnswerOptions(top_k=3, threshold=0.2)).threshold == 0.2
    assert parse_answers(AnswerOptions(threshold=0.2)).kind == "threshold"
    boxes = parse_answers(AnswerOptions(boxes="corners:iou=0.3,outputs=b:s", threshold=0.4, first_class=1))
    assert boxes == Postprocessing(
        "boxes", threshold=0.4, iou=0.3, layout="corners", outputs=("b", "s"), first_class=1
    )


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (AnswerOptions(boxes="rings"), "choose corners, detections"),
        (AnswerOptions(boxes="corners:nms=1"), "'nms' is unknown"),
        (AnswerOptions(boxes="corners:iou=2"), "iou 2 must be 0 to 1"),
        (AnswerOptions(threshold=float("nan")), "--threshold nan"),
        (AnswerOptions(activation="relu"), "--activation 'relu'"),
        (AnswerOptions(first_class=-1), "classes count from 0"),
    ],
)
def test_options_about_answers_that_cannot_be_are_refused(options: AnswerOptions, line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        parse_answers(options)


def test_boxes_find_their_outputs_by_shape_or_by_name() -> None:
    corners = Postprocessing("boxes")
    shapes = [(100, 80), (100, 4)]
    assert fit_answers(corners, ["s", "b"], shapes).outputs == ("1", "0")
    assert fit_answers(corners, ["b", "s"], shapes[::-1]).outputs == ("0", "1")
    named = Postprocessing("boxes", outputs=("b", "s"))
    assert fit_answers(named, ["x", "s", "b"], [(1,), *shapes]).outputs == ("2", "1")


@pytest.mark.parametrize(
    ("how", "names", "shapes", "line"),
    [
        (Postprocessing("boxes"), ["y"], [(100, 4)], "corners needs 2 outputs, there are 1"),
        (Postprocessing("boxes"), ["a", "b", "c"], [(9,), (100, 4), (100, 2)], "say which outputs are meant"),
        (Postprocessing("boxes", outputs=("b", "z")), ["a", "b"], [(1,), (9, 4)], "no output 'z', only a, b"),
        (Postprocessing(activation="softmax"), ["y"], [(1,)], "take sigmoid"),
    ],
)
def test_answers_that_the_outputs_cannot_give_are_refused(
    how: Postprocessing, names: list[str], shapes: list[tuple[int, ...]], line: str
) -> None:
    with pytest.raises(SettingsError, match=line):
        fit_answers(how, names, shapes)
