"""From outputs to an answer in words, as the manifest declares it. Pure numpy.

Rules:
- an answer is a list of plain dictionaries that JSON can hold: a score that is not finite is no
  answer and is left out;
- a declared way that the outputs do not fit, or that this version does not know, is a BundleError;
- equal scores go by the lower class, equal boxes by the earlier: the same outputs give the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from edge.backend import Array
from wire.errors import BundleError
from wire.manifest import Postprocessing

#: What is looked at when no threshold holds it down: 80 classes at 8,400 places would take seconds.
_MOST_CANDIDATES: Final = 10_000
_MOST_BOXES: Final = 100


def answer(
    outputs: Mapping[str, Array], how: Postprocessing, labels: tuple[str, ...], task: str
) -> list[dict[str, object]]:
    """Return what the outputs [1, ...] of one input say, real values by name in the model's order.

    Classes are `{"label": "cat", "class": 3, "score": 0.9}` (label None without one), best first; boxes
    have `"box": [y0, x0, y1, x1]` besides, in the model's unit; values are `{"output": "y",
    "values": […]}`. Raises BundleError.
    """
    if how.kind == "none":
        return _plain(outputs, how, labels, task)
    if how.kind in ("top-k", "threshold"):
        scores = _activated(_row(next(iter(outputs.values()))).reshape(-1), how)
        most = max(1, how.top_k) if how.kind == "top-k" else len(scores)
        return _ranked(scores, how, labels, most)
    if how.kind == "boxes":
        return _boxes(outputs, how, labels)
    raise BundleError(f"the bundle reads outputs by {how.kind!r}, which this version cannot: update it")


def _plain(
    outputs: Mapping[str, Array], how: Postprocessing, labels: tuple[str, ...], task: str
) -> list[dict[str, object]]:
    first = _row(next(iter(outputs.values())))
    if task == "classes" and first.size:
        if first.size == first.shape[-1]:
            return _ranked(_activated(first.reshape(-1), how), Postprocessing(threshold=-np.inf), labels, 1)
        return [{"classes": np.argmax(first, axis=-1).tolist()}]  # one for each position
    if task == "binary" and first.size == 1:
        return _yes_or_no(float(_activated(first.reshape(-1), how)[0]), labels)
    return [{"output": name, "values": _finite(_row(array))} for name, array in outputs.items()]


def _yes_or_no(share: float, labels: tuple[str, ...]) -> list[dict[str, object]]:
    if not np.isfinite(share):
        return []
    yes = int(share >= 0.5)
    label = (labels[yes] if len(labels) == 2 else labels[0] if yes else None) if labels else None
    return [{"label": label, "class": yes, "score": _short(share)}]


def _ranked(
    scores: Array, how: Postprocessing, labels: tuple[str, ...], most: int
) -> list[dict[str, object]]:
    """Return the best `most` of scores [classes] that reach the threshold, the best first."""
    kept = np.flatnonzero(np.isfinite(scores) & (scores >= how.threshold))
    kept = kept[kept >= how.first_class]
    best = kept[np.argsort(-scores[kept], kind="stable")[:most]]
    return [_named(int(number), float(scores[number]), how, labels) for number in best]


def _named(number: int, score: float, how: Postprocessing, labels: tuple[str, ...]) -> dict[str, object]:
    place = number - how.first_class
    label = labels[place] if 0 <= place < len(labels) else None
    return {"label": label, "class": number, "score": _short(score)}


def _activated(scores: Array, how: Postprocessing) -> Array:
    """Return scores [..., classes] as float32 after the declared activation."""
    scores = np.asarray(scores, np.float32)
    if how.activation == "none":
        return scores
    with np.errstate(invalid="ignore", over="ignore"):  # infinite logits end as NaN, and are left out
        if how.activation == "softmax":
            if not scores.size:
                return scores
            powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
            shares: Array = powers / powers.sum(axis=-1, keepdims=True)
            return shares
        if how.activation == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-scores)), np.float32)
    raise BundleError(f"the bundle declares the activation {how.activation!r}, which this version cannot")


# boxes


def _boxes(
    outputs: Mapping[str, Array], how: Postprocessing, labels: tuple[str, ...]
) -> list[dict[str, object]]:
    if how.layout == "corners":
        boxes, scores = _parts(outputs, how, ("boxes", "scores"))
        scores = _activated(scores.reshape(len(scores), -1) if scores.size else scores.reshape(0, 1), how)
        corners, numbers, marks = _candidates(_corners(boxes, len(scores)), scores, how)
        kept = suppress(corners, marks, numbers, how.iou, how.top_k or _MOST_BOXES)
    elif how.layout == "detections":
        corners, numbers, marks = _detections(outputs, how)
        kept = np.argsort(-marks, kind="stable")[: how.top_k or _MOST_BOXES]
    else:
        raise BundleError(f"the bundle declares boxes as {how.layout!r}, which this version cannot")
    return [
        {"box": [_short(edge) for edge in corners[i].tolist()]}
        | _named(int(numbers[i]), float(marks[i]), how, labels)
        for i in kept
    ]


def _candidates(boxes: Array, scores: Array, how: Postprocessing) -> tuple[Array, Array, Array]:
    """Return boxes [m, 4], classes [m] and scores [m] of every pair that reaches the threshold."""
    usable = np.isfinite(scores) & (scores >= how.threshold) & np.isfinite(boxes).all(axis=1)[:, np.newaxis]
    usable[:, : how.first_class] = False
    places, numbers = np.nonzero(usable)
    marks = scores[places, numbers]
    if len(marks) > _MOST_CANDIDATES:
        least = np.partition(marks, -_MOST_CANDIDATES)[-_MOST_CANDIDATES]
        better = np.flatnonzero(marks > least)
        equal = np.flatnonzero(marks == least)[: _MOST_CANDIDATES - len(better)]
        best = np.sort(np.concatenate([better, equal]))
        places, numbers, marks = places[best], numbers[best], marks[best]
    return boxes[places], numbers, marks


def suppress(boxes: Array, scores: Array, classes: Array, iou: float, most: int) -> Array:
    """Return which of `boxes` [n, 4] stay, best first, at most `most`: greedy non-maximum suppression.

    A box goes when a better one of its class overlaps it by more than `iou`, intersection over union.
    """
    order = np.argsort(-scores, kind="stable")
    y0, x0, y1, x1 = np.ascontiguousarray(boxes[order].T.astype(np.float64))
    area, kinds = (y1 - y0) * (x1 - x0), classes[order]
    stays = np.ones(len(order), bool)
    kept: list[int] = []
    for i in range(len(order)):
        if not stays[i]:
            continue
        kept.append(i)
        if len(kept) == most:
            break
        rest = slice(i + 1, None)
        height = np.maximum(np.minimum(y1[rest], y1[i]) - np.maximum(y0[rest], y0[i]), 0)
        width = np.maximum(np.minimum(x1[rest], x1[i]) - np.maximum(x0[rest], x0[i]), 0)
        shared = height * width
        # Multiplied out, so that two boxes without area are no division by zero.
        stays[rest] &= (shared <= iou * (area[rest] + area[i] - shared)) | (kinds[rest] != kinds[i])
    best: Array = order[kept]
    return best


def _detections(outputs: Mapping[str, Array], how: Postprocessing) -> tuple[Array, Array, Array]:
    boxes, numbers, marks, count = _parts(outputs, how, ("boxes", "classes", "scores", "count"))
    numbers, marks, said = numbers.reshape(-1), marks.reshape(-1), float(np.asarray(count).reshape(-1)[0])
    corners = _corners(boxes, len(marks))
    if len(numbers) != len(marks):
        raise BundleError(f"the outputs hold {len(marks)} scores and {len(numbers)} classes")
    usable = np.isfinite(marks) & np.isfinite(numbers) & np.isfinite(corners).all(axis=1)
    usable &= (marks >= how.threshold) & (numbers >= how.first_class)
    usable[int(np.clip(said, 0, len(marks))) if np.isfinite(said) else 0 :] = False
    return corners[usable], numbers[usable].astype(np.int64), marks[usable]


def _parts(outputs: Mapping[str, Array], how: Postprocessing, roles: tuple[str, ...]) -> list[Array]:
    held = tuple(outputs)
    # A name that is a number is a position: names change from one runtime to the next.
    names = tuple(
        held[int(name)] if name.isdecimal() and int(name) < len(held) and name not in outputs else name
        for name in how.outputs or held[: len(roles)]
    )
    missing = [name for name in names if name not in outputs]
    if len(names) != len(roles) or missing:
        raise BundleError(
            f"boxes need the outputs {', '.join(roles)}: declared are {', '.join(names) or 'none'}, "
            f"the model has {', '.join(outputs)}"
        )
    return [_row(outputs[name]) if outputs[name].ndim > 1 else outputs[name] for name in names]


def _corners(boxes: Array, count: int) -> Array:
    """Return float32 [count, 4] as low and high corner, whichever came first."""
    if boxes.size != 4 * count or (boxes.size and boxes.shape[-1] != 4):
        raise BundleError(f"the output of boxes is {list(boxes.shape)}: needed is [{count}, 4]")
    pairs = boxes.reshape(count, 2, 2).astype(np.float32)
    return np.concatenate([pairs.min(axis=1), pairs.max(axis=1)], axis=1)


# numbers


def _row(array: Array) -> Array:
    row: Array = array[0] if array.ndim else array.reshape(1)
    return np.asarray(row)


def _finite(array: Array) -> Any:
    """Return nested lists, with None for what is not finite: JSON has no NaN."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array.tolist()
    values = array.astype(object)
    values[~np.isfinite(array)] = None
    return values.tolist()


def _short(number: float) -> float:
    """Return the shortest decimal that is the same float32: 0.98, not 0.9800000190734863."""
    return float(str(np.float32(number)))
