"""From the wish of the server to a committed swap, with a real store and a broker in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge.adapters.model_store import RESERVE_BYTES, ModelStore
from edge.download import STALL_S, Download
from edge.fitness import Board
from edge.golden import Measured, Verdict
from edge.lifecycle import DEADLINE_S, State
from edge.pointer import Pointer
from edge.ports import Ports
from edge.probation import PROBATION_INFERENCES
from edge.rollout import Wishes
from edge.shadow import Pairs
from edge.updater import Updater
from tests.support.fakes import ScriptedServing, ScriptedTrial, TurnedClock
from tests.support.shelf import TOPICS, Goods, make_goods, put_on_broker
from wire.link import Incoming
from wire.memory_link import MemoryBroker, MemoryLink
from wire.messages import Desired, Event, Plan, Targets
from wire.topics import BlobTopic

ONE, TWO = make_goods(1), make_goods(2)
LARGE = make_goods(1, 1_300_000)  # 20 chunks: the window needs several rounds


class Device:
    """An updater with everything around it; `restart` is a power cut that the disk survives."""

    def __init__(self, state: Path, broker: MemoryBroker) -> None:
        self.store, self.broker, self.clock = ModelStore(state), broker, TurnedClock()
        self.trial, self.serving = ScriptedTrial(), ScriptedServing()
        self.journal: list[Event] = []
        self.board, self.slower_limit = Board(), 0.0
        self.restart()

    def restart(self) -> None:
        self.link: MemoryLink = self.broker.link()
        self.link.start()
        self.store.open()
        self.serving.serves = None
        ports = Ports(
            self.store, self.trial, self.serving, self._make_download, self.journal.append, self.clock,
            self.board, self.slower_limit,
        )  # fmt: skip
        self.updater = Updater("pi-1", "digits", ports)
        self.updater.recover()

    def _make_download(self, blob, part, rate_bytes_s):  # type: ignore[no-untyped-def]
        return Download(blob, part, self.link, TOPICS, rate_bytes_s=rate_bytes_s)

    def wish(self, *goods: Goods, plan: Plan | None = None) -> None:
        put_on_broker(self.broker, list(goods), [], [])
        targets = Targets(len(goods), tuple(g.release for g in goods))
        self.updater.wish(Wishes(Desired(1, ("all",)), (plan or goods[-1].plan,), targets))

    def turn(self, until: Callable[[], bool], *, turns: int = 300) -> None:
        for _ in range(turns):
            if until():
                return
            while (event := self.link.receive(0)) is not None:
                if isinstance(event, Incoming):
                    topic = TOPICS.parse(event.topic)
                    assert isinstance(topic, BlobTopic)
                    self.updater.receive(topic, event.payload)
            self.updater.tick()
            self.clock.turn(0.05)
        raise AssertionError(f"not reached from {self.updater.report()}")

    def turn_to(self, state: State) -> None:
        self.turn(lambda: self.updater.state is state)

    def commit(self, *goods: Goods) -> None:
        self.wish(*goods)
        self.turn_to(State.PROBATION)
        self.serving.inferences += PROBATION_INFERENCES
        self.turn_to(State.IDLE)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "state", MemoryBroker())


def test_a_release_travels_from_the_plan_to_a_commit(device: Device) -> None:
    device.commit(ONE)
    report = device.updater.report()
    assert (report.current, report.error) == ("digits/1", None)
    assert device.serving.serves == device.store.path(ONE.release.bundle_sha256)
    assert device.serving.serves.read_bytes() == ONE.bundle
    assert [e.after for e in device.journal] == [
        "check", "space", "download", "verify", "stage", "swap", "probation", "commit", "idle",
    ]  # fmt: skip


def test_a_chunk_is_fetched_once_even_over_a_restart_in_the_middle(device: Device) -> None:
    device.wish(LARGE)
    device.turn(lambda: device.updater.report().done_chunks >= 5)
    before = device.updater.report()
    device.restart()
    device.wish(LARGE)
    device.turn_to(State.PROBATION)
    missing = before.total_chunks - before.done_chunks
    (complete,) = (e.detail for e in device.journal if e.cause == "complete")
    assert complete == f"fetched {missing} of {before.total_chunks} chunks"


def test_a_damaged_part_file_costs_only_its_damaged_chunks(device: Device, tmp_path: Path) -> None:
    device.wish(LARGE)
    device.turn(lambda: device.updater.report().done_chunks >= 5)
    done = device.updater.report().done_chunks
    (part,) = (tmp_path / "state" / "parts").glob("*.part")
    with part.open("r+b") as file:
        file.write(b"\0" * 100)
    device.restart()
    device.wish(LARGE)
    assert device.updater.report().done_chunks == done - 1
    device.turn_to(State.PROBATION)


def test_a_model_that_fails_its_trial_is_blocked_and_not_tried_again(device: Device) -> None:
    device.commit(ONE)
    device.trial.verdict = Verdict(False, "golden outputs differ")
    device.wish(ONE, TWO)
    device.turn_to(State.BLOCKED)
    assert device.updater.report().error == "golden outputs differ"
    assert device.serving.serves == device.store.path(ONE.release.bundle_sha256)
    tried = len(device.trial.started)
    device.restart()
    device.wish(ONE, TWO)
    device.turn_to(State.BLOCKED)
    assert len(device.trial.started) == tried
    assert device.updater.report().current == "digits/1"


def test_a_trial_without_an_end_is_ended(device: Device) -> None:
    device.trial.verdict = None
    device.wish(ONE)
    device.turn_to(State.STAGE)
    device.clock.turn(DEADLINE_S[State.STAGE])
    device.turn_to(State.BLOCKED)
    assert device.trial.killed


def test_a_model_that_cannot_be_loaded_after_its_trial_is_blocked(device: Device) -> None:
    device.commit(ONE)
    device.serving.refuses.add(device.store.path(TWO.release.bundle_sha256))
    device.wish(ONE, TWO)
    device.turn_to(State.BLOCKED)
    assert device.updater.report().current == "digits/1"


def test_errors_on_probation_roll_back_to_the_previous_model(device: Device) -> None:
    device.commit(ONE)
    device.wish(ONE, TWO)
    device.turn_to(State.PROBATION)
    device.serving.errors = 1
    device.turn_to(State.BLOCKED)
    assert device.serving.serves == device.store.path(ONE.release.bundle_sha256)
    assert (device.updater.report().current, device.store.read_pointer().current.release) == ("digits/1",) * 2  # type: ignore[union-attr]


def test_a_restart_serves_what_was_committed_and_goes_on_with_a_probation(device: Device) -> None:
    device.commit(ONE)
    device.wish(ONE, TWO)
    device.turn_to(State.PROBATION)
    device.restart()
    assert device.updater.state is State.PROBATION
    assert device.serving.serves == device.store.path(TWO.release.bundle_sha256)


def test_a_model_that_ends_the_agent_on_probation_is_left_after_some_starts(device: Device) -> None:
    device.commit(ONE)
    device.wish(ONE, TWO)
    device.turn_to(State.PROBATION)
    for _ in range(3):
        device.restart()
    assert device.serving.serves == device.store.path(ONE.release.bundle_sha256)


def test_a_damaged_current_model_is_replaced_by_the_previous_one_and_fetched_again(device: Device) -> None:
    device.commit(ONE)
    device.commit(ONE, TWO)
    device.store.path(TWO.release.bundle_sha256).write_bytes(b"damaged")
    device.restart()
    assert device.updater.report().current == "digits/1"
    device.wish(ONE, TWO)
    device.turn_to(State.PROBATION)
    assert device.updater.report().current == "digits/2"


def test_going_back_to_the_previous_release_downloads_nothing(device: Device) -> None:
    device.commit(ONE)
    device.commit(ONE, TWO)
    device.journal.clear()
    device.wish(ONE, TWO, plan=ONE.plan)
    device.turn_to(State.PROBATION)
    assert [e.after for e in device.journal] == ["check", "stage", "swap", "probation"]


def test_only_the_current_and_the_previous_model_stay_on_the_disk(device: Device) -> None:
    three = make_goods(3)
    for goods in (ONE, TWO, three):
        device.commit(ONE, TWO, goods)
    assert device.store.on_disk() == {TWO.release.bundle_sha256, three.release.bundle_sha256}


def test_no_space_is_told_before_the_first_byte_and_tried_again(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device.store, "free_bytes", lambda: RESERVE_BYTES + 1000)
    device.wish(ONE)
    assert "needs" in str(device.updater.report().error)
    assert device.updater.report().fetched_chunks == 0
    monkeypatch.undo()
    device.clock.turn(10.0)
    device.turn_to(State.PROBATION)


@pytest.mark.parametrize("state", [State.STAGE, State.PROBATION])
def test_a_disk_that_fails_to_take_the_pointer_blocks_nothing_and_is_tried_again(
    device: Device, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    device.commit(ONE)
    device.wish(ONE, TWO)
    device.turn_to(state)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(device.store, "write_pointer", full)
    device.serving.inferences += PROBATION_INFERENCES
    for _ in range(5):
        device.updater.tick()
        device.clock.turn(0.1)
    assert "No space left" in str(device.updater.report().error)
    assert device.serving.serves is not None
    monkeypatch.undo()
    device.turn(lambda: device.updater.report().current == "digits/2")
    device.serving.inferences += PROBATION_INFERENCES
    device.turn_to(State.IDLE)
    assert device.store.read_pointer().blocked == ()


def test_a_new_wish_does_not_wait_for_the_pause_after_a_failure(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device.store, "free_bytes", lambda: 0)
    device.wish(ONE)
    monkeypatch.undo()
    device.wish(ONE, TWO)
    assert device.updater.state is State.DOWNLOAD


def test_a_pause_stops_the_download_and_a_resume_keeps_what_is_there(device: Device) -> None:
    device.wish(ONE)
    device.turn(lambda: device.updater.report().done_chunks >= 2)
    paused = Plan(2, "all", "digits", ONE.release.name, ONE.release.bundle_sha256, state="pause")
    device.wish(ONE, plan=paused)
    assert (device.updater.state, device.link.filters) == (State.IDLE, {})
    device.wish(ONE, plan=Plan(3, "all", "digits", ONE.release.name, ONE.release.bundle_sha256))
    assert device.updater.report().done_chunks >= 2
    device.turn_to(State.PROBATION)


def test_a_chunk_that_stays_wrong_fails_the_transfer_and_blocks_nothing(device: Device) -> None:
    device.wish(ONE)
    topic = TOPICS.blob(ONE.release.blobs[0].sha256, 1)
    device.broker.retained[topic] = b"tampered"
    device.turn(lambda: device.updater.state is State.IDLE, turns=2000)
    assert "keeps arriving damaged" in str(device.updater.report().error)
    assert device.store.read_pointer().blocked == ()


def test_a_chunk_that_is_missing_stalls_and_is_tried_again(device: Device) -> None:
    device.wish(ONE)
    topic = TOPICS.blob(ONE.release.blobs[0].sha256, 1)
    chunk = device.broker.retained.pop(topic)
    device.turn(lambda: device.updater.state is State.IDLE, turns=int(STALL_S / 0.05) + 200)
    assert "no chunk for" in str(device.updater.report().error)
    device.broker.retained[topic] = chunk
    device.turn(lambda: device.updater.state is State.PROBATION, turns=1000)


def test_a_new_plan_in_the_middle_of_a_download_wins(device: Device) -> None:
    device.wish(ONE)
    device.turn(lambda: device.updater.report().done_chunks >= 1)
    device.wish(ONE, TWO)
    device.turn_to(State.PROBATION)
    assert device.updater.report().current == "digits/2"


def test_a_trial_that_was_killed_from_outside_says_nothing_about_the_model(device: Device) -> None:
    device.trial.verdict = Verdict(False, "the trial was ended by SIGKILL", conclusive=False)
    device.wish(ONE)
    device.turn_to(State.STAGE)
    device.turn_to(State.IDLE)
    assert device.store.read_pointer().blocked == ()
    device.trial.verdict = Verdict(True, "fine")
    device.turn_to(State.PROBATION)


def test_an_abort_during_the_trial_ends_it_there(device: Device) -> None:
    device.commit(ONE)
    device.trial.verdict = None
    device.wish(ONE, TWO)
    device.turn_to(State.STAGE)
    device.wish(ONE, TWO, plan=replace(TWO.plan, state="pause"))
    device.trial.verdict = Verdict(True, "fine")
    device.turn_to(State.IDLE)
    assert device.updater.report().current == "digits/1"


def test_a_damaged_bundle_on_the_disk_is_fetched_again_and_not_blocked(device: Device) -> None:
    device.commit(ONE)
    device.commit(ONE, TWO)
    device.store.path(ONE.release.bundle_sha256).write_bytes(b"rotten")
    device.wish(ONE, TWO, plan=replace(ONE.plan, sequence=9))
    assert device.updater.state is State.DOWNLOAD
    device.turn_to(State.PROBATION)
    assert device.store.read_pointer().blocked == ()


def test_clean_restarts_on_probation_do_not_count_against_the_model(device: Device) -> None:
    device.commit(ONE)
    device.wish(ONE, TWO)
    device.turn_to(State.PROBATION)
    for _ in range(5):
        device.updater.close()
        device.restart()
    assert device.updater.report().current == "digits/2"


def test_a_rollback_interrupted_by_the_disk_does_not_block_the_good_model(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.commit(ONE)
    device.wish(ONE, TWO)
    device.turn_to(State.PROBATION)

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(device.serving, "prepare", broken)
    device.serving.errors = 1
    device.updater.tick()
    monkeypatch.undo()
    device.turn_to(State.BLOCKED)
    assert device.updater.report().current == "digits/1"
    assert device.store.read_pointer().blocked == (TWO.release.bundle_sha256,)


def test_a_rollback_without_a_usable_previous_model_says_that_nothing_serves(device: Device) -> None:
    device.commit(ONE)
    device.wish(ONE, TWO)
    device.turn_to(State.PROBATION)
    device.store.path(ONE.release.bundle_sha256).unlink()
    device.serving.errors = 1
    device.turn_to(State.BLOCKED)
    assert (device.updater.report().current, device.serving.serves) == (None, None)


def test_hours_without_a_link_write_no_journal_and_the_download_goes_on_at_once(device: Device) -> None:
    device.wish(LARGE)
    device.turn(lambda: device.updater.report().done_chunks >= 2)
    device.link.drop("gone")
    device.updater.link_lost()
    written = len(device.journal)
    for _ in range(100):
        device.clock.turn(60.0)
        device.updater.tick()
    assert len(device.journal) == written
    device.link.start()
    device.updater.link_restored()
    device.turn_to(State.PROBATION)


def test_a_cap_that_is_lifted_counts_for_the_running_download(device: Device) -> None:
    device.wish(LARGE, plan=replace(LARGE.plan, rate_bytes_s=1))
    device.turn(lambda: device.updater.report().done_chunks >= 1)
    device.wish(LARGE, plan=replace(LARGE.plan, rate_bytes_s=None, sequence=2))
    device.turn_to(State.PROBATION)


def test_another_release_takes_the_room_of_an_unfinished_download(device: Device, tmp_path: Path) -> None:
    device.wish(LARGE)
    device.turn(lambda: device.updater.report().done_chunks >= 2)
    device.wish(ONE, TWO)
    assert len(list((tmp_path / "state" / "parts").glob("*.part"))) == 1


# --- shadow ------------------------------------------------------------------------------------


def shadowing(device: Device) -> None:
    device.commit(ONE)
    device.serving.shadows = True
    device.wish(ONE, TWO)
    device.turn_to(State.SHADOW)


def test_a_shadow_reports_its_pairs_and_is_then_swapped_in(device: Device) -> None:
    shadowing(device)
    assert device.serving.serves == device.store.path(ONE.release.bundle_sha256)
    device.serving.pairs = Pairs(pairs=3, agreeing=2, old_ns=3000, new_ns=6000)
    device.turn_to(State.PROBATION)
    (shadowed,) = (e.detail for e in device.journal if e.cause == "shadowed")
    assert shadowed == "pairs=3 agreeing=2 old_us=1 new_us=2"
    assert device.serving.serves == device.store.path(TWO.release.bundle_sha256)


def test_a_shadow_that_fails_on_a_live_input_is_blocked(device: Device) -> None:
    shadowing(device)
    device.serving.shadow_fails = True
    device.turn_to(State.BLOCKED)
    assert device.updater.report().error == "the candidate failed on a live input"
    assert device.updater.report().current == "digits/1"


@pytest.mark.parametrize("shadows", [False, True])
def test_a_model_for_which_no_memory_is_left_waits_and_is_not_blocked(device: Device, shadows: bool) -> None:
    device.commit(ONE)
    device.serving.no_room, device.serving.shadows = True, shadows
    device.wish(ONE, TWO)
    device.turn(lambda: device.updater.report().error is not None)
    report = device.updater.report()
    assert (report.state, report.current, report.attempt) == ("idle", "digits/1", 0)
    assert report.error == "no memory is left"
    device.serving.no_room = device.serving.shadows = False
    device.turn(lambda: device.updater.report().current == "digits/2")


def test_a_shadow_without_live_inputs_ends_in_time(device: Device) -> None:
    shadowing(device)
    device.clock.turn(DEADLINE_S[State.SHADOW])
    device.turn_to(State.PROBATION)
    assert "pairs=0" in [e.detail for e in device.journal]


def test_a_plan_that_is_paused_ends_a_shadow(device: Device) -> None:
    shadowing(device)
    device.wish(ONE, TWO, plan=replace(TWO.plan, state="pause"))
    device.turn_to(State.IDLE)
    assert device.updater.report().current == "digits/1"


def test_a_disk_that_fails_in_a_swap_leaves_what_stands_serving(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.commit(ONE)
    device.serving.unloads = True  # as a board with little memory does
    device.wish(ONE, TWO)
    device.turn_to(State.STAGE)
    real = device.store.write_pointer

    def broken(pointer: Pointer) -> None:
        if pointer.current is not None and pointer.current.release == "digits/2":
            raise OSError(30, "Read-only file system")
        real(pointer)

    monkeypatch.setattr(device.store, "write_pointer", broken)
    device.updater.tick()
    assert device.updater.state is State.IDLE
    assert device.serving.serves == device.store.path(ONE.release.bundle_sha256)
    monkeypatch.undo()
    device.clock.turn(400)
    device.turn_to(State.PROBATION)
    assert device.updater.report().current == "digits/2"


def test_after_a_rollback_the_model_that_failed_is_let_go(device: Device) -> None:
    device.commit(ONE)
    device.wish(ONE, TWO)
    device.turn_to(State.PROBATION)
    device.serving.errors = 1
    device.turn_to(State.BLOCKED)
    assert device.serving.committed == device.store.path(ONE.release.bundle_sha256)


def test_the_model_before_is_let_go_only_when_the_new_one_is_trusted(device: Device) -> None:
    device.commit(ONE)
    device.wish(ONE, TWO)
    device.turn_to(State.PROBATION)
    assert device.serving.committed == device.store.path(ONE.release.bundle_sha256)
    device.serving.inferences += PROBATION_INFERENCES
    device.turn_to(State.IDLE)
    assert device.serving.committed == device.store.path(TWO.release.bundle_sha256)


# --- unfit, retried, slow -----------------------------------------------------------------------


def test_a_release_that_cannot_run_here_is_refused_before_the_first_byte(device: Device) -> None:
    device.commit(ONE)
    greedy = replace(TWO.release, manifest=replace(TWO.release.manifest, memory_bytes=1 << 40))
    device.board = Board("aarch64", "tflite-runtime 2.14.0", 1 << 28)
    device.restart()
    device.journal.clear()
    device.wish(ONE, replace(TWO, release=greedy))
    for _ in range(20):
        device.updater.tick()
        device.clock.turn(60.0)
    assert [(e.after, e.cause) for e in device.journal] == [("check", "plan-changed"), ("blocked", "unfit")]
    report = device.updater.report()
    assert (report.current, report.attempt, report.fetched_chunks) == ("digits/1", 0, 0)
    assert report.error == device.journal[-1].detail
    assert "MiB of memory" in str(report.error)
    assert device.store.read_pointer().blocked == ()
    assert [t for t in device.link.filters if "blobs" in t] == []


def test_what_was_unfit_is_taken_with_other_software(device: Device) -> None:
    newer = replace(
        ONE, release=replace(ONE.release, manifest=replace(ONE.release.manifest, min_runtime="2.17.0"))
    )
    device.board = Board(backend="tflite-runtime 2.14.0")
    device.restart()
    device.wish(newer)
    assert device.updater.state is State.BLOCKED
    device.board = Board(backend="ai-edge-litert 2.3.0")
    device.restart()
    device.wish(newer)
    device.turn_to(State.PROBATION)


def test_a_block_is_lifted_for_one_more_try_by_a_plan_that_asks_for_it(device: Device) -> None:
    device.trial.verdict = Verdict(False, "golden outputs differ")
    device.wish(ONE)
    device.turn_to(State.BLOCKED)
    again = replace(ONE.plan, sequence=2, retry=2)
    device.wish(ONE, plan=again)
    device.turn_to(State.STAGE)
    device.turn_to(State.BLOCKED)
    tried = len(device.trial.started)
    device.restart()
    for sequence in (2, 3):  # the same plan again, and its pause and resumption
        device.wish(ONE, plan=replace(again, sequence=sequence))
        assert device.updater.state is State.BLOCKED
    assert len(device.trial.started) == tried
    device.trial.verdict = Verdict(True, "fine")
    device.wish(ONE, plan=replace(again, sequence=4, retry=4))
    device.turn_to(State.PROBATION)


def test_a_model_much_slower_than_the_one_before_goes_back_to_it(device: Device) -> None:
    device.slower_limit = 3.0
    device.restart()
    device.commit(ONE)
    device.serving.answer("digits/1", PROBATION_INFERENCES, 2000.0)
    device.wish(ONE, TWO)
    device.turn_to(State.PROBATION)
    device.serving.answer("digits/2", PROBATION_INFERENCES, 9000.0)
    device.turn_to(State.BLOCKED)
    assert str(device.updater.report().error).startswith("slow: half of its answers take 9")
    assert device.updater.report().current == "digits/1"


def test_without_answers_of_the_one_before_its_own_trial_is_what_is_usual(device: Device) -> None:
    device.slower_limit = 3.0
    device.restart()
    measured = Measured(2000.0, 2500.0, 300, 1.0, 0, 0, 1)
    device.trial.verdict = Verdict(True, "fine", measured=measured)
    device.commit(ONE)
    device.wish(ONE, TWO)
    device.turn_to(State.PROBATION)
    device.serving.answer("digits/2", PROBATION_INFERENCES, 9000.0)
    device.turn_to(State.BLOCKED)
    assert device.updater.report().current == "digits/1"


def test_a_first_model_is_not_given_up_for_being_slow(device: Device) -> None:
    device.slower_limit = 3.0
    device.restart()
    device.trial.verdict = Verdict(True, "fine", measured=Measured(10.0, 20.0, 300, 1.0, 0, 0, 1))
    device.wish(ONE)
    device.turn_to(State.PROBATION)
    device.serving.answer("digits/1", PROBATION_INFERENCES, 90_000.0)
    device.turn_to(State.IDLE)
    assert device.updater.report().current == "digits/1"


def test_a_golden_set_lost_while_serving_sends_it_back(device: Device) -> None:
    device.commit(ONE)
    device.wish(ONE, TWO)
    device.turn_to(State.PROBATION)
    device.serving.tested = Verdict(False, "golden outputs differ")
    device.turn_to(State.BLOCKED)
    assert (device.updater.report().current, device.updater.report().error) == (
        "digits/1",
        "self-test: golden outputs differ",
    )


def test_a_start_on_a_full_disk_serves_what_stands(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device.commit(ONE)
    device.wish(ONE, TWO)
    device.turn_to(State.PROBATION)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(device.store, "write_pointer", full)
    for _ in range(2):  # on probation, where a start is to be counted, and again
        device.restart()
        assert device.serving.serves == device.store.path(TWO.release.bundle_sha256)
