"""Which kind of trust the settings ask for."""

from __future__ import annotations

import time
from pathlib import Path

from edge.adapters.tuf_trust import TufTrust
from edge.settings import TrustSettings
from edge.trust import NoTrust, Trust, Unsigned
from wire.errors import SettingsError


def make_trust(settings: TrustSettings, state: Path) -> Trust:
    """Return what decides whom this device believes; raise SettingsError for a root that is none."""
    if settings.unsigned:
        return Unsigned()
    if not settings.root:
        return NoTrust()
    try:
        root = Path(settings.root).read_bytes()
    except OSError as error:
        raise SettingsError(
            f"trust.root: {settings.root}: {error.strerror}; `edgeflock fleet init` makes it"
        ) from error
    return TufTrust(root, state / "trust", time.time).open()
