"""Brings a database to the schema of this software, by Alembic.

Rules:
- all revisions that are missing run in one transaction that locks writers out: a kill leaves the old schema,
  readers see the old one or the new one, and a second process that wants the same waits and finds it done;
- Alembic (and SQLAlchemy behind it, 0.4 s and 20 MB) is imported only when there is something to do: whether
  there is, the names of the revisions' files tell;
- a schema from a later version is refused: writing to it could lose what that version keeps.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from pathlib import Path
from typing import Final

from fleet import migrations
from wire.errors import UnavailableError

log = logging.getLogger(__name__)

_FOLDER: Final = Path(migrations.__file__).parent

#: Alembic keeps what it works on in a global.
_ONE_AT_A_TIME: Final = threading.Lock()


def newest() -> str:
    """Return the revision of this software."""
    return max(path.stem[1:5] for path in (_FOLDER / "versions").glob("r[0-9]*.py"))


def standing(sql: sqlite3.Connection) -> str:
    """Return the revision of a database: `0001` also from before there were any, "" for an empty one."""
    tables = {name for (name,) in sql.execute("select name from sqlite_master where type = 'table'")}
    if "alembic_version" in tables:
        row = sql.execute("select version_num from alembic_version").fetchone()
        if row:
            return str(row[0])
    return "0001" if "device" in tables else ""


def check(sql: sqlite3.Connection, path: Path) -> bool:
    """Return whether a database is of our schema; raise UnavailableError when it is of a later one."""
    found, own = standing(sql), newest()
    if found > own:
        raise UnavailableError(
            f"{path} is of a later edgeflock (schema {found}, this one knows {own}): use that version"
        )
    return found == own


def migrate(sql: sqlite3.Connection) -> None:
    """Run the revisions that are missing, all or none; raise UnavailableError when they cannot be run."""
    # Heavy, and needed once in a database's life.
    logging.getLogger("alembic").setLevel(logging.WARNING)  # first: it tells of its plugins when imported
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import StaticPool

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    engine = create_engine("sqlite://", creator=lambda: sql, poolclass=StaticPool, pool_reset_on_return=None)
    try:
        with _ONE_AT_A_TIME, engine.connect() as connection:
            connection.exec_driver_sql("begin immediate")  # Alembic finds a transaction, and leaves it to us
            found = standing(sql)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except SQLAlchemyError as error:
        cause = error.__cause__ or error
        raise UnavailableError(f"the schema cannot be updated: {cause}") from error
    if found and found != newest():
        log.info("updated the database from schema %s to %s", found, newest())
