"""Which files make one device of a boot partition, and what is in each; nothing is written here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from fleet.provision import templates
from fleet.provision.boot_partition import BootPartition, find
from fleet.provision.card import DeviceCard
from fleet.provision.formats import OWN, render, render_additions
from fleet.provision.render import append_cmdline, append_config
from fleet.provision.system_files import system_files
from fleet.provision.systems import Os, detect_os

_APPEND: Final[Mapping[str, Callable[[str, str], str]]] = {
    "cmdline.txt": append_cmdline,
    "config.txt": append_config,
}
#: What `package_folder` puts there.
_PACKAGE: Final = re.compile(r"edgeflock/(edgeflock_[\w.+~-]+\.deb|wheels/[\w.+-]+\.whl)", re.ASCII)


def plan(boot: BootPartition, card: DeviceCard, system: Os | None = None) -> dict[str, bytes]:
    """Return every file to be written with its whole new content, in the order of writing.

    cmdline.txt and config.txt are added to where they exist. Without `system` it is what the partition
    shows; raises SettingsError where that is nothing known.
    """
    system = system or detect_os(boot)
    sources = templates.load()
    own = render(sources, card, system)
    files = {name: text.encode() for name, text in own.items()} | system_files()
    for name, additions in render_additions(sources, card, system).items():
        for path in find(boot, name):
            # A person's comment may be in any encoding; its bytes come back as they were.
            old = (boot.read(path) or b"").decode("utf-8", "surrogateescape")
            files[path] = _APPEND[name](old, additions).encode("utf-8", "surrogateescape")
    return files


def stale(boot: BootPartition, files: Mapping[str, bytes]) -> list[str]:
    """Return what an earlier flash has left that `files` do not replace: another device's token, say."""
    own = [name for name in OWN if boot.read(name) is not None]
    # pip refuses two versions of a wheel, and of two packages the device might take the older one.
    earlier = _packages(boot) if any(map(_PACKAGE.fullmatch, files)) else []
    return [name for name in (*own, *earlier) if name not in files]


def _packages(boot: BootPartition) -> list[str]:
    found = (
        f"{folder}/{name}" for folder in ("edgeflock", "edgeflock/wheels") for name in boot.names(folder)
    )
    return [name for name in found if _PACKAGE.fullmatch(name)]
