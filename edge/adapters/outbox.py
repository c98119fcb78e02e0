"""The durable outbox: what a device has to say, on disk until the server has it in its store.

SQLite in WAL mode with full synchronisation: a row is on the disk before `add` returns.

Rules:
- bounded: past `max_rows` or `max_bytes` the oldest rows of the largest stream go, are counted, and the
  next message says so in its head (`first`);
- events are the audit log and never go for telemetry or samples. Only when nothing else is left to go,
  the oldest events do, since a bound without an end would fill the disk that models need: 64 MiB of
  events are some 200,000, months of the busiest device;
- an event that the disk does not take waits in memory, in its order, until the disk does; telemetry of
  that time is lost, and counted;
- at most MAX_OUTSTANDING messages are sent and not acknowledged by the server.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import Any, Final

from edge.sending import SendWindow
from wire.codec import decode, encode
from wire.deadline import Clock
from wire.errors import MessageError
from wire.link import Link
from wire.messages import MAX_PAYLOAD_BYTES, STREAMS, Ack, Head
from wire.topics import Leaf, Topics

log = logging.getLogger(__name__)

#: What SQLite says of a file that is none of its own, or no longer sound.
CORRUPT: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

#: Sent and not acknowledged, over all streams and boots.
MAX_OUTSTANDING: Final = 200

#: Events that wait for a disk to take them; past it the newest are lost, and counted.
_MOST_WAITING: Final = 1000

#: Room for the head and the braces around a body.
_HEAD_BYTES: Final = 256

_SCHEMA: Final = """
create table if not exists message (
    stream text not null,
    boot text not null,
    sequence integer not null,
    time_s real not null,
    body blob not null,
    primary key (stream, boot, sequence)
) without rowid
"""


@dataclass(frozen=True)
class Stored:
    """One message as it lies in the outbox."""

    stream: Leaf
    boot: str
    sequence: int
    time_s: float
    body: bytes


class Outbox:
    """Messages of all streams, of this boot and of earlier ones."""

    def __init__(
        self,
        path: Path,
        boot: str,
        *,
        max_rows: int = 20_000,
        max_bytes: int = 64 * 1024 * 1024,
        clock: Clock = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._boot = boot
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._clock = clock
        self._wall_clock = wall_clock
        self._windows: dict[tuple[Leaf, str], SendWindow] = {}
        self._sequence: dict[Leaf, int] = {}
        self._rows = 0
        self._bytes = 0
        self._db: sqlite3.Connection | None = None
        self._waiting: deque[tuple[float, bytes]] = deque()  # events without a place on the disk yet
        self.dropped = 0

    def open(self) -> None:
        """Open the file and find what earlier boots left; a damaged file is put aside."""
        try:
            self._db = self._connect(str(self._path))
        except sqlite3.Error as error:
            if error.sqlite_errorcode in CORRUPT:
                self._put_aside(error)
            self._db = self._connect_or_do_without()
        rows = self._db.execute(
            "select stream, boot, min(sequence), max(sequence), count(*), sum(length(body)) from message "
            "group by stream, boot"
        )
        for stream, boot, first, last, count, size in rows.fetchall():
            self._windows[stream, boot] = SendWindow(first - 1, last)
            self._rows += count
            self._bytes += size

    def _put_aside(self, error: sqlite3.Error) -> None:
        aside = f"damaged-{int(self._wall_clock())}-{self._boot}"
        log.error("%s is damaged and kept as %s: %s", self._path, aside, error)
        for suffix in ("", "-wal", "-shm"):
            file = self._path.with_name(self._path.name + suffix)
            if file.exists():
                file.rename(file.with_name(f"{file.name}.{aside}"))

    def _connect_or_do_without(self) -> sqlite3.Connection:
        """Return the file's connection, or one in memory: a disk that fails must not stop inference."""
        try:
            return self._connect(str(self._path))
        except sqlite3.Error as error:
            log.error("%s cannot be used, reports are kept in memory only: %s", self._path, error)
            return self._connect(":memory:")

    def _connect(self, path: str) -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            db.execute("pragma journal_mode=wal")
            db.execute("pragma synchronous=full")
            db.execute(_SCHEMA)
            db.execute("select count(*) from message").fetchone()
        except sqlite3.Error:
            db.close()
            raise
        return db

    def add(self, stream: Leaf, body: Any) -> None:
        """Store a message body for `stream`; it is on the disk when this returns.

        A disk that fails costs the message, which is counted, and never the agent. Raises MessageError
        for one that no broker would take: in the outbox it would block all behind it.
        """
        encoded = encode(body)
        decode(type(body), encoded)  # what the server would refuse could never be acknowledged
        if len(encoded) > MAX_PAYLOAD_BYTES - _HEAD_BYTES:
            self.dropped += 1
            raise MessageError(stream, f"{len(encoded)} bytes, at most {MAX_PAYLOAD_BYTES - _HEAD_BYTES} fit")
        if stream == "event":
            self._waiting.append((self._wall_clock(), encoded))
            self._store_waiting()
            return
        try:
            self._insert(stream, self._wall_clock(), encoded)
        except sqlite3.Error as error:
            self._lost(error)

    def _store_waiting(self) -> None:
        """Give events their place, in their order; those that a full disk does not take go on waiting."""
        try:
            while self._waiting:
                self._insert("event", *self._waiting[0])
                self._waiting.popleft()
        except sqlite3.Error as error:
            if len(self._waiting) == 1:
                log.error("an event could not be stored, it waits in memory: %s", error)
            while len(self._waiting) > _MOST_WAITING:
                self._waiting.pop()
                self._lost(error)

    def _insert(self, stream: Leaf, time_s: float, encoded: bytes) -> None:
        sequence = self._sequence.get(stream, 0) + 1
        self._require().execute(
            "insert into message values (?, ?, ?, ?, ?)", (stream, self._boot, sequence, time_s, encoded)
        )
        self._sequence[stream] = sequence
        self._rows += 1
        self._bytes += len(encoded)
        window = self._windows.setdefault((stream, self._boot), SendWindow(0, 0))
        window.added(sequence)
        try:
            while self._rows > self._max_rows or self._bytes > self._max_bytes:
                self._drop_oldest()
        except sqlite3.Error as error:
            log.warning("old messages could not be dropped: %s", error)

    def _lost(self, error: sqlite3.Error) -> None:
        if not self.dropped:
            log.error("a message could not be stored (further ones are only counted): %s", error)
        self.dropped += 1

    def acknowledge(self, ack: Ack) -> None:
        """Remove what the server has committed; what a failing disk keeps goes with a later one."""
        try:
            self._acknowledge(ack)
        except sqlite3.Error as error:
            log.warning("acknowledged messages could not be removed: %s", error)

    def _acknowledge(self, ack: Ack) -> None:
        for stream, marks in ack.streams.items():
            if stream not in STREAMS:
                continue
            for mark in marks:
                key: Any = (stream, mark.boot)
                if key not in self._windows:
                    continue
                self._windows[key].acknowledged(mark.sequence, self._clock())
                self._delete(stream, mark.boot, mark.sequence)
                if self._windows[key].settled and mark.boot != self._boot:
                    del self._windows[key]

    def reconnected(self) -> None:
        """Send again what was sent over the old connection."""
        for window in self._windows.values():
            window.restart(self._clock())

    def pump(self, link: Link, topics: Topics, device: str) -> None:
        """Hand what is due to the link, until it takes no more. This boot first, then older ones."""
        try:
            self._pump(link, topics, device)
        except sqlite3.Error as error:
            log.warning("the outbox cannot be read: %s", error)

    def _pump(self, link: Link, topics: Topics, device: str) -> None:
        self._store_waiting()
        for window in self._windows.values():
            window.next(
                self._clock()
            )  # after a silence nothing of it is open any more: room for what is live
        for key in sorted(self._windows, key=lambda k: (k[1] != self._boot, STREAMS.index(k[0]))):
            window = self._windows[key]
            while (sequence := window.next(self._clock())) is not None:
                if sum(w.open for w in self._windows.values()) >= MAX_OUTSTANDING:
                    break
                stored = self._read(*key, sequence)
                if stored is not None and not self._send(stored, link, topics, device):
                    return
                window.sent(sequence, self._clock())

    @property
    def settled(self) -> bool:
        """Whether the server has everything."""
        return not self._waiting and all(window.settled for window in self._windows.values())

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _send(self, stored: Stored, link: Link, topics: Topics, device: str) -> bool:
        head = Head(stored.boot, stored.sequence, self._first(stored), stored.time_s)
        payload = b'{"v":1,"head":%b,"body":%b}' % (
            dumps(asdict(head), separators=(",", ":")).encode(),
            stored.body,
        )
        return link.publish(topics.device(device, stored.stream), payload)

    def _first(self, stored: Stored) -> int:
        row = self._require().execute(
            "select min(sequence) from message where stream = ? and boot = ?", (stored.stream, stored.boot)
        )
        first: int | None = row.fetchone()[0]
        return stored.sequence if first is None else first

    def _read(self, stream: Leaf, boot: str, sequence: int) -> Stored | None:
        row = self._require().execute(
            "select time_s, body from message where stream = ? and boot = ? and sequence = ?",
            (stream, boot, sequence),
        )
        found = row.fetchone()
        return Stored(stream, boot, sequence, found[0], found[1]) if found else None

    def _drop_oldest(self) -> None:
        """Make room: a tenth of the messages of the oldest boot's largest stream; events come last."""
        db = self._require()
        stream, boot, count = db.execute(
            "select stream, boot, count(*) from message group by stream, boot "
            "order by stream = 'event', min(time_s), sum(length(body)) desc limit 1"
        ).fetchone()
        if stream == "event":
            log.error("only events are left in the outbox, and it is full: the oldest go")
        (last,) = db.execute(
            "select max(sequence) from (select sequence from message where stream = ? and boot = ? "
            "order by sequence limit ?)",
            (stream, boot, max(1, count // 10)),
        ).fetchone()
        gone = self._delete(stream, boot, last)
        self._windows[stream, boot].acknowledged(last, self._clock())  # as good as: they will never be sent
        self.dropped += gone

    def _delete(self, stream: str, boot: str, last: int) -> int:
        """Remove a stream's messages up to `last`; return how many there were."""
        sizes = (
            self._require()
            .execute(
                "delete from message where stream = ? and boot = ? and sequence <= ? returning length(body)",
                (stream, boot, last),
            )
            .fetchall()
        )
        self._rows -= len(sizes)
        self._bytes -= sum(size for (size,) in sizes)
        return len(sizes)

    def _require(self) -> sqlite3.Connection:
        assert self._db is not None, "the outbox is not open"
        return self._db
