"""Where each device stands: the trackers of its streams, in memory and in the tables `mark` and `pending`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fleet.adapters.database import Database
from fleet.tracking import Tracker
from wire.errors import MessageError
from wire.messages import Ack, Head, Mark
from wire.topics import Leaf

#: Boots of a device whose marks are told in one acknowledgement, the last that spoke: a device that
#: resends what was not told speaks, and so is told next.
_TOLD_BOOTS: Final = 32

#: Streams and boots of one device that are followed: a start every hour for a year, and a device that makes
#: up another for each message costs no more than that.
MAX_BOOTS: Final = 25_000

_WRITE: Final = (
    "insert into mark (device, stream, boot, sequence, lost, changed_s) values (?, ?, ?, ?, ?, ?) "
    "on conflict (device, stream, boot) do update set "
    "sequence = excluded.sequence, lost = excluded.lost, changed_s = excluded.changed_s"
)


class MarkTable:
    """The trackers; `add` happens inside a transaction that ends with `flush`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # By device, and in it by (stream, boot) in the order in which they last spoke.
        self._trackers: dict[str, dict[tuple[Leaf, str], Tracker]] = {}
        self._changed: dict[tuple[str, Leaf, str], Tracker] = {}
        self._waiting: list[tuple[str, Leaf, str, int]] = []
        self._closed: list[tuple[str, Leaf, str, int]] = []

    @property
    def devices(self) -> frozenset[str]:
        return frozenset(self._trackers)

    def __contains__(self, device: str) -> bool:
        return device in self._trackers

    def read(self) -> None:
        """Take what the tables say, in place of what is in memory."""
        sql = self._database.sql
        self._changed.clear()
        self._waiting.clear()
        self._closed.clear()
        self._trackers = {name: {} for (name,) in sql.execute("select name from device")}
        pending: dict[tuple[str, Leaf, str], list[int]] = {}
        for device, stream, boot, sequence in sql.execute("select * from pending"):
            pending.setdefault((device, stream, boot), []).append(sequence)
        marks = sql.execute("select device, stream, boot, sequence, lost from mark order by changed_s")
        for device, stream, boot, mark, lost in marks:
            tracker = Tracker(mark, lost, frozenset(pending.get((device, stream, boot), ())))
            self._trackers.setdefault(device, {})[stream, boot] = tracker

    def forget(self, device: str) -> None:
        """Stop following a device: its rows are erased. If it speaks again, it is new."""
        self._trackers.pop(device, None)

    def welcome(self, device: str) -> None:
        """Begin to follow a device."""
        self._trackers[device] = {}

    def add(self, device: str, stream: Leaf, head: Head) -> tuple[bool, bool]:
        """Take note of a message; return whether it is new, and whether it is the newest of its boot.

        Raises MessageError for an absurd head. A double, or a refused one, may still say what need not be
        waited for.
        """
        place = (stream, head.boot)
        trackers = self._trackers[device]
        if place not in trackers and len(trackers) >= MAX_BOOTS:
            raise MessageError("Head", f"more than {MAX_BOOTS} boots of one device")
        tracker = trackers.pop(place) if place in trackers else Tracker()
        trackers[place] = tracker  # the last to speak is the last
        stood, lost, waited = tracker.mark, tracker.lost, tracker.missing > 0
        new = False
        try:
            new = tracker.add(head.sequence, head.first)
        finally:
            if new or (tracker.mark, tracker.lost) != (stood, lost):
                self._changed[device, stream, head.boot] = tracker
            if new and head.sequence > tracker.mark:
                self._waiting.append((device, stream, head.boot, head.sequence))
            if waited and tracker.mark != stood:
                self._closed.append((device, stream, head.boot, tracker.mark))
        return new, head.sequence == tracker.highest

    def flush(self, now_s: float) -> None:
        """Write what changed."""
        sql = self._database.sql
        if self._waiting:
            sql.executemany("insert into pending values (?, ?, ?, ?)", self._waiting)
        if self._closed:
            sql.executemany(
                "delete from pending where device = ? and stream = ? and boot = ? and sequence <= ?",
                self._closed,
            )
        sql.executemany(
            _WRITE, [(*key, tracker.mark, tracker.lost, now_s) for key, tracker in self._changed.items()]
        )
        self._changed.clear()
        self._waiting.clear()
        self._closed.clear()

    def acks(self, devices: Iterable[str] | None = None) -> dict[str, Ack]:
        """Return what has been taken of each of `devices` (default: all)."""
        wanted = self._trackers if devices is None else devices
        return {device: self._ack(device) for device in wanted if self._trackers.get(device)}

    def _ack(self, device: str) -> Ack:
        streams: dict[str, list[Mark]] = {}
        for (stream, boot), tracker in reversed(self._trackers[device].items()):
            marks = streams.setdefault(stream, [])
            if len(marks) < _TOLD_BOOTS:
                marks.append(Mark(boot, tracker.mark))
        return Ack({stream: tuple(marks) for stream, marks in streams.items()})
