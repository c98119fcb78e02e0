"""What a reader found, by parts, checked before anything costly runs. Pure.

Rules:
- every part has the same inputs, of the same shape, and as many rows of truth, or none;
- text as truth becomes class numbers, in the order of the labels, or of the alphabet without them;
- parts must be of one scale: data of 0..255 for a model trained on 0..1 measured 22 % instead of 98 %.

A data set by keys (an npz file, a dict): `x_train`, `y_train`, and the same with val and test; or `x`
and `y` for one that is not divided yet; `x_train.NAME` for the input NAME of several; `labels`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, cast

import numpy as np

from converter.dataset import Array, Part, Split, check_numbers, looks_unscaled
from wire.errors import DataError
from wire.manifest import Preprocessing

LABELS_KEY: Final = "labels"
#: What a folder or a table may call its parts.
PART_NAMES: Final[Mapping[str, Part]] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_KEY: Final = re.compile(r"([xy])(?:_(train|val|test))?(?:\.(.+))?")


@dataclass(frozen=True)
class Parts:
    """What a reader found: the parts that are there, not yet divided into train, choose and test."""

    name: str
    splits: Mapping[Part, Split]
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    columns: tuple[str, ...] = ()


def by_keys(arrays: Mapping[str, Array], name: str, others: Sequence[str] = ()) -> Parts:
    """Read the keys named at the top of this file; raise DataError when they make no data set.

    `others` are the names of what else was there: a note says that it is not used.
    """
    inputs: dict[Part, dict[str, Array]] = {}
    truths: dict[Part, Array] = {}
    for key, array in arrays.items():
        part, kind, input_name = part_of(key)
        if kind == "x":
            inputs.setdefault(part, {})[input_name] = array
        elif kind == "y":
            truths[part] = array
    _check_parts(inputs, truths, [*arrays, *others], name)
    splits = {part: Split(held, truths.get(part), part) for part, held in inputs.items()}
    labels = _labels(arrays[LABELS_KEY], name) if LABELS_KEY in arrays else ()
    notes = (f"not used: {', '.join(sorted(others))}",) if others else ()
    return Parts(name, splits, labels, notes)


def is_key(key: str) -> bool:
    """Tell whether `key` means anything in a data set."""
    return key == LABELS_KEY or part_of(key)[1] != ""


def part_of(key: str) -> tuple[Part, Literal["x", "y", ""], str]:
    """Return the part, the kind and the input's name that a key stands for; the kind is "" for none."""
    found = _KEY.fullmatch(key)
    if not found or (found[1] == "y" and found[3]):
        return "", "", ""
    return cast(Part, found[2] or ""), "x" if found[1] == "x" else "y", found[3] or ""


def _check_parts(
    inputs: Mapping[Part, Mapping[str, Array]], truths: Mapping[Part, Array], keys: Sequence[str], name: str
) -> None:
    has = ", ".join(sorted(keys)[:8]) or "nothing"
    if not inputs:
        raise DataError(f"{name} holds no inputs (it holds {has}; needed: x_train, y_train, x_test, y_test)")
    if "" in {*inputs, *truths} and len({*inputs, *truths}) > 1:
        raise DataError(f"{name} holds {has}: give either x and y, or x_train, x_test and their truth")
    for part in truths:
        if part not in inputs:
            raise DataError(
                f"{name} has {Split({}, None, part).truth_name}, but no inputs for it (it holds {has})"
            )
    for part, held in inputs.items():
        if "" in held and len(held) > 1:
            raise DataError(f"{name}: {Split({}, None, part).input_name('')} stands beside inputs with names")


def _labels(array: Array, name: str) -> tuple[str, ...]:
    labels = tuple(str(label) for label in np.ravel(array).tolist())
    if any("\n" in label or not label for label in labels):
        raise DataError(f"{name}: a label is empty or has a line break")
    return labels


