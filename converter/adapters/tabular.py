"""Tables as data sets: CSV (also with semicolons or tabs, also packed) and Parquet, through pyarrow.

Rules:
- every column but the target is a feature, in the file's order: that must be the model's order;
- the target is the named column, else one that is called target, label, y or class, else the last;
- a column `split` of train, val and test divides the rows and is no feature;
- a row number that pandas wrote along (a first column without a name) is no feature either;
- features are numbers and nothing is missing: how to fill gaps and to encode text was decided in
  training, and another choice here would measure another model;
- rows count from 1 in messages, below the header.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow
from pyarrow import csv, parquet, types

from converter.dataset import Array, Part, Split
from converter.parts import PART_NAMES, Parts
from wire.errors import DataError

_TARGET_NAMES: Final = ("target", "label", "y", "class")
_SPLIT_NAME: Final = "split"
_INDEX_NAMES: Final = ("", "Unnamed: 0", "__index_level_0__")
_TEXTS: Final = ("string", "large_string", "string_view")
_KINDS: Final = {**dict.fromkeys(_TEXTS, "text"), "binary": "text that is not UTF-8"}
_DELIMITERS: Final = (",", ";", "\t")
_HEADER_BYTES: Final = 64 * 1024
#: pyarrow tells a column's type from its first block, and fails when a later one has decimals.
_BLOCK_BYTES: Final = 2**30


def read_csv(path: Path, target: str | None) -> Parts:
    """Read the CSV file at `path`; raise DataError with one line that names it and the column."""
    try:
        with pyarrow.input_stream(str(path), compression="detect") as file:
            header = file.read(_HEADER_BYTES).split(b"\n")[0].decode("utf-8-sig")
        delimiter = max(_DELIMITERS, key=header.count)
        _check_header([name.strip(' "\r') for name in header.split(delimiter)], path)
        with pyarrow.input_stream(str(path), compression="detect") as file:
            table = csv.read_csv(
                file,
                read_options=csv.ReadOptions(block_size=_BLOCK_BYTES),
                parse_options=csv.ParseOptions(delimiter=delimiter),
            )
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not written in UTF-8") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return _parts(table, path, target)


def read_parquet(path: Path, target: str | None) -> Parts:
    """Read the Parquet file at `path`; raise DataError with one line that names it and the column."""
    try:
        table = parquet.read_table(str(path), partitioning=None)
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return _parts(table, path, target)


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(f"{path} cannot be read: {' '.join(str(error).split())[:300]}")


def _check_header(names: list[str], path: Path) -> None:
    counted = names == [str(number) for number in range(len(names))]  # what pandas calls columns of an array
    if len(names) > 1 and not counted and all(_is_number(name) for name in names):
        raise DataError(
            f"{path} has no header: line 1 must name the columns (it holds {', '.join(names[:4])})"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parts(table: Any, path: Path, target: str | None) -> Parts:
    columns = _columns(table, path)
    notes = []
    index = next((name for name in _INDEX_NAMES if _counts_rows(columns.get(name))), None)
    if index is not None:
        del columns[index]
        notes.append(f"the column {index!r} counts the rows and is left out")
    split = _take_split(columns, path)
    target, note = _target(list(columns), target, path)
    if note:
        notes.append(note)
    truth = _truth(columns.pop(target), f"{path}: the target column {target}") if target else None
    features = [_numbers(column, f"{path}: the column {name}") for name, column in columns.items()]
    if not features:
        raise DataError(f"{path} has no column besides {target}: nothing is left for the input")
    whole = Split({"": np.stack(features, axis=1)}, truth)
    return Parts(
        str(path),
        {"": whole} if split is None else _by_part(whole, split),
        notes=tuple(notes),
        columns=tuple(columns),
    )


def _columns(table: Any, path: Path) -> dict[str, Any]:
    names = [str(name).strip() for name in table.column_names]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path} has two columns named {name!r}")
    if not table.num_rows:
        raise DataError(f"{path} has no rows below its header")
    return {name: _plain(column) for name, column in zip(names, table.columns, strict=True)}


def _plain(column: Any) -> Any:
    """Return a column of categories (as pandas writes them) as its values."""
    return column.cast(column.type.value_type) if types.is_dictionary(column.type) else column


def _counts_rows(column: Any) -> bool:
    if column is None or not types.is_integer(column.type) or column.null_count:
        return False
    return bool(np.array_equal(column.to_numpy(), np.arange(len(column))))


def _take_split(columns: dict[str, Any], path: Path) -> Array | None:
    """Remove the column that divides the rows, and return the part of each; None without one."""
    name = next((name for name in columns if name.lower() == _SPLIT_NAME and _is_text(columns[name])), None)
    if name is None:
        return None
    parts = _text(columns.pop(name), f"{path}: the column {name}")
    for word in np.unique(parts).tolist():
        if word.strip().lower() not in PART_NAMES:
            raise DataError(f"{path}: the column {name} holds {word!r}: needed are train, val and test")
    return np.asarray([PART_NAMES[word.strip().lower()] for word in parts.tolist()])


def _by_part(whole: Split, parts: Array) -> Mapping[Part, Split]:
    """Return the rows of each part, as a set of its own."""
    found: dict[Part, Split] = {}
    for part in dict.fromkeys(PART_NAMES.values()):
        rows = np.flatnonzero(parts == part)
        if len(rows):
            found[part] = Split(whole.rows(rows).inputs, whole.rows(rows).truth, part)
    return found


def _target(names: list[str], wanted: str | None, path: Path) -> tuple[str, str]:
    """Return the target's name ("" for none), and a note when it was guessed."""
    if wanted == "":
        return "", ""
    if wanted is not None:
        if wanted not in names:
            raise DataError(f"{path} has no column {wanted!r} (it has {', '.join(names[:8])})")
        return wanted, ""
    named = [name for name in names if name.lower() in _TARGET_NAMES]
    if len(named) > 1:
        raise DataError(f"{path}: {' and '.join(named)} could each be the target: name it with --target")
    if named:
        return named[0], ""
    return names[-1], f"the last column, {names[-1]}, is taken as the target (--target names another)"


def _truth(column: Any, what: str) -> Array:
    return _text(column, what) if _is_text(column) else _numbers(column, what)


def _is_text(column: Any) -> bool:
    return str(column.type) in _TEXTS


def _text(column: Any, what: str) -> Array:
    texts = np.asarray(column.to_pylist(), object)
    _refuse_missing(np.asarray([text is None or not text.strip() for text in texts], bool), what)
    return texts.astype(np.str_)


def _numbers(column: Any, what: str) -> Array:
    kind = column.type
    if column.null_count:  # before the type: a column of nothing at all has none
        _refuse_missing(column.is_null().to_numpy(), what)
    if types.is_decimal(kind):
        return np.asarray(column.cast(pyarrow.float64()).to_numpy())
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        held, first = _KINDS.get(str(kind), str(kind)), str(column[0].as_py())[:20]
        raise DataError(f"{what} holds {held}, not numbers (first: {first}): encode it or leave it out")
    numbers = np.asarray(column.to_numpy())
    if numbers.dtype.kind == "f":
        _refuse_missing(np.isnan(numbers), what)
    return numbers


def _refuse_missing(missing: Array, what: str) -> None:
    if missing.any():
        rows = int(missing.sum())
        raise DataError(
            f"{what} has no value in {rows} row{'s' if rows != 1 else ''}, first in row "
            f"{int(np.argmax(missing)) + 1}: fill it as in training, or leave the rows out"
        )
