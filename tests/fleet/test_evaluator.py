"""The evaluator beside a server: from what devices say to alerts on the broker and on a terminal."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeflock import main
from fleet.adapters.alert_book import AlertBook
from fleet.adapters.bundle_references import BundleReferences
from fleet.adapters.database import Database
from fleet.adapters.health_reader import HealthReader
from fleet.adapters.history import History
from fleet.adapters.loss_reader import LossReader
from fleet.adapters.registry import Registry
from fleet.adapters.release_reader import ReleaseReader
from fleet.adapters.report_store import ReportStore
from fleet.alerts import Change
from fleet.evaluator import Evaluator
from fleet.health_rules import judge
from fleet.home_topics import Home
from fleet.ingest import Arrival
from fleet.releasing import build
from fleet.server import Server
from tests.support.examples import counters, telemetry
from tests.support.shelf import make_goods
from tests.support.tiny_bundle import write_tiny_bundle
from wire.codec import encode
from wire.counters import FeatureCounts, ModelCounters
from wire.deadline import Deadline, wait_until
from wire.errors import UnavailableError
from wire.memory_link import MemoryBroker
from wire.messages import Head, Loss, ModelState, Online, Release, Reported, TelemetryReport
from wire.reference import Feature, Reference
from wire.topics import Topics

TOPICS = Topics()
NOW_S = 2_000_000_000.0


class Told:
    """A channel that keeps what it is told."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def told(self, change: Change) -> None:
        self.changes.append(change)

    @property
    def lines(self) -> list[tuple[str, str]]:
        return [(change.what, change.alert.key) for change in self.changes]


class Fleet:
    """A server on a broker in memory, with an evaluator whose clock a test turns."""

    def __init__(self, state: Path, now_s: float = NOW_S, home: Home | None = None) -> None:
        self.state, self.now_s, self.told = state, now_s, Told()
        self.broker = MemoryBroker()
        self.voice = self.broker.link()
        self.voice.start()
        self.database = Database(state).open()
        self.link = self.broker.link()
        self.evaluator = Evaluator(
            state, TOPICS, self.told, home, every_s=0.01, wall_clock=lambda: self.now_s
        )
        self.server = Server(self.database, self.link, TOPICS, evaluator=self.evaluator, home=home)
        self.link.start()
        self.server.wait_for_broker(Deadline.after(5), threading.Event())

    def close(self) -> None:
        self.evaluator.close()
        self.database.close()

    def say(self, device: str, leaf: str, message: object) -> None:
        self.voice.publish(
            TOPICS.device(device, leaf), encode(message), retain=leaf in ("online", "reported")
        )  # type: ignore[arg-type]
        self.server.turn()

    def until(self, holds: Callable[[], bool]) -> None:
        def turned() -> bool:
            self.server.turn()
            return holds()

        assert wait_until(turned, Deadline.after(60)), self.told.lines

    def alert(self, key: str) -> bytes | None:
        return self.broker.retained.get(TOPICS.alert(key))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.close()


def refuse(fleet: Fleet, *devices: str, state: str = "blocked") -> None:
    for device in devices:
        fleet.say(device, "online", Online("b1", True))
        said = ModelState("digits", state, "digits/1", None, "digits/2", error="golden outputs differ")
        fleet.say(device, "reported", Reported("b1", 1, NOW_S, (said,)))


def plan_two(state: Path) -> None:
    database = Database(state).open()
    registry = Registry(database).open()
    for version in (1, 2):
        registry.plan(registry.add_release(make_goods(version, 1000).built), "all")
    database.close()


def test_a_rollout_that_devices_refuse_is_an_alert_on_the_broker_and_at_the_receiver_until_it_is_over(
    fleet: Fleet,
) -> None:
    plan_two(fleet.state)
    refuse(fleet, "pi-1", "pi-2")
    fleet.evaluator.start()
    key = "rollout-refused/all/digits"
    fleet.until(lambda: fleet.alert(key) is not None)
    assert json.loads(fleet.alert(key) or b"")["severity"] == "critical"
    refuse(fleet, "pi-1", "pi-2", state="idle")
    fleet.until(lambda: "healthy" in {v.state for v in fleet.evaluator.verdicts.values()})
    fleet.now_s += 400
    fleet.until(lambda: fleet.evaluator.verdicts["pi-1"].state == "silent")  # a look after that moment
    fleet.now_s += 400
    fleet.until(lambda: ("cleared", key) in fleet.told.lines)
    fleet.until(lambda: fleet.alert(key) is None)
    assert ("raised", key) in fleet.told.lines
    fleet.until(lambda: ("raised", "device-silent") in fleet.told.lines)


