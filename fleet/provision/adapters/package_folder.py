"""The packages that a device installs from its card at first boot, without a network."""

from __future__ import annotations

from pathlib import Path

from fleet.provision.boot_partition import check_file_name
from wire.errors import SettingsError


def read_packages(folder: Path) -> dict[str, bytes]:
    """Return the packages in `folder`, as `edgeflock package` makes it, by where they go on a card.

    A Debian package holds all that the wheels beside it do, and is taken alone.
    """
    if not folder.is_dir():
        raise SettingsError(f"--packages {folder} is no folder")
    found = {f"edgeflock/{path.name}": path for path in sorted(folder.glob("edgeflock_*.deb"))}
    if not found:
        wheels = sorted([*folder.glob("*.whl"), *folder.glob("wheels/*.whl")])
        found = {f"edgeflock/wheels/{path.name}": path for path in wheels}
    if not found:
        raise SettingsError(f"--packages {folder}: there is no edgeflock_….deb and no wheel in it")
    try:
        return {check_file_name(name): path.read_bytes() for name, path in found.items()}
    except ValueError as error:
        raise SettingsError(f"--packages {folder}: {error}") from error
