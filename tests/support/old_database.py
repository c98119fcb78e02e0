"""A fleet's database as it was before there were revisions: what an update must bring along."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Final

from tests.support.examples import counters, telemetry
from wire.codec import encode
from wire.counters import Buckets
from wire.messages import Event, Samples, Telemetry

#: Written out once more, though r0001_first.py has most of it: what lies on people's disks does not change
#: when somebody touches a revision, and the tests of updates must not follow it.
SCHEMA: Final = """
create table if not exists device (
    name text primary key,
    first_seen_s real not null,
    last_seen_s real not null,
    boot text not null default '',
    online integer not null default 0,
    reported blob,
    telemetry blob
);
create table if not exists desired (
    device text primary key,
    sequence integer not null,
    groups text not null,
    pins text not null default '{}'
);
create table if not exists report (
    device text not null,
    stream text not null,
    boot text not null,
    sequence integer not null,
    time_s real not null,
    received_s real not null,
    body blob not null,
    primary key (device, stream, boot, sequence)
) without rowid;
create table if not exists mark (
    device text not null,
    stream text not null,
    boot text not null,
    sequence integer not null,
    lost integer not null,
    changed_s real not null,
    primary key (device, stream, boot)
) without rowid;
create table if not exists total (
    device text not null,
    release text not null,
    inferences integer not null,
    errors integer not null,
    labelled integer not null,
    correct integer not null,
    latency_us blob not null,
    primary key (device, release)
) without rowid;
create table if not exists refusal (
    kind text primary key,
    count integer not null
);
create table if not exists release (
    name text primary key,
    sequence integer not null,
    body blob not null,
    cleared integer not null default 0
);
create table if not exists plan (
    "group" text not null,
    model text not null,
    sequence integer not null,
    body blob not null,
    primary key ("group", model)
);
create table if not exists metadata (
    role text not null,
    version integer not null,
    body blob not null,
    primary key (role, version)
) without rowid;
create table if not exists auto_release (
    name text primary key
);
"""

#: The hour of the first report, and when it came.
HOUR_S: Final = 1_790_000_000 // 3600 * 3600


def make_old_database(state: Path, *, reports: int = 30) -> None:
    """Write a database with a device that made a report a minute; the last came above a gap of one."""
    state.mkdir(parents=True)
    sql = sqlite3.connect(state / "fleet.db")
    sql.executescript(SCHEMA)
    sql.execute("pragma journal_mode=wal")
    sql.execute("insert into device values ('pi-1', ?, ?, 'b1', 1, null, null)", (HOUR_S, HOUR_S))
    sql.execute("insert into desired values ('pi-1', 1, '[\"all\"]', '{}')")
    for n in [*range(1, reports), reports + 1]:
        body = telemetry(counters(inferences=10, total=10 * n))
        _insert(sql, "telemetry", n, HOUR_S + 60.0 * (n - 1), body)
    sql.execute("insert into mark values ('pi-1', 'telemetry', 'b1', ?, 0, ?)", (reports - 1, HOUR_S))
    _insert(sql, "event", 1, HOUR_S + 5.0, Event("digits", "idle", "check", "plan", "digits/1"))
    _insert(sql, "event", 2, 12.0, Event("digits", "check", "idle", "done", "digits/1"))  # a clock in 1970
    sql.execute("insert into mark values ('pi-1', 'event', 'b1', 2, 0, ?)", (HOUR_S,))
    _insert(sql, "samples", 1, HOUR_S + 9.0, Samples("digits/1", 0.1, ("a",), (3,), (0.9,), (None,)))
    sql.execute("insert into mark values ('pi-1', 'samples', 'b1', 1, 0, ?)", (HOUR_S,))
    latency = Buckets(251, (10 * reports,))
    sql.execute(
        "insert into total values ('pi-1', 'digits/1', ?, 0, ?, ?, ?)",
        (10 * reports, 10 * reports, 9 * reports, json.dumps(vars(latency)).encode()),
    )
    sql.execute("insert into refusal values ('Telemetry', 3)")
    sql.commit()
    sql.close()


def _insert(
    sql: sqlite3.Connection, stream: str, sequence: int, time_s: float, body: Telemetry | Event | Samples
) -> None:
    sql.execute(
        "insert into report values ('pi-1', ?, 'b1', ?, ?, ?, ?)",
        (stream, sequence, time_s, HOUR_S + 60.0 * sequence, encode(body)),
    )
