"""Every plan that was ever made, and which of them stands: what an undo looks back into."""

from __future__ import annotations

import time
from collections.abc import Callable

from fleet.adapters.database import Database
from fleet.replanning import Entry, ways_back
from wire.codec import decode, encode
from wire.messages import Plan


class PlanBook:
    """Plans in the fleet's database; its writer holds a transaction of it."""

    def __init__(self, database: Database, wall_clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall_clock = wall_clock

    @property
    def next_sequence(self) -> int:
        """A sequence above that of each plan so far."""
        (last,) = self._database.sql.execute("select coalesce(max(sequence), 0) from plan").fetchone()
        return int(last) + 1

    def standing(self, model: str) -> list[Entry]:
        """Return the plan of each group for `model`, in the order in which they were made."""
        rows = self._database.sql.execute(
            "select p.body, h.before from plan p left join plan_history h using (sequence) "
            "where p.model = ? order by sequence",
            (model,),
        )
        return [Entry(decode(Plan, body), before) for body, before in rows]

    def ways_back(self) -> set[str]:
        """Return the releases that an undo of what stands may return to."""
        rows = self._database.sql.execute(
            "select p.body, h.before from plan p left join plan_history h using (sequence)"
        )
        standing = [Entry(decode(Plan, body), before) for body, before in rows]
        return {name for entry in standing for name in ways_back(entry, self.earlier)}

    def earlier(self, sequence: int) -> Entry | None:
        """Return the plan that once had this sequence."""
        row = self._database.sql.execute(
            "select body, before from plan_history where sequence = ?", (sequence,)
        ).fetchone()
        return Entry(decode(Plan, row[0]), row[1]) if row else None

    def put(self, entry: Entry) -> None:
        """Let this plan stand for its group and model."""
        plan, body = entry.plan, encode(entry.plan)
        sql = self._database.sql
        sql.execute(
            "insert or replace into plan values (?, ?, ?, ?)", (plan.group, plan.model, plan.sequence, body)
        )
        sql.execute(
            "insert into plan_history values (?, ?, ?, ?)",
            (plan.sequence, entry.before, self._wall_clock(), body),
        )
