"""The server's side of trust: keys, signatures, what is due, what stands on the broker."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge.adapters.tuf_trust import TufTrust
from edge.metadata import MissingFileError
from edge.trust import Read
from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.key_files import offline_folder, online_folder
from fleet.adapters.metadata_store import REMEMBERED, MetadataStore
from fleet.adapters.registry import Registry
from fleet.health import METADATA_GRACE_S, metadata_is_stale
from fleet.initialising import initialise, root_file
from fleet.releasing import Built
from fleet.rotating import KeyDesk
from fleet.server import Server
from fleet.signed_release import released
from fleet.signing import Signing
from tests.support.examples import MANIFEST
from tests.support.shelf import Goods, make_goods
from wire.codec import encode
from wire.deadline import Deadline
from wire.errors import SettingsError
from wire.memory_link import MemoryBroker
from wire.messages import ModelState, Online, Reported
from wire.topics import Topics

TOPICS = Topics()
ONE, TWO, THREE = make_goods(1, 1000), make_goods(2, 1000), make_goods(3, 1000)


class Fleet:
    """A fleet with keys, its server on a broker in memory, and a clock to turn."""

    def __init__(self, state: Path) -> None:
        self.state, self.broker, self.now = state, MemoryBroker(), datetime.now(UTC)
        initialise(state)
        self.root = root_file(state).read_bytes()
        self.database = Database(state).open()
        self.registry, self.store = Registry(self.database).open(), MetadataStore(self.database)
        self.signing = Signing(self.registry, self.store, state, lambda: self.now)
        self.link = self.broker.link()
        self.server = Server(self.database, self.link, TOPICS, signing=self.signing)
        self.link.start()
        self.server.wait_for_broker(Deadline.after(1), threading.Event())
        self.turn()

    def turn(self) -> None:
        self.server._sign = Deadline.after(0)
        self.server._look_now()
        for _ in range(3):
            self.server.turn()

    def push(self, goods: Goods, *, keys: Path | None = None, automatic: bool = False) -> None:
        database = Database(self.state).open()
        built = Built(goods.release, goods.blob, goods.digests)
        try:
            with released(database, built, keys=keys, automatic=automatic) as release:
                Registry(database).plan(release, "all")
        finally:
            database.close()
        self.turn()

    def desk(self, keys: Path | None = None) -> KeyDesk:
        return KeyDesk(self.database, keys)

    def meta(self) -> dict[str, bytes]:
        head = TOPICS.meta("")
        return {t.removeprefix(head): p for t, p in self.broker.retained.items() if t.startswith(head)}

    def read(self) -> Read:
        """Return what a device would read from the broker."""
        return self.meta().get


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path / "fleet")
    yield fleet
    fleet.database.close()


def device(fleet: Fleet, folder: Path) -> TufTrust:
    return TufTrust(fleet.root, folder / "trust", fleet.now.timestamp).open()


def test_keys_are_readable_by_their_owner_alone_and_lie_apart(fleet: Fleet) -> None:
    offline = {p.name: p for p in offline_folder(fleet.state).iterdir()}
    online = {p.name: p for p in online_folder(fleet.state).iterdir()}
    assert set(offline) == {"root-1.pem", "root-2.pem", "root-3.pem", "targets-1.pem", "targets-2.pem"}
    assert set(online) == {"online-1.pem", "plan-1.pem"}
    assert {stat.S_IMODE(p.stat().st_mode) for p in (*offline.values(), *online.values())} == {0o600}


def test_chunks_come_first_then_metadata_with_the_timestamp_last_then_the_plan(fleet: Fleet) -> None:
    fleet.broker.published.clear()
    fleet.push(ONE)
    topics = [t.removeprefix("edgeflock/") for t, _ in fleet.broker.published]
    kinds = [t.split("/")[0] if not t.startswith("meta") else t for t in topics]
    assert kinds == ["blobs"] * 2 + [
        "meta/2.targets.json",
        "meta/2.snapshot.json",
        "meta/timestamp.json",
        "plan",
    ]


def test_a_device_finds_what_was_pushed(fleet: Fleet, tmp_path: Path) -> None:
    fleet.push(ONE)
    trust = device(fleet, tmp_path)
    trust.refresh(fleet.read())
    found = trust.named(["digits/1"], fleet.read())
    assert found.targets is not None
    assert found.targets.releases == (ONE.release,)
    plan = trust.plan(fleet.broker.retained[TOPICS.plan("all", "digits")], group="all", model="digits")
    assert plan.release == "digits/1"


def test_a_disk_that_takes_nothing_does_not_keep_a_device_from_starting(fleet: Fleet, tmp_path: Path) -> None:
    fleet.push(ONE)
    (tmp_path / "full").write_text("no folder can be made below a file")
    trust = TufTrust(fleet.root, tmp_path / "full" / "trust", fleet.now.timestamp).open()
    with pytest.raises(OSError, match="Not a directory"):
        trust.refresh(fleet.read())
    (tmp_path / "full").unlink()
    trust.refresh(fleet.read())
    assert trust.named(["digits/1"], fleet.read()).refused == ()


def test_a_push_with_a_stick_needs_two_keys_and_changes_nothing_without(fleet: Fleet, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    offline_folder(fleet.state).rename(stick)
    with pytest.raises(SettingsError, match="0 of the 2 keys"):
        fleet.push(ONE)
    aside = (stick / "targets-2.pem").rename(tmp_path / "targets-2.pem")
    with pytest.raises(SettingsError, match=f"1 of the 2 keys that it needs are in {stick}"):
        fleet.push(ONE, keys=stick)
    assert fleet.registry.releases() == []
    assert list((fleet.state / "blobs").iterdir()) == []
    aside.rename(stick / "targets-2.pem")
    fleet.push(ONE, keys=stick)
    assert TOPICS.plan("all", "digits") in fleet.broker.retained


def test_what_the_server_signs_is_signed_again_at_half_its_life(fleet: Fleet, tmp_path: Path) -> None:
    before = set(fleet.meta())
    fleet.now += timedelta(hours=11)
    fleet.turn()
    assert fleet.store.versions("timestamp")[-1][0] == 1
    fleet.now += timedelta(hours=2)
    fleet.turn()
    assert (fleet.store.versions("timestamp")[-1][0], fleet.store.versions("snapshot")[-1][0]) == (2, 1)
    fleet.now += timedelta(days=4)
    fleet.turn()
    assert fleet.store.versions("snapshot")[-1][0] == 2
    assert before < set(fleet.meta())


def test_old_files_leave_the_broker_and_roots_stay_for_ever(fleet: Fleet) -> None:
    for _ in range(2):
        fleet.desk().rotate("root")
    for _ in range(REMEMBERED + 5):
        fleet.now += timedelta(days=4)
        fleet.turn()
    snapshots = sorted(int(f.split(".")[0]) for f in fleet.meta() if f.endswith(".snapshot.json"))
    newest = fleet.store.versions("snapshot")[-1][0]
    assert snapshots == [newest - 1, newest]
    assert {f for f in fleet.meta() if "root" in f} == {"1.root.json", "2.root.json", "3.root.json"}
    assert len(fleet.store.versions("snapshot")) == REMEMBERED


def test_a_device_that_slept_through_every_rotation_follows(fleet: Fleet, tmp_path: Path) -> None:
    fleet.push(ONE)
    trust = device(fleet, tmp_path)
    trust.refresh(fleet.read())
    trust.commit()
    for what in ("root", "targets", "online", "plan", "root"):
        fleet.desk().rotate(what)
        fleet.turn()
    fleet.push(TWO)
    trust = device(fleet, tmp_path)
    trust.refresh(fleet.read())
    assert trust.standing().root == 5
    plan = trust.plan(fleet.broker.retained[TOPICS.plan("all", "digits")], group="all", model="digits")
    assert plan.release == "digits/2"


def test_a_rotation_without_the_old_root_keys_makes_nothing(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    before = sorted(p.name for p in online_folder(fleet.state).iterdir())
    for what in ("root", "targets", "online", "plan"):
        with pytest.raises(SettingsError, match="0 of the 2 keys"):
            fleet.desk(tmp_path / "empty").rotate(what)
    assert list((tmp_path / "empty").iterdir()) == []
    assert sorted(p.name for p in online_folder(fleet.state).iterdir()) == before


def test_keys_that_were_replaced_are_put_out_of_use(fleet: Fleet) -> None:
    fleet.desk().rotate("targets")
    names = {p.name for p in offline_folder(fleet.state).iterdir() if "targets" in p.name}
    assert names == {
        "targets-1.pem.retired", "targets-2.pem.retired", "targets-3.pem", "targets-4.pem",
    }  # fmt: skip
    fleet.push(ONE)


def test_a_server_that_lost_its_online_key_goes_on_and_says_so(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    (online_folder(fleet.state) / "online-1.pem").unlink()
    fleet.push(ONE)
    assert "cannot sign the snapshot: 0 of the 1 keys" in caplog.text
    assert fleet.store.versions("timestamp")[-1][0] == 1
    online = Online("b1", True)
    fleet.broker.route(TOPICS.device("pi-1", "online"), encode(online), retain=True)
    fleet.turn()
    assert TOPICS.device("pi-1", "desired") in fleet.broker.retained


def test_automatic_releases_are_off_until_people_allow_them(fleet: Fleet, tmp_path: Path) -> None:
    fleet.push(ONE)
    with pytest.raises(SettingsError, match="has no automatic role"):
        fleet.push(TWO, automatic=True)
    fleet.desk().automatic("digits", on=True)
    stick = tmp_path / "stick"
    offline_folder(fleet.state).rename(stick)
    fleet.push(TWO, automatic=True)
    trust = device(fleet, tmp_path)
    trust.refresh(fleet.read())
    found = trust.named(["digits/2"], fleet.read())
    assert found.targets is not None
    assert [r.name for r in found.targets.releases] == ["digits/2"]
    with pytest.raises(SettingsError, match="already"):
        fleet.desk(stick).automatic("digits", on=True)
    fleet.desk(stick).automatic("digits", on=False)
    fleet.turn()
    trust.refresh(fleet.read())
    refused = trust.named(["digits/2"], fleet.read()).refused
    assert [(name, error.rule) for name, error in refused] == [("digits/2", "UnsignedTargetError")]


def test_a_missing_key_of_an_automatic_role_stops_nothing_else(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.push(ONE)
    fleet.desk().automatic("digits", on=True)
    fleet.push(TWO, automatic=True)
    before = fleet.store.versions("timestamp")[-1][0]
    (key,) = online_folder(fleet.state).glob("auto-*.pem")
    key.unlink()
    fleet.now += timedelta(days=20)
    fleet.turn()
    assert "cannot sign the automatic releases of digits" in caplog.text
    assert fleet.store.versions("timestamp")[-1][0] > before


def test_who_signs_a_release_is_who_pushed_it_last(fleet: Fleet, tmp_path: Path) -> None:
    fleet.push(ONE)
    fleet.desk().automatic("digits", on=True)
    with pytest.raises(SettingsError, match="digits/1 is signed by people: push it without --auto"):
        fleet.push(ONE, automatic=True)
    fleet.push(TWO, automatic=True)
    fleet.desk().automatic("digits", on=False)
    fleet.push(TWO)
    trust = device(fleet, tmp_path)
    trust.refresh(fleet.read())
    assert trust.named(["digits/2"], fleet.read()).refused == ()


def test_a_stolen_online_key_cannot_stop_the_clock_for_ever(fleet: Fleet, tmp_path: Path) -> None:
    fleet.push(ONE)
    trust = device(fleet, tmp_path)
    honest, fleet.now = fleet.now, fleet.now + timedelta(days=365 * 70)
    fleet.turn()  # a timestamp of the far future, by the right key
    fleet.now = honest
    trust.refresh(fleet.read())
    trust.commit()
    fleet.desk().rotate("online")
    fleet.turn()
    later = TufTrust(fleet.root, tmp_path / "trust", honest.timestamp).open()
    later.refresh(fleet.read())
    assert later.stopped() is None


def test_an_automatic_release_with_another_contract_is_refused_before_it_is_signed(fleet: Fleet) -> None:
    fleet.push(ONE)
    fleet.desk().automatic("digits", on=True)
    other = replace(THREE.release, manifest=replace(MANIFEST, version="3", labels=11))
    with pytest.raises(SettingsError, match="other labels than digits/1 has"):
        fleet.push(replace(THREE, release=other), automatic=True)
    assert [r.name for r in fleet.registry.releases()] == ["digits/1"]


def test_the_contract_outlives_many_automatic_releases(fleet: Fleet, tmp_path: Path) -> None:
    fleet.push(ONE)
    fleet.desk().automatic("digits", on=True)
    for version in range(2, 8):
        fleet.push(make_goods(version, 1000), automatic=True)
    trust = device(fleet, tmp_path)
    trust.refresh(fleet.read())
    assert trust.named(["digits/7"], fleet.read()).refused == ()


def test_a_device_that_reports_an_old_timestamp_is_flagged(fleet: Fleet) -> None:
    issued = fleet.store.issued_s()
    assert list(issued) == [1]
    fleet.now -= timedelta(seconds=METADATA_GRACE_S + 60)  # the second one was issued long ago
    fleet.push(ONE)
    for device_name, version in (("pi-1", 1), ("pi-2", 2)):
        for leaf, message in (
            ("online", Online("b1", True)),
            ("reported", Reported("b1", 1, 0.0, (ModelState("digits", "idle"),), timestamp_version=version)),
        ):
            fleet.broker.route(TOPICS.device(device_name, leaf), encode(message), retain=True)  # type: ignore[arg-type]
    fleet.turn()
    rows = {row.device: row for row in FleetReader(fleet.database).rows()}
    assert (rows["pi-1"].stale_metadata, rows["pi-2"].stale_metadata) == (True, False)


@pytest.mark.parametrize(
    ("reported", "stale"), [(None, False), (3, False), (2, False), (1, True), (0, True), (99, False)]
)
def test_a_device_is_stale_when_a_newer_timestamp_has_long_been_out(
    reported: int | None, stale: bool
) -> None:
    issued_s = {1: 0.0, 2: 50_000.0, 3: 59_000.0}
    assert metadata_is_stale(reported, issued_s, 60_000.0) is stale


def test_missing_files_are_named(fleet: Fleet, tmp_path: Path) -> None:
    def nothing(file: str) -> bytes | None:
        raise MissingFileError(file)

    with pytest.raises(MissingFileError, match=r"2\.root\.json"):
        device(fleet, tmp_path).refresh(nothing)
