"""The server over a broker in memory: it commits, then acknowledges, and survives what it is sent."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.registry import Registry
from fleet.adapters.terminal import device_table
from fleet.server import Server
from tests.support.examples import counters, report, telemetry
from tests.support.shelf import Goods, make_goods
from tests.support.strategies import values_of
from wire.codec import decode, encode
from wire.deadline import Deadline
from wire.errors import SettingsError
from wire.memory_link import MemoryBroker
from wire.messages import (
    Ack,
    EventReport,
    Mark,
    ModelState,
    Online,
    Reported,
    SamplesReport,
    Targets,
    TelemetryReport,
)
from wire.topics import UPWARD, Topics

TOPICS = Topics()
ACK = TOPICS.device("pi-1", "ack")


class Fleet:
    """A server and a device's voice on one broker."""

    def __init__(self, state: Path) -> None:
        self.broker, self.state = MemoryBroker(), state
        self.voice = self.broker.link()
        self.voice.start()
        self.start_server()

    def start_server(self) -> None:
        self.database = Database(self.state).open()
        self.link = self.broker.link()
        self.server = Server(self.database, self.link, TOPICS)
        self.link.start()
        self.server.wait_for_broker(Deadline.after(1), threading.Event())
        self.turn()

    def turn(self) -> None:
        for _ in range(3):
            self.server.turn()
        while not self.server._auditor.idle:
            self.server.turn()

    def kill_server(self) -> None:
        self.link.drop("killed", send_will=False)
        self.database.close()

    def say(self, leaf: str, message: object) -> None:
        payload = message if isinstance(message, bytes) else encode(message)
        self.voice.publish(TOPICS.device("pi-1", leaf), payload, retain=leaf in ("online", "reported"))  # type: ignore[arg-type]
        self.turn()

    @property
    def reader(self) -> FleetReader:
        return FleetReader(self.database)

    def acked(self) -> Ack | None:
        payload = self.broker.retained.get(ACK)
        return decode(Ack, payload) if payload else None

    def push(self, goods: Goods) -> None:
        """Do what `fleet push` does, over a connection of its own."""
        database = Database(self.state).open()
        registry = Registry(database).open()
        release = registry.add_release(goods.built)
        registry.plan(release, "all")
        database.close()
        self.server._look_now()  # time is not waited for
        self.turn()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path / "fleet")
    yield fleet
    fleet.database.close()


