"""Devices and samples as tables for other programs: a header and rows. Pure.

A cell that a spreadsheet would take for a formula gets an apostrophe in front: its text came from a device
(OWASP, "CSV Injection").
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from fleet.view import DeviceRow
from fleet.web.condition import condition
from fleet.web.reading import DeviceNow, SampleLine

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Table:
    """Columns by name, all equally long."""

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]

    @property
    def columns(self) -> dict[str, list[Any]]:
        return {name: [row[i] for row in self.rows] for i, name in enumerate(self.header)}


def devices_table(devices: Iterable[DeviceNow]) -> Table:
    """Return a row for each model on each device."""
    header = ["condition", "last_seen_s", "groups", *(field.name for field in fields(DeviceRow))]
    rows = []
    for device in devices:
        state = condition(device).word
        for row in device.rows:
            rows.append([state, device.last_seen_s, " ".join(device.groups), *asdict(row).values()])
    return Table(header, rows)


def samples_table(samples: Iterable[SampleLine]) -> Table:
    """Return a row for each sample; lists are joined by spaces."""
    header = [field.name for field in fields(SampleLine)]
    rows = [
        [" ".join(map(str, value)) if isinstance(value, tuple) else value for value in asdict(s).values()]
        for s in samples
    ]
    return Table(header, rows)


def csv_text(table: Table) -> str:
    """Return the table as CSV (RFC 4180)."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(table.header)
    writer.writerows([[_harmless(cell) for cell in row] for row in table.rows])
    return out.getvalue()


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
