"""Where the answers go, told from one word: `answers.csv`, `sqlite:answers.db?table=monday`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

from wire.errors import SettingsError

#: Ending of a file's name: its kind.
_KINDS: Final = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"}
_SQLITE: Final = "sqlite:"
_DEFAULT_TABLE: Final = "answers"
_TABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
#: The table in which a database keeps the records of its jobs.
JOBS_TABLE: Final = "edgeflock_jobs"


@dataclass(frozen=True)
class Destination:
    """A file, or a `table` of one. Beside it are the files that tell about the job."""

    kind: str
    path: Path
    table: str = ""

    @property
    def shown(self) -> str:
        """What it is called in messages."""
        return f"{self.path}, table {self.table}," if self.table else str(self.path)

    @property
    def folder(self) -> Path:
        """Where an unfinished job keeps its files."""
        return self._beside("unfinished")

    @property
    def errors(self) -> Path:
        """The inputs that have no answer, a line of JSON each."""
        return self._beside("errors.ndjson")

    @property
    def receipt(self) -> Path:
        """The record of the job that is done."""
        return self._beside("job.json")

    @property
    def all_paths(self) -> tuple[Path, ...]:
        return self.path, self.folder, self.errors, self.receipt

    def _beside(self, ending: str) -> Path:
        table = f".{self.table}" if self.table not in ("", _DEFAULT_TABLE) else ""
        return self.path.with_name(f"{self.path.name}{table}.{ending}")


def parse_destination(text: str) -> Destination:
    """Understand what --out says; raise SettingsError."""
    if not text.startswith(_SQLITE):
        kind = _KINDS.get(Path(text).suffix.lower())
        if kind is None:
            raise SettingsError(
                f"--out {text}: end the name in {', '.join(_KINDS)}, or write sqlite:FILE?table=NAME"
            )
        return Destination(kind, Path(text))
    name, _, query = text.removeprefix(_SQLITE).partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    table = options.pop("table", _DEFAULT_TABLE)
    if not name or options or not _TABLE.fullmatch(table):
        raise SettingsError(f"--out {text}: write sqlite:FILE or sqlite:FILE?table=NAME (letters, digits, _)")
    if table.lower() == JOBS_TABLE or table.lower().startswith("sqlite_"):
        raise SettingsError(f"--out {text}: the table {table} is used otherwise, take another name")
    return Destination("sqlite", Path(name), table)
