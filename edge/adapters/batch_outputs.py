"""Answers in files: CSV, NDJSON and Parquet, each row exactly once.

Rules:
- until a job is done its answers, errors and record are in the folder `OUT.unfinished`: OUT itself is
  there when it is whole, or not at all;
- a checkpoint is: answers on disk, errors on disk, then the record that says where they end, written
  wholly or not at all;
- to go on, everything behind those ends is cut off: what a kill left half-written was not done;
- finishing moves one file after the other, and may be repeated after a kill in between: the record
  goes last and stays beside the answers as `OUT.job.json`.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from edge.adapters.batch_parquet import ParquetRows
from edge.batch.answering import Refusal
from edge.batch.answers import Cells, Column, flat, line
from edge.batch.destination import Destination
from edge.batch.job import Found, Record
from wire.adapters.files import only_owner, sync_folder, write_atomic
from wire.codec import decode, encode
from wire.errors import DataError, MessageError

_RECORD: Final = "record.json"
_ROWS: Final = "answers"
ERRORS: Final = "errors.ndjson"
LOCK: Final = "lock"


class Output(Protocol):
    """Where answers go. Every method may raise OSError and UnavailableError."""

    def owner(self) -> AbstractContextManager[None]:
        """Hold the output for the time of a block; UnavailableError when another process does."""

    def find(self) -> Found:
        """Return what an earlier run left."""

    def begin(self, record: Record, *, anew: bool) -> None:
        """Open for writing behind the record's checkpoint; DataError when less is there."""

    def discard(self) -> None:
        """Remove what an earlier run left beside a job that is finished."""

    def write(self, rows: Sequence[Cells], errors: Sequence[Refusal]) -> None:
        """Take answers and errors, in the order of the inputs."""

    def commit(self, record: Record) -> Record:
        """Bring everything to disk, with a record that says so; return that record."""

    def finish(self, record: Record) -> None:
        """Put a job that is done in its place; once more after a kill makes no difference."""

    def close(self) -> None:
        """Let go of what was not committed."""


class Rows(Protocol):
    """The answers of one file while they are being written; `size` is its own measure of how many."""

    def begin(self, size: int) -> None:
        """Open, and cut off what is behind `size`; DataError when less is there."""

    def write(self, rows: Sequence[Cells]) -> None:
        """Take rows."""

    def commit(self) -> int:
        """Bring all rows to disk; return the size."""

    def finish(self, out: Path, size: int) -> None:
        """Move everything into place; once more makes no difference."""

    def close(self) -> None:
        """Close, without writing anything."""


class GrowingFile:
    """A file that is added to, and cut off where it was last known to be whole."""

    def __init__(self, path: Path, head: bytes = b"") -> None:
        self.path = path
        self._head = head
        self._file: BinaryIO | None = None

    def begin(self, size: int) -> None:
        """Open behind `size` bytes; raise DataError when there are fewer."""
        if not size:
            self._file = self.path.open("wb")
            self._file.write(self._head)
            return
        there = self.path.stat().st_size if self.path.exists() else 0
        if there < size:
            raise DataError(f"{self.path} has {there} bytes, its record says {size}: --overwrite begins anew")
        self._file = self.path.open("r+b")
        self._file.truncate(size)
        self._file.seek(size)

    def add(self, data: bytes) -> None:
        assert self._file is not None, "begin comes first"
        self._file.write(data)

    def commit(self) -> int:
        """Bring everything to disk; return the size in bytes."""
        assert self._file is not None, "begin comes first"
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close; what could not be written before is not worth a second error."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None


class TextRows:
    """Answers as lines of text; `encode_rows` makes them."""

    def __init__(
        self, path: Path, encode_rows: Callable[[Sequence[Cells]], bytes], head: bytes = b""
    ) -> None:
        self._file = GrowingFile(path, head)
        self._encode_rows = encode_rows

    def begin(self, size: int) -> None:
        self._file.begin(size)

    def write(self, rows: Sequence[Cells]) -> None:
        self._file.add(self._encode_rows(rows))

    def commit(self) -> int:
        return self._file.commit()

    def finish(self, out: Path, size: int) -> None:  # noqa: ARG002  # a file knows where it ends
        move(self._file.path, out)

    def close(self) -> None:
        self._file.close()


