"""Rows of .npy and .npz files, read in pieces of a megabyte.

Rules:
- a file is read on, never mapped: one that is cut off while it is mapped ends the process (SIGBUS), and
  what was read on needs no address space of a 32-bit board;
- a packed npz is unpacked piece by piece as well;
- a header is believed only when it describes exactly the bytes that follow;
- an array in Fortran order is read as a whole, up to 256 MB.
"""

from __future__ import annotations

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy

from edge.adapters.batch_tables import Row
from edge.backend import Array
from edge.batch.entries import Raw
from edge.batch.intake import Intake, Layout
from edge.tensors import as_taken
from wire.errors import DataError

_PIECE_BYTES: Final = 1024 * 1024
_PIECE_ROWS: Final = 4096
_MOST_WHOLE_BYTES: Final = 256 * 1024 * 1024
_SUFFIX: Final = ".npy"

#: What numpy and zipfile raise for damage.
_DAMAGE: Final = (
    ValueError, EOFError, TypeError, SyntaxError, KeyError, OverflowError, MemoryError, RuntimeError,
    NotImplementedError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip


@dataclass(frozen=True)
class _Column:
    """One array as it is read: where its bytes come from, and how its rows lie in it."""

    file: IO[bytes]
    dtype: np.dtype[Any]
    layout: Layout
    fortran_shape: tuple[int, ...] = ()

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.layout.row_shape)


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool


def read_npy(path: Path, intake: Intake, first: int = 0) -> Generator[Row]:
    """Yield the rows of the file from row `first` on; raise DataError when it cannot be read."""
    if len(intake.tensors) != 1:
        raise DataError(f"an npy file holds one array, the model takes {len(intake.tensors)}: use npz")
    if intake.truth:
        raise DataError("an npy file holds no truth: use npz")
    try:
        with path.open("rb") as file:
            header = _header(file, path.stat().st_size)
            layout = intake.layout(path.name, header.shape, header.dtype)
            yield from _rows([_column(file, header, layout)], None, first, intake)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise DataError(f"no npy file that can be read: {_reason(error)}") from error


def read_npz(path: Path, intake: Intake, first: int = 0) -> Generator[Row]:
    """Yield the rows of the file's arrays from row `first` on; raise DataError when it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive, ExitStack() as stack:
            sizes = {i.filename.removesuffix(_SUFFIX): i.file_size for i in archive.infolist()}
            columns = []
            for number, name in enumerate(intake.choose_arrays(list(sizes))):
                file = stack.enter_context(archive.open(name + _SUFFIX))
                header = _header(file, sizes[name])
                columns.append(_column(file, header, intake.layout(name, header.shape, header.dtype, number)))
            truth = None
            if intake.truth:
                file = stack.enter_context(archive.open(_truth_name(list(sizes), intake)))
                truth = _truth(file, sizes[intake.truth], intake.truth, columns[0].layout)
            yield from _rows(columns, truth, first, intake)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise DataError(f"no npz file that can be read: {_reason(error)}") from error


def _truth_name(names: list[str], intake: Intake) -> str:
    place = intake.place_of_truth(names)
    assert place is not None, "asked only when there is one"
    return names[place] + _SUFFIX


def _header(file: IO[bytes], size: int) -> _Header:
    version = npy.read_magic(file)  # type: ignore[no-untyped-call]  # numpy leaves this module untyped
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)  # type: ignore[no-untyped-call]  # as above
    rest = size - file.tell()
    if dtype.hasobject or dtype.fields or dtype.itemsize * math.prod(shape) != rest:
        raise DataError(f"{rest} bytes are no array {list(shape)} of {dtype}")
    return _Header(shape, dtype, fortran and len(shape) > 1)


def _column(file: IO[bytes], header: _Header, layout: Layout) -> _Column:
    if header.fortran and header.dtype.itemsize * math.prod(header.shape) > _MOST_WHOLE_BYTES:
        raise DataError("an array of more than 256 MB in Fortran order: save it with numpy.ascontiguousarray")
    return _Column(file, header.dtype, layout, header.shape if header.fortran else ())


def _truth(file: IO[bytes], size: int, name: str, layout: Layout) -> _Column:
    header = _header(file, size)
    if layout.single:
        return _column(file, header, Layout(1, header.shape, single=True, raw=False))
    if header.shape[:1] != (layout.rows,):
        raise DataError(f"array {name!r} is {list(header.shape)}, there are {layout.rows} rows")
    return _column(file, header, Layout(layout.rows, header.shape[1:], single=False, raw=False))


def _rows(columns: list[_Column], truth: _Column | None, first: int, intake: Intake) -> Iterator[Row]:
    counts = {column.layout.rows for column in columns}
    if len(counts) != 1:
        raise DataError(f"its arrays have different numbers of rows: {sorted(counts)}")
    total = counts.pop()
    if not total:
        raise DataError("the file holds no rows")
    every = [*columns, *([truth] if truth else [])]
    weight = sum(column.row_bytes for column in columns)
    at_once = max(1, min(_PIECE_ROWS, _PIECE_BYTES // max(1, weight)))
    readers = [_pieces(column, first, at_once) for column in every]
    number = first
    for pieces in zip(*readers, strict=True):
        finite = _finite(pieces[: len(columns)], intake)
        for place, row in enumerate(zip(*pieces, strict=True)):
            inputs = [Raw(_given(a)) if c.layout.raw else a for c, a in zip(columns, row, strict=False)]
            yield Row(
                number,
                (number + 1) / total,
                weight,
                inputs[0] if len(inputs) == 1 else inputs,
                row[-1] if truth else None,
                "" if finite[place] else "it holds NaN, infinity or a number too large for the model",
            )
            number += 1


def _finite(pieces: Sequence[Array], intake: Intake) -> Array:
    """Return bool [rows]: whether every number of a row is one, and still is as the model takes it."""
    good = np.ones(len(pieces[0]), bool)
    for piece, tensor in zip(pieces, intake.tensors, strict=True):
        if piece.dtype.kind == "f":
            good &= np.isfinite(as_taken(piece, tensor).reshape(len(piece), -1)).all(axis=1)
    return good


def _pieces(column: _Column, first: int, at_once: int) -> Iterator[Array]:
    """Yield arrays [rows, …] of up to `at_once` rows, from row `first` on."""
    total, shape = column.layout.rows, column.layout.row_shape
    if column.fortran_shape:
        whole = np.frombuffer(column.file.read(), column.dtype).reshape(column.fortran_shape, order="F")
        rows = np.ascontiguousarray(whole).reshape(total, *shape)
        yield from (rows[start : start + at_once] for start in range(first, total, at_once))
        return
    column.file.seek(column.file.tell() + first * column.row_bytes)
    for start in range(first, total, at_once):
        count = min(at_once, total - start)
        data = column.file.read(count * column.row_bytes)
        if len(data) < count * column.row_bytes:
            raise DataError(f"the file ends before row {start + count}")
        yield np.frombuffer(data, column.dtype, count * math.prod(shape)).reshape(count, *shape)


def _given(array: Array) -> Any:
    return lambda: array


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
