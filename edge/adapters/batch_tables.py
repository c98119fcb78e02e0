"""Rows of CSV files, one at a time.

Rules:
- commas, semicolons or tabs, whichever the first line has most of; UTF-8;
- the first line names the columns, unless it holds numbers only: then they are named 0, 1, 2 …;
- which columns hold numbers is told by most of the first rows: a row that does not fit is that row's
  problem, and the next one follows;
- empty lines are no rows.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from edge.batch.intake import Intake, finite_numbers, is_number, numeric_columns
from wire.errors import DataError

_DELIMITERS: Final = (",", ";", "\t")
_LOOKED_AT_ROWS: Final = 100
_BYTES_A_NUMBER: Final = 8
_HEADER_CHARACTERS: Final = 1024 * 1024


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
        with path.open(encoding="utf-8-sig", newline="") as text:
            yield from _read(text, max(1, path.stat().st_size), intake, first)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError("the file is not written in UTF-8") from error


def _read(text: IO[str], size: int, intake: Intake, first: int) -> Iterator[Row]:
    head = text.readline(_HEADER_CHARACTERS)
    text.seek(0)
    fields = _fields(text, max(_DELIMITERS, key=head.count))
    looked_at = list(itertools.islice(fields, _LOOKED_AT_ROWS + 1))
    if not looked_at or isinstance(looked_at[0], str):
        raise DataError("the file is empty" if not looked_at else f"no header: {looked_at[0]}")
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
    reader = csv.reader(text, delimiter=delimiter)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"line {reader.line_num}: {error}"
            continue
        if row:
            yield row


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
