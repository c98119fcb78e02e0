"""What devices said, committed before it is acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fleet.adapters.database import Database
from fleet.adapters.msgspec_codec import decode, encode
from fleet.ingest import Arrival, Presence, ReleaseTotal, StateWord, Word
from fleet.tracking import Tracker
from wire.errors import MessageError
from wire.messages import Ack, Buckets, Mark, Telemetry

_Key = tuple[str, str, str]

#: Boots of a device whose marks are still told: older ones have nothing open any more.
_TOLD_BOOTS = 8


@dataclass(frozen=True)
class Taken:
    """What became of a batch: devices whose marks moved, new devices, and refused heads by kind."""

    acknowledge: frozenset[str]
    new_devices: frozenset[str]
    refused: tuple[MessageError, ...]


class ReportStore:
    """Writes words to the database; idempotent on (device, stream, boot, sequence)."""

    def __init__(self, database: Database, wall_clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall_clock = wall_clock
        self._trackers: dict[_Key, Tracker] = {}
        self._devices: set[str] = set()

    def open(self) -> ReportStore:
        """Read where each device stands."""
        sql = self._database.sql
        self._devices = {name for (name,) in sql.execute("select name from device")}
        self._trackers = {}
        for device, stream, boot, mark, lost in sql.execute(
            "select device, stream, boot, sequence, lost from mark"
        ).fetchall():
            pending = sql.execute(
                "select sequence from report where device = ? and stream = ? and boot = ? and sequence > ?",
                (device, stream, boot, mark),
            )
            self._trackers[device, stream, boot] = Tracker(mark, lost, frozenset(s for (s,) in pending))
        return self

    @property
    def devices(self) -> frozenset[str]:
        """All devices that ever said something here."""
        return frozenset(self._devices)

    def take(self, words: Iterable[Word]) -> Taken:
        """Commit a batch in one transaction. When that fails, nothing of it is remembered, and it raises."""
        try:
            with self._database.transaction():
                return self._take(words)
        except BaseException:
            self.open()  # the trackers ran ahead of the disk
            raise

    def _take(self, words: Iterable[Word]) -> Taken:
        acknowledge: set[str] = set()
        new: set[str] = set()
        refused = []
        for word in words:
            if word.device not in self._devices:
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
                        refused.append(error)
        return Taken(frozenset(acknowledge), frozenset(new), tuple(refused))

    def _add_device(self, device: str) -> None:
        now_s = self._wall_clock()
        self._database.sql.execute(
            "insert or ignore into device (name, first_seen_s, last_seen_s) values (?, ?, ?)",
            (device, now_s, now_s),
        )
        self._devices.add(device)

    def _take_presence(self, word: Presence) -> None:
        """A will of an older boot says nothing about the one that lives."""
        self._database.sql.execute(
            "update device set online = ?, boot = ?, last_seen_s = ? where name = ? and (? or boot = ?)",
            (
                word.online.online,
                word.online.boot,
                self._wall_clock(),
                word.device,
                word.online.online,
                word.online.boot,
            ),
        )

    def _take_state(self, word: StateWord) -> None:
        self._database.sql.execute(
            "update device set reported = ?, last_seen_s = ? where name = ?",
            (encode(word.reported), self._wall_clock(), word.device),
        )

    def _take_arrival(self, word: Arrival) -> None:
        head = word.head
        key = (word.device, word.stream, head.boot)
        tracker = self._trackers.setdefault(key, Tracker())
        if not tracker.add(head.sequence, head.first):
            return
        now_s = self._wall_clock()
        sql = self._database.sql
        sql.execute(
            "insert into report values (?, ?, ?, ?, ?, ?, ?)",
            (*key, head.sequence, head.time_s, now_s, encode(word.body)),
        )
        sql.execute(
            "insert or replace into mark values (?, ?, ?, ?, ?, ?)", (*key, tracker.mark, tracker.lost, now_s)
        )
        sql.execute("update device set last_seen_s = ? where name = ?", (now_s, word.device))
        if isinstance(word.body, Telemetry):
            self._roll_up(word.device, word.body)

    def _roll_up(self, device: str, telemetry: Telemetry) -> None:
        sql = self._database.sql
        sql.execute("update device set telemetry = ? where name = ?", (encode(telemetry), device))
        for counters in telemetry.models:
            total = self.total(device, counters.release)
            total.add(counters)
            sql.execute(
                "insert or replace into total values (?, ?, ?, ?, ?, ?, ?)",
                (
                    device,
                    counters.release,
                    total.inferences,
                    total.errors,
                    total.labelled,
                    total.correct,
                    encode(total.latency_us),
                ),
            )

    def total(self, device: str, release: str) -> ReleaseTotal:
        """Return the sums of one release on one device."""
        row = self._database.sql.execute(
            "select inferences, errors, labelled, correct, latency_us from total "
            "where device = ? and release = ?",
            (device, release),
        ).fetchone()
        if row is None:
            return ReleaseTotal()
        inferences, errors, labelled, correct, latency_us = row
        return ReleaseTotal(inferences, errors, labelled, correct, decode(Buckets, latency_us))

    def count_refusal(self, kind: str) -> int:
        """Count a message that was not understood; return how many of its kind there were."""
        (count,) = self._database.sql.execute(
            "insert into refusal values (?, 1) on conflict (kind) do update set count = count + 1 "
            "returning count",
            (kind,),
        ).fetchone()
        return int(count)

    def acks(self, devices: Iterable[str] | None = None) -> dict[str, Ack]:
        """Return what has been committed for each of `devices` (default: all)."""
        wanted = self._devices if devices is None else set(devices)
        streams: dict[str, dict[str, list[Mark]]] = {device: {} for device in wanted}
        rows = self._database.sql.execute(
            "select device, stream, boot, sequence from mark order by changed_s desc"
        )
        for device, stream, boot, sequence in rows:
            if device in streams:
                marks = streams[device].setdefault(stream, [])
                if len(marks) < _TOLD_BOOTS:
                    marks.append(Mark(boot, sequence))
        return {d: Ack({s: tuple(m) for s, m in found.items()}) for d, found in streams.items() if found}
