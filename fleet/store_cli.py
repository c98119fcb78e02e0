"""`edgeflock fleet serve --keep-raw`, `backup`, `restore` and `remove`: what becomes of what is kept."""

from __future__ import annotations

import argparse
import math
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from fleet.adapters import pki
from fleet.adapters.audit_log import AuditLog
from fleet.adapters.backup_file import Contents, back_up, restore
from fleet.adapters.broker_files import BrokerFiles
from fleet.adapters.database import Database
from fleet.adapters.removal import Removal
from fleet.adapters.signing_desk import now, open_store
from fleet.enrolment import check_device
from fleet.keeping import Keep
from fleet.provision.adapters.register_file import RegisterFile
from fleet.provision.register import forget
from fleet.rollout_cli import AddPart
from fleet.timing import HOUR_S
from wire.adapters.files import only_owner
from wire.deadline import Deadline, wait_until
from wire.errors import SettingsError, UnavailableError

_BACKUP_HELP: Final = """\
Writes the fleet's state into one tar file, while the server runs: the database as it is at one moment,
the blobs of all releases, certificates and configuration. Private keys only with --keys: whoever has
them can sign for the fleet. Reports that come after the backup are not in it.

example:
    edgeflock fleet backup fleet-2026-11-30.tar --state /srv/fleet
"""

_RESTORE_HELP: Final = """\
Makes a state folder from a backup; the folder must be new or empty. Every file is compared with its SHA-256
and the database is checked before anything is put in place.

example:
    edgeflock fleet restore fleet-2026-11-30.tar --state /srv/fleet
"""

_REMOVE_HELP: Final = """\
Removes a device: what it reported, its sums, its groups and pins, its claim, and what stands of it on the
broker; its certificate, if it has one, is revoked. What it counted stays in the sums of the whole fleet. A
device that still reaches the broker and speaks comes back as a new one.

example:
    edgeflock fleet remove kitchen-1 --state /srv/fleet
"""

#: A server erases a device within a second, unless a large commit is in its way.
_ERASE_S: Final = 30.0


def add_keep_options(serve: argparse.ArgumentParser) -> None:
    """Add what `fleet serve` is told about how long things are kept."""
    serve.add_argument(
        "--keep-raw", type=float, default=Keep().raw_s / HOUR_S, metavar="HOURS",
        help="keep single reports so long; their sums stay (%(default)g)",
    )  # fmt: skip


def keep_of(arguments: argparse.Namespace) -> Keep:
    """Return what the options say; raise SettingsError for what cannot be."""
    if not (math.isfinite(arguments.keep_raw) and arguments.keep_raw >= 1):
        raise SettingsError("--keep-raw is at least 1 hour")
    return Keep(raw_s=arguments.keep_raw * HOUR_S)


def add_parts(part: AddPart) -> None:
    """Add the commands; `part` makes a subcommand of `fleet` with its --state."""
    backup = part("backup", "write the state into one file", _BACKUP_HELP, _run_backup)
    backup.add_argument("file", type=Path, help="a new file")
    backup.add_argument("--keys", action="store_true", help="with the private keys")
    back = part("restore", "make a state folder from a backup", _RESTORE_HELP, _run_restore)
    back.add_argument("file", type=Path, help="a file made by `edgeflock fleet backup`")
    remove = part("remove", "forget a device", _REMOVE_HELP, _run_remove)
    remove.add_argument("device", help="the device's name")
    remove.add_argument("--yes", action="store_true", help="do not ask")


def _run_backup(arguments: argparse.Namespace) -> int:
    contents = back_up(arguments.state, arguments.file, keys=arguments.keys)
    print(f"{arguments.file}: {_told(contents)}")
    if not contents.keys and (arguments.state / "keys").exists():
        print("without private keys: keep those apart, or say --keys")
    return 0


def _run_restore(arguments: argparse.Namespace) -> int:
    contents = restore(arguments.file, arguments.state)
    made = datetime.fromtimestamp(contents.made_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    print(f"{arguments.state}: the fleet of {made}, {_told(contents)}")
    if not contents.keys:
        print(f"next: bring the private keys to {arguments.state / 'keys'} and {arguments.state / 'broker'}")
    return 0


def _told(contents: Contents) -> str:
    blobs = sum(name.startswith("blobs/") for name in contents.files)
    keys = "with private keys" if contents.keys else "no private keys"
    return (
        f"{contents.devices} devices, {contents.releases} releases, {contents.reports} reports, "
        f"{blobs} blobs, {keys}, {contents.size_bytes:,} bytes"
    )


def _run_remove(arguments: argparse.Namespace) -> int:
    device = check_device(arguments.device)
    database = Database(arguments.state).open(create=False)
    try:
        removal = Removal(database)
        flashed = any(known.device == device for known in RegisterFile(arguments.state).read().devices)
        if not removal.knows(device) and not flashed:
            raise SettingsError(f"there is no device {device} in {arguments.state}")
        if not arguments.yes and not _agreed(device):
            print("nothing was removed")
            return 1
        _revoke(arguments.state, database, device)
        RegisterFile(arguments.state).change(lambda register: forget(register, device))
        with database.transaction():
            removal.ask(device)
            AuditLog(database).add_command("remove", [device])
        _erase(arguments.state, removal, device)
    finally:
        database.close()
    print(f"{device} is removed")
    return 0


def _agreed(device: str) -> bool:
    if not sys.stdin.isatty():
        raise SettingsError("nobody is here to be asked: say --yes")
    return input(f"remove {device} and all that it reported? [y/N] ").strip().lower() in ("y", "yes")


def _revoke(state: Path, database: Database, device: str) -> None:
    files = BrokerFiles(state)
    if files.exist:
        store = open_store(database, files.authority(), timedelta(days=pki.DEVICE_DAYS))
        count = store.revoke(device, time.time(), lambda serials: files.write_crl(serials, now()))
        print(f"{count} certificates revoked")


def _erase(state: Path, removal: Removal, device: str) -> None:
    """Erase it ourselves where no server runs; else wait until that has."""

    def erased() -> bool:
        return device not in removal.asked()

    try:
        with only_owner(state / "lock", "server"):
            removal.erase(device)
    except UnavailableError:
        if not wait_until(erased, Deadline.after(_ERASE_S)):
            raise UnavailableError(f"the server has not removed {device} in {_ERASE_S:.0f} s") from None
