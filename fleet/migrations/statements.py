"""A revision's SQL, statement by statement: a driver takes one at a time."""

from __future__ import annotations

from alembic import op


def run(text: str) -> None:
    """Run the statements of `text`, each of which ends with a semicolon at the end of a line."""
    for statement in text.split(";\n"):
        if statement.strip():
            op.execute(statement)
