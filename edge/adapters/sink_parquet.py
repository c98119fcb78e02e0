"""Results as Parquet files in a folder, through pyarrow.

A Parquet file can be read only once its end is written. So rows wait in memory and go out as parts,
each written wholly or not at all, after `rotate_s` seconds or `rotate_rows` rows and at the end: a kill
loses at most the part that was not written yet, a full disk none. What reads the folder as one table
(pandas, DuckDB, pyarrow) sees whole parts only.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from edge.online.answer_rows import COLUMNS, Row, to_cells
from wire.adapters.files import sweep_temporaries, write_atomic
from wire.deadline import Clock
from wire.errors import SettingsError, UnavailableError

_GROUP_ROWS: Final = 10_000


class ParquetSink:
    """Appends parts to a folder. `boot` makes their names unlike those of another start."""

    def __init__(
        self,
        folder: str,
        boot: str,
        rotate_s: float,
        *,
        rotate_rows: int = 50_000,
        clock: Clock = time.monotonic,
    ) -> None:
        self._folder = Path(folder)
        self._boot = boot
        self._rotate_s = rotate_s
        self._rotate_rows = rotate_rows
        self._clock = clock
        self._cells: list[list[Any]] = []
        self._since_s = 0.0
        self._parts = 0
        self.safe = 0

    def open(self) -> None:
        """Make the folder; raise SettingsError where it cannot be one, UnavailableError without pyarrow."""
        _pyarrow()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            sweep_temporaries(self._folder)
        except OSError as error:
            raise SettingsError(f"{self._folder} cannot be a folder of results: {error.strerror}") from error

    def write(self, rows: Sequence[Row]) -> int:
        self.tick()
        if not self._cells:
            self._since_s = self._clock()
        self._cells.extend(to_cells(row) for row in rows)
        return len(rows)

    def tick(self) -> None:
        """Write the part if it is due; raise OSError with its rows kept for the next time."""
        full = len(self._cells) >= self._rotate_rows
        if full or (self._cells and self._clock() - self._since_s >= self._rotate_s):
            self._write_part()

    def close(self) -> None:
        if self._cells:
            self._write_part()

    def _write_part(self) -> None:
        arrow = _pyarrow()
        columns = [
            arrow.array(cells, kind)
            for cells, kind in zip(zip(*self._cells, strict=True), _types(arrow), strict=True)
        ]
        table = arrow.table(columns, names=list(COLUMNS))
        data = io.BytesIO()
        arrow.parquet.write_table(table, data, row_group_size=_GROUP_ROWS, compression="zstd")
        write_atomic(self._next_name(), data.getvalue())
        self.safe += len(self._cells)
        self._cells = []

    def _next_name(self) -> Path:
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        while True:
            path = self._folder / f"part-{now}-{self._boot}-{self._parts:05}.parquet"
            self._parts += 1
            if not path.exists():  # a part is never written over
                return path


def _types(arrow: ModuleType) -> list[Any]:
    types = {str: arrow.string(), float: arrow.float64(), int: arrow.int64()}
    return [types[kind] for kind in COLUMNS.values()]


def _pyarrow() -> ModuleType:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UnavailableError("writing Parquet needs pyarrow: pip install 'edgeflock[parquet]'") from error
    module: ModuleType = pyarrow
    return module
