"""The words of releases (fleet/release_words.py) in the database of a fleet, which forgets no release."""

from __future__ import annotations

from fleet.adapters.database import Database
from fleet.adapters.msgspec_codec import decode, encode
from fleet.release_words import ReleaseWords


class WordsTable:
    """Reads and writes them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, release: str, words: ReleaseWords) -> None:
        """Store the words of a release; of one from before there were any, when it is pushed again."""
        with self._database.transaction() as sql:
            sql.execute("insert or replace into words values (?, ?)", (release, encode(words)))

    def of(self, release: str) -> ReleaseWords:
        """Return the words of a release, none where it has none."""
        row = self._database.sql.execute("select body from words where release = ?", (release,)).fetchone()
        return decode(ReleaseWords, row[0]) if row else ReleaseWords()
