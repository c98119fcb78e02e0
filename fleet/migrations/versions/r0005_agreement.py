"""What releases were compared with on sampled inputs: `body` is the newest result (fleet/agreeing.py)."""

from __future__ import annotations

from fleet.migrations.statements import run

revision = "0005"
down_revision = "0004"

_SCHEMA = """
create table agreement (
    release text not null,
    reference_sha256 text not null,
    time_s real not null,
    body blob not null,
    primary key (release, reference_sha256)
) without rowid;
"""


def upgrade() -> None:
    run(_SCHEMA)
