"""Whether software that was just started is as good as the one before it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.selfupdate.health import LEAST_S, PATIENCE_S, Seen, Situation, judge

BEFORE = Situation(("ants", "digits"), linked=True)
WELL = Seen(Situation(("ants", "digits"), linked=True), acknowledged=True, reachable=None)
OFFLINE = Seen(Situation(("ants", "digits"), linked=False), acknowledged=False, reachable=False)


def healthy(age_s: float, seen: Seen, before: Situation = BEFORE) -> bool | None:
    outcome = judge(age_s, before, seen)
    return None if outcome is None else outcome.healthy


def test_an_acknowledged_report_is_enough_after_a_moment() -> None:
    assert healthy(LEAST_S - 0.1, WELL) is None
    assert healthy(LEAST_S, WELL) is True


def test_a_model_that_answers_no_more_is_waited_for_and_then_is_the_softwares_fault() -> None:
    seen = replace(WELL, now=Situation(("ants",), linked=True))
    assert healthy(PATIENCE_S - 1, seen) is None
    assert healthy(PATIENCE_S, seen) is False
    assert healthy(LEAST_S, seen, Situation(("ants",), linked=True)) is True, (
        "digits did not answer before either"
    )


@pytest.mark.parametrize(
    ("before", "seen", "expected"),
    [
        (BEFORE, replace(OFFLINE, now=replace(OFFLINE.now, linked=True)), True),  # the server is away
        (replace(BEFORE, linked=False), replace(OFFLINE, reachable=True), True),  # there was no link before
        (BEFORE, OFFLINE, True),  # the network is away
        (
            BEFORE,
            replace(OFFLINE, reachable=True),
            False,
        ),  # the broker answers, and this software has no link
        (BEFORE, replace(OFFLINE, reachable=None), None),  # not known yet
    ],
)
def test_without_a_word_from_the_server_it_is_not_the_network_that_counts(
    before: Situation, seen: Seen, expected: bool | None
) -> None:
    assert healthy(PATIENCE_S - 1, seen, before) is None
    assert healthy(PATIENCE_S, seen, before) is expected
