"""Reports that the sums of their devices wait for.

A report is in `unsummed` from the transaction that stores it until the one that adds it to the sums of its
device (fleet/adapters/device_sums.py). `left_out` is what of it is to stay out of them, as JSON: releases,
and "" for its vitals; null where nothing is.
"""

from __future__ import annotations

from fleet.migrations.statements import run

revision = "0006"
down_revision = "0005"

_SCHEMA = """
create table unsummed (
    id integer primary key,
    device text not null,
    left_out blob
);
"""


def upgrade() -> None:
    run(_SCHEMA)
