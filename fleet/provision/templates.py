"""Where the templates lie: beside a checkout's packages, or among the data files of an installation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.provision.formats import TEMPLATES
from wire.errors import UnavailableError


def locate() -> Path:
    """Return the folder `firmware-config`; raise UnavailableError when there is none."""
    checkout = Path(__file__).resolve().parents[2] / "firmware-config"
    installed = Path(sys.prefix) / "share" / "edgeflock" / "firmware-config"
    with _unavailable():
        for folder in (checkout, installed):
            if folder.is_dir():
                return folder
    raise UnavailableError(f"no firmware-config at {checkout} or {installed}: install edgeflock again")


def load() -> dict[str, str]:
    """Return the text of every template by its name in the folder."""
    folder = locate()
    with _unavailable():
        return {name: (folder / name).read_text(encoding="utf-8") for name in TEMPLATES}


def load_all() -> dict[str, bytes]:
    """Return every file of the folder by its name in it."""
    folder = locate()
    with _unavailable():
        found = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UnavailableError(f"no template {error.filename}: install edgeflock again") from error
    except OSError as error:  # told here: a caller would take it for the card's
        raise UnavailableError(
            f"cannot read the template {error.filename}: {error.strerror or error}"
        ) from error
