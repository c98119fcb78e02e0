"""Which files make one device of a boot partition, and what is in each; nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fleet.provision import templates
from fleet.provision.boot_partition import BootPartition, find
from fleet.provision.render import (
    DeviceCard,
    append_cmdline,
    append_config,
    render,
    render_additions,
    secrets_of,
)
from fleet.provision.system_files import system_files

_APPEND: Final[Mapping[str, Callable[[str, str], str]]] = {
    "cmdline.txt": append_cmdline,
    "config.txt": append_config,
}


def plan(boot: BootPartition, card: DeviceCard) -> dict[str, bytes]:
    """Return every file to be written with its whole new content, in the order of writing.

    cmdline.txt and config.txt are added to where they exist.
    """
    sources = templates.load()
    own = render(sources, card) | secrets_of(card)
    files = {name: text.encode() for name, text in own.items()} | system_files()
    for name, additions in render_additions(sources, card).items():
        for path in find(boot, name):
            # A person's comment may be in any encoding; its bytes come back as they were.
            old = (boot.read(path) or b"").decode("utf-8", "surrogateescape")
            files[path] = _APPEND[name](old, additions).encode("utf-8", "surrogateescape")
    return files
