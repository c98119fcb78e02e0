"""What devices said, committed before it is acknowledged.

One batch is one transaction: where each device stands, the messages, the sums and the complaints change
together or not at all. Statements are collected and run at its end, many rows at a time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from fleet.adapters.class_counts import ClassCounts
from fleet.adapters.complaints import Complaints
from fleet.adapters.database import Database
from fleet.adapters.device_sums import VITALS, DeviceSums
from fleet.adapters.mark_table import MarkTable
from fleet.adapters.message_tables import MessageTables
from fleet.adapters.msgspec_codec import encode
from fleet.adapters.rollup_table import RollupTable
from fleet.ingest import Arrival, Presence, Refusal, StateWord, Word
from fleet.plausibility import are_possible, beyond
from fleet.timing import moment
from wire.errors import MessageError
from wire.messages import Ack, Telemetry


@dataclass(frozen=True)
class Taken:
    """What became of a batch: devices to acknowledge, new devices, and the first refused head of a kind."""

    acknowledge: frozenset[str]
    new_devices: frozenset[str]
    refused: tuple[MessageError, ...]


class ReportStore:
    """Writes words to the database; idempotent on (device, stream, boot, sequence)."""

    def __init__(self, database: Database, wall_clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall_clock = wall_clock
        self._marks = MarkTable(database)
        self._messages = MessageTables(database)
        self._rollups = RollupTable(database)
        self._device_sums = DeviceSums(database, self._rollups)
        self._complaints = Complaints(database, wall_clock)
        self._class_counts = ClassCounts(database, wall_clock)
        self._now_s = 0.0
        self._heard: set[str] = set()
        # The newest report of each (device, boot) of the batch.
        self._news: dict[tuple[str, str], bytes] = {}
        self._stands = False  # whether what is in memory of devices is what the disk says

    def open(self) -> ReportStore:
        """Read where each device stands."""
        self._marks.read()
        self._device_sums.read(self._wall_clock())
        self._stands = True
        return self

    @property
    def devices(self) -> frozenset[str]:
        """All devices that ever said something here."""
        return self._marks.devices

    @property
    def behind(self) -> bool:
        """Whether sums of devices wait for `take` without `later`, which does not wait for words."""
        return self._device_sums.behind

    def take(self, words: Iterable[Word], *, later: bool = False) -> Taken:
        """Commit a batch in one transaction. When that fails, nothing of it is remembered, and it raises.

        With `later` the sums of single devices may run some reports behind (fleet/adapters/device_sums.py).
        """
        if not self._stands:
            self.open()
        self._complaints.begin()
        try:
            with self._database.transaction():
                taken = self._take(words, later=later)
        except BaseException:
            self._forget()
            with suppress(sqlite3.Error):  # the same disk: the next batch tries again
                self.open()
            raise
        self._complaints.written()
        return taken

    def _forget(self) -> None:
        """Drop what is in memory, which ran ahead of the disk."""
        self._stands = False
        for part in (self._messages, self._rollups, self._complaints):
            part.forget()
        self._heard.clear()
        self._news.clear()

    def _take(self, words: Iterable[Word], *, later: bool) -> Taken:
        self._now_s = self._wall_clock()
        acknowledge: set[str] = set()
        new: set[str] = set()
        refused = []
        for word in words:
            if word.device not in self._marks:
                self._add_device(word.device)
                new.add(word.device)
            match word:
                case Presence():
                    self._take_presence(word)
                case StateWord():
                    self._take_state(word)
                case Arrival():
                    try:
                        self._take_arrival(word, later=later)
                        acknowledge.add(word.device)
                    except MessageError as error:
                        if self.count_refusal(error.kind, word.device):
                            refused.append(error)
                case Refusal():
                    refused += self._take_refusal(word)
                    acknowledge.add(word.device)
        self._flush(later=later)
        return Taken(frozenset(acknowledge), frozenset(new), tuple(refused))

    def _add_device(self, device: str) -> None:
        self._database.sql.execute(
            "insert or ignore into device (name, first_seen_s, last_seen_s) values (?, ?, ?)",
            (device, self._now_s, self._now_s),
        )
        self._marks.welcome(device)

    def _take_presence(self, word: Presence) -> None:
        """A will of an older boot says nothing about the one that lives."""
        online = word.online
        self._database.sql.execute(
            "update device set online = ?, boot = ? where name = ? and (? or boot = ?)",
            (online.online, online.boot, word.device, online.online, online.boot),
        )
        self._spoke(word.device, live=word.live)

    def _take_state(self, word: StateWord) -> None:
        self._database.sql.execute(
            "update device set reported = ? where name = ?", (encode(word.reported), word.device)
        )
        self._spoke(word.device, live=word.live)

    def _spoke(self, device: str, *, live: bool = True) -> None:
        if live:  # a retained message may be a week old
            self._heard.add(device)

    def _take_arrival(self, word: Arrival, *, later: bool) -> None:
        new, newest = self._marks.add(word.device, word.stream, word.head)
        self._spoke(word.device)
        if not new:
            return
        at = moment(word.head.time_s, self._now_s)
        if at.clock != "right":
            self._complaints.count("flag", word.device, f"clock-{at.clock}")
        body = encode(word.body)
        number = self._messages.add(word, self._now_s, at.time_s, body)
        if isinstance(word.body, Telemetry):
            left_out = self._roll_up(word.device, at.time_s, word.body)
            if later and number is not None:
                self._device_sums.wait(word, number, left_out, self._now_s)
            else:
                self._device_sums.add(word.device, at.time_s, word.body, left_out, self._now_s)
            if newest:
                self._news[word.device, word.head.boot] = body

    def _take_refusal(self, word: Refusal) -> list[MessageError]:
        """Pass a message over; return what is to be told of it: the first error of its kind."""
        self._spoke(word.device)
        error = word.error
        try:
            self._marks.add(word.device, word.stream, word.head)
        except MessageError as absurd:
            error = absurd
        return [error] if self.count_refusal(error.kind, word.device) else []

    def _roll_up(self, device: str, at_s: float, telemetry: Telemetry) -> list[str]:
        """Add a report to the sums of the fleet; return what of it is to stay out of its device's as well."""
        left_out = []
        if not are_possible(telemetry.vitals):
            self._complaints.count("flag", device, "vitals")
            left_out.append(VITALS)
        for counters in telemetry.models:
            release = counters.release
            classes = self._class_counts.of(release)
            if classes and beyond(counters, classes):
                self._complaints.count("flag", device, "classes")
                left_out.append(release)
            elif not self._device_sums.admits(device, release):
                self._complaints.count("flag", device, "releases")
                left_out.append(release)
            else:
                self._rollups.add_to_fleet(at_s, counters, self._now_s)
        return left_out

    def _flush(self, *, later: bool) -> None:
        sql = self._database.sql
        self._marks.flush(self._now_s)
        self._messages.flush()
        self._device_sums.flush(self._now_s, later=later)
        self._complaints.flush()
        # Of the boot that lives; the backlog of an older one is not news.
        sql.executemany(
            "update device set last_seen_s = ?, telemetry = iif(boot in ('', ?), ?, telemetry) "
            "where name = ?",
            [(self._now_s, boot, body, device) for (device, boot), body in self._news.items()],
        )
        others = self._heard.difference(device for device, _ in self._news)
        sql.executemany(
            "update device set last_seen_s = ? where name = ?", [(self._now_s, device) for device in others]
        )
        self._heard.clear()
        self._news.clear()

    def forget(self, device: str) -> None:
        """Drop what is in memory of a device that was removed (fleet/adapters/removal.py)."""
        self._marks.forget(device)
        self._rollups.forget_device(device)
        self._device_sums.forget(device)

    def count_refusal(self, kind: str, device: str = "") -> bool:
        """Count a message that was not understood; return whether it is the first of its kind.

        The count is written with the next batch, of which there may be nothing else (`take(())`).
        """
        return self._complaints.count("refusal", device, kind)

    @property
    def complaining(self) -> bool:
        """Whether there are counts to be written."""
        return self._complaints.waiting

    def acks(self, devices: Iterable[str] | None = None) -> dict[str, Ack]:
        """Return what has been committed for each of `devices` (default: all); nothing while the
        disk cannot be read."""
        return self._marks.acks(devices) if self._stands else {}
