"""The schema before there were revisions: a database made then has some or all of these tables already."""

from __future__ import annotations

from fleet.migrations.statements import run

revision = "0001"
down_revision = None

_SCHEMA = """
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
create table if not exists awaited (
    device text primary key
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
create table if not exists collected (
    name text primary key
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
create table if not exists claim (
    address text primary key,
    device text not null,
    proof_key blob not null,
    login text not null,
    expires_s real not null,
    used_s real
);
create table if not exists certificate (
    serial text primary key,
    device text not null,
    key text not null,
    pem text not null,
    issued_s real not null,
    expires_s real not null,
    revoked_s real
);
create index if not exists certificate_device on certificate (device);
create table if not exists plan_history (
    sequence integer primary key,
    before integer,
    made_s real not null,
    body blob not null
);
"""


def upgrade() -> None:
    run(_SCHEMA)
