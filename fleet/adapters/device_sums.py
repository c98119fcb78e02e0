"""A device's sums and hours of vitals, which may run some reports behind.

To read a device's sums, add one report and write them again takes most of the time of that report; to add
five takes hardly longer. So where many devices report, a report only waits, in the transaction that stores
it, and is added with its successors. A kill changes nothing about that: what waits is in the table
`unsummed` until the transaction that adds it. Rules:
- the sums of the whole fleet, and what is judged of a report, never wait (fleet/adapters/report_store.py);
- of one device at most `_TOGETHER` reports wait, and none for longer than `_LONGEST_S` and a batch;
- a report that waits is not removed, however old (fleet/adapters/retention.py).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final
from zlib import crc32

from fleet.adapters.database import Database
from fleet.adapters.msgspec_codec import encode, parse
from fleet.adapters.rollup_table import MAX_RELEASES, RollupTable
from fleet.adapters.vitals_table import VitalsTable
from fleet.ingest import Arrival
from wire.messages import Telemetry

_TOGETHER: Final = 5
_LONGEST_S: Final = 600.0

#: Devices that are brought up to date besides, in one batch: some 20 ms.
_STEP: Final = 200

#: What stands in `left_out` for the vitals of a report: no release has this name.
VITALS: Final = ""


@dataclass
class _Waiting:
    """Reports of one device, by `report.id`, and since when the first of them waits (Unix time)."""

    since_s: float
    ids: list[int] = field(default_factory=list)


class DeviceSums:
    """The writer; all but `read` happens inside a transaction that ends with `flush`."""

    def __init__(self, database: Database, rollups: RollupTable) -> None:
        self._database = database
        self._rollups = rollups
        self._vitals = VitalsTable(database)
        self._waiting: dict[str, _Waiting] = {}  # who waits longest is the first
        self._due: dict[str, None] = {}
        self._left_out: dict[int, Collection[str]] = {}
        self._begun: list[tuple[int, str, bytes | None]] = []
        self._done: list[tuple[int]] = []
        self._releases: dict[str, tuple[str, ...]] = {}

    def read(self, now_s: float) -> None:
        """Take what the tables say, in place of what is in memory."""
        for kept in (self._waiting, self._due, self._left_out, self._begun, self._done, self._releases):
            kept.clear()
        self._vitals.forget()
        found = self._database.sql.execute("select id, device, left_out from unsummed order by id")
        for number, device, left_out in found:
            self._waiting.setdefault(device, _Waiting(now_s)).ids.append(number)
            if left_out:
                self._left_out[number] = parse(left_out)

    def forget(self, device: str) -> None:
        """Drop what is in memory of a device: its rows are erased."""
        waiting = self._waiting.pop(device, None)
        for number in waiting.ids if waiting else ():
            self._left_out.pop(number, None)
        self._releases.pop(device, None)

    @property
    def behind(self) -> bool:
        """Whether any report waits."""
        return bool(self._waiting)

    def admits(self, device: str, release: str) -> bool:
        """Return whether a device may count a release: one of the first `MAX_RELEASES` of its life."""
        known = self._releases.get(device)
        if known is None:  # what an earlier process left waiting may name others
            waiting = [
                counters["release"]
                for number, _, report in self._stored(device)
                for counters in report["models"]
                if counters["release"] not in self._left_out.get(number, ())
            ]
            known = tuple(dict.fromkeys((*self._rollups.releases(device), *waiting)))
        if release not in known and len(known) < MAX_RELEASES:
            known = (*known, release)
        self._releases[device] = known
        return release in known

    def add(
        self, device: str, at_s: float, telemetry: Telemetry, left_out: Collection[str], now_s: float
    ) -> None:
        """Add a report now, but for what is `left_out`."""
        if VITALS not in left_out:
            self._vitals.add(device, at_s, vars(telemetry.vitals))
        for counters in telemetry.models:
            if counters.release not in left_out:
                self._rollups.add_to_device(device, at_s, counters, now_s)

    def wait(self, word: Arrival, number: int, left_out: Collection[str], now_s: float) -> None:
        """Have a report, with this `id`, added later."""
        device = word.device
        waiting = self._waiting.setdefault(device, _Waiting(now_s))
        waiting.ids.append(number)
        # By its name, so that not all devices of a fleet have their turn in the same minute.
        its_turn = (crc32(device.encode()) + word.head.sequence) % _TOGETHER == 0
        if its_turn or len(waiting.ids) >= _TOGETHER:
            self._due[device] = None
        if left_out:
            self._left_out[number] = left_out
        self._begun.append((number, device, encode(left_out) if left_out else None))

    def flush(self, now_s: float, *, later: bool) -> None:
        """Add what is due, and some of what waits: any, or, where that may be `later`, what waits too long.

        The reports are in their table by now.
        """
        sql = self._database.sql
        sql.executemany("insert into unsummed values (?, ?, ?)", self._begun)
        first = islice(self._waiting.items(), _STEP)
        longest = [d for d, waiting in first if not later or waiting.since_s <= now_s - _LONGEST_S]
        for device in self._due | dict.fromkeys(longest):
            self._catch_up(device, now_s)
        self._rollups.flush()
        self._vitals.flush()
        sql.executemany("delete from unsummed where id = ?", self._done)
        for kept in (self._begun, self._due, self._done):
            kept.clear()

    def _catch_up(self, device: str, now_s: float) -> None:
        """Add what waits of a device. It was checked when it came, so it is taken as it lies there."""
        for number, at_s, telemetry in self._stored(device):
            left_out = self._left_out.pop(number, ())
            if VITALS not in left_out:
                self._vitals.add(device, at_s, telemetry["vitals"])
            for counters in telemetry["models"]:
                if counters["release"] not in left_out:
                    self._rollups.add_to_device(device, at_s, counters, now_s)
        self._done += [(number,) for number in self._waiting.pop(device).ids]

    def _stored(self, device: str) -> list[tuple[int, float, Any]]:
        """Return `id`, moment and content of the reports of a device that wait and are in their table."""
        waiting = self._waiting.get(device)
        ids = waiting.ids if waiting else []
        found = self._database.sql.execute(
            f"select id, at_s, body from report where id in ({', '.join('?' * len(ids))})",  # noqa: S608  # only marks
            ids,
        )
        return [(number, at_s, parse(body)) for number, at_s, body in found]
