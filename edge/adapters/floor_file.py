"""`<state>/trust/floor.json`: how far this device has come, on the disk before it is acted on."""

from __future__ import annotations

import logging
from pathlib import Path

from edge.floors import Floor
from wire.adapters.files import sweep_temporaries, write_atomic
from wire.codec import decode, encode
from wire.errors import MessageError

log = logging.getLogger(__name__)


class FloorFile:
    """Reads the floor once, and writes it where it changed."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "floor.json"
        self._saved = Floor()

    def open(self) -> Floor:
        """Return what was saved.

        An unreadable file counts as none, and is logged: it is never half-written, so the card itself has
        lost it, and a device that then refused everything would have to be visited.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        sweep_temporaries(self._path.parent)
        try:
            self._saved = decode(Floor, self._path.read_bytes())
        except FileNotFoundError:
            self._saved = Floor()
        except MessageError as error:
            log.error("floor.json is unreadable, older versions cannot be told: %s", error)
            self._saved = Floor()
        return self._saved

    def save(self, floor: Floor) -> None:
        """Write the floor durably, unless it is saved already."""
        if floor != self._saved:
            write_atomic(self._path, encode(floor))
            self._saved = floor
