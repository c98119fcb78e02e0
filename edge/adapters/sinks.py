"""Where results go: lines of JSON or CSV, in a file or on standard output.

The other sinks are in the files sink_*.py. A batch is one write to the file: a kill of this process
leaves whole lines, and a full disk none of the batch (what went in is cut off again, and the batch is
tried once more later).
"""

from __future__ import annotations

import csv
import io
import os
import stat
import sys
from collections.abc import Sequence
from typing import Final

from edge.online.answer_rows import COLUMNS, Row, to_cells, to_line
from wire.errors import SettingsError

_STDOUT: Final = "-"


class _TextFile:
    """A file that only grows, by whole pieces; `-` is standard output."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._handle = -1
        self._regular = False
        self._rest: memoryview | None = None

    def open(self) -> bool:
        """Open to append; return whether there is nothing in it. Raises SettingsError."""
        if self.path == _STDOUT:
            if sys.stdout is None:
                raise SettingsError("standard output is closed: name another --sink")
            sys.stdout.flush()
            self._handle = os.dup(sys.stdout.fileno())
        else:
            try:
                self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise SettingsError(f"{self.path} cannot be written: {error.strerror}") from error
        status = os.fstat(self._handle)
        self._regular = stat.S_ISREG(status.st_mode)
        return self.path == _STDOUT or not (self._regular and status.st_size)

    def begin_line(self) -> None:
        """End somebody's half line, so that ours begins on a new one."""
        size = os.fstat(self._handle).st_size if self._regular and self.path != _STDOUT else 0
        if size and os.pread(self._handle, 1, size - 1) != b"\n":
            os.write(self._handle, b"\n")

    def first_line(self) -> str:
        with open(self.path, encoding="utf-8", errors="replace", newline="") as file:
            return file.readline(4096).strip()

    def append(self, data: bytes) -> None:
        """Write all of `data`, or raise OSError with none of it in a regular file.

        What cannot be taken back (in a pipe, or somebody wrote behind it) stays: the next call, with the
        same data, writes the rest.
        """
        whole = view = self._rest or memoryview(data)
        self._rest = None
        try:
            while view:
                view = view[os.write(self._handle, view) :]
        except OSError as error:
            if not self._take_back(len(whole) - len(view)):
                self._rest = view
            error.filename = "standard output" if self.path == _STDOUT else self.path
            raise

    def _take_back(self, size_bytes: int) -> bool:
        """Cut off the last `size_bytes` of a regular file, if they are ours; return whether it is as before.

        Standard output may be a file too, and other people's as well.
        """
        if not self._regular:
            return False
        end = os.lseek(self._handle, 0, os.SEEK_CUR)
        if size_bytes == 0:
            return True
        if end != os.fstat(self._handle).st_size:
            return False
        os.ftruncate(self._handle, end - size_bytes)
        os.lseek(self._handle, end - size_bytes, os.SEEK_SET)
        return True

    def close(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


class LineSink:
    """Appends one JSON object a line; `-` is standard output."""

    def __init__(self, path: str) -> None:
        self._file = _TextFile(path)
        self.safe = 0

    def open(self) -> None:
        self._file.open()
        self._file.begin_line()

    def write(self, rows: Sequence[Row]) -> int:
        self._file.append("".join(to_line(row) + "\n" for row in rows).encode())
        self.safe += len(rows)
        return len(rows)

    def tick(self) -> None:
        """Nothing is due: every batch is written at once."""

    def close(self) -> None:
        self._file.close()


class CsvSink:
    """Appends to a CSV file (RFC 4180) with a header; the answer is a cell of JSON."""

    def __init__(self, path: str) -> None:
        self._file = _TextFile(path)
        self.safe = 0

    def open(self) -> None:
        """Open it, and write the header of a new one; raise SettingsError for a file with another header."""
        header = _csv_lines([list(COLUMNS)])
        if self._file.open():
            self._file.append(header)
            return
        if self._file.first_line() != header.decode().strip():
            self._file.close()
            raise SettingsError(f"{self._file.path} has other columns: name a new file")
        self._file.begin_line()

    def write(self, rows: Sequence[Row]) -> int:
        self._file.append(_csv_lines([to_cells(row) for row in rows]))
        self.safe += len(rows)
        return len(rows)

    def tick(self) -> None:
        """Nothing is due: every batch is written at once."""

    def close(self) -> None:
        self._file.close()


def _csv_lines(rows: list[list[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
