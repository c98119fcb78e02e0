"""What a flash takes from the fleet's state folder, and what it leaves there.

- ids: a board keeps the one that it had (`register.py`);
- a claim token, or a key with its certificate, for each card at the moment it is written;
- rows of the audit log for both.

Where there is no state folder, or `fleet init` made no certificates, cards go through as they are.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from fleet.adapters import pki
from fleet.adapters.audit_log import AuditLog
from fleet.adapters.broker_files import BrokerFiles
from fleet.adapters.certificate_store import CertificateStore
from fleet.adapters.database import Database
from fleet.adapters.signing_desk import login_line, make_token, open_store
from fleet.enrolment import check_device
from fleet.provision.adapters.register_file import RegisterFile
from fleet.provision.card import DeviceCard
from fleet.provision.inventory import Entry, check_unlike
from fleet.provision.register import note, settle
from wire.board_name import has_serial
from wire.enrolment import Claim
from wire.errors import SettingsError

#: A card may lie in a drawer; `fleet enroll`, whose token is copied by hand, gives a week.
CLAIM_DAYS: Final = 30.0


class Identity(StrEnum):
    """How a device comes to its certificate."""

    CLAIM = "claim"
    AT_FLASH = "at-flash"
    NONE = "none"


class FleetDesk:
    """The desk at one state folder."""

    def __init__(self, state: Path, identity: Identity = Identity.CLAIM) -> None:
        self._state = state
        self._identity = identity
        self._files = BrokerFiles(state)
        self._register = RegisterFile(state) if state.is_dir() else None

    @property
    def mints(self) -> bool:
        """Whether cards that speak TLS are given what lets them in."""
        return self._files.exist and self._identity != Identity.NONE

    def settle(self, entries: Sequence[Entry], origin: str) -> list[Entry]:
        """Return the entries of the list `origin` under the ids that their boards have."""
        if self._register is None:
            return list(entries)
        register = self._register.read()
        settled = [settle(register, entry, origin) for entry in entries]
        check_unlike(settled, f"{origin}, with the ids in {self._state / 'flashed.json'},")
        return settled

    def issue(self, entry: Entry) -> Entry:
        """Return the entry with what lets its device in, just before its card is written.

        An earlier token of the same device ends. Raises SettingsError where no token can be made.
        """
        card = entry.card
        issued = replace(entry, card=self._let_in(card) if self._lets_in(card) else card)
        if self._register is not None:
            self._register.change(lambda register: note(register, entry, time.time()))
        return issued

    def _lets_in(self, card: DeviceCard) -> bool:
        given = card.claim_token is not None or card.identity is not None
        return card.broker_ca is not None and not given and self.mints

    def _let_in(self, card: DeviceCard) -> DeviceCard:
        if has_serial(card.name):
            raise SettingsError(
                f"{card.name}: nobody knows yet which boards these will be; make a token for those that may, "
                "`edgeflock fleet enroll --shared`, and give it with --claim"
            )
        check_device(card.name)
        with self._store() as (store, audit):
            if self._identity == Identity.AT_FLASH:
                key = pki.make_key()
                made = store.issue(card.name, pki.public_pem(key.public_key()))
                audit.add_command("issue at flash", [card.name])
                return replace(card, identity=pki.key_pem(key).decode() + made.pem)
            token = make_token()
            claim = Claim.of(token, card.name)
            expires_s = time.time() + CLAIM_DAYS * 86_400
            store.add_claim(claim, card.name, login_line(claim.address, claim.password), expires_s)
            audit.add_command("enroll", [card.name])
            return replace(card, claim_token=token)

    @contextmanager
    def _store(self) -> Iterator[tuple[CertificateStore, AuditLog]]:
        database = Database(self._state).open()
        try:
            life = dt.timedelta(days=pki.DEVICE_DAYS)
            yield open_store(database, self._files.authority(), life), AuditLog(database)
        finally:
            database.close()


def with_fleet(
    card: DeviceCard,
    state: Path,
    *,
    host: str | None = None,
    port: int | None = None,
    claim_port: int | None = None,
) -> DeviceCard:
    """Return `card` with the CA, host and ports of the fleet at `state`, where it has certificates.

    `host` and the ports are what the command line said of them, if anything.
    """
    files = BrokerFiles(state)
    if card.broker_ca is not None or not files.exist:
        return card
    plan = files.plan()
    return replace(
        card,
        broker_ca=files.broker_ca.read_text(encoding="utf-8"),
        broker_host=host or plan.hosts[0],
        broker_port=port or plan.port,
        claim_port=claim_port or plan.claim_port,
        prefix=plan.prefix,
    )
