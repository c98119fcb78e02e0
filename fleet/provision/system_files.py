"""What a device's system is given beside the runtime: files of `firmware-config`, as one archive.

An archive, because the boot partition is FAT, which has neither links nor modes. The same files give the same
bytes, so that flashing twice changes nothing and a device sees by comparing whether there is news.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from typing import Final

from fleet.provision import templates
from wire.errors import SettingsError

#: Where the archive lies on the boot partition.
ARCHIVE: Final = "edgeflock/system.tar"
_LINKS: Final = "system/links.txt"
#: Folder of firmware-config -> where its files go on the device.
_PLACES: Final = {
    "system/": "",
    "systemd/edgeflock.service.d/": "etc/systemd/system/edgeflock.service.d/",
    "systemd/optional/": "usr/local/share/edgeflock/",
}
_PROGRAMS: Final = ("usr/local/lib/edgeflock/", "etc/systemd/system-generators/")


def system_files() -> dict[str, bytes]:
    """Return what `flash` puts on the card: path on the boot partition -> content."""
    return {ARCHIVE: pack(templates.load_all())}


def pack(sources: Mapping[str, bytes]) -> bytes:
    """Return the archive of `sources`, which are named as in `firmware-config`; others are left out.

    Raises SettingsError for a line of links.txt that is none.
    """
    links = read_links(sources.get(_LINKS, b"").decode())
    files = {
        place + name.removeprefix(folder): data
        for folder, place in _PLACES.items()
        for name, data in sources.items()
        if name.startswith(folder) and name != _LINKS
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted({**files, **links}):
            entry = tarfile.TarInfo(path)
            if path in links:
                entry.type, entry.linkname = tarfile.SYMTYPE, links[path]
            else:
                entry.size = len(files[path])
                entry.mode = 0o755 if path.startswith(_PROGRAMS) else 0o644
            archive.addfile(entry, io.BytesIO(files.get(path, b"")))
    return buffer.getvalue()


def read_links(text: str) -> dict[str, str]:
    """Return the links of links.txt: path -> target."""
    links = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        path, _, target = map(str.strip, line.partition("->"))
        if not (path and target) or path.startswith("/"):
            raise SettingsError(f"system/links.txt line {number}: needs `path -> target`, the path without /")
        links[path] = target
    return links
