"""Who did what, when, and from where: rows are added, never changed."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from fleet.adapters.database import Database

#: Anybody who reaches the page can fail to log in: such rows go when so many newer ones are there. Those of
#: people who were let in stay for ever.
KEPT_ROWS: Final = 100_000
LOG_IN: Final = "log in"

#: Where a command comes from.
COMMAND_LINE: Final = "command line"

_LONGEST: Final = 200


def login_name() -> str:
    """Return who runs this, as the system knows it: what the environment says anybody may write."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container a user may have no name
        return f"uid {os.getuid()}"


@dataclass(frozen=True)
class AuditLine:
    """One action. `source` is an address, or `command line`; `outcome` is `done` or why not."""

    number: int
    time_s: float
    who: str
    source: str
    action: str
    subject: str
    outcome: str


class AuditLog:
    """The audit table of a fleet's database."""

    def __init__(self, database: Database, wall_clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall_clock = wall_clock

    def add(self, who: str, source: str, action: str, subject: str = "", outcome: str = "done") -> None:
        """Write a row; inside a transaction it is there only if what it tells of is."""
        with self._database.transaction() as sql:
            texts = (text[:_LONGEST] for text in (who, source, action, subject, outcome))
            sql.execute(
                "insert into audit (time_s, who, source, action, subject, outcome) values (?, ?, ?, ?, ?, ?)",
                (self._wall_clock(), *texts),
            )
            if action == LOG_IN and outcome != "done":
                sql.execute(
                    "delete from audit where action = ? and outcome != 'done' "
                    "and number <= last_insert_rowid() - ?",
                    (LOG_IN, KEPT_ROWS),
                )

    def add_command(self, action: str, subjects: Iterable[str]) -> None:
        """Write a row for each thing that a command of this machine's user did."""
        for subject in subjects:
            self.add(login_name(), COMMAND_LINE, action, subject)

    def lines(self, limit: int, before: int | None = None) -> list[AuditLine]:
        """Return the newest rows, or those older than number `before`."""
        rows = self._database.sql.execute(
            "select number, time_s, who, source, action, subject, outcome from audit "
            "where ? is null or number < ? order by number desc limit ?",
            (before, before, limit),
        )
        return [AuditLine(*row) for row in rows]
