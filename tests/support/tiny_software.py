"""Software of one file, which does no more than a test wants: it stands for all of ours."""

from __future__ import annotations

from typing import Final

from wire.manifest import Golden, Manifest, Software
from wire.software import SOFTWARE, pack

#: Takes over whatever there is.
WILLING: Final = "print('can take over: anything')\n"


def tiny_manifest(version: str) -> Manifest:
    """Return what is said of it, but for its files."""
    return Manifest(
        SOFTWARE, version, "software", "", 0, (), (), Golden(0, 0.0), software=Software("3.11", 1, 1)
    )


def tiny_software(version: str, script: str = WILLING) -> bytes:
    """Return a release whose `edgeflock.py` is `script`."""
    return pack(tiny_manifest(version), {"edgeflock.py": script.encode()})
