"""Which reader a data set is for: a folder holds images, a file tells by its name or its first bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from converter.adapters.npz import read_npy, read_npz
from converter.dataset import DataOptions, Dataset
from converter.parts import Parts
from converter.splitting import make_dataset
from wire.errors import DataError, UnavailableError

__all__ = ["DataOptions", "read_dataset"]

_Reader = Callable[[Path, DataOptions], Parts]


def _npz(path: Path, _: DataOptions) -> Parts:
    return read_npz(path)


def _npy(path: Path, _: DataOptions) -> Parts:
    return read_npy(path)


# pyarrow and Pillow are loaded by those who need them: together half a second, and not on every machine.
def _csv(path: Path, options: DataOptions) -> Parts:
    from converter.adapters.tabular import read_csv

    return read_csv(path, options.target)


def _parquet(path: Path, options: DataOptions) -> Parts:
    from converter.adapters.tabular import read_parquet

    return read_parquet(path, options.target)


def _images(path: Path, options: DataOptions) -> Parts:
    from converter.adapters.image_folder import read_image_folder

    return read_image_folder(path, options)


_BY_ENDING: Final[Mapping[str, _Reader]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".csv": _csv,
    ".csv.gz": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".pq": _parquet,
}
_BY_FIRST_BYTES: Final[Mapping[bytes, _Reader]] = {b"PK\x03\x04": _npz, b"\x93NUMPY": _npy, b"PAR1": _parquet}


def read_dataset(path: Path, options: DataOptions) -> Dataset:
    """Read, check and divide the data set at `path`.

    Raises DataError, one line that names the file and what is wrong, and UnavailableError when the
    library that reads it is not installed.
    """
    try:
        data = make_dataset(_reader(path)(path, options))
        return replace(data, sha256=_sha256(path))
    except ImportError as error:
        missing = error.name.split(".")[0] if error.name else str(error)
        raise UnavailableError(f"{missing} cannot be imported: pip install 'edgeflock[converter]'") from error
    except OSError as error:  # of opening and listing; a reader names what its own library says
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _reader(path: Path) -> _Reader:
    if not path.exists():
        raise DataError(f"{path} is not there")
    if path.is_dir():
        return _images
    if not path.is_file():
        raise DataError(f"{path} is not a file")
    for ending, reader in _BY_ENDING.items():
        if path.name.lower().endswith(ending):
            return reader
    with path.open("rb") as file:
        first = file.read(8)
    for mark, reader in _BY_FIRST_BYTES.items():
        if first.startswith(mark):
            return reader
    raise DataError(
        f"{path} is no data set: give an .npz, .npy, .csv or .parquet file, or a folder of images"
    )


def _sha256(path: Path) -> str:
    """Return the digest of a file, or of a folder's sorted lines of digest and name."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file())
    lines = "".join(f"{_sha256(path / name)}  {name}\n" for name in files)
    return hashlib.sha256(lines.encode()).hexdigest()
