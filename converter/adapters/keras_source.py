"""Keras files as a source: checks what can be checked cheaply, and leaves the rest to a child."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from converter.adapters.child import run_child, work_folder
from converter.evaluation import Array
from wire.errors import ModelError

_CHILD: Final = "converter.adapters.keras_child"
_TIME_LIMIT_S: Final = 900.0
_HDF5_MARK: Final = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Converted:
    """The model as float32 TFLite, and what Keras itself answers on the test inputs, [n, classes]."""

    tflite: bytes
    answers: Array


def convert(path: Path, x_test: Array, *, time_limit_s: float = _TIME_LIMIT_S) -> Converted:
    """Convert the `.keras` or `.h5` file at `path` to float32 TFLite for one sample at a time.

    Raises ModelError for a file that is not a whole model or that plain TFLite cannot express, and
    DataError when `x_test` does not fit its input.
    """
    check_file(path)
    with work_folder() as folder:
        np.save(folder / "inputs.npy", x_test)
        run_child(_CHILD, folder, str(path.resolve()), doing=str(path), time_limit_s=time_limit_s)
        return Converted((folder / "model.tflite").read_bytes(), np.load(folder / "answers.npy"))


def check_file(path: Path) -> None:
    """Raise ModelError when `path` cannot be a Keras model at all."""
    if not path.exists():
        raise ModelError(f"{path} is not there")
    if not path.is_file():
        raise ModelError(f"{path} is a folder: give a .keras or .h5 file")
    try:
        with path.open("rb") as file:
            head = file.read(len(_HDF5_MARK))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    if not head:
        raise ModelError(f"{path} is empty")
    if path.suffix in (".h5", ".hdf5"):
        if head != _HDF5_MARK:
            raise ModelError(f"{path} is not an HDF5 file")
    elif path.suffix == ".keras":
        _check_zip(path)
    else:
        raise ModelError(f"{path} has no ending of a Keras model (.keras or .h5)")


def _check_zip(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path} is not a Keras model, or is cut off")
    try:
        with zipfile.ZipFile(path) as archive:
            names, broken = set(archive.namelist()), archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    if "config.json" not in names:
        raise ModelError(f"{path} is a zip file, but not a Keras model (no config.json)")
    if broken:
        raise ModelError(f"{path} is damaged: {broken} does not match its checksum")
