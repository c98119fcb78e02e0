"""Write one device's files to a mounted boot partition.

Everything is rendered before the first byte is written, each file is written wholly or not at all, and
cmdline.txt comes last: a flash that was interrupted leaves a card that still starts, and is repeated.
One thread, the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from fleet.provision import templates
from fleet.provision.render import (
    DeviceCard,
    append_cmdline,
    append_config,
    render,
    render_additions,
    secrets_of,
)
from fleet.provision.system_files import system_files
from wire.adapters.files import write_atomic
from wire.errors import SettingsError, UnavailableError

#: Any of these makes a folder a boot partition; the last is there once we have written to an empty one.
_MARKS: Final = ("cmdline.txt", "config.txt", "edgeflock/device.toml")
_APPEND: Final[Mapping[str, Callable[[str, str], str]]] = {
    "cmdline.txt": append_cmdline,
    "config.txt": append_config,
}


def flash(boot: Path, card: DeviceCard, *, force: bool = False) -> list[Path]:
    """Write the files of `card` to the boot partition at `boot`; return those that changed, in that order.

    cmdline.txt and config.txt are added to where they exist. Raises SettingsError when `boot` does not
    look like a boot partition, unless `force`; UnavailableError when it cannot be read or written.
    """
    sources = templates.load()
    try:
        _check_boot(boot, force=force)
        plan = _plan(boot, card, sources)
        changed = [path for path, data in plan.items() if _read(path) != data]
    except OSError as error:
        raise UnavailableError(f"cannot read the card: {error}") from error
    try:
        for path in changed:
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, plan[path])
    except OSError as error:
        raise UnavailableError(f"the card is incomplete, flash it again: {error}") from error
    return changed


def places(boot: Path, name: str) -> list[Path]:
    """Return where the system keeps its file `name`; since 25.10 Ubuntu has cmdline.txt in `current`."""
    return [path for path in (boot / name, boot / "current" / name) if path.is_file()]


def _check_boot(boot: Path, *, force: bool) -> None:
    if not boot.is_dir():
        raise SettingsError(f"{boot} is no folder: mount the card and name its boot partition's folder")
    # Hidden entries and this one are what desktops leave on any card they touch.
    ignored = "System Volume Information"
    found = sorted(e.name for e in boot.iterdir() if not e.name.startswith(".") and e.name != ignored)
    if force or not found or any((boot / mark).exists() for mark in _MARKS):
        return
    more = " and more" if len(found) > 3 else ""
    raise SettingsError(
        f"{boot} is not a boot partition: no cmdline.txt or config.txt, but {', '.join(found[:3])}{more} "
        "(--force writes there anyway)"
    )


def _plan(boot: Path, card: DeviceCard, sources: Mapping[str, str]) -> dict[Path, bytes]:
    """Return every file to be written with its whole new content."""
    own = render(sources, card) | secrets_of(card)
    plan = {boot / name: text.encode() for name, text in own.items()}
    plan |= {boot / name: data for name, data in system_files().items()}
    for name, additions in render_additions(sources, card).items():
        for path in places(boot, name):
            # A person's comment may be in any encoding; its bytes come back as they were.
            old = path.read_bytes().decode("utf-8", "surrogateescape")
            plan[path] = _APPEND[name](old, additions).encode("utf-8", "surrogateescape")
    return plan


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
