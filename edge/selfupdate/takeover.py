"""`edgeflock agent --trial`: could this software take over from the agent that runs? It starts nothing.

The agent that runs asks it before a switch, so the command is a promise to all earlier versions.

Rules:
- nothing is written, no lock is taken, no network is used: the agent that runs is at work meanwhile, and a
  site may have no network;
- the settings and every file of the state must be readable by this software: it would otherwise begin
  anew where the other left off;
- each model that serves must pass its trial under this software, as a pushed one would.

State that both sides of a switch read: JSON files gain fields with defaults and lose none, tables are never
altered, and what only new software can read lies in a file or table of its own. So the software before finds
all it needs after a way back, and nothing has to be converted or waits for a commit.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

from edge.adapters.model_folders import model_folders
from edge.adapters.model_store import ModelStore
from edge.agent_model import prove
from edge.floors import Floor
from edge.pointer import Pointer
from edge.settings import AgentSettings
from wire.codec import decode
from wire.errors import MessageError, SettingsError

#: How the one line begins that software which can take over prints.
TAKES_OVER: Final = "can take over"

#: What this software reads of each table.
_TABLES: Final = {
    "outbox.db": "select stream, boot, sequence, time_s, body from message limit 1",
    "answers.db": "select id, release, said, confidence, classes from answered limit 1",
}


def take_over(settings: AgentSettings) -> str:
    """Return one line of what was found; raise an EdgeflockError for what stands in the way."""
    state = Path(settings.device.state)
    folders = [state, *state.glob("further/*"), state / "software"]
    for path in [folder / "pointer.json" for folder in folders]:
        _check_message(path, Pointer)
    _check_message(state / "trust" / "floor.json", Floor)
    for name, query in _TABLES.items():
        _check_table(state / name, query)
    served = 0
    found = model_folders(state, [model.name for model in settings.model])
    for model in settings.model:
        store = ModelStore(found[model.name])
        current = store.read_pointer().current
        if current is not None and store.path(current.sha256).exists():
            prove(model, store.path(current.sha256))
            served += 1
    return f"{TAKES_OVER}: settings and state are readable, {served} of {len(settings.model)} models answer"


def _check_message(path: Path, kind: type[Any]) -> None:
    try:
        decode(kind, path.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, MessageError) as error:
        raise SettingsError(f"{path} cannot be read by this software: {error}") from error


def _check_table(path: Path, query: str) -> None:
    if not path.exists():
        return
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            database.execute(query).fetchone()
        finally:
            database.close()
    except sqlite3.Error as error:
        raise SettingsError(f"{path} cannot be read by this software: {error}") from error
