"""The proof at the end of a run: it must find each way of losing something."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.accounting import StreamFacts, balance
from tests.support.examples import counters, telemetry
from wire.messages import Loss

STREAM = StreamFacts("pi-1", "telemetry", "b1", mark=2, lost=0, rows=2, highest=2)
REPORTS = [
    ("pi-1", "b1", telemetry(counters(inferences=10, total=10))),
    ("pi-1", "b1", telemetry(counters(inferences=5, total=15), final=True)),
]


def test_a_whole_run_adds_up() -> None:
    ledger = balance([STREAM], REPORTS)
    assert (ledger.messages, ledger.inferences, ledger.problems) == (2, 15, ())


@pytest.mark.parametrize(
    "stream",
    [replace(STREAM, mark=1, rows=1), replace(STREAM, lost=1), replace(STREAM, rows=1)],
)
def test_a_missing_message_is_a_problem(stream: StreamFacts) -> None:
    assert len(balance([stream], REPORTS).problems) == 1


def test_a_missing_report_shows_in_the_sums() -> None:
    (problem,) = balance([STREAM], REPORTS[1:]).problems
    assert problem == "pi-1 digits/1: reports add up to 5 inferences, the device counted 15"


def test_failures_drops_and_a_missing_goodbye_are_problems() -> None:
    bad = replace(counters(), errors=2)
    problems = balance([], [("pi-1", "b1", telemetry(bad, loss=Loss(results_dropped=1)))]).problems
    assert len(problems) == 3
