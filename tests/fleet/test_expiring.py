"""What expires is told in time, in the log and beside commands, and the command it names renews it."""

from __future__ import annotations

import logging
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgeflock import main
from fleet import expiry_watch
from fleet.adapters import pki
from fleet.adapters.broker_files import BrokerFiles
from fleet.adapters.database import Database
from fleet.adapters.key_files import offline_folder
from fleet.adapters.registry import Registry
from fleet.expiring import SAY_EVERY, WARN_BEFORE, Lasting, notices
from fleet.expiry_watch import ExpiryWatch, lasting
from fleet.metadata import ROOT_LIFE, TARGETS_LIFE
from fleet.signed_release import released
from tests.support.locked_broker import LockedBroker, Voice, needs_mosquitto
from tests.support.shelf import make_goods

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
NOW = datetime(2030, 5, 1, 12, tzinfo=UTC)


def thing(left: timedelta, name: str = "the root") -> Lasting:
    return Lasting(name, NOW + left, "nobody installs", "run `it`")


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (WARN_BEFORE + SECOND, None),
        (WARN_BEFORE, "the root expires in 60 days, on 2030-06-30: nobody installs then; run `it`"),
        (1.5 * DAY, "the root expires in 1 day, on 2030-05-03: nobody installs then; run `it`"),
        (1 * SECOND, "the root expires in less than a day, on 2030-05-01: nobody installs then; run `it`"),
        (timedelta(0), "the root expired on 2030-05-01: nobody installs until you run `it`"),
        (-40 * DAY, "the root expired on 2030-03-22: nobody installs until you run `it`"),
    ],
)  # fmt: skip
def test_sixty_days_before_it_ends_and_after_it_has_it_is_told(left: timedelta, text: str | None) -> None:
    told = notices([thing(left)], NOW)
    assert [notice.text for notice in told] == ([text] if text else [])
    assert [notice.expired for notice in told] == ([left <= timedelta(0)] if text else [])


def test_the_most_urgent_is_told_first() -> None:
    told = notices([thing(9 * DAY, "c"), thing(-DAY, "a"), thing(400 * DAY, "d"), thing(DAY, "b")], NOW)
    assert [(notice.text[0], notice.expired) for notice in told] == [("a", True), ("b", False), ("c", False)]


def test_the_log_says_it_once_a_day_and_louder_when_it_has_expired(caplog: pytest.LogCaptureFixture) -> None:
    time_s, left = 0.0, 1.5 * DAY
    watch = ExpiryWatch(lambda: [thing(left)], lambda: time_s, lambda: NOW)
    day_s = SAY_EVERY.total_seconds()
    for time_s in (0.0, 1.0, day_s - 1, day_s):  # noqa: B007  # the watch's clock reads it
        watch.turn()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    left, time_s = -DAY, 2 * day_s
    watch.turn()
    assert caplog.records[-1].levelno == logging.ERROR


def test_what_cannot_be_looked_at_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def look() -> list[Lasting]:
        raise PermissionError(13, "Permission denied", "crl.pem")

    ExpiryWatch(look, lambda: 0.0).turn()
    assert "cannot tell what expires" in caplog.text


# --- a fleet with keys and certificates --------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("made") / "fleet"
    assert main(["fleet", "init", "--host", "hub.local", "--state", str(state)]) == 0
    database = Database(state).open()
    with released(database, make_goods(1, 1000).built) as release:
        Registry(database).plan(release, "all")
    database.close()
    return state


@pytest.fixture
def state(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "fleet")
    return tmp_path / "fleet"


def fleet(state: Path, *arguments: str) -> int:
    return main(["fleet", *arguments, "--state", str(state)])


def things(state: Path) -> dict[str, Lasting]:
    database = Database(state).open()
    try:
        return {thing.name.rpartition("/")[2]: thing for thing in lasting(database)}
    finally:
        database.close()


