"""What devices said, committed before it is acknowledged.

One batch is one transaction: where each device stands, the messages, the sums and the complaints change
together or not at all. Statements are collected and run at its end, many rows at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fleet.adapters.class_counts import ClassCounts
from fleet.adapters.complaints import Complaints
from fleet.adapters.database import Database
from fleet.adapters.mark_table import MarkTable
from fleet.adapters.message_tables import MessageTables
from fleet.adapters.msgspec_codec import encode
from fleet.adapters.rollup_table import RollupTable
from fleet.adapters.vitals_table import VitalsTable
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
        self._vitals = VitalsTable(database)
        self._complaints = Complaints(database, wall_clock)
        self._class_counts = ClassCounts(database, wall_clock)
        self._now_s = 0.0
        self._heard: set[str] = set()
        # The newest report of each (device, boot) of the batch.
        self._news: dict[tuple[str, str], bytes] = {}

    def open(self) -> ReportStore:
        """Read where each device stands."""
        self._marks.read()
        for part in (self._messages, self._rollups, self._vitals, self._complaints):
            part.forget()
        self._heard.clear()
        self._news.clear()
        return self

    @property
    def devices(self) -> frozenset[str]:
        """All devices that ever said something here."""
        return self._marks.devices

    def take(self, words: Iterable[Word]) -> Taken:
        """Commit a batch in one transaction. When that fails, nothing of it is remembered, and it raises."""
        self._complaints.begin()
        try:
            with self._database.transaction():
                taken = self._take(words)
        except BaseException:
            self.open()  # what is in memory ran ahead of the disk
            raise
        self._complaints.written()
        return taken

    def _take(self, words: Iterable[Word]) -> Taken:
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
                        self._take_arrival(word)
                        acknowledge.add(word.device)
                    except MessageError as error:
                        if self.count_refusal(error.kind, word.device):
                            refused.append(error)
                case Refusal():
                    refused += self._take_refusal(word)
                    acknowledge.add(word.device)
        self._flush()
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

    def _take_arrival(self, word: Arrival) -> None:
        new, newest = self._marks.add(word.device, word.stream, word.head)
        self._spoke(word.device)
        if not new:
            return
        at = moment(word.head.time_s, self._now_s)
        if at.clock != "right":
            self._complaints.count("flag", word.device, f"clock-{at.clock}")
        body = encode(word.body)
        self._messages.add(word, self._now_s, at.time_s, body)
        if isinstance(word.body, Telemetry):
            self._roll_up(word.device, at.time_s, word.body)
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

    def _roll_up(self, device: str, at_s: float, telemetry: Telemetry) -> None:
        if are_possible(telemetry.vitals):
            self._vitals.add(device, at_s, telemetry.vitals)
        else:
            self._complaints.count("flag", device, "vitals")
        for counters in telemetry.models:
            classes = self._class_counts.of(counters.release)
            if classes and beyond(counters, classes):
                self._complaints.count("flag", device, "classes")
            elif not self._rollups.add(device, at_s, counters, self._now_s):
                self._complaints.count("flag", device, "releases")

    def _flush(self) -> None:
        sql = self._database.sql
        self._marks.flush(self._now_s)
        self._messages.flush()
        self._rollups.flush()
        self._vitals.flush()
        self._complaints.flush()
        heard = [(self._now_s, device) for device in self._heard]
        sql.executemany("update device set last_seen_s = ? where name = ?", heard)
        # Of the boot that lives; the backlog of an older one is not news.
        news = [(body, device, boot) for (device, boot), body in self._news.items()]
        sql.executemany("update device set telemetry = ? where name = ? and boot in ('', ?)", news)
        self._heard.clear()
        self._news.clear()

    def forget(self, device: str) -> None:
        """Drop what is in memory of a device that was removed (fleet/adapters/removal.py)."""
        self._marks.forget(device)
        self._rollups.forget_device(device)

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
        """Return what has been committed for each of `devices` (default: all)."""
        return self._marks.acks(devices)
