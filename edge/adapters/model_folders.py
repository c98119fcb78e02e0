"""Where each model of a device keeps its pointer, bundles and parts: a folder each.

    <state>/                    of one model: where a device with a single model has always had it
    <state>/further/<model>/    of each further model, laid out the same

Rules:
- nothing is shared. A bundle holds its model's name, so two models never have one in common, and with a
  folder each no `collect` and no download of one can touch what another keeps;
- a model with a folder of its own stays in it, whatever the settings say later, and nothing is ever moved;
- the state folder itself belongs to the model whose release its pointer names. Where it names none (a new
  device, or one that never got a model), it belongs to the first of the settings that has no folder; where
  it names a release of a model that is no longer there, only to a model that is alone on the device, as
  before there were several;
- so the order in the settings decides nothing once a model is installed. What a model that was taken out
  of the settings leaves behind stays, and is found again should it return.

A folder is on the disk before the first model is opened: a later start decides the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge.adapters.model_store import ModelStore
from edge.pointer import Pointer
from wire.adapters.files import sync_folder
from wire.errors import UnavailableError

_FURTHER: Final = "further"


def model_folders(state: Path, models: Sequence[str]) -> dict[str, Path]:
    """Return the folder of each of `models`; raise UnavailableError where one cannot be made."""
    further = state / _FURTHER
    moved_out = frozenset(model for model in models if (further / model).is_dir())
    try:
        pointer = ModelStore(state).read_pointer() if len(models) > 1 else Pointer()
        heir = heir_of(pointer, models, moved_out)
        folders = {model: state if model == heir else further / model for model in models}
        for folder in [folder for folder in folders.values() if folder != state]:
            _make(folder)
    except OSError as error:
        raise UnavailableError(f"{state}: {error.strerror or error}") from error
    return folders


def heir_of(pointer: Pointer, models: Sequence[str], moved_out: frozenset[str]) -> str | None:
    """Return the model to which the state folder with this pointer belongs, if to any of `models`.

    `moved_out` are those that have a folder of their own.
    """
    without = [model for model in models if model not in moved_out]
    slot = pointer.current or pointer.previous
    if slot is None or len(models) == 1:
        return without[0] if without else None
    named = slot.release.rpartition("/")[0]
    return named if named in without else None


def _make(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for parent in (folder.parent, folder.parent.parent):
            sync_folder(parent)