class FileOutput:
    """Answers in a file of their own."""

    def __init__(self, to: Destination, columns: tuple[Column, ...]) -> None:
        self._to = to
        self._rows = _make_rows(to, columns)
        self._errors = GrowingFile(to.folder / ERRORS)

    def owner(self) -> AbstractContextManager[None]:
        return only_owner(self._to.folder / LOCK, "batch")

    def find(self) -> Found:
        if (self._to.folder / _RECORD).exists():
            record = read_record((self._to.folder / _RECORD).read_bytes())
            return Found(there=True, finished=False, record=record)
        if not self._to.path.exists():
            return Found(there=False)
        receipt = self._to.receipt
        return Found(
            True, finished=True, record=read_record(receipt.read_bytes()) if receipt.exists() else None
        )

    def begin(self, record: Record, *, anew: bool) -> None:
        self._sweep()
        if anew:
            (self._to.folder / _RECORD).unlink(missing_ok=True)
        if not record.checkpoint.done:
            self._rows.begin(record.checkpoint.answers)
            self._errors.begin(record.checkpoint.errors)

    def discard(self) -> None:
        self._sweep()
        remove(self._to.folder)

    def write(self, rows: Sequence[Cells], errors: Sequence[Refusal]) -> None:
        self._rows.write(rows)
        self._errors.add(error_lines(errors))

    def commit(self, record: Record) -> Record:
        ends = replace(record.checkpoint, answers=self._rows.commit(), errors=self._errors.commit())
        told = replace(record, checkpoint=ends)
        write_atomic(self._to.folder / _RECORD, encode(told))
        return told

    def finish(self, record: Record) -> None:
        self.close()
        move_errors(self._to, record)
        self._rows.finish(self._to.path, record.checkpoint.answers)
        move(self._to.folder / _RECORD, self._to.receipt)
        remove(self._to.folder)

    def close(self) -> None:
        self._rows.close()
        self._errors.close()

    def _sweep(self) -> None:
        """Remove what a kill left of a file that was put together beside its place."""
        for path in self._to.path.parent.glob(f".{glob.escape(self._to.path.name)}.*.tmp"):
            path.unlink(missing_ok=True)


def move(path: Path, target: Path) -> None:
    """Move a file that is on disk into place; one that was moved before is let be."""
    if path.exists():
        path.replace(target)
        sync_folder(target.parent)


def move_errors(to: Destination, record: Record) -> None:
    """Put the errors beside the answers; without any, none of an earlier job stay there."""
    if record.checkpoint.bad:
        move(to.folder / ERRORS, to.errors)
    else:
        to.errors.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove what an unfinished job needed."""
    shutil.rmtree(folder)
    sync_folder(folder.parent)


def leave_unused(folder: Path) -> None:
    """Remove the folder when nothing but the lock is in it: a command was refused."""
    if folder.is_dir() and [path.name for path in folder.iterdir()] == [LOCK]:
        shutil.rmtree(folder, ignore_errors=True)


def error_lines(errors: Sequence[Refusal]) -> bytes:
    """Return a line of JSON for each input without an answer."""
    told = ({"input": error.source, "row": error.row, "reason": error.reason} for error in errors)
    return "".join(json.dumps(one) + "\n" for one in told).encode()


def read_record(data: bytes) -> Record | None:
    """Return the record in `data`; None when it is another version's, or no record."""
    try:
        return decode(Record, data)
    except MessageError:
        return None


def _make_rows(to: Destination, columns: tuple[Column, ...]) -> Rows:
    path = to.folder / _ROWS
    if to.kind == "parquet":
        return ParquetRows(path, columns)
    if to.kind == "csv":
        return TextRows(path, _csv_lines, _csv_lines([[column.name for column in columns]]))
    return TextRows(path, lambda rows: "".join(line(columns, cells) + "\n" for cells in rows).encode())


def _csv_lines(rows: Sequence[Cells]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(map(flat, rows))
    return text.getvalue().encode()