@pytest.mark.parametrize("release", ["evil/#", "+", "a/b/c/d/e", "a b/$"])
def test_a_release_whose_name_makes_no_topic_has_its_alert_and_the_server_goes_on(
    fleet: Fleet, release: str
) -> None:
    fleet.now_s = time.time()  # what was counted is kept by the server's own clock
    fleet.say("liar", "online", Online("b1", True))
    fleet.say("liar", "reported", Reported("b1", 1, NOW_S, (ModelState("evil", "idle", release),)))
    failing = replace(counters(inferences=1000, total=1000), release=release, errors=1000)
    fleet.say("liar", "telemetry", TelemetryReport(Head("b1", 1, 1, NOW_S), telemetry(failing)))
    fleet.evaluator.start()
    fleet.until(lambda: "liar" in fleet.evaluator.verdicts)
    fleet.now_s += 300
    fleet.until(lambda: ("raised", f"errors/{release}") in fleet.told.lines)
    fleet.server.turn()
    assert all(TOPICS.parse(topic) for topic in fleet.broker.retained)


def test_a_broker_that_forgot_its_alerts_gets_them_again(fleet: Fleet) -> None:
    plan_two(fleet.state)
    refuse(fleet, "pi-1", "pi-2")
    fleet.evaluator.start()
    key = "rollout-refused/all/digits"
    fleet.until(lambda: fleet.alert(key) is not None)
    fleet.broker.stop()
    fleet.server.turn()
    fleet.link.start()
    fleet.until(lambda: fleet.alert(key) is not None)


def test_without_a_broker_nobody_is_called_silent(fleet: Fleet) -> None:
    refuse(fleet, "pi-1", state="idle")
    fleet.evaluator.start()
    fleet.until(lambda: "pi-1" in fleet.evaluator.verdicts)
    fleet.broker.stop()
    fleet.server.turn()
    fleet.now_s += 10_000
    looked = fleet.evaluator.publications
    fleet.until(lambda: fleet.evaluator.publications is not looked)  # it goes on telling what stands
    assert fleet.evaluator.verdicts["pi-1"].state == "healthy"
    fleet.link.start()
    before = fleet.evaluator.verdicts
    fleet.until(lambda: fleet.evaluator.verdicts is not before)
    assert fleet.evaluator.verdicts["pi-1"].state == "healthy"  # it has had no time to be heard yet


