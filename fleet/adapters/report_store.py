"""What devices said, committed before it is acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fleet.adapters.database import Database
from fleet.adapters.msgspec_codec import decode, encode
from fleet.ingest import Arrival, Presence, ReleaseTotal, StateWord, Word
from fleet.tracking import Tracker
from wire.counters import Buckets
from wire.errors import MessageError
from wire.messages import Ack, Mark, Telemetry
from wire.topics import Leaf

_Key = tuple[str, str, str]

#: Boots of a device whose marks are told in one acknowledgement, the last that spoke: a device that
#: resends what was not told speaks, and so is told next.
_TOLD_BOOTS = 32


@dataclass(frozen=True)
class Taken:
    """What became of a batch: devices to acknowledge, new devices, and refused heads."""

    acknowledge: frozenset[str]
    new_devices: frozenset[str]
    refused: tuple[MessageError, ...]


class ReportStore:
    """Writes words to the database; idempotent on (device, stream, boot, sequence)."""

    def __init__(self, database: Database, wall_clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall_clock = wall_clock
        # By device, and in it by (stream, boot) in the order in which they last spoke.
        self._trackers: dict[str, dict[tuple[Leaf, str], Tracker]] = {}

    def open(self) -> ReportStore:
        """Read where each device stands."""
        sql = self._database.sql
        self._trackers = {name: {} for (name,) in sql.execute("select name from device")}
        marks = sql.execute("select device, stream, boot, sequence, lost from mark order by changed_s")
        for device, stream, boot, mark, lost in marks.fetchall():
            pending = sql.execute(
                "select sequence from report where device = ? and stream = ? and boot = ? and sequence > ?",
                (device, stream, boot, mark),
            )
            tracker = Tracker(mark, lost, frozenset(s for (s,) in pending))
            self._trackers.setdefault(device, {})[stream, boot] = tracker
        return self

    @property
    def devices(self) -> frozenset[str]:
        """All devices that ever said something here."""
        return frozenset(self._trackers)

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
            if word.device not in self._trackers:
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
        self._trackers[device] = {}

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
            self._database.sql.execute(
                "update device set last_seen_s = ? where name = ?", (self._wall_clock(), device)
            )

    def _take_arrival(self, word: Arrival) -> None:
        head, place = word.head, (word.stream, word.head.boot)
        trackers = self._trackers[word.device]
        tracker = trackers.pop(place) if place in trackers else Tracker()
        trackers[place] = tracker  # the last to speak is the last
        stood = (tracker.mark, tracker.lost)
        try:
            new = tracker.add(head.sequence, head.first)
        finally:  # also a double, or a refused one, may say what need not be waited for
            if (tracker.mark, tracker.lost) != stood:
                self._write_mark((word.device, *place), tracker)
        self._spoke(word.device)
        if not new:
            return
        self._database.sql.execute(
            "insert into report values (?, ?, ?, ?, ?, ?, ?)",
            (word.device, *place, head.sequence, head.time_s, self._wall_clock(), encode(word.body)),
        )
        self._write_mark((word.device, *place), tracker)
        if isinstance(word.body, Telemetry):
            self._roll_up(word.device, word.body)
            if head.sequence == tracker.highest:
                self._show(word.device, head.boot, word.body)

    def _write_mark(self, key: _Key, tracker: Tracker) -> None:
        self._database.sql.execute(
            "insert or replace into mark values (?, ?, ?, ?, ?, ?)",
            (*key, tracker.mark, tracker.lost, self._wall_clock()),
        )

    def _show(self, device: str, boot: str, telemetry: Telemetry) -> None:
        """Keep the newest report of the boot that lives; the backlog of an older one is not news."""
        self._database.sql.execute(
            "update device set telemetry = ? where name = ? and boot in ('', ?)",
            (encode(telemetry), device, boot),
        )

    def _roll_up(self, device: str, telemetry: Telemetry) -> None:
        sql = self._database.sql
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
        wanted = self._trackers if devices is None else devices
        return {device: self._ack(device) for device in wanted if self._trackers.get(device)}

    def _ack(self, device: str) -> Ack:
        streams: dict[str, list[Mark]] = {}
        for (stream, boot), tracker in reversed(self._trackers[device].items()):
            marks = streams.setdefault(stream, [])
            if len(marks) < _TOLD_BOOTS:
                marks.append(Mark(boot, tracker.mark))
        return Ack({stream: tuple(marks) for stream, marks in streams.items()})
