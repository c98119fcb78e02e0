"""What is watched and told of (fleet/alerts.py): `subject` is a device, a release, a rollout or the fleet."""

from __future__ import annotations

from fleet.migrations.statements import run

revision = "0003"
down_revision = "0002"

_SCHEMA = """
create table if not exists alert (
    kind text not null,
    subject text not null,
    body blob not null,
    primary key (kind, subject)
) without rowid;
"""


def upgrade() -> None:
    run(_SCHEMA)
