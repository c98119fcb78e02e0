"""What the user declares of inputs and answers, for devices to follow. Pure.

Rules:
- a declaration is checked against the model's inputs and outputs before anything costly runs, since
  nobody looks at a device when it fails there;
- what the model's shapes tell need not be said: channels, the size of the transform, which output
  holds the boxes;
- outputs are declared by position: a name may change from one runtime to the next.

    KIND[:KEY=VALUE,...]    image:scale=1/127.5,offset=-1,order=bgr
                            image:mean=0.485:0.456:0.406,std=0.229:0.224:0.225,scale=1/255
                            log-mel:rate_hz=16000,window=400,hop=160,bands=40
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite, prod
from typing import Any, Final

from wire.errors import SettingsError
from wire.manifest import Postprocessing, Preprocessing

Shape = tuple[int, ...]

_PICTURE: Final = ("scale", "offset", "order", "mean", "std", "channels", "height", "width", "channels_first")
_WAVE: Final = ("rate_hz", "scale", "offset", "mean", "std")
_MEL: Final = (*_WAVE, "window", "hop", "fft", "bands", "low_hz", "high_hz", "mel", "power", "floor", "added")
#: What each kind of raw sample may be told.
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {"image": _PICTURE, "wave": _WAVE, "log-mel": _MEL}
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {"order": ("rgb", "bgr"), "mel": ("htk", "slaney")}
_LAYOUTS: Final[Mapping[str, int]] = {"corners": 2, "detections": 4}
_ACTIVATIONS: Final = ("none", "softmax", "sigmoid")


@dataclass(frozen=True)
class AnswerOptions:
    """The options about answers, as they were given; `boxes` is LAYOUT[:iou=X,outputs=A:B]."""

    top_k: int | None = None
    threshold: float | None = None
    boxes: str | None = None
    activation: str = "none"
    first_class: int = 0


def parse_preprocessing(text: str) -> Preprocessing:
    """Return what `--preprocess` says; raise SettingsError for what no device could follow."""
    kind, given = _split(text, "--preprocess")
    if kind not in _KEYS:
        raise SettingsError(f"--preprocess {kind!r}: choose {', '.join(_KEYS)}")
    kinds = {part.name: type(part.default) for part in fields(Preprocessing)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in _KEYS[kind]:
            raise SettingsError(f"--preprocess {kind}: {key!r} is unknown, choose {', '.join(_KEYS[kind])}")
        values[key] = _value(key, value, kinds[key])
    return Preprocessing(kind, **values)


def parse_answers(options: AnswerOptions) -> Postprocessing:
    """Return what `--top-k`, `--threshold`, `--boxes` and their like say; raise SettingsError."""
    if options.top_k is not None and options.top_k < 1:
        raise SettingsError(f"--top-k {options.top_k}: give how many answers, 1 or more")
    if options.threshold is not None and not isfinite(options.threshold):
        raise SettingsError(f"--threshold {options.threshold}: give a number")
    if options.activation not in _ACTIVATIONS:
        raise SettingsError(f"--activation {options.activation!r}: choose {', '.join(_ACTIVATIONS)}")
    if options.first_class < 0:
        raise SettingsError(f"--first-class {options.first_class}: classes count from 0")
    said = Postprocessing(
        top_k=options.top_k or 0,
        threshold=options.threshold or 0.0,
        activation=options.activation,
        first_class=options.first_class,
    )
    if options.boxes is not None:
        return _boxes(options.boxes, said)
    if options.top_k is not None:
        # Without a threshold every class is an answer, though its score be a logit below zero.
        return replace(said, kind="top-k", threshold=-1e30 if options.threshold is None else said.threshold)
    return replace(said, kind="threshold") if options.threshold is not None else said


def fit_preprocessing(how: Preprocessing, shape: Shape, name: str) -> Preprocessing:
    """Return `how` with what the input's `shape` (without batch) tells; raise SettingsError if it cannot be.

    `name` is the input's, for the error's line.
    """
    if how.kind == "image":
        return _fit_image(how, shape, name)
    if how.kind in ("wave", "log-mel") and how.rate_hz < 1:
        raise SettingsError(f"--preprocess {how.kind}: say the rate, such as rate_hz=16000")
    return _fit_mel(how, shape, name) if how.kind == "log-mel" else how


def fit_answers(how: Postprocessing, names: Sequence[str], shapes: Sequence[Shape]) -> Postprocessing:
    """Return `how` with its outputs as positions; raise SettingsError if the model has no such outputs.

    `names` and `shapes` (without batch) are the model's outputs'.
    """
    if how.kind != "boxes":
        if how.activation == "softmax" and prod(shapes[0]) < 2:
            raise SettingsError(f"--activation softmax: the output {names[0]} is one number; take sigmoid")
        return how
    needed = _LAYOUTS[how.layout]
    if how.outputs:
        missing = [name for name in how.outputs if name not in names]
        if missing:
            raise SettingsError(f"--boxes: the model has no output {missing[0]!r}, only {', '.join(names)}")
        places = [list(names).index(name) for name in how.outputs]
    else:
        places = list(range(min(needed, len(names))))
        if needed == len(names) == 2 and shapes[0][-1:] != (4,):
            places.reverse()
    if len(places) != needed:
        raise SettingsError(f"--boxes {how.layout} needs {needed} outputs, there are {len(places)}")
    if shapes[places[0]][-1:] != (4,):
        raise SettingsError(
            f"--boxes: the output {names[places[0]]} is {list(shapes[places[0]])}, and a box has 4 numbers: "
            "say which outputs are meant, outputs=BOXES:SCORES"
        )
    return replace(how, outputs=tuple(str(place) for place in places))


def _fit_image(how: Preprocessing, shape: Shape, name: str) -> Preprocessing:
    size: Shape = (how.height, how.width)
    if not all(size):
        if len(shape) not in (2, 3):
            raise SettingsError(
                f"--preprocess image: the input {name} is {list(shape)}: say height=, width= and channels="
            )
        size = shape[1:3] if how.channels_first and len(shape) == 3 else shape[:2]
    told = 1 if len(shape) == 2 else shape[0] if how.channels_first else shape[-1]
    channels = how.channels or (told if len(shape) in (2, 3) else 3)
    if channels not in (1, 3) or prod(size) * channels != prod(shape):
        raise SettingsError(
            f"--preprocess image: the input {name} is {list(shape)}, which is no picture of 1 or 3 channels"
        )
    for numbers in (how.mean, how.std):
        if len(numbers) not in (0, 1, channels):
            raise SettingsError(f"--preprocess image: mean and std need 1 or {channels} numbers")
    return replace(how, channels=channels)


def _fit_mel(how: Preprocessing, shape: Shape, name: str) -> Preprocessing:
    fft = how.fft or 1 << max(0, how.window - 1).bit_length()
    if not 0 < how.window <= fft or how.hop < 1 or how.bands < 1:
        raise SettingsError("--preprocess log-mel: give window, hop and bands, and an fft not below window")
    high_hz = how.high_hz or how.rate_hz / 2
    if not 0 <= how.low_hz < high_hz <= how.rate_hz / 2:
        raise SettingsError(f"--preprocess log-mel: low_hz {how.low_hz:g} and high_hz {high_hz:g} do not fit")
    sizes = [size for size in shape if size != 1]
    if sizes[-1:] != [how.bands] or len(sizes) > 2:
        raise SettingsError(
            f"--preprocess log-mel: the input {name} is {list(shape)}, not of {how.bands} bands"
        )
    return replace(how, fft=fft)


def _boxes(text: str, said: Postprocessing) -> Postprocessing:
    layout, given = _split(text, "--boxes")
    if layout not in _LAYOUTS:
        raise SettingsError(f"--boxes {layout!r}: choose {', '.join(_LAYOUTS)}")
    for key in given:
        if key not in ("iou", "outputs"):
            raise SettingsError(f"--boxes {layout}: {key!r} is unknown, choose iou, outputs")
    iou = _number("--boxes iou", given.get("iou", "0.5"))
    if not 0 <= iou <= 1:
        raise SettingsError(f"--boxes: iou {iou:g} must be 0 to 1")
    outputs = tuple(given["outputs"].split(":")) if "outputs" in given else ()
    return replace(said, kind="boxes", layout=layout, iou=iou, outputs=outputs)


def _split(text: str, option: str) -> tuple[str, dict[str, str]]:
    """Take KIND:KEY=VALUE,KEY=VALUE apart."""
    kind, _, rest = text.partition(":")
    given = {}
    for pair in rest.split(",") if rest else ():
        key, equals, value = pair.partition("=")
        if not (equals and key and value):
            raise SettingsError(f"{option} {text!r}: write {kind}:KEY=VALUE,KEY=VALUE")
        given[key.replace("-", "_")] = value
    return kind, given


def _value(key: str, text: str, kind: type) -> Any:
    what = f"--preprocess {key}"
    if key in _WORDS:
        if text not in _WORDS[key]:
            raise SettingsError(f"{what} {text!r}: choose {' or '.join(_WORDS[key])}")
        return text
    if kind is bool:
        if text not in ("yes", "no"):
            raise SettingsError(f"{what} {text!r}: yes or no")
        return text == "yes"
    if kind is tuple:
        numbers = tuple(_number(what, part) for part in text.split(":"))
        if key == "std" and not all(numbers):
            raise SettingsError(f"{what} {text!r}: a deviation of 0 divides by nothing")
        return numbers
    number = _number(what, text)
    if kind is int and (number != int(number) or not 0 < number < 2**31):
        raise SettingsError(f"{what} {text!r}: give a whole number above 0")
    return int(number) if kind is int else number


def _number(what: str, text: str) -> float:
    """Return a number or a fraction such as 1/255."""
    above, slash, below = text.partition("/")
    try:
        number = float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        number = float("nan")
    if not isfinite(number):
        raise SettingsError(f"{what} {text!r}: give a number, or a fraction such as 1/255")
    return number
