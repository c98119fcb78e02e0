"""`edgeflock fleet enroll` and `revoke`: who may connect to the broker, and who no longer."""

from __future__ import annotations

import argparse
import datetime as dt
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fleet.adapters import pki
from fleet.adapters.broker_files import BrokerFiles
from fleet.adapters.certificate_store import CertificateStore
from fleet.adapters.database import Database
from fleet.adapters.signing_desk import login_line, make_token, now, open_store
from fleet.enrolment import check_device
from fleet.initialising import root_file
from wire.adapters.files import write_atomic
from wire.enrolment import Claim
from wire.errors import SettingsError

_ENROLL_HELP: Final = """\
Makes a claim token for one device, which uses it once to have its key certified. The key is made on the
device and stays there. The token is shown now and never again: the server keeps what follows from it.

example:
    edgeflock fleet enroll kitchen-1 --state /srv/fleet --out kitchen-1.token
"""

_REVOKE_HELP: Final = """\
Revokes all certificates and claims of a device. The running `fleet serve` has the broker refuse them and
ends the device's connection.

example:
    edgeflock fleet revoke kitchen-1 --state /srv/fleet
"""

_CLAIM: Final = """\
{device} may claim its certificate until {until}, once{where}

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
    enroll.add_argument("device", help="the device's name")
    enroll.add_argument("--days", type=float, default=7.0, help="how long the token is good (%(default)s)")
    enroll.add_argument("--out", type=Path, metavar="FILE", help="write the token there, and do not show it")
    revoke = part("revoke", "shut a device out", _REVOKE_HELP, _run_revoke)
    revoke.add_argument("device", help="the device's name")


def _run_enroll(arguments: argparse.Namespace) -> int:
    device = check_device(arguments.device)
    if not 0 < arguments.days <= 365:
        raise SettingsError("--days must be above 0 and at most 365")
    files = _files(arguments.state)
    plan, token = files.plan(), make_token()
    claim, expires_s = Claim.of(token), time.time() + arguments.days * 86_400
    if arguments.out:  # first: a token that cannot be handed over must not end an earlier one
        write_atomic(arguments.out, f"{token}\n".encode(), mode=0o600)
    with _store(arguments.state, files) as store:
        store.add_claim(claim, device, login_line(claim.address, claim.password), expires_s)
    until = dt.datetime.fromtimestamp(expires_s, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    where = f": {arguments.out}" if arguments.out else f":\n\n    {token}"
    print(
        _CLAIM.format(
            device=device, until=until, where=where, ca=files.broker_ca, host=plan.hosts[0],
            port=plan.port, claim_port=plan.claim_port, root=root_file(arguments.state),
            file=arguments.out or "FILE",
        ),
        end="",
    )  # fmt: skip
    return 0


def _run_revoke(arguments: argparse.Namespace) -> int:
    device = check_device(arguments.device)
    files = _files(arguments.state)
    with _store(arguments.state, files) as store:
        count = store.revoke(device, time.time(), lambda serials: files.write_crl(serials, now()))
    print(f"{device}: {count} certificates revoked, and its claims ended")
    if count:
        print(
            "next: a running `fleet serve` cuts it off by itself; another broker needs",
            files.folder / "crl.pem",
        )
    return 0


def _files(state: Path) -> BrokerFiles:
    files = BrokerFiles(state)
    if not files.exist:
        raise SettingsError(f"no certificates in {state}: run `edgeflock fleet init --state {state}` first")
    return files


@contextmanager
def _store(state: Path, files: BrokerFiles) -> Iterator[CertificateStore]:
    database = Database(state).open()
    try:
        yield open_store(database, files.authority(), dt.timedelta(days=pki.DEVICE_DAYS))
    finally:
        database.close()
