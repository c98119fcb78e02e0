"""Where the templates lie: beside a checkout's packages, or among the data files of an installation."""

from __future__ import annotations

import sys
from pathlib import Path

from fleet.provision.formats import TEMPLATES
from wire.errors import UnavailableError


def locate() -> Path:
    """Return the folder `firmware-config`; raise UnavailableError when there is none."""
    checkout = Path(__file__).resolve().parents[2] / "firmware-config"
    installed = Path(sys.prefix) / "share" / "edgeflock" / "firmware-config"
    for folder in (checkout, installed):
        if folder.is_dir():
            return folder
    raise UnavailableError(f"no firmware-config at {checkout} or {installed}: install edgeflock again")


def load() -> dict[str, str]:
    """Return the text of every template by its name in the folder."""
    folder = locate()
    try:
        return {name: (folder / name).read_text(encoding="utf-8") for name in TEMPLATES}
    except FileNotFoundError as error:
        raise UnavailableError(f"no template {error.filename}: install edgeflock again") from error


def load_all() -> dict[str, bytes]:
    """Return every file of the folder by its name in it."""
    folder = locate()
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
