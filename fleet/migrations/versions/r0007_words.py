"""What releases call their classes and columns: `body` is a ReleaseWords (fleet/release_words.py)."""

from __future__ import annotations

from fleet.migrations.statements import run

revision = "0007"
down_revision = "0006"

_SCHEMA = """
create table words (
    release text primary key,
    body blob not null
) without rowid;
"""


def upgrade() -> None:
    run(_SCHEMA)
