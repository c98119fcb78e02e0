"""What must not be lost when something is killed: real processes, real brokers, SIGKILL."""

from __future__ import annotations

from random import Random

import pytest

from fleet.accounting import Ledger
from tests.conftest import Counts
from tests.support.local_fleet import BROKERS, LocalFleet
from tests.support.training import Bundles
from tests.support.update_cycle import UpdateCycle

#: 50 answers a second: so many stand for the ten seconds in which a broker is away.
TEN_SECONDS_OF_ANSWERS = 500


def end_and_balance(fleet: LocalFleet) -> Ledger:
    """End the device, and return the ledger once the server has committed its goodbye."""
    assert fleet.end("pi-1") == 0
    fleet.wait("the device is offline", lambda: fleet.row().presence == "offline")
    return fleet.reader.ledger()


def test_a_model_is_swapped_under_a_running_stream_without_losing_an_answer(
    fleet: LocalFleet, bundles: Bundles
) -> None:
    fleet.start_device()
    fleet.push(bundles.one)
    fleet.wait_for_release("digits/1")
    fleet.push(bundles.two)
    fleet.wait_for_release("digits/2")
    ledger = end_and_balance(fleet)
    answered = fleet.answered()
    assert ledger.problems == ()
    assert ledger.inferences == len(answered)
    assert answered == sorted(answered)  # all by the first release, then all by the second
    assert set(answered) == {"digits/1", "digits/2"}


def test_a_device_killed_in_a_download_fetches_only_what_it_lacks(
    fleet: LocalFleet, bundles: Bundles
) -> None:
    fleet.start_device()
    fleet.wait("the device is known", lambda: fleet.row().state == "idle")
    fleet.push(bundles.large, "--rate-kb", "1000")
    fleet.wait("a part of the download", lambda: fleet.row().done_chunks >= 8)
    fleet.kill("pi-1")
    had, total = fleet.row().done_chunks, fleet.row().total_chunks
    assert total > had
    fleet.start_device()
    fleet.wait_for_release("digits/3")
    (complete,) = (e.detail for _, e in fleet.reader.events("pi-1") if e.cause == "complete")
    fetched = int(str(complete).split()[1])
    assert complete == f"fetched {fetched} of {total} chunks"
    assert fetched <= total - had


def test_a_broker_killed_for_ten_seconds_loses_no_report(fleet: LocalFleet, bundles: Bundles) -> None:
    fleet.start_device()
    fleet.push(bundles.one)
    fleet.wait_for_release("digits/1")
    before = len(fleet.answered())
    fleet.kill_broker()
    fleet.wait("ten seconds of answers", lambda: len(fleet.answered()) >= before + TEN_SECONDS_OF_ANSWERS)
    fleet.start_broker()
    fleet.wait("the backlog has arrived", lambda: fleet.row().inferences >= before + TEN_SECONDS_OF_ANSWERS)
    ledger = end_and_balance(fleet)
    assert ledger.problems == ()
    assert ledger.inferences == len(fleet.answered())


def test_reports_that_only_the_broker_held_are_sent_again(fleet: LocalFleet, bundles: Bundles) -> None:
    fleet.start_device()
    fleet.push(bundles.one)
    fleet.wait_for_release("digits/1")
    fleet.kill("server")
    before = len(fleet.answered())
    fleet.wait("reports that nobody takes", lambda: len(fleet.answered()) >= before + 150)
    fleet.kill_broker()
    fleet.start_broker()
    fleet.start_server()
    fleet.wait("they have arrived", lambda: fleet.row().inferences >= before + 150)
    ledger = end_and_balance(fleet)
    assert ledger.problems == ()
    assert ledger.inferences == len(fleet.answered())


def test_a_device_that_was_off_finds_the_plan_and_a_broker_that_forgot_is_filled_again(
    fleet: LocalFleet, bundles: Bundles
) -> None:
    fleet.start_device()
    fleet.wait("the device is known", lambda: fleet.row().state == "idle")
    fleet.end("pi-1")
    fleet.push(bundles.two)
    fleet.kill_broker()
    fleet.start_broker()
    fleet.start_device()
    fleet.wait_for_release("digits/2")


def test_a_model_whose_golden_outputs_are_wrong_here_never_serves(
    fleet: LocalFleet, bundles: Bundles
) -> None:
    fleet.start_device()
    fleet.push(bundles.one)
    fleet.wait_for_release("digits/1")
    fleet.push(bundles.wrong)
    fleet.wait("it is blocked", lambda: fleet.row().state == "blocked")
    assert "golden outputs differ" in str(fleet.row().error)
    ledger = end_and_balance(fleet)
    assert ledger.problems == ()
    assert set(fleet.answered()) == {"digits/1"}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("broker_kind", BROKERS[:1], indirect=True)  # which one plays no part in it
def test_a_device_killed_at_random_moments_serves_and_converges(
    fleet: LocalFleet, bundles: Bundles, counts: Counts, seed: int
) -> None:
    cycle, moments, kills = UpdateCycle(fleet, bundles, Random(seed)), Random(seed), 0
    cycle.begin()
    while kills < counts.update_kills:
        cycle.push()
        for _ in range(moments.randint(1, 2)):  # at the third death on probation a model loses its place
            cycle.wait_for_a_moment()
            fleet.kill("pi-1")
            cycle.restart()
            kills += 1
        cycle.converge()
    fleet.end("pi-1")
    fleet.wait("the device is offline", lambda: fleet.row().presence == "offline")
    print("killed in", dict(cycle.killed_in))
    assert cycle.wrong_answers() == []
    problems = [p for p in fleet.reader.ledger().problems if "no final report" not in p]
    assert problems == []
