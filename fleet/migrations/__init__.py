"""The schema of the fleet's database, one revision after the other; Alembic runs them (decision 22)."""
