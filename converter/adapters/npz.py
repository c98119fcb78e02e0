"""Data sets in numpy's own file formats: npz by its keys, npy for inputs alone."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from converter.dataset import Array
from converter.parts import Parts, by_keys, is_key
from wire.errors import DataError


def read_npz(path: Path) -> Parts:
    """Read the npz file at `path`; raise DataError with one line that names it."""
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is not an npz file (make one with numpy.savez), or is cut off")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: np.asarray(archive[key]) for key in archive.files if is_key(key)}
            others = [key for key in archive.files if key not in arrays]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, MemoryError) as error:
        raise _unreadable(path, error) from error
    return by_keys(arrays, str(path), others)


def read_npy(path: Path) -> Parts:
    """Read the npy file at `path` as inputs without truth; raise DataError with one line that names it."""
    return by_keys({"x": load_array(path)}, str(path))


def load_array(path: Path) -> Array:
    """Return the array in the npy file at `path`; raise DataError with one line that names it."""
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(f"{path} cannot be read: {' '.join(str(error).split())}")
