"""Adds reports that were stored before there were sums to the sums, once, when the server starts.

Their totals over all time were kept then, so those are left as they are. After a kill it goes on where it
was.
"""

from __future__ import annotations

import logging
from typing import Final

from fleet.adapters.database import Database
from fleet.adapters.msgspec_codec import decode
from fleet.adapters.rollup_table import RollupTable
from fleet.adapters.vitals_table import VitalsTable
from wire.messages import Telemetry

log = logging.getLogger(__name__)

_STEP: Final = 500


def count_earlier_reports(database: Database) -> None:
    """Add what waits, in steps of one transaction each."""
    sql = database.sql
    rollups, vitals = RollupTable(database), VitalsTable(database)
    told = False
    while waiting := sql.execute("select next_id, last_id from uncounted").fetchone():
        next_id, last_id = waiting
        if not told:
            log.info("adding %d earlier reports to the sums", last_id - next_id + 1)
            told = True
        with database.transaction():
            found = sql.execute(
                "select id, device, at_s, body from report where id between ? and ? order by id limit ?",
                (next_id, last_id, _STEP),
            ).fetchall()
            for _, device, at_s, body in found:
                telemetry = decode(Telemetry, body)
                vitals.add(device, at_s, vars(telemetry.vitals))
                for counters in telemetry.models:
                    rollups.add_earlier(device, at_s, counters)
            rollups.flush()
            vitals.flush()
            if found:
                sql.execute("update uncounted set next_id = ?", (found[-1][0] + 1,))
            else:
                sql.execute("delete from uncounted")
