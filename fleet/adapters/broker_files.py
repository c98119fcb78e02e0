"""The folder `<state>/broker`: what `fleet init` writes there once, and what changes later.

| file | who reads it |
|---|---|
| `mosquitto.conf`, `acl.conf`, `device-ca.pem`, `crl.pem` | the fleet's broker |
| `claims.conf`, `claims-acl.conf`, `claims.passwd` | the broker for enrolment |
| `broker.crt`, `broker.key` | both |
| `broker-ca.pem` | every device |
| `fleet-server.pem` | the server: its certificate and key |
| `device-ca.key` | the server, which signs for devices |
| `broker-ca.key` | nobody, until the broker needs another certificate: keep it elsewhere |

`broker.json` is written last: with it the folder counts as made.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fleet.adapters import pki
from fleet.broker_setup import (
    BrokerPlan,
    render_acl,
    render_claims_acl,
    render_claims_config,
    render_config,
    with_port,
)
from wire.adapters.files import write_atomic
from wire.adapters.tls import TlsFiles
from wire.codec import decode, encode
from wire.enrolment import SERVER_NAME
from wire.errors import MessageError, SettingsError

_PLAN: Final = "broker.json"
_SECRET: Final = 0o600


class BrokerFiles:
    """Reads and writes them; keeps nothing in memory."""

    def __init__(self, state: Path) -> None:
        self.folder = (state / "broker").resolve()

    @property
    def exist(self) -> bool:
        return (self.folder / _PLAN).exists()

    def make(self, plan: BrokerPlan, now: dt.datetime) -> None:
        """Make CAs, certificates and configuration; raise SettingsError where they are.

        After a run that was interrupted the CAs are kept, and the rest is made anew.
        """
        if self.exist:
            raise SettingsError(f"{self.folder} is made already: nothing was written")
        self._check_authority("broker-ca")
        self._check_authority("device-ca")
        self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # the mode is the last one's only
        self.folder.mkdir(exist_ok=True, mode=0o700)
        devices = self._make_authority("device-ca", "devices", now)
        brokers = self._make_authority("broker-ca", "broker CA", now)
        self._certify(plan, brokers, devices, now)
        self.write_crl((), now)
        self.write_logins(())
        self._write("acl.conf", render_acl(plan.prefix, plan.home).encode())
        self._write("claims-acl.conf", render_claims_acl(plan.prefix).encode())
        self._write("mosquitto.conf", render_config(plan, self.folder).encode())
        self._write("claims.conf", render_claims_config(plan, self.folder).encode())
        self._write(_PLAN, encode(plan))

    def renew(self, now: dt.datetime) -> None:
        """Make new certificates for the broker and the server, and the same revocation list with a new end.

        Devices trust the CAs, which stay, so none of them notices. Raises SettingsError where the key of
        the broker's CA is not there.
        """
        try:
            pem, key = self.broker_ca.read_bytes(), (self.folder / "broker-ca.key").read_bytes()
        except OSError as error:
            raise SettingsError(f"{error.filename}: {error.strerror}; bring it back for this") from error
        self._certify(self.plan(), pki.Authority.load(pem, key), self.authority(), now)
        self.write_crl(self.revoked(), now)

    def expiries(self) -> list[tuple[Path, dt.datetime, bool]]:
        """Return what ends when, and whether `renew` makes it anew; raise SettingsError for other files."""
        names = {"broker.crt": True, f"{SERVER_NAME}.pem": True, "crl.pem": True}
        names |= {"broker-ca.pem": False, "device-ca.pem": False}
        found = [(path, names[path.name]) for path in sorted(self.folder.iterdir()) if path.name in names]
        return [(path, pki.expiry(path.read_bytes()), renewable) for path, renewable in found]

    def _certify(
        self, plan: BrokerPlan, brokers: pki.Authority, devices: pki.Authority, now: dt.datetime
    ) -> None:
        broker_key, server_key = pki.make_key(), pki.make_key()
        broker = brokers.broker(plan.hosts, broker_key.public_key(), now)
        life = dt.timedelta(days=pki.BROKER_DAYS)
        server = devices.client(SERVER_NAME, server_key.public_key(), now, life)
        self._write("broker.key", pki.key_pem(broker_key), _SECRET)
        self._write(f"{SERVER_NAME}.pem", pki.key_pem(server_key) + server.pem.encode(), _SECRET)
        self._write("broker.crt", broker.pem.encode())

    def plan(self) -> BrokerPlan:
        """Return what `fleet init` was told; raise SettingsError where that cannot be read."""
        try:
            return decode(BrokerPlan, (self.folder / _PLAN).read_bytes())
        except (OSError, MessageError) as error:
            raise SettingsError(f"{self.folder / _PLAN}: {error}") from error

    def authority(self) -> pki.Authority:
        """Return the devices' CA; raise SettingsError where its key is not there."""
        try:
            certificate = (self.folder / "device-ca.pem").read_bytes()
            return pki.Authority.load(certificate, (self.folder / "device-ca.key").read_bytes())
        except OSError as error:
            raise SettingsError(f"{error.filename}: {error.strerror}") from error

    @property
    def broker_ca(self) -> Path:
        return self.folder / "broker-ca.pem"

    @property
    def server_tls(self) -> TlsFiles:
        return TlsFiles(self.broker_ca, self.folder / f"{SERVER_NAME}.pem")

    def revoked(self) -> list[str]:
        """Return the serials that the broker was told to refuse."""
        return pki.read_crl((self.folder / "crl.pem").read_bytes())

    def write_crl(self, serials: Sequence[str], now: dt.datetime) -> None:
        """Write which certificates the broker must refuse."""
        path = self.folder / "crl.pem"
        before = path.read_bytes() if path.exists() else None
        self._write(path.name, self.authority().crl(serials, now, before))

    def write_logins(self, lines: Sequence[str]) -> None:
        """Write who may connect for enrolment."""
        self._write("claims.passwd", "".join(f"{line}\n" for line in lines).encode(), _SECRET)

    def running_config(self, port: int, more: str) -> Path:
        """Return mosquitto.conf with this port and the lines `more`, for the broker that `serve` starts."""
        return self._running("mosquitto.conf", self.plan().port, port, more)

    def running_claims_config(self, port: int, more: str) -> Path:
        """Return the same of the broker for enrolment."""
        return self._running("claims.conf", self.plan().claim_port, port, more)

    def _check_authority(self, name: str) -> None:
        """Refuse to make a CA anew whose key has been taken away: devices may trust its certificate."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        if certificate.exists() and not key.exists():
            raise SettingsError(
                f"{certificate} is there without {key.name}, and devices may trust it: nothing was written"
            )

    def _make_authority(self, name: str, title: str, now: dt.datetime) -> pki.Authority:
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        if certificate.exists():
            return pki.Authority.load(certificate.read_bytes(), key.read_bytes())
        made = pki.Authority.make(title, now)
        self._write(key.name, pki.key_pem(made.key), _SECRET)
        self._write(certificate.name, made.pem)  # last: with it the CA counts as made
        return made

    def _running(self, name: str, old: int, port: int, more: str) -> Path:
        text = (self.folder / name).read_text(encoding="utf-8")
        path = self.folder / f"running-{name}"
        path.write_text(more + with_port(text, old, port), encoding="utf-8")
        return path

    def _write(self, name: str, data: bytes, mode: int = 0o644) -> None:
        write_atomic(self.folder / name, data, mode=mode)
