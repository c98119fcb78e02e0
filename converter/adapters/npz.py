"""Data sets in numpy's own file format."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from converter.dataset import KEYS, LABELS_KEY, Dataset, check_keys, make_dataset
from wire.errors import DataError


def read_dataset(path: Path) -> Dataset:
    """Read and check the npz file at `path`; raise DataError with one line that names it."""
    if not path.is_file():
        raise DataError(f"{path} is not there" if not path.exists() else f"{path} is not a file")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is not an npz file (make one with numpy.savez), or is cut off")
    try:
        with np.load(path, allow_pickle=False) as archive:
            check_keys(archive.files, str(path))
            arrays = {key: np.asarray(archive[key]) for key in archive.files if key in (*KEYS, LABELS_KEY)}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, MemoryError) as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    return make_dataset(arrays, str(path))
