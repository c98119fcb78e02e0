"""Any order of events, and a death at any call of any port: what was committed serves, and all converges."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge.adapters.model_store import ModelStore
from edge.download import Download
from edge.golden import Verdict
from edge.lifecycle import TRANSITIONS, Cause, State
from edge.ports import Ports
from edge.probation import PROBATION_INFERENCES
from edge.rollout import Wishes
from edge.updater import Updater
from tests.support.fakes import ScriptedServing, ScriptedTrial, TurnedClock
from tests.support.fragile import CrashError, Faults, Fragile, fragile
from tests.support.shelf import TOPICS, make_goods, put_on_broker
from wire.link import Incoming
from wire.memory_link import MemoryBroker, MemoryLink
from wire.messages import PLAN_STATES, Desired, Event, Plan, Targets
from wire.topics import BlobTopic

GOODS: Final = [make_goods(n, 150_000) for n in (1, 2, 3)]
TARGETS: Final = Targets(3, tuple(g.release for g in GOODS))
PASS: Final = Verdict(True, "fine")
VERDICTS: Final = [
    PASS,
    Verdict(False, "golden outputs differ"),
    Verdict(False, "killed", conclusive=False),
    None,
]
LONG_TURNS: Final = 4000
_MEMORY_DISK: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None


class Life(RuleBasedStateMachine):
    """One device, its broker, and everything that can happen to both."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=_MEMORY_DISK))
        self.broker, self.clock, self.faults = MemoryBroker(), TurnedClock(), Faults()
        put_on_broker(self.broker, GOODS, [], [])
        self.whole = dict(self.broker.retained)
        self.store, self.trial = ModelStore(self.folder), ScriptedTrial()
        self.journal: list[Event] = []
        self.plan: Plan | None = None
        self.sequence = 0
        self.committed = False
        self.tested = PASS
        self.boot()

    def teardown(self) -> None:
        try:
            self.converge()
        finally:
            shutil.rmtree(self.folder)

    # --- the machinery ------------------------------------------------------------------------

    def boot(self) -> None:
        """Start a new process over what the disk holds."""
        self.link: MemoryLink = self.broker.link()
        self.link.start()
        self.store.open()
        self.serving = ScriptedServing(tested=self.tested)
        self.trial.kill()
        ports = Ports(
            Fragile(self.store, self.faults),
            Fragile(self.trial, self.faults),
            Fragile(self.serving, self.faults),
            self.make_download,
            fragile(self.journal.append, self.faults),
            self.clock,
            slower_limit=5.0,
        )
        self.updater = Updater("pi-1", "digits", ports)
        self.updater.recover()
        self.wish()

    def make_download(self, blob, part, rate_bytes_s):  # type: ignore[no-untyped-def]
        return Download(blob, part, self.link, TOPICS, rate_bytes_s=rate_bytes_s)

    def live(self, step: Callable[[], None]) -> None:
        """Do something; should the process die of it, start a new one, as often as it takes."""
        try:
            step()
        except CrashError:
            self.link.close()
            self.live(self.boot)

    def wish(self) -> None:
        if self.plan is not None:
            self.updater.wish(Wishes(Desired(1, ("all",)), (self.plan,), TARGETS))

    def turn(self, step_s: float = 0.05) -> None:
        while (event := self.link.receive(0)) is not None:
            if isinstance(event, Incoming):
                topic = TOPICS.parse(event.topic)
                assert isinstance(topic, BlobTopic)
                self.updater.receive(topic, event.payload)
        self.updater.tick()
        self.clock.turn(step_s)

    # --- what can happen ----------------------------------------------------------------------

    @rule(
        n=st.sampled_from(range(3)), state=st.sampled_from([*PLAN_STATES, "run", "run"]), retry=st.booleans()
    )
    def make_plan(self, n: int = 0, state: str = "run", retry: bool = False) -> None:
        self.sequence += 1
        release = GOODS[n].release
        self.plan = Plan(
            self.sequence, "all", "digits", release.name, release.bundle_sha256, state,
            retry=self.sequence if retry else 0,
        )  # fmt: skip
        self.live(self.wish)

    @rule(n=st.sampled_from(range(3)), turns=st.integers(5, 40), crash_in=st.none() | st.integers(1, 150))
    def a_rollout_begins_well(self, n: int, turns: int, crash_in: int | None) -> None:
        """Without this, blind chance seldom comes as far as a second commit."""
        self.the_trial_says(PASS)
        self.the_self_test_says(PASS)
        self.the_publisher_repairs()
        self.make_plan(n, "run", retry=True)
        self.faults.crash_in = crash_in
        for _ in range(turns):
            if self.updater.state is State.PROBATION:
                self.answers_are_given(1000.0)
            self.live(self.turn)

    @rule(count=st.integers(1, 30))
    def turns(self, count: int) -> None:
        for _ in range(count):
            self.live(self.turn)

    @rule(seconds=st.sampled_from([1.0, 31.0, 70.0, 301.0, 700.0, 22_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.turn(seconds)
        self.live(self.turn)

    @rule(verdict=st.sampled_from(VERDICTS))
    def the_trial_says(self, verdict: Verdict | None) -> None:
        self.trial.verdict = verdict

    @rule(verdict=st.sampled_from([v for v in VERDICTS if v]))
    def the_self_test_says(self, verdict: Verdict) -> None:
        self.tested = self.serving.tested = verdict

    @rule()
    def an_answer_fails(self) -> None:
        self.serving.errors += 1
        self.live(self.turn)

    @rule(took_us=st.sampled_from([1000.0, 50_000.0]))
    def answers_are_given(self, took_us: float) -> None:
        current = self.updater.report().current
        if current is not None:
            self.serving.answer(current, PROBATION_INFERENCES, took_us)
        self.live(self.turn)

    @rule()
    def the_link_falls_and_stands_again(self) -> None:
        self.link.drop("reset")
        self.updater.link_lost()
        self.live(self.turn)
        self.link.start()
        self.live(self.updater.link_restored)

    @rule(full=st.booleans())
    def the_disk_fills_or_empties(self, full: bool) -> None:
        self.faults.disk_full = full
        self.live(self.turn)

    @rule(data=st.data())
    def a_chunk_is_lost_or_damaged(self, data: st.DataObject) -> None:
        topic = data.draw(st.sampled_from(sorted(t for t in self.whole if "/blobs/" in t)))
        if data.draw(st.booleans()):
            self.broker.retained[topic] = b"tampered"
        else:
            self.broker.retained.pop(topic, None)

    @rule()
    def the_publisher_repairs(self) -> None:
        for topic, payload in self.whole.items():
            if self.broker.retained.get(topic) != payload:
                self.broker.route(topic, payload, retain=True)

    @rule(calls=st.integers(1, 60))
    def it_dies_soon(self, calls: int) -> None:
        self.faults.crash_in = calls

    @rule()
    @precondition(lambda self: self.faults.crash_in is None)
    def it_is_ended_and_started(self) -> None:
        self.updater.close()
        self.link.close()
        self.live(self.boot)

    # --- what must hold -----------------------------------------------------------------------

    @invariant()
    def what_serves_is_the_one_that_the_device_says(self) -> None:
        current = self.updater.report().current
        named = {g.release.name: self.store.path(g.release.bundle_sha256) for g in GOODS}
        assert self.serving.serves == (named[current] if current else None)
        assert self.serving.serves is None or self.serving.serves.exists()

    @invariant()
    def once_committed_never_none(self) -> None:
        pointer = self.store.read_pointer()
        self.committed |= pointer.current is not None and not pointer.on_probation
        if self.committed:
            assert self.serving.serves is not None
            assert pointer.current is not None
            assert self.store.holds(pointer.current.sha256)

    @invariant()
    def every_step_is_a_row_of_the_table(self) -> None:
        for event in self.journal:
            assert TRANSITIONS[State(event.before), Cause(event.cause)] == event.after
        self.journal.clear()

    def converge(self) -> None:
        """Let the faults end: the planned release comes to serve, and is trusted."""
        self.faults.crash_in, self.faults.disk_full = None, False
        self.trial.verdict, self.tested = PASS, PASS
        self.serving.tested = PASS
        self.the_publisher_repairs()
        self.make_plan(n=self.sequence % 3, state="run", retry=True)
        assert self.plan is not None
        for _ in range(LONG_TURNS):
            report = self.updater.report()
            if (report.current, report.state) == (self.plan.release, "idle"):
                assert self.store.read_pointer().on_probation is False
                return
            if self.updater.state is State.PROBATION and report.current:
                self.serving.answer(report.current, PROBATION_INFERENCES, 1000.0)
            self.turn(step_s=0.2)
        raise AssertionError(f"{self.plan.release} is not reached from {self.updater.report()}")


TestLife = pytest.mark.timeout(3000)(Life.TestCase)
TestLife.settings = settings(stateful_step_count=40, max_examples=2 * settings().max_examples)
