"""`edgeflock fleet enroll` and `revoke`: who may connect to the broker, and who no longer."""

from __future__ import annotations

import argparse
import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fleet.adapters import pki
from fleet.adapters.audit_log import AuditLog
from fleet.adapters.broker_files import BrokerFiles
from fleet.adapters.certificate_store import CertificateStore
from fleet.adapters.database import Database
from fleet.adapters.signing_desk import login_line, make_token, now, open_store
from fleet.enrolment import check_device
from fleet.initialising import root_file
from wire.adapters.files import write_atomic
from wire.enrolment import SHARED, Claim
from wire.errors import SettingsError

_ENROLL_HELP: Final = """\
Makes a claim token for one device, which uses it once to have its key certified. The key is made on the
device and stays there. The token is shown now and never again: the server keeps what follows from it.
`flash` makes such tokens by itself where it has the state folder.

With --shared one token serves all the devices that are named, once each: for an image without anything of
its own, whose devices are called by their boards (--device 'pi-{serial}'). Who has the token and says to be
one of them before that one does, gets its certificate.

example:
    edgeflock fleet enroll kitchen-1 --state /srv/fleet --out kitchen-1.token
    edgeflock fleet enroll pi-10000000deadbeef pi-10000000cafe0001 --shared --out shared.token
"""

_REVOKE_HELP: Final = """\
Revokes all certificates and claims of a device. The running `fleet serve` has the broker refuse them and
ends the device's connection.

example:
    edgeflock fleet revoke kitchen-1 --state /srv/fleet
"""

_CLAIM: Final = """\
{devices} may claim its certificate until {until}, once{where}

on the device, beside its settings, {ca} and {root}:
    [broker]
    host = "{host}"
    port = {port}
    claim_port = {claim_port}
    ca = "broker-ca.pem"
    claim = "claim-token"

    [trust]
    root = "root.json"
or on its card:
    edgeflock flash --boot FOLDER --device {device} --broker {host} --port {port} --claim-port {claim_port} \\
        --root {root} --ca {ca} --claim {file}
"""


def add_enrolment(part: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `enroll` and `revoke`; `part` makes a subcommand of `fleet` with its --state."""
    enroll = part("enroll", "make a claim token for a device", _ENROLL_HELP, _run_enroll)
    enroll.add_argument("device", nargs="+", help="the device's name; with --shared as many as wanted")
    enroll.add_argument(
        "--shared", action="store_true", help="one token for all these devices, each of which may use it once"
    )
    enroll.add_argument("--days", type=float, default=7.0, help="how long the token is good (%(default)s)")
    enroll.add_argument("--out", type=Path, metavar="FILE", help="write the token there, and do not show it")
    revoke = part("revoke", "shut a device out", _REVOKE_HELP, _run_revoke)
    revoke.add_argument("device", help="the device's name")


def _run_enroll(arguments: argparse.Namespace) -> int:
    devices = list(dict.fromkeys(map(check_device, arguments.device)))
    if len(devices) > 1 and not arguments.shared:
        raise SettingsError("one token is for one device: name one, or say --shared")
    if not 0 < arguments.days <= 365:
        raise SettingsError("--days must be above 0 and at most 365")
    files = _files(arguments.state)
    plan, token = files.plan(), SHARED * arguments.shared + make_token()
    expires_s = time.time() + arguments.days * 86_400
    if arguments.out:  # first: a token that cannot be handed over must not end an earlier one
        write_atomic(arguments.out, f"{token}\n".encode(), mode=0o600)
    with _store(arguments.state, files, "enroll", devices) as store:
        for device in devices:
            claim = Claim.of(token, device)
            store.add_claim(claim, device, login_line(claim.address, claim.password), expires_s)
    until = dt.datetime.fromtimestamp(expires_s, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    where = f": {arguments.out}" if arguments.out else f":\n\n    {token}"
    print(
        _CLAIM.format(
            devices=_told(devices), device=devices[0] if len(devices) == 1 else "NAME", until=until,
            where=where, ca=files.broker_ca, host=plan.hosts[0],
            port=plan.port, claim_port=plan.claim_port, root=root_file(arguments.state),
            file=arguments.out or "FILE",
        ),
        end="",
    )  # fmt: skip
    return 0


def _run_revoke(arguments: argparse.Namespace) -> int:
    device = check_device(arguments.device)
    files = _files(arguments.state)
    with _store(arguments.state, files, "revoke", [device]) as store:
        count = store.revoke(device, time.time(), lambda serials: files.write_crl(serials, now()))
    print(f"{device}: {count} certificates revoked, and its claims ended")
    if count:
        print(
            "next: a running `fleet serve` cuts it off by itself; another broker needs",
            files.folder / "crl.pem",
        )
    return 0


def _told(devices: Sequence[str]) -> str:
    return devices[0] if len(devices) == 1 else f"each of {len(devices)} devices"


def _files(state: Path) -> BrokerFiles:
    files = BrokerFiles(state)
    if not files.exist:
        raise SettingsError(f"no certificates in {state}: run `edgeflock fleet init --state {state}` first")
    return files


@contextmanager
def _store(
    state: Path, files: BrokerFiles, action: str, devices: Sequence[str]
) -> Iterator[CertificateStore]:
    """Yield the store for one `action`, which is in the audit if it is done."""
    database = Database(state).open()
    try:
        store = open_store(database, files.authority(), dt.timedelta(days=pki.DEVICE_DAYS))
        with database.transaction():
            yield store
            AuditLog(database).add_command(action, devices)
    finally:
        database.close()