def test_a_look_that_fails_is_no_end_of_looking(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    refuse(fleet, "pi-1", state="idle")
    fleet.database.sql.execute("update device set reported = x'7b'")
    fleet.evaluator.start()
    fleet.until(lambda: "nobody looked" in caplog.text)
    refuse(fleet, "pi-1", state="idle")
    fleet.until(lambda: "pi-1" in fleet.evaluator.verdicts)


def test_a_store_that_takes_nothing_at_the_start_is_no_end_of_looking(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_book: AlertBook) -> None:
        raise UnavailableError("the disk is full")

    refuse(fleet, "pi-1", state="idle")
    with monkeypatch.context() as full:
        full.setattr(AlertBook, "forget_pending", fail)
        fleet.evaluator.start()
        fleet.until(lambda: "nobody looked at the fleet's health: the disk is full" in caplog.text)
    fleet.until(lambda: "pi-1" in fleet.evaluator.verdicts)


def test_the_command_shows_alerts_and_takes_note_of_them(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ["--state", str(fleet.state)]
    assert main(["fleet", "alerts", *state]) == 0
    assert capsys.readouterr().out == "no alert stands\n"
    plan_two(fleet.state)
    refuse(fleet, "pi-1", "pi-2")
    fleet.evaluator.start()
    key = "rollout-refused/all/digits"
    fleet.until(lambda: ("raised", key) in fleet.told.lines)
    assert main(["fleet", "alerts", "--ack", key, *state]) == 0
    assert main(["fleet", "alerts", "--json", *state]) == 0
    said = capsys.readouterr().out
    assert f"{key}: noted" in said
    assert json.loads(said.split("\n", 1)[1])[0]["acknowledged_by"]
    assert main(["fleet", "alerts", "--ack", "nonsense", *state]) == 2
    assert key in capsys.readouterr().err
    assert main(["fleet", "alerts", *state]) == 0
    assert "critical" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [["--alert-webhook", "nonsense"], ["--alert-secret-file", "x"], ["--alert-webhook", "ftp://x"]]
)
def test_options_about_alerts_that_cannot_be_are_refused_before_anything_starts(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fleet", "serve", "--state", str(tmp_path), "--unsigned", *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1


DIM = Feature("x0", "column", (0.0, 1.0), (900, 50, 50))


def push_tiny(state: Path, reference: Reference | None) -> Release:
    database = Database(state).open()
    bundle = write_tiny_bundle(state / "tiny.bundle", reference=reference)
    release = Registry(database).open().add_release(build(bundle.read_bytes(), name="tiny"))
    database.close()
    return release


def serve_tiny(fleet: Fleet, *counts: int) -> None:
    """Let eight devices report that they serve it, and how the feature of their inputs was spread."""
    seen = replace(counters("tiny/1", 200, total=200), features=(FeatureCounts("x0", counts),))
    for device in (f"pi-{i}" for i in range(8)):
        fleet.say(device, "online", Online("b1", True))
        said = ModelState("tiny", "idle", "tiny/1", None, None)
        fleet.say(device, "reported", Reported("b1", 1, fleet.now_s, (said,)))
        head = Head("b1", 1, 1, fleet.now_s)
        fleet.say(device, "telemetry", TelemetryReport(head, replace(telemetry(seen), interval_s=60.0)))


def test_inputs_that_moved_away_from_the_bundles_reference_are_an_alert_that_says_so(tmp_path: Path) -> None:
    push_tiny(tmp_path, Reference(1000, (DIM,)))
    fleet = Fleet(tmp_path, time.time())
    try:
        serve_tiny(fleet, 10, 10, 180)
        fleet.evaluator.start()
        fleet.until(lambda: "pi-0" in fleet.evaluator.verdicts)
        looked = fleet.evaluator.verdicts
        fleet.until(lambda: fleet.evaluator.verdicts is not looked)  # it was found, and must last
        fleet.now_s += 700
        fleet.until(lambda: fleet.alert("drift/tiny/1") is not None)
        text = json.loads(fleet.alert("drift/tiny/1") or b"")["text"]
        assert "feature x0 moved away from the data of its bundle" in text
    finally:
        fleet.close()


@pytest.mark.parametrize("reference", [None, Reference(0), Reference(5, (replace(DIM, counts=(0, 0, 0)),))])
def test_a_bundle_that_counted_nothing_has_no_reference(tmp_path: Path, reference: Reference | None) -> None:
    release = push_tiny(tmp_path, reference)
    database = Database(tmp_path).open()
    assert BundleReferences(Registry(database)).of(release, NOW_S) is None
    database.close()


def test_a_damaged_bundle_has_no_reference_until_it_is_pushed_again(tmp_path: Path) -> None:
    release = push_tiny(tmp_path, Reference(1000, (DIM,)))
    blob = tmp_path / "blobs" / release.blobs[0].sha256
    blob.write_bytes(blob.read_bytes()[:-50])
    database = Database(tmp_path).open()
    references = BundleReferences(Registry(database))
    assert references.of(release, NOW_S) is None
    push_tiny(tmp_path, Reference(1000, (DIM,)))
    assert references.of(release, NOW_S + 60) is None  # it is not unpacked at each look
    found = references.of(release, NOW_S + 3600)
    assert found is not None
    assert found.features == {"x0": (900, 50, 50)}
    blob.unlink()
    assert references.of(release, NOW_S + 3700) is found
    references.keep(frozenset())
    assert references.of(release, NOW_S + 3800) is None
    database.close()


class Store:
    """A database with one device that reports."""

    def __init__(self, state: Path) -> None:
        self.database = Database(state).open()
        self.store = ReportStore(self.database, wall_clock=lambda: NOW_S).open()
        self.sequence = 0

    def report(self, inferences: int, total: int, *, boot: str = "b1", **loss: int) -> None:
        self.sequence += 1
        body = telemetry(counters(inferences=inferences, total=total), loss=Loss(**loss))
        head = TelemetryReport(Head(boot, self.sequence, 1, NOW_S), replace(body, interval_s=60.0)).head
        self.store.take([Arrival("pi-1", "telemetry", head, replace(body, interval_s=60.0))])
        self.database.sql.execute("update device set online = 1, boot = ?", (boot,))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.database.close()


def test_losses_from_before_the_first_look_are_old_and_those_of_a_new_boot_are_news(store: Store) -> None:
    reader = HealthReader(store.database)
    store.report(10, 10, outbox_dropped=3)

    def reasons(at_s: float) -> set[str]:
        (facts,) = reader.facts(NOW_S + at_s, NOW_S + at_s)
        return {reason.rule for reason in judge(facts).reasons}

    assert reasons(0) == set()
    store.report(10, 20, outbox_dropped=4)
    assert reasons(60) == {"outbox"}
    store.report(10, 10, boot="b2", outbox_dropped=1)
    assert reasons(120) == {"outbox"}
    assert "outbox" in reasons(1900)
    assert "outbox" not in reasons(3800)  # what was lost two looks of half an hour ago is no news


def test_a_device_that_reports_and_answers_nothing_any_more_is_frozen(store: Store) -> None:
    reader = HealthReader(store.database)
    store.report(10, 10)
    states = []
    for minute in range(13):
        store.report(0, 10, inputs_refused=minute)  # a report that differs
        (facts,) = reader.facts(NOW_S + 60 * minute, NOW_S + 60 * minute)
        states.append(judge(facts).state)
    assert states == ["healthy"] * 11 + ["frozen"] * 2


def test_lost_messages_are_news_for_an_hour_or_two(store: Store) -> None:
    losses = LossReader(store.database)
    store.report(1, 1)
    assert losses.lost(NOW_S) == {}
    store.database.sql.execute("update mark set lost = 5")
    assert losses.lost(NOW_S + 60) == {"pi-1": 5}
    assert losses.lost(NOW_S + 3700) == {"pi-1": 5}
    assert losses.lost(NOW_S + 7400) == {}


def test_a_release_is_held_against_the_one_that_its_devices_had_before(tmp_path: Path) -> None:
    plan_two(tmp_path)
    store = Store(tmp_path)
    store.report(10, 10)
    said = [
        Reported("b1", 1, NOW_S, (ModelState("digits", "idle", "digits/2", previous, None),))
        for previous in ("digits/1", "digits/1", None, "digits/0")
    ]
    (facts,) = ReleaseReader(store.database, History(store.database, lambda: NOW_S)).facts(said, NOW_S)
    assert (facts.release, facts.before_name, facts.reference) == ("digits/2", "digits/1", None)
    assert facts.before["pi-1"].inferences == 10
    store.database.close()


def test_for_one_release_no_sums_of_others_are_read(tmp_path: Path) -> None:
    class Counted:
        def __init__(self) -> None:
            self.read: set[str] = set()

        def by_device(self, release: str, _since_s: float, _until_s: float) -> dict[str, ModelCounters]:
            self.read.add(release)
            return {}

    plan_two(tmp_path)
    store, counts = Store(tmp_path), Counted()
    models = tuple(ModelState(m, "idle", f"{m}/2", f"{m}/1", None) for m in ("digits", "ants"))
    reader, said = ReleaseReader(store.database, counts), [Reported("b1", 1, NOW_S, models)]
    facts = reader.facts_of("digits/2", said, NOW_S)
    assert facts is not None
    assert (facts.release, facts.before_name) == ("digits/2", "digits/1")
    assert counts.read == {"digits/1", "digits/2"}
    assert reader.facts_of("digits/1", said, NOW_S) is None
    store.database.close()
