"""A table of text, as a terminal and a page both show it, and how figures are written in one. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Text of a label or a file name that would move a terminal's cursor or turn a line's direction.
_UNSAFE: Final = ("Cc", "Cs", "Zl", "Zp")
_DIRECTIONS: Final = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@dataclass(frozen=True)
class Table:
    """Rows of text under a header. `groups` are headings over several columns each, with their counts.

    The first column and those in `texts` read from the left, the others are figures. `marked` are the
    rows to set apart, `bars` shares (0 to 1, one a row) to draw beside the last column.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    groups: tuple[tuple[str, int], ...] = ()
    texts: frozenset[int] = frozenset()
    marked: frozenset[int] = frozenset()
    bars: tuple[float, ...] = ()


def without_empty(
    table_header: Sequence[str], rows: Sequence[tuple[str, ...]]
) -> tuple[tuple[str, ...], ...]:
    """Return the header and behind it the rows, without the columns that no row has anything in."""
    kept = [column for column in range(len(table_header)) if any(row[column] for row in rows)]
    return tuple(tuple(row[column] for column in kept) for row in (tuple(table_header), *rows))


def plain(text: str) -> str:
    """Return `text` with what a terminal would obey, or a reader not see, spelled out."""
    return "".join(
        ascii(letter)[1:-1] if unicodedata.category(letter) in _UNSAFE or letter in _DIRECTIONS else letter
        for letter in text
    )


def percent(share: float | None) -> str:
    """Return a share as a percentage, None as nothing."""
    return "" if share is None else f"{share:.1%}"


def points(lost: float, error: float = 0.0) -> str:
    """Return lost points with their standard error; a gain is negative."""
    rounded = round(lost, 2) + 0.0  # no -0.00
    return f"{rounded:.2f} ± {error:.2f}" if error else f"{rounded:.2f}"


def signed(change: float) -> str:
    """Return points of change; none is 0.0 without a sign."""
    return f"{change:+.1f}" if round(change, 1) else "0.0"


def times(ratio: float) -> str:
    """Return a ratio; above 100 its decimals say nothing."""
    return f"{ratio:.0f}x" if ratio >= 100 else f"{ratio:.1f}x"
