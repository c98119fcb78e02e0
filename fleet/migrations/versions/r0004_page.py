"""The page: who may log in and who is, tokens of programs, the audit, and labels.

`web_session.id_sha256` and `web_token.token_sha256` are digests: the file gives nobody a session.
"""

from __future__ import annotations

from fleet.migrations.statements import run

revision = "0004"
down_revision = "0003"

_SCHEMA = """
create table web_account (
    name text primary key,
    role text not null,
    secret text not null
);
create table web_session (
    id_sha256 text primary key,
    account text not null,
    role text not null,
    token text not null,
    started_s real not null
);
create table web_token (
    name text primary key,
    role text not null,
    token_sha256 text not null
);
create table web_key (
    purpose text primary key,
    key blob not null
);
create table audit (
    number integer primary key autoincrement,
    time_s real not null,
    who text not null,
    source text not null,
    action text not null,
    subject text not null,
    outcome text not null
);
create table label (
    device text not null,
    sample text not null,
    release text not null,
    truth integer not null,
    labelled_by text not null,
    time_s real not null,
    handed_over integer not null default 0,
    primary key (device, sample)
) without rowid;
create index label_waiting on label (device) where not handed_over;
"""


def upgrade() -> None:
    run(_SCHEMA)
