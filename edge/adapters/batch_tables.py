"""Rows of CSV files, one at a time.

Rules:
- commas, semicolons or tabs, whichever the first line has most of; UTF-8, of which a byte that is none
  costs the field it is in, and nothing where that is not asked for;
- the first line names the columns, unless it holds numbers only: then they are named 0, 1, 2 …;
- which columns hold numbers is told by most of the first rows: a row that does not fit is that row's
  problem, and the next one follows;
- text in quotes may go over several lines. A quote that is never closed would swallow the rest, so one
  that took in a line that is a row of its own, or that ends in a row of another length, is that first
  line's problem, and reading goes on with the next line;
- empty lines are no rows.
"""

from __future__ import annotations

import csv
import itertools
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from edge.batch.intake import Intake, finite_numbers, is_number, numeric_columns
from wire.errors import DataError

_DELIMITERS: Final = (",", ";", "\t")
_LOOKED_AT_ROWS: Final = 100
_BYTES_A_NUMBER: Final = 8
_HEADER_CHARACTERS: Final = 1024 * 1024
#: Bytes that are no UTF-8 stay in the text, as what no text has otherwise.
_KEPT: Final = "surrogateescape"
_NOT_CLOSED: Final = "a quote in this line is not closed"


class Row(NamedTuple):
    """One row of a file, or what is wrong with it. `share` is how much of the file is read behind it."""

    number: int
    share: float
    weight_bytes: int = 0
    inputs: Any = None
    truth: Any = None
    problem: str = ""


@dataclass(frozen=True)
class _Choice:
    """Which fields of a row are taken."""

    names: tuple[str, ...]
    places: tuple[int, ...]
    chosen: tuple[str, ...]
    truth: int | None


def read_csv(path: Path, intake: Intake, first: int = 0) -> Generator[Row]:
    """Yield the rows of the file from row `first` on; raise DataError when it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", errors=_KEPT, newline="") as text:
            yield from _read(text, max(1, path.stat().st_size), intake, first)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _read(text: IO[str], size: int, intake: Intake, first: int) -> Iterator[Row]:
    head = text.readline(_HEADER_CHARACTERS)
    text.seek(0)
    fields = _fields(text, max(_DELIMITERS, key=head.count))
    looked_at = list(itertools.islice(fields, _LOOKED_AT_ROWS + 1))
    if not looked_at or isinstance(looked_at[0], str):
        raise DataError("the file is empty" if not looked_at else f"no header: {looked_at[0]}")
    if not all(_is_text(name) for name in looked_at[0]):
        raise DataError("the header is not written in UTF-8")
    names, rows = _header(looked_at)
    if not rows:
        raise DataError("the file has no rows below its header")
    choice = _choose(names, [row for row in rows if not isinstance(row, str)], intake)
    for number, row in enumerate(itertools.chain(rows, fields)):
        if number < first:
            continue
        share = text.buffer.tell() / size  # type: ignore[attr-defined]  # a TextIOWrapper has it
        yield _row(number, share, row, choice, intake)


def _fields(text: IO[str], delimiter: str) -> Iterator[list[str] | str]:
    """Yield the fields of each row, or the words for what is wrong with it."""
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=delimiter)
    expected = 0
    while True:
        lines.taken.clear()
        row: list[str] | str
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            row = str(error)
        if len(lines.taken) > 1 and _swallowed(row, lines.taken[1], expected, delimiter):
            lines.put_back(lines.taken[1:])
            row = _NOT_CLOSED
        expected = expected or len(row)
        if row:
            yield row


class _Lines:
    """The lines of a file, of which some can be put back; `taken` are those since it was emptied."""

    def __init__(self, text: Iterable[str]) -> None:
        self._text = iter(text)
        self._again: deque[str] = deque()
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._text)
        self.taken.append(line)
        return line

    def put_back(self, lines: Sequence[str]) -> None:
        self._again.extendleft(reversed(lines))


def _swallowed(row: list[str] | str, second: str, expected: int, delimiter: str) -> bool:
    """Return whether a quote took in lines that are rows: `row` is what came of all, `second` the next."""
    if isinstance(row, str):
        return True
    if expected < 2:  # the header, or a single column: nothing to tell it by
        return False
    return len(row) != expected or len(next(csv.reader([second], delimiter=delimiter), [])) == expected


def _is_text(text: str) -> bool:
    return not any("\udc80" <= character <= "\udcff" for character in text)


def _header(rows: list[list[str] | str]) -> tuple[tuple[str, ...], list[list[str] | str]]:
    """Return the columns' names and the rows behind them."""
    names = [name.strip() for name in rows[0]]
    counted = [str(number) for number in range(len(names))]
    if names != counted and all(is_number(name) for name in names):
        return tuple(counted), rows
    return tuple(names), rows[1:]


def _choose(names: tuple[str, ...], rows: Sequence[Sequence[str]], intake: Intake) -> _Choice:
    places = intake.choose_columns(names, numeric_columns(rows, len(names)))
    chosen = tuple(names[place] for place in places)
    return _Choice(names, places, chosen, intake.place_of_truth(names))


def _row(number: int, share: float, fields: list[str] | str, choice: _Choice, intake: Intake) -> Row:
    if isinstance(fields, str):
        return Row(number, share, problem=fields)
    if len(fields) != len(choice.names):
        return Row(number, share, problem=f"{len(fields)} fields, the header has {len(choice.names)}")
    try:
        inputs = intake.from_numbers(finite_numbers([fields[i] for i in choice.places], choice.chosen))
    except DataError as error:
        return Row(number, share, problem=str(error))
    truth = None if choice.truth is None else fields[choice.truth]
    return Row(number, share, len(choice.places) * _BYTES_A_NUMBER, inputs, truth)
