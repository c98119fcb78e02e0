"""Folders of images as data sets; npy files with a sample each may stand for images.

Rules:
- a folder of class folders (labels in alphabetical order, as Keras and PyTorch number them), or
  train/, val/ and test/ with such folders each, or a flat folder: inputs without truth;
- train/ has every class: the model knows no others, and its numbers would shift;
- images or npy files, not both; npy samples stay as they are, images go through images.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from converter.adapters.images import ENDINGS, decode
from converter.adapters.npz import load_array
from converter.dataset import Array, DataOptions, Part, Split, check_memory
from converter.parts import PART_NAMES, Parts
from wire.errors import DataError

_NPY: Final = ".npy"


@dataclass(frozen=True)
class _Files:
    """The files of one part, and the name of each one's class; None in a flat folder."""

    paths: tuple[Path, ...]
    classes: tuple[str, ...] | None


def read_image_folder(path: Path, options: DataOptions) -> Parts:
    """Read the folder at `path`: float32 [n, height, width, channels] of images, npy samples as they are.

    Raises DataError for a layout that is none of those above, files that are no images, sizes that
    differ, and more numbers than fit the memory limit.
    """
    found = _layout(path)
    labels = _labels(found, path)
    paths = [file for files in found.values() for file in files.paths]
    arrays = [file for file in paths if file.suffix.lower() == _NPY]
    if arrays and len(arrays) < len(paths):
        raise DataError(f"{path} holds images and npy files ({arrays[0].relative_to(path)}): give one kind")
    if arrays:
        return Parts(str(path), _divide(_stack(paths, path), found, labels), labels)
    decoded = decode(paths, path, options)
    splits = _divide(decoded.samples, found, labels)
    return Parts(str(path), splits, labels, decoded.notes, decoded.preprocessing)


def _divide(samples: Array, found: Mapping[Part, _Files], labels: tuple[str, ...]) -> dict[Part, Split]:
    """Give each part its rows of `samples`, which follow each other in the parts' order."""
    splits: dict[Part, Split] = {}
    start = 0
    for part, files in found.items():
        classes = None if files.classes is None else [labels.index(name) for name in files.classes]
        truth = None if classes is None else np.asarray(classes, np.int64)
        splits[part] = Split({"": samples[start : start + len(files.paths)]}, truth, part)
        start += len(files.paths)
    return splits


def _layout(path: Path) -> dict[Part, _Files]:
    folders = _folders(path)
    parts = [folder for folder in folders if folder.name.lower() in PART_NAMES]
    if not parts or (len(parts) < len(folders) and not any(_folders(part) for part in parts)):
        return {"": _files(path, path)}  # a train among the classes carries passengers
    if len(parts) < len(folders):
        other = next(folder.name for folder in folders if folder not in parts)
        raise DataError(f"{path} has {other}/ beside {parts[0].name}/: give train/, val/ and test/ alone")
    found: dict[Part, _Files] = {}
    for folder in parts:
        part = PART_NAMES[folder.name.lower()]
        if part in found:
            raise DataError(f"{path} has two folders of {part} rows, one is {folder.name}/")
        found[part] = _files(folder, path)
    return found


def _files(folder: Path, root: Path) -> _Files:
    own, classes = _samples(folder, "*"), _folders(folder)
    if own and classes:
        raise DataError(
            f"{folder} holds both {own[0].name} and folders: put every image into its class's folder"
        )
    if not classes:
        if not own:
            raise DataError(f"{folder} holds no images ({' '.join(ENDINGS)}) and no npy files")
        return _Files(tuple(own), None)
    paths: list[Path] = []
    names: list[str] = []
    for one in classes:
        members = _samples(one, "**/*")
        if not members:
            raise DataError(f"{root}: the class folder {one.relative_to(root)} holds no images")
        paths += members
        names += [one.name] * len(members)
    return _Files(tuple(paths), tuple(names))


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith((".", "__")))


def _samples(folder: Path, pattern: str) -> list[Path]:
    return sorted(
        one
        for one in folder.glob(pattern)
        if one.suffix.lower() in (*ENDINGS, _NPY) and not one.name.startswith(".") and one.is_file()
    )


def _labels(found: Mapping[Part, _Files], path: Path) -> tuple[str, ...]:
    """Return the classes in the order of their numbers; train, where it is there, has them all."""
    held = {part: sorted(set(files.classes or ())) for part, files in found.items()}
    for part, classes in held.items():
        for name in classes:
            if "train" in held and held["train"] and name not in held["train"]:
                raise DataError(f"{path}: {part}/ has the class {name}, which train/ lacks")
    return tuple(sorted({name for classes in held.values() for name in classes}))


def _stack(paths: list[Path], root: Path) -> Array:
    first = load_array(paths[0])
    check_memory(len(paths), first.shape, first.itemsize, str(root))
    samples = np.empty((len(paths), *first.shape), first.dtype)
    for row, path in enumerate(paths):
        sample = load_array(path)
        if (sample.shape, sample.dtype) != (first.shape, first.dtype):
            one, usual = (f"{array.dtype} {list(array.shape)}" for array in (sample, first))
            raise DataError(f"{path} is {one}, {paths[0].relative_to(root)} {usual}")
        samples[row] = sample
    return samples
