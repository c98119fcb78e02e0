"""Parquet in and out, through pyarrow.

Rules:
- rows are read by the thousand, and row groups that are answered already are passed over unread;
- a row group that is damaged costs its own rows, from the first that cannot be read;
- a Parquet file can be read only once its end is written, so answers go into numbered parts, each
  written wholly or not at all, and are put together when the last one is there.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from edge.adapters.batch_tables import Row
from edge.backend import Array
from edge.batch.answers import Cells, Column, flat
from edge.batch.intake import Intake
from wire.adapters.files import write_checked
from wire.errors import DataError, UnavailableError

_READ_ROWS: Final = 1024
_GROUP_ROWS: Final = 50_000
_BYTES_A_NUMBER: Final = 8
_PACKING: Final = {"compression": "zstd"}


@dataclass(frozen=True)
class _Wanted:
    """Which columns of a file are taken, and for what."""

    chosen: Sequence[str]
    intake: Intake

    @property
    def columns(self) -> list[str]:
        return [*dict.fromkeys([*self.chosen, *([self.intake.truth] if self.intake.truth else [])])]


def read_parquet(path: Path, intake: Intake, first: int = 0) -> Generator[Row]:
    """Yield the rows of the file from row `first` on; raise DataError when it cannot be read."""
    arrow = _pyarrow()
    try:
        with arrow.parquet.ParquetFile(path) as file:
            yield from _read(arrow, file, intake, first)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or _reason(error)}") from error
    except arrow.ArrowException as error:
        raise DataError(f"no Parquet file that can be read: {_reason(error)}") from error


def _read(arrow: ModuleType, file: Any, intake: Intake, first: int) -> Iterator[Row]:
    schema = file.schema_arrow
    total = file.metadata.num_rows
    if not total:
        raise DataError("the file has no rows")
    places = intake.choose_columns(schema.names, [_is_numeric(arrow, field.type) for field in schema])
    chosen = [schema.names[place] for place in places]
    for place, name in zip(places, chosen, strict=True):
        if not _is_numeric(arrow, schema.types[place]):
            raise DataError(f"column {name!r} holds {schema.types[place]}, no numbers")
    wanted = _Wanted(chosen, intake)
    number = 0
    for group in range(file.num_row_groups):
        start, number = number, number + file.metadata.row_group(group).num_rows
        if number > first:
            rows = _group(file, group, start, wanted)
            yield from (row._replace(share=(row.number + 1) / total) for row in rows if row.number >= first)


def _group(file: Any, group: int, number: int, wanted: _Wanted) -> Iterator[Row]:
    """Yield the rows of a row group, of which the first is `number`; what cannot be read as its problem."""
    arrow, truth_name = _pyarrow(), wanted.intake.truth
    end = number + file.metadata.row_group(group).num_rows
    try:
        for batch in file.iter_batches(_READ_ROWS, row_groups=[group], columns=wanted.columns):
            numbers = _matrix(arrow, batch, wanted.chosen)
            truths = batch.column(truth_name).to_pylist() if truth_name else itertools.repeat(None)
            for row, truth in zip(numbers, truths, strict=False):
                yield _row(Row(number, 0.0, truth=truth), row, wanted.chosen, wanted.intake)
                number += 1
    except (OSError, arrow.ArrowException) as error:
        problem = f"row group {group} cannot be read: {_reason(error)}"
        yield from (Row(lost, 0.0, problem=problem) for lost in range(number, end))


def _matrix(arrow: ModuleType, batch: Any, names: Sequence[str]) -> Array:
    """Return float64 [rows, columns]; what is missing is NaN."""
    columns = [
        batch.column(name).cast(arrow.float64(), safe=False).to_numpy(zero_copy_only=False) for name in names
    ]
    return np.stack(columns, axis=1)


def _row(row: Row, numbers: Array, names: Sequence[str], intake: Intake) -> Row:
    """Return the row with its input, or with what is wrong with the numbers."""
    finite = np.isfinite(numbers)
    try:
        if not finite.all():
            place = int(np.argmin(finite))
            state = "is missing" if np.isnan(numbers[place]) else "is infinite"
            raise DataError(f"column {names[place]!r} {state}")
        return row._replace(inputs=intake.from_numbers(numbers), weight_bytes=len(names) * _BYTES_A_NUMBER)
    except DataError as error:
        return row._replace(problem=str(error))


def _is_numeric(arrow: ModuleType, kind: Any) -> bool:
    types = arrow.types
    return bool(
        types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)
    )


class ParquetRows:
    """Answers as numbered parts in `folder`, and as one file in the end."""

    ending = ".parts"

    def __init__(self, folder: Path, columns: tuple[Column, ...]) -> None:
        self._folder = folder
        self._columns = columns
        self._parts = 0
        self._waiting: list[Cells] = []

    def begin(self, size: int) -> None:
        """Go on behind part `size`; raise UnavailableError without pyarrow, DataError for missing parts."""
        _pyarrow()
        self._folder.mkdir(exist_ok=True)
        for number in range(size):
            if not self._part(number).is_file():
                raise DataError(f"{self._part(number)} is gone: --overwrite begins anew")
        for path in self._folder.iterdir():
            if path not in map(self._part, range(size)):
                path.unlink()
        self._parts = size

    def write(self, rows: Sequence[Cells]) -> None:
        self._waiting += rows

    def commit(self) -> int:
        """Write what waits as a part; return how many there are."""
        if self._waiting:
            arrow = _pyarrow()
            table = _table(arrow, self._columns, self._waiting)
            _write(self._part(self._parts), lambda temp: arrow.parquet.write_table(table, temp, **_PACKING))
            self._parts += 1
            self._waiting = []
        return self._parts

    def finish(self, out: Path, size: int) -> None:
        """Put the parts together in `out`, a row group at a time; twice makes no difference."""
        if not self._folder.is_dir():
            return
        _write(out, lambda temp: self._merge(temp, size))

    def close(self) -> None:
        self._waiting = []

    def _merge(self, temp: Path, size: int) -> None:
        arrow = _pyarrow()
        schema = _schema(arrow, self._columns)
        with arrow.parquet.ParquetWriter(temp, schema, **_PACKING) as writer:
            waiting: list[Any] = []
            for number in range(size):
                waiting.append(arrow.parquet.read_table(self._part(number), schema=schema, partitioning=None))
                if sum(table.num_rows for table in waiting) >= _GROUP_ROWS:
                    writer.write_table(arrow.concat_tables(waiting))
                    waiting = []
            if waiting:
                writer.write_table(arrow.concat_tables(waiting))

    def _part(self, number: int) -> Path:
        return self._folder / f"{number:06}.parquet"


def _write(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a temporary file, and put it in place when it is on disk."""

    def fill_and_sync(temp: Path) -> None:
        fill(temp)
        with temp.open("rb") as file:
            os.fsync(file.fileno())

    write_checked(path, b"", fill_and_sync)


def _table(arrow: ModuleType, columns: tuple[Column, ...], rows: Sequence[Cells]) -> Any:
    schema = _schema(arrow, columns)
    by_column = zip(*rows, strict=True)
    arrays = []
    for column, kind, cells in zip(columns, schema.types, by_column, strict=True):
        arrays.append(arrow.array(flat(list(cells)) if column.kind == "json" else cells, kind))
    return arrow.table(arrays, schema=schema)


def _schema(arrow: ModuleType, columns: tuple[Column, ...]) -> Any:
    kinds = {
        "text": arrow.string(),
        "whole": arrow.int64(),
        "real": arrow.float64(),
        "json": arrow.string(),
        "list": arrow.list_(arrow.float64()),
    }
    return arrow.schema([(column.name, kinds[column.kind]) for column in columns])


def _pyarrow() -> ModuleType:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UnavailableError("Parquet needs pyarrow: pip install 'edgeflock[parquet]'") from error
    module: ModuleType = pyarrow
    return module


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
