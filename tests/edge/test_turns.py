"""Models of one device take turns: one download and one trial at a time, and all arrive."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge.adapters.model_folders import model_folders
from edge.adapters.model_store import ModelStore
from edge.download import Download
from edge.golden import Verdict
from edge.lifecycle import State
from edge.ports import Ports
from edge.probation import PROBATION_INFERENCES
from edge.rollout import Wishes
from edge.turns import Errand, Place, Turns
from edge.updater import Updater
from tests.support.fakes import ScriptedServing, ScriptedTrial, TurnedClock
from tests.support.shelf import TOPICS, make_goods, put_on_broker
from wire.link import Incoming
from wire.memory_link import MemoryBroker, MemoryLink
from wire.messages import Desired, Event, Plan, Targets
from wire.topics import BlobTopic

MODELS: Final = ("ants", "bees", "cats")
GOODS: Final = {m: [make_goods(n, 150_000, m) for n in (1, 2)] for m in MODELS}
ALL_GOODS: Final = [goods for several in GOODS.values() for goods in several]
TARGETS: Final = Targets(1, tuple(goods.release for goods in ALL_GOODS))
PASS: Final = Verdict(True, "fine")
VERDICTS: Final = [
    PASS,
    Verdict(False, "golden outputs differ"),
    Verdict(False, "killed", conclusive=False),
    None,
]
FETCHING: Final = (State.SPACE, State.DOWNLOAD, State.VERIFY)
TRYING: Final = (State.STAGE, State.SHADOW, State.SWAP)
_MEMORY_DISK: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None


class Device:
    """Updaters of several models over one link and one state folder."""

    def __init__(self, state: Path) -> None:
        self.broker, self.clock = MemoryBroker(), TurnedClock()
        put_on_broker(self.broker, ALL_GOODS, [], [])
        self.folders = model_folders(state, MODELS)
        self.stores = {model: ModelStore(folder) for model, folder in self.folders.items()}
        self.trials = {model: ScriptedTrial() for model in MODELS}
        self.plans: dict[str, Plan] = {}
        self.sequence = 0
        self.journal: list[Event] = []
        self.start()

    def start(self) -> None:
        self.link: MemoryLink = self.broker.link()
        self.link.start()
        self.turns = Turns()
        self.servings = {model: ScriptedServing() for model in MODELS}
        self.updaters = {model: self._make(model) for model in MODELS}
        for updater in self.updaters.values():
            updater.recover()
        self.tell()

    def _make(self, model: str) -> Updater:
        self.stores[model].open()
        ports = Ports(
            self.stores[model], self.trials[model], self.servings[model],
            lambda blob, part, rate: Download(blob, part, self.link, TOPICS, rate_bytes_s=rate),
            self.journal.append, self.clock, turns=self.turns,
        )  # fmt: skip
        return Updater("pi-1", model, ports)

    def plan(self, model: str, n: int, state: str = "run") -> None:
        self.sequence += 1
        release = GOODS[model][n].release
        self.plans[model] = Plan(
            self.sequence, "all", model, release.name, release.bundle_sha256, state, retry=self.sequence
        )
        self.tell()

    def tell(self) -> None:
        wishes = Wishes(Desired(1, ("all",)), tuple(self.plans.values()), TARGETS)
        for updater in self.updaters.values():
            updater.wish(wishes)

    def turn(self, step_s: float = 0.05) -> None:
        while (event := self.link.receive(0)) is not None:
            if isinstance(event, Incoming):
                topic = TOPICS.parse(event.topic)
                assert isinstance(topic, BlobTopic)
                for updater in self.updaters.values():
                    updater.receive(topic, event.payload)
        for model, updater in self.updaters.items():
            updater.tick()
            if updater.state is State.PROBATION:
                self.servings[model].answer(str(updater.report().current), PROBATION_INFERENCES, 1000.0)
        self.clock.turn(step_s)

    def states(self) -> dict[str, State]:
        return {model: updater.state for model, updater in self.updaters.items()}

    def arrived(self, model: str) -> bool:
        report, plan = self.updaters[model].report(), self.plans.get(model)
        return plan is not None and (report.current, report.state) == (plan.release, "idle")


class Lives(RuleBasedStateMachine):
    """Everything that can happen to three models at once."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=_MEMORY_DISK))
        self.device = Device(self.folder)
        self.whole = dict(self.device.broker.retained)

    def teardown(self) -> None:
        try:
            self.all_arrive()
        finally:
            shutil.rmtree(self.folder)

    @rule(
        model=st.sampled_from(MODELS),
        n=st.sampled_from((0, 1)),
        state=st.sampled_from(("run", "run", "pause")),
    )
    def make_plan(self, model: str, n: int, state: str) -> None:
        self.device.plan(model, n, state)

    @rule(count=st.integers(1, 25))
    def turns(self, count: int) -> None:
        for _ in range(count):
            self.device.turn()

    @rule(seconds=st.sampled_from([1.0, 31.0, 130.0, 22_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.device.turn(seconds)

    @rule(model=st.sampled_from(MODELS), verdict=st.sampled_from(VERDICTS))
    def the_trial_says(self, model: str, verdict: Verdict | None) -> None:
        self.device.trials[model].verdict = verdict

    @rule(model=st.sampled_from(MODELS), shadows=st.booleans())
    def it_shadows(self, model: str, shadows: bool) -> None:
        self.device.servings[model].shadows = shadows

    @rule(data=st.data())
    def a_chunk_is_lost(self, data: st.DataObject) -> None:
        topic = data.draw(st.sampled_from(sorted(t for t in self.whole if "/blobs/" in t)))
        self.device.broker.retained.pop(topic, None)

    @rule(model=st.sampled_from(MODELS))
    def a_bundle_rots(self, model: str) -> None:
        for path in sorted((self.device.folders[model] / "models").iterdir()):
            if path.stem not in self.device.stores[model].read_pointer().kept:
                path.write_bytes(b"rotten")

    @rule()
    def the_publisher_repairs(self) -> None:
        for topic, payload in self.whole.items():
            if self.device.broker.retained.get(topic) != payload:
                self.device.broker.route(topic, payload, retain=True)

    @rule()
    def the_link_falls_and_stands_again(self) -> None:
        self.device.link.drop("reset")
        for updater in self.device.updaters.values():
            updater.link_lost()
        self.device.turn()
        self.device.link.start()
        for updater in self.device.updaters.values():
            updater.link_restored()

    @rule()
    def it_is_started_anew(self) -> None:
        self.device.link.close()
        self.device.start()

    @invariant()
    def one_download_and_one_trial_at_a_time(self) -> None:
        states = list(self.device.states().values())
        assert sum(state in FETCHING for state in states) <= 1
        assert sum(state in TRYING for state in states) <= 1

    @invariant()
    def who_stands_in_line_wants_to_go(self) -> None:
        states, turns = self.device.states(), self.device.turns
        for errand, on_it in ((Errand.DOWNLOAD, FETCHING), (Errand.TRIAL, TRYING)):
            line = turns._lines[errand]
            assert all(states[model] in (*on_it, State.WAIT_TURN) for model in line)
            assert [model for model in MODELS if states[model] in on_it] in ([], line[:1])
        waiting = {model for model in MODELS if states[model] is State.WAIT_TURN}
        assert waiting <= {model for line in turns._lines.values() for model in line}

    @invariant()
    def each_keeps_what_serves(self) -> None:
        for model, store in self.device.stores.items():
            current = store.read_pointer().current
            assert (self.device.updaters[model].report().current is None) == (current is None)
            assert current is None or current.release.startswith(f"{model}/")
            assert current is None or store.holds(current.sha256)

    def all_arrive(self) -> None:
        """Let the faults end: each of them comes to what is wanted, whatever the others do."""
        self.the_publisher_repairs()
        for model in MODELS:
            self.device.trials[model].verdict = PASS
            self.device.servings[model].shadows = False
            self.device.plan(model, self.device.sequence % 2)
        for _ in range(4000):
            if all(map(self.device.arrived, MODELS)):
                return
            self.device.turn(0.2)
            self.one_download_and_one_trial_at_a_time()
            self.who_stands_in_line_wants_to_go()
        raise AssertionError([u.report() for u in self.device.updaters.values()])


TestLives = Lives.TestCase
TestLives.settings = settings(stateful_step_count=30)


def turn_to(device: Device, model: str, state: State) -> None:
    for _ in range(500):
        if device.updaters[model].state is state:
            return
        device.turn()
    raise AssertionError(device.states())


def test_who_came_first_goes_first(tmp_path: Path) -> None:
    device = Device(tmp_path)
    for model in ("bees", "cats", "ants"):
        device.plan(model, 0)
    assert device.states() == {
        "bees": State.DOWNLOAD, "cats": State.WAIT_TURN, "ants": State.WAIT_TURN
    }  # fmt: skip
    while not all(map(device.arrived, MODELS)):
        device.turn()
    ended = [event.model for event in device.journal if event.cause == "swapped"]
    assert ended == ["bees", "cats", "ants"]
    (cats, ants) = (e for e in device.journal if e.cause == "queued")
    assert (cats.before, cats.after, cats.detail) == (
        "check",
        "wait-turn",
        "the download of bees comes first",
    )
    assert ants.model == "ants"


def test_a_waiting_model_says_what_it_waits_with(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.plan("ants", 0)
    device.plan("bees", 0)
    report = device.updaters["bees"].report()
    assert (report.state, report.target, report.error) == ("wait-turn", "bees/1", None)


def test_a_pause_gives_the_turn_away_and_keeps_the_chunks(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.plan("ants", 0)
    device.plan("bees", 0)
    while device.updaters["ants"].report().done_chunks == 0:
        device.turn()
    device.plan("ants", 0, "pause")
    device.turn()
    assert device.states() == {"ants": State.IDLE, "bees": State.DOWNLOAD, "cats": State.IDLE}
    turn_to(device, "bees", State.STAGE)
    assert list((device.folders["ants"] / "parts").glob("*.part"))
    device.plan("ants", 0)
    report = device.updaters["ants"].report()
    assert (report.fetched_chunks, report.done_chunks > 0) == (0, True)


def test_a_model_that_waits_after_a_failure_holds_nobody_up(tmp_path: Path) -> None:
    device = Device(tmp_path)
    lost = GOODS["ants"][0].release.blobs[0]
    device.broker.retained.pop(TOPICS.blob(lost.sha256, 0))
    device.plan("ants", 0)
    device.plan("bees", 0)
    while not device.arrived("bees"):
        device.turn(0.5)
    assert ("ants", "transfer-failed") in [(event.model, event.cause) for event in device.journal]


def test_a_download_goes_on_beside_a_trial_and_then_waits_for_it(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.trials["ants"].verdict = None
    device.plan("ants", 0)
    device.plan("bees", 0)
    turn_to(device, "ants", State.STAGE)
    for _ in range(60):
        device.turn()
    assert device.states()["bees"] is State.WAIT_TURN
    assert device.trials["bees"].started == []
    assert device.stores["bees"].on_disk() == {GOODS["bees"][0].release.bundle_sha256}
    device.trials["ants"].verdict = PASS
    turn_to(device, "bees", State.PROBATION)


def test_a_way_back_waits_for_no_download(tmp_path: Path) -> None:
    device = Device(tmp_path)
    for n in (0, 1):
        device.plan("ants", n)
        while not device.arrived("ants"):
            device.turn()
    device.broker.retained.pop(TOPICS.blob(GOODS["bees"][0].release.blobs[0].sha256, 0))
    device.plan("bees", 0)
    device.turn()
    device.plan("ants", 0)
    turn_to(device, "ants", State.PROBATION)
    assert device.updaters["bees"].state is State.DOWNLOAD


def test_a_disk_that_fails_in_the_line_lets_others_pass_and_stands_in_it_again(tmp_path: Path) -> None:
    device = Device(tmp_path)
    for model in MODELS:
        device.plan(model, 0)
    real = device.stores["bees"].on_disk

    def broken() -> frozenset[str]:
        raise OSError(5, "Input/output error")

    device.stores["bees"].on_disk = broken  # type: ignore[method-assign]
    turn_to(device, "cats", State.DOWNLOAD)
    device.stores["bees"].on_disk = real  # type: ignore[method-assign]
    turn_to(device, "bees", State.PROBATION)


def test_a_place_is_kept_only_for_the_errand_that_is_still_wanted() -> None:
    turns = Turns()
    ants, bees = Place(turns, "ants"), Place(turns, "bees")
    assert ants.ask(Errand.DOWNLOAD) is None
    assert bees.ask(Errand.DOWNLOAD) == "ants"
    bees.moved(State.CHECK, State.WAIT_TURN)
    assert (bees.waits, bees.up) == (True, False)
    bees.moved(State.WAIT_TURN, State.CHECK)
    assert bees.ask(Errand.TRIAL) is None
    bees.moved(State.CHECK, State.STAGE)
    ants.moved(State.DOWNLOAD, State.IDLE)
    assert turns.first(Errand.DOWNLOAD) is None
    assert turns.first(Errand.TRIAL) == "bees"
