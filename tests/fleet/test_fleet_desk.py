"""What lets a device in is made when its card is written: a token of its own, or its key and certificate."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from edge.adapters.identity import IdentityFile
from fleet.adapters import pki
from fleet.adapters.audit_log import AuditLog
from fleet.adapters.broker_files import BrokerFiles
from fleet.adapters.certificate_store import CertificateStore
from fleet.adapters.database import Database
from fleet.adapters.signing_desk import open_store
from fleet.broker_setup import BrokerPlan
from fleet.cli import add_parser as add_fleet
from fleet.provision.adapters.fleet_desk import FleetDesk, Identity, with_fleet
from fleet.provision.cli import add_parser
from fleet.provision.inventory import Entry
from tests.support.cards import PLAIN, ROOT_JSON, TRIXIE, lay
from tests.support.locked_broker import LockedBroker, Voice, needs_mosquitto
from wire.adapters.tls import TlsFiles, load, make_context
from wire.enrolment import CertificateRequest, Claim, prove
from wire.errors import MessageError, SettingsError

LIST = "devices.csv"
NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A fleet's state folder with certificates."""
    folder = tmp_path / "fleet"
    BrokerFiles(folder).make(BrokerPlan(("hub.local",), port=9883, claim_port=9884), NOW)
    (folder / "root.json").write_text(ROOT_JSON)
    return folder


def locked(state: Path, name: str = "kitchen-1") -> Entry:
    card = with_fleet(replace(PLAIN, name=name), state)
    return Entry(card, serial="00000000deadbeef")


class Store:
    """The fleet's certificates, as its server sees them."""

    def __init__(self, state: Path) -> None:
        self.database = Database(state).open()
        life = dt.timedelta(days=90)
        self.certificates: CertificateStore = open_store(self.database, BrokerFiles(state).authority(), life)

    def enroll(self, token: str, device: str, folder: Path) -> str:
        """Claim as the device does; return its certificate."""
        claim, identity = Claim.of(token, device), IdentityFile(folder / f"{device}.pem", device)
        csr = identity.request()
        request = CertificateRequest(csr, prove(claim.proof_key, csr))
        return self.certificates.enroll(claim.address, request, NOW.timestamp()).pem


def test_the_fleet_says_how_it_is_reached(state: Path) -> None:
    card = locked(state).card
    assert (card.broker_host, card.broker_port, card.claim_port) == ("hub.local", 9883, 9884)
    assert card.broker_ca == BrokerFiles(state).broker_ca.read_text()
    told = with_fleet(PLAIN, state, host="10.0.0.1", claim_port=1234)
    assert (told.broker_host, told.broker_port, told.claim_port) == ("10.0.0.1", 9883, 1234)