def test_a_report_is_committed_and_then_acknowledged(fleet: Fleet) -> None:
    fleet.say("telemetry", report(1, telemetry(counters(inferences=10))))
    assert fleet.acked() == Ack({"telemetry": (Mark("b1", 1),)})
    assert fleet.reader.rows()[0].inferences == 10


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"errors":0', b'"errors":-1'), (b'"errors":0', b'"errors":"none"'), (b'"body":{', b'"b":{')],
)
def test_a_report_that_cannot_be_is_acknowledged_and_counted(fleet: Fleet, old: bytes, new: bytes) -> None:
    fleet.say("telemetry", encode(report(1, telemetry())).replace(old, new, 1))
    fleet.say("telemetry", report(2, telemetry(counters(inferences=7))))
    assert fleet.acked() == Ack({"telemetry": (Mark("b1", 2),)})
    assert fleet.reader.rows()[0].inferences == 7
    assert sum(fleet.reader.complaints("refusal")["pi-1"].values()) == 1


def test_a_double_changes_nothing_and_is_acknowledged_again(fleet: Fleet) -> None:
    fleet.say("telemetry", report(1, telemetry(counters(inferences=10))))
    fleet.broker.retained.pop(ACK)
    fleet.server._connected()
    fleet.say("telemetry", report(1, telemetry(counters(inferences=10))))
    assert fleet.reader.rows()[0].inferences == 10
    assert fleet.acked() == Ack({"telemetry": (Mark("b1", 1),)})


def test_a_killed_server_goes_on_where_its_store_stands(fleet: Fleet) -> None:
    for sequence in (1, 2, 4):
        fleet.say("telemetry", report(sequence, telemetry(counters(total=10 * sequence))))
    fleet.kill_server()
    fleet.broker.retained.clear()
    fleet.start_server()
    assert fleet.acked() == Ack({"telemetry": (Mark("b1", 2),)})
    for sequence in (4, 3):
        fleet.say("telemetry", report(sequence, telemetry(counters(total=10 * sequence))))
    assert fleet.acked() == Ack({"telemetry": (Mark("b1", 4),)})
    assert fleet.reader.rows()[0].inferences == 40


def test_what_cannot_be_committed_is_not_acknowledged(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(fleet.server._store, "_roll_up", full_disk)
    fleet.say("telemetry", report(1, telemetry()))
    assert fleet.acked() is None
    monkeypatch.undo()
    fleet.say("telemetry", report(1, telemetry()))
    assert fleet.acked() == Ack({"telemetry": (Mark("b1", 1),)})


def test_what_a_device_says_but_once_outlives_a_full_disk(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    fleet.say("online", Online("b1", False))
    monkeypatch.setattr(fleet.server._store, "_flush", full_disk)
    fleet.say("online", Online("b2", True))
    fleet.say("reported", Reported("b2", 1, 0.0, (ModelState("digits", "idle", "digits/1"),)))
    assert fleet.reader.rows()[0].presence == "offline"
    monkeypatch.undo()
    fleet.turn()
    (row,) = fleet.reader.rows()
    assert (row.presence, row.current) == ("online", "digits/1")


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"\xff", b"[1,2", encode(report(0, telemetry())), encode(report(1, telemetry(), first=9)),
     encode(report(1, telemetry(counters(inferences=10, total=5)))),
     encode(report(1, telemetry())).replace(b'"errors":0', b'"errors":-1'),
     encode(report(1, telemetry())).replace(b'"first":251', b'"first":938'),
     encode(report(1, telemetry())).replace(b'"sequence":1', b'"sequence":1e999'),
     encode(report(1, telemetry())).replace(b'"sequence":1', b'"sequence":%d' % 10**30)],
)  # fmt: skip
def test_a_bad_message_is_counted_and_never_stops_ingest(fleet: Fleet, payload: bytes) -> None:
    fleet.say("telemetry", payload)
    fleet.say("telemetry", report(2, telemetry(counters(inferences=7))))
    assert fleet.reader.rows()[0].inferences == 7
    assert sum(fleet.reader.refusals().values()) == (1 if payload else 0)


def test_a_new_device_becomes_a_member_of_everyone(fleet: Fleet) -> None:
    fleet.say("online", Online("b1", True))
    assert Registry(fleet.database).members("all") == ["pi-1"]
    assert TOPICS.device("pi-1", "desired") in fleet.broker.retained


def test_a_late_will_of_an_older_boot_does_not_mark_a_live_device_dead(fleet: Fleet) -> None:
    fleet.say("online", Online("b2", True))
    fleet.say("online", Online("b1", False))
    assert fleet.reader.rows()[0].presence == "online"
    fleet.say("online", Online("b2", False))
    assert fleet.reader.rows()[0].presence == "offline"


def test_a_push_is_published_chunks_first_and_the_plan_last(fleet: Fleet) -> None:
    goods = make_goods(1)
    fleet.push(goods)
    topics = [topic.split("/")[1] for topic, _ in fleet.broker.published]
    order = [t for t in topics if t in ("blobs", "meta", "plan")]
    assert order[-2:] == ["meta", "plan"]
    assert order.count("blobs") == len(goods.digests) // 32 + 1


def test_a_broker_that_lost_everything_is_filled_again(fleet: Fleet) -> None:
    fleet.push(make_goods(1))
    before = dict(fleet.broker.retained)
    fleet.broker.retained.clear()
    fleet.link.drop("broker killed")
    fleet.link.start()
    fleet.turn()
    assert fleet.broker.retained.keys() >= {t for t in before if "/ack" not in t}


def test_the_same_release_may_be_pushed_again_and_other_content_may_not_take_its_name(fleet: Fleet) -> None:
    goods = make_goods(1)
    fleet.push(goods)
    fleet.push(goods)
    other = make_goods(1, 100_000)
    with pytest.raises(SettingsError, match="other content"):
        Registry(fleet.database).add_release(other.built)
    assert not (fleet.state / "blobs" / other.release.blobs[0].sha256).exists()


def test_old_releases_leave_the_targets_but_never_one_that_a_plan_names(fleet: Fleet) -> None:
    registry = Registry(fleet.database)
    fleet.push(make_goods(1, 1000))
    registry.plan(registry.releases()[0], "lab", percent=100.0, canaries=())
    for version in range(2, 6):
        fleet.push(make_goods(version, 1000))
    targets: Targets = registry.targets()
    assert [r.name for r in targets.releases] == ["digits/1", "digits/3", "digits/4", "digits/5"]


def test_the_row_of_a_device_says_what_it_does(fleet: Fleet) -> None:
    fleet.say("online", Online("b1", True))
    downloading = ModelState("digits", "download", "digits/1", None, "digits/2", 3, 9)
    fleet.say("reported", Reported("b1", 1, 0.0, (downloading,)))
    fleet.say("telemetry", report(1, telemetry(counters("digits/1", 100, total=100))))
    (row,) = fleet.reader.rows()
    assert (row.state, row.current, row.target, row.done_chunks) == ("download", "digits/1", "digits/2", 3)
    assert row.p50_us == pytest.approx(150, rel=0.02)
    assert (row.accuracy, row.rate_hz) == (0.9, 100.0)
    assert row.accuracy_low is not None
    assert 0.82 < row.accuracy_low < 0.9


def test_a_backlog_of_many_boots_is_acknowledged_to_the_last(fleet: Fleet) -> None:
    boots = {f"b{n}" for n in range(80)}
    for _ in range(3):  # a device sends again what was not acknowledged
        open_boots = boots - {m.boot for m in (fleet.acked() or Ack({})).streams.get("telemetry", ())}
        for boot in sorted(open_boots):
            fleet.voice.publish(TOPICS.device("pi-1", "telemetry"), encode(report(1, telemetry(), boot=boot)))
        fleet.turn()
        boots = open_boots - {m.boot for m in (fleet.acked() or Ack({})).streams["telemetry"]}
    assert boots == set()


def test_a_burst_is_taken_without_asking_for_anything_again(fleet: Fleet) -> None:
    for sequence in range(1, 1201):
        payload = encode(report(sequence, telemetry(counters(total=10 * sequence))))
        fleet.voice.publish(TOPICS.device("pi-1", "telemetry"), payload)
    fleet.turn()
    assert fleet.acked() == Ack({"telemetry": (Mark("b1", 1200),)})


def test_a_double_may_say_what_need_not_be_waited_for(fleet: Fleet) -> None:
    for sequence in (1, 2, 3, 6):
        fleet.say("telemetry", report(sequence, telemetry(counters(total=10 * sequence))))
    fleet.say("telemetry", report(6, telemetry(counters(total=60)), first=6))
    assert fleet.acked() == Ack({"telemetry": (Mark("b1", 6),)})
    fleet.kill_server()
    fleet.start_server()
    assert fleet.acked() == Ack({"telemetry": (Mark("b1", 6),)})


def test_the_backlog_of_an_older_boot_is_no_news(fleet: Fleet) -> None:
    fleet.say("online", Online("b2", True))
    fleet.say("telemetry", report(1, telemetry(counters(inferences=5, total=5)), boot="b2"))
    fleet.say("telemetry", report(1, telemetry(counters(inferences=90, total=90)), boot="b1"))
    assert fleet.reader.rows()[0].rate_hz == 5.0
    assert fleet.reader.rows()[0].inferences == 95


def test_a_lost_blob_stops_neither_acknowledgements_nor_other_releases(fleet: Fleet) -> None:
    one, two = make_goods(1), make_goods(2)
    fleet.push(one)
    fleet.push(two)
    (fleet.state / "blobs" / one.release.blobs[0].sha256).write_bytes(b"cut")
    fleet.broker.retained.clear()
    fleet.link.drop("broker killed")
    fleet.link.start()
    fleet.say("telemetry", report(1, telemetry()))
    assert fleet.acked() is not None
    targets = decode(Targets, fleet.broker.retained[TOPICS.meta("targets.json")])
    assert [r.name for r in targets.releases] == ["digits/2"]
    fleet.push(one)
    targets = decode(Targets, fleet.broker.retained[TOPICS.meta("targets.json")])
    assert [r.name for r in targets.releases] == ["digits/1", "digits/2"]


def test_old_blobs_leave_the_broker(fleet: Fleet) -> None:
    for version in range(1, 6):
        fleet.push(make_goods(version, 1000))
    blobs = {topic.split("/")[2] for topic in fleet.broker.retained if "/blobs/" in topic}
    kept = Registry(fleet.database).targets().releases
    assert blobs == {b for r in kept for blob in r.blobs for b in (blob.sha256, blob.chunks_sha256)}


def test_a_registry_that_no_longer_fits_a_message_is_refused_at_the_push(fleet: Fleet) -> None:
    goods = make_goods(1)
    fleet.push(goods)
    registry = Registry(fleet.database)
    with pytest.raises(SettingsError, match="the plan would have"):
        registry.plan(
            goods.release, "all", canaries=tuple(f"device-with-a-long-name-{n}" for n in range(3000))
        )
    assert registry.plans()[0].canaries == ()


def test_a_retained_word_says_nothing_about_when(fleet: Fleet) -> None:
    fleet.say("online", Online("b1", True))
    fleet.database.sql.execute("update device set last_seen_s = 0")
    fleet.kill_server()
    fleet.start_server()
    assert fleet.reader.rows()[0].presence == "silent"


@given(st.sampled_from(UPWARD), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_legal_report_with_absurd_content_ends_the_server(
    fleet: Fleet, leaf: str, data: st.DataObject
) -> None:
    kinds = {"event": EventReport, "telemetry": TelemetryReport, "samples": SamplesReport,
             "online": Online, "reported": Reported}  # fmt: skip
    fleet.say(leaf, data.draw(values_of(kinds[leaf])))
    device_table(fleet.reader.rows())
    fleet.reader.ledger()
