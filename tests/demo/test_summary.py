"""The checks behind the demo's exit code: each way of failing must be found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from demo.summary import Findings, problems, release_line
from fleet.accounting import Ledger
from fleet.ingest import ReleaseTotal
from fleet.view import DeviceRow
from wire.counters import Buckets

ROW = DeviceRow("pi-1", "offline", current="digits/2")
GOOD = Findings([ROW], "digits/2", Ledger(10, 3, ()), {"pi-1": [0, 1, 2]}, {"pi-1": 0}, {})


def test_a_good_run_has_no_problems() -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    "findings",
    [
        replace(GOOD, rows=[replace(ROW, current="digits/1")]),
        replace(GOOD, ledger=Ledger(10, 3, ("pi-1 lost something",))),
        replace(GOOD, ledger=Ledger(10, 4, ())),
        replace(GOOD, answered={"pi-1": [0, 2, 1]}),
        replace(GOOD, answered={"pi-1": [0, 1, 1]}),
        replace(GOOD, exit_codes={"pi-1": -9}),
        replace(GOOD, refusals={"Telemetry": 1}),
    ],
)
def test_each_way_of_failing_is_one_problem(findings: Findings) -> None:
    assert len(problems(findings)) == 1


def test_a_release_is_summed_over_devices() -> None:
    total = ReleaseTotal(100, 0, 100, 90, Buckets(251, (100,)))
    line = release_line("digits/2", [total, total])
    assert line.startswith("digits/2: 200 inferences, accuracy 90.0 % [85.")
    assert release_line("digits/2", []) == "digits/2: no answers"