def test_each_card_has_a_token_of_its_own_that_is_good_once(state: Path, tmp_path: Path) -> None:
    desk = FleetDesk(state)
    tokens = [desk.issue(locked(state, name)).card.claim_token for name in ("a", "b")]
    assert None not in tokens
    assert tokens[0] != tokens[1]
    store = Store(state)
    assert "BEGIN CERTIFICATE" in store.enroll(str(tokens[0]), "a", tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(MessageError, match="used by another key"):
        store.enroll(str(tokens[0]), "a", tmp_path / "other")
    assert ("enroll", "a") in [(line.action, line.subject) for line in AuditLog(store.database).lines(9)]


def test_a_card_written_again_ends_the_token_before_it(state: Path, tmp_path: Path) -> None:
    desk = FleetDesk(state)
    first, second = (str(desk.issue(locked(state)).card.claim_token) for _ in range(2))
    with pytest.raises(MessageError, match="unknown claim"):
        Store(state).enroll(first, "kitchen-1", tmp_path)
    assert Store(state).enroll(second, "kitchen-1", tmp_path)


def test_an_identity_made_at_flash_is_whole_and_of_the_fleet(state: Path, tmp_path: Path) -> None:
    card = FleetDesk(state, Identity.AT_FLASH).issue(locked(state)).card
    assert card.claim_token is None
    path = tmp_path / "identity.pem"
    path.write_text(str(card.identity))
    load(make_context(), TlsFiles(BrokerFiles(state).broker_ca, path))
    life = IdentityFile(path, "kitchen-1").life()
    assert life is not None
    assert life.expires_s > NOW.timestamp() + 80 * 86_400


@needs_mosquitto
def test_the_broker_takes_an_identity_made_at_flash_and_it_can_be_revoked(tmp_path: Path) -> None:
    broker = LockedBroker.start(tmp_path / "fleet")
    try:
        card = FleetDesk(broker.folder, Identity.AT_FLASH).issue(locked(broker.folder)).card
        path = tmp_path / "identity.pem"
        path.write_text(str(card.identity))
        voice = Voice(broker.address(path))
        assert voice.connected
        voice.close()
        store, listed = Store(broker.folder).certificates, list[str]()
        assert store.revoke("kitchen-1", NOW.timestamp(), listed.extend) == len(listed) == 1
    finally:
        broker.stop()


def test_without_certificates_or_on_demand_a_card_goes_as_it_is(state: Path, tmp_path: Path) -> None:
    entry = locked(state)
    assert FleetDesk(state, Identity.NONE).issue(entry) == entry
    assert FleetDesk(tmp_path / "nowhere").issue(entry) == entry
    assert FleetDesk(tmp_path / "nowhere").settle([entry], LIST) == [entry]
    given = replace(entry, card=replace(entry.card, claim_token="x" * 30))
    assert FleetDesk(state).issue(given) == given


def test_a_board_that_is_flashed_again_keeps_its_id(state: Path) -> None:
    desk = FleetDesk(state)
    desk.issue(locked(state))
    nameless = replace(locked(state, "pi-00000000deadbeef"), named=False)
    assert [entry.card.name for entry in desk.settle([nameless], LIST)] == ["kitchen-1"]
    assert json.loads((state / "flashed.json").read_text())["devices"][0]["serial"] == "00000000deadbeef"


def test_two_boards_cannot_come_to_one_id(state: Path) -> None:
    desk = FleetDesk(state)
    desk.issue(locked(state))
    again = replace(locked(state, "pi-00000000deadbeef"), named=False, where="row 2")
    other = Entry(locked(state).card, serial="00000000cafe0001", where="row 3")
    with pytest.raises(SettingsError, match=r"^devices\.csv, .* row 3: id 'kitchen-1' is in row 2 too"):
        desk.settle([again, other], LIST)


def test_an_image_for_any_board_needs_a_shared_token(state: Path) -> None:
    entry = locked(state, "pi-{serial}")
    with pytest.raises(SettingsError, match="enroll --shared"):
        FleetDesk(state).issue(entry)


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser(prog="edgeflock")
    commands = parser.add_subparsers(required=True)
    add_parser(commands)
    add_fleet(commands, "0")
    args = parser.parse_args([*map(str, arguments)])
    code: int = args.run(args)
    return code


def test_a_shared_token_lets_in_the_named_devices_and_no_others(state: Path, tmp_path: Path) -> None:
    names = ["pi-00000000deadbeef", "pi-00000000cafe0001"]
    run("fleet", "enroll", *names, "--shared", "--state", state, "--out", tmp_path / "token")
    token = (tmp_path / "token").read_text().strip()
    store = Store(state)
    for name in names:
        assert store.enroll(token, name, tmp_path)
    with pytest.raises(MessageError, match="unknown claim"):
        store.enroll(token, "pi-0000000012345678", tmp_path)
    addresses = {Claim.of(token, name).address for name in names}
    assert len(addresses) == 2, "or the broker would take them for one client"


def test_one_token_for_several_devices_is_asked_for(state: Path) -> None:
    with pytest.raises(SettingsError, match="say --shared"):
        run("fleet", "enroll", "a", "b", "--state", state)


def test_a_flash_beside_the_fleet_needs_nothing_else(state: Path, tmp_path: Path) -> None:
    boot = lay(tmp_path / "bootfs", TRIXIE)
    assert run("flash", "--boot", boot, "--device", "kitchen-1", "--state", state) == 0
    token = (boot / "edgeflock/claim-token").read_text().strip()
    assert (boot / "edgeflock/root.json").read_text() == ROOT_JSON
    assert 'host = "hub.local"' in (boot / "edgeflock/device.toml").read_text()
    assert Store(state).enroll(token, "kitchen-1", tmp_path)


def test_tls_without_a_way_to_a_certificate_is_refused(state: Path, tmp_path: Path) -> None:
    boot = lay(tmp_path / "bootfs", TRIXIE)
    trust = ("--unsigned", "--ca", BrokerFiles(state).broker_ca)
    elsewhere = ("flash", "--boot", boot, "--device", "a", "--state", tmp_path / "no", *trust)
    with pytest.raises(SettingsError, match="TLS needs a claim token: --claim FILE"):
        run(*elsewhere)
    assert not (boot / "edgeflock").exists()
    assert run(*elsewhere, "--identity", "none") == 0


def test_a_card_of_the_wrong_content_costs_no_token(state: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no system that we know"):
        run("flash", "--boot", tmp_path, "--force", "--device", "kitchen-1", "--state", state)
    assert Store(state).certificates.logins(NOW.timestamp()) == []


def test_who_has_the_card_does_not_read_the_ca(state: Path, tmp_path: Path) -> None:
    boot = lay(tmp_path / "bootfs", TRIXIE)
    run("flash", "--boot", boot, "--device", "kitchen-1", "--state", state, "--identity", "at-flash")
    keys = [(state / "broker" / name).read_bytes() for name in os.listdir(state / "broker") if ".key" in name]
    written = [path.read_bytes() for path in boot.rglob("*") if path.is_file()]
    assert keys
    assert not [key for key in keys for data in written if key in data]
    assert pki.expiry((boot / "edgeflock/identity.pem").read_bytes()) > NOW