def test_what_people_signed_and_init_made_is_looked_at(state: Path) -> None:
    now = datetime.now(UTC)
    years = {name: round((thing.expires - now) / (365 * DAY)) for name, thing in things(state).items()}
    assert years == {
        "the root of trust": 2,
        "the list of signed releases": 1,
        "broker.crt": 10,
        "fleet-server.pem": 10,
        "crl.pem": 10,
        "broker-ca.pem": 20,
        "device-ca.pem": 20,
    }


def test_commands_tell_it_beside_what_they_do(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fleet(state, "status", "--json") == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(expiry_watch, "now", lambda: datetime.now(UTC) + TARGETS_LIFE - 20.5 * DAY)
    assert fleet(state, "status", "--json") == 0
    said = capsys.readouterr()
    assert said.out.startswith("[")
    assert said.err.count("\n") == 1
    assert "note: the list of signed releases expires in 20 days" in said.err
    assert "`edgeflock fleet keys renew targets --state" in said.err


@pytest.mark.parametrize(("role", "life"), [("root", ROOT_LIFE), ("targets", TARGETS_LIFE)])
def test_a_role_is_signed_again_by_the_keys_that_it_has(
    state: Path, tmp_path: Path, role: str, life: timedelta
) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    for path in offline_folder(state).glob(f"{role}-*.pem"):
        path.rename(stick / path.name)
    before, keys = _latest(state, role), sorted(path.name for path in stick.iterdir())
    assert fleet(state, "keys", "renew", role) == 2
    assert _latest(state, role).version == before.version
    assert fleet(state, "keys", "renew", role, "--keys", str(stick)) == 0
    after = _latest(state, role)
    assert after.version == before.version + 1
    assert after.expires - datetime.now(UTC) > life - DAY
    assert sorted(path.name for path in stick.iterdir()) == keys
    if role == "root":
        assert after.roles == before.roles
    else:
        assert after.targets == before.targets


def _latest(state: Path, role: str):  # type: ignore[no-untyped-def]
    database = Database(state).open()
    try:
        metadata = expiry_watch.MetadataStore(database).latest(role)
        assert metadata is not None
        return metadata.signed
    finally:
        database.close()


def test_certificates_are_made_anew_by_the_same_authorities(state: Path) -> None:
    files, later = BrokerFiles(state), datetime.now(UTC) + 9 * 365 * DAY
    files.write_crl(["ab12"], datetime.now(UTC))
    kept = {n: (files.folder / n).read_bytes() for n in ("broker-ca.pem", "device-ca.pem", "acl.conf")}
    before = things(state)
    files.renew(later)
    after = things(state)
    for name in ("broker.crt", "fleet-server.pem", "crl.pem"):
        assert after[name].expires - before[name].expires > 8 * 365 * DAY
    assert {n: (files.folder / n).read_bytes() for n in kept} == kept
    assert files.revoked() == ["ab12"]
    authority = pki.Authority.load(kept["broker-ca.pem"], (files.folder / "broker-ca.key").read_bytes())
    pki.x509.load_pem_x509_certificate((files.folder / "broker.crt").read_bytes()).verify_directly_issued_by(
        authority.certificate
    )


@needs_mosquitto
def test_who_knew_the_broker_knows_it_with_its_new_certificate(tmp_path: Path) -> None:
    broker = LockedBroker.start(tmp_path)
    try:
        device = broker.identity("pi-1")
        broker.files.renew(datetime.now(UTC))
        broker.running.restart()
        for identity in (device, broker.files.server_tls.certificate):
            voice = Voice(broker.address(identity))
            assert voice.connected
            voice.close()
    finally:
        broker.stop()


def test_a_renewal_says_what_it_lacks(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (state / "broker" / "broker-ca.key").unlink()
    before = (state / "broker" / "broker.crt").read_bytes()
    assert fleet(state, "init", "--renew") == 2
    assert "broker-ca.key: No such file or directory; bring it back for this" in capsys.readouterr().err
    assert (state / "broker" / "broker.crt").read_bytes() == before
    assert fleet(tmp_path / "none", "init", "--renew") == 2
    assert "no certificates in" in capsys.readouterr().err