def checked(parts: Parts) -> Parts:
    """Return `parts` with text as truth in numbers; raise DataError for what cannot be measured with."""
    parts = _number_texts(parts)
    first = next(iter(parts.splits.values()))
    for split in parts.splits.values():
        _check_rows(split, parts.name)
        _check_alike(first, split, parts.name)
    for split in parts.splits.values():
        for key in split.inputs:
            _check_scales(first, split, key, parts.name)
    return parts


def _number_texts(parts: Parts) -> Parts:
    texts = {part: text for part, split in parts.splits.items() if (text := _text(split.truth)) is not None}
    for split in parts.splits.values():
        if texts and split.truth is not None and split.part not in texts:
            other = parts.splits[next(iter(texts))].truth_name
            raise DataError(f"{parts.name}: {other} holds text, {split.truth_name} numbers")
    if not texts:
        return parts
    labels, notes = parts.labels, parts.notes
    if not labels:
        labels = tuple(sorted({str(label) for text in texts.values() for label in np.unique(text)}))
        shown = ", ".join(f"{number} = {label}" for number, label in enumerate(labels[:6]))
        notes = (*notes, f"text as truth becomes class numbers: {shown}{', …' if len(labels) > 6 else ''}")
    splits = dict(parts.splits)
    for part, text in texts.items():
        what = f"{parts.name}: {splits[part].truth_name}"
        splits[part] = replace(splits[part], truth=_numbers_of(text, labels, what))
    return replace(parts, splits=splits, labels=labels, notes=notes)


def _text(truth: Array | None) -> Array | None:
    """Return `truth` as str when all of it is text, else None."""
    if truth is None or truth.dtype.kind not in "USO":
        return None
    items = [item.decode(errors="replace") if isinstance(item, bytes) else item for item in truth.flat]
    return np.asarray(items, np.str_).reshape(truth.shape) if all(isinstance(i, str) for i in items) else None


def _numbers_of(text: Array, labels: tuple[str, ...], what: str) -> Array:
    known, places = np.unique(text, return_inverse=True)
    for label in known.tolist():
        if label not in labels:
            raise DataError(f"{what} holds {label!r}, which is no label")
    numbers = np.asarray([labels.index(label) for label in known.tolist()], np.int64)
    counted: Array = numbers[places.reshape(text.shape)]
    return counted


def _check_rows(split: Split, name: str) -> None:
    arrays = {split.input_name(key): array for key, array in split.inputs.items()}
    if split.truth is not None:
        arrays[split.truth_name] = split.truth
    first = next(iter(arrays))
    for what, array in arrays.items():
        check_numbers(array, f"{name}: {what}")
        if len(array) != len(split):
            raise DataError(f"{name}: {first} has {len(split)} rows, {what} has {len(array)}")


def _check_alike(first: Split, other: Split, name: str) -> None:
    if first.inputs.keys() != other.inputs.keys():
        odd = sorted(first.inputs.keys() ^ other.inputs.keys())[0]
        missing = first if odd in other.inputs else other
        raise DataError(f"{name} lacks {missing.input_name(odd)}")
    for key, array in first.inputs.items():
        one, two = list(array.shape[1:]), list(other.inputs[key].shape[1:])
        if one != two:
            raise DataError(
                f"{name}: a row of {first.input_name(key)} is {one}, of {other.input_name(key)} {two}"
            )


def _check_scales(first: Split, other: Split, key: str, name: str) -> None:
    """Refuse bytes in one part and shares in the other; ten rows each, so that it is no chance."""
    if min(len(first), len(other)) < 10:
        return
    one, two = first.inputs[key], other.inputs[key]
    raw, scaled = (one, two) if one.max() > two.max() else (two, one)
    if raw.max() >= 100 and looks_unscaled(raw) and scaled.min() >= -1 and scaled.max() <= 1:
        raise DataError(
            f"{name}: {first.input_name(key)} reaches {one.max():.4g}, "
            f"{other.input_name(key)} {two.max():.4g}: scale both as in training"
        )
