"""The table of states: nothing hangs, nothing is unreachable, nothing illegal passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.lifecycle import DEADLINE_S, TRANSITIONS, Cause, IllegalTransitionError, State, advance, diagram


def test_every_state_can_be_reached_and_left() -> None:
    reached = {State.IDLE}
    while new := {b for (a, _), b in TRANSITIONS.items() if a in reached} - reached:
        reached |= new
    assert reached == set(State)
    assert {a for a, _ in TRANSITIONS} == set(State)


def test_an_illegal_event_raises() -> None:
    with pytest.raises(IllegalTransitionError, match="swapped in state idle"):
        advance(State.IDLE, Cause.SWAPPED)


def test_no_model_serves_that_was_not_tried() -> None:
    assert {a for (a, _), b in TRANSITIONS.items() if b is State.SWAP} == {State.STAGE, State.SHADOW}
    assert {a for (a, _), b in TRANSITIONS.items() if b is State.SHADOW} == {State.STAGE}
    assert {a for (a, _), b in TRANSITIONS.items() if b is State.COMMIT} == {State.PROBATION}


def test_every_state_that_waits_for_another_process_has_a_deadline() -> None:
    waits = {State.IDLE, State.WAIT_WAVE, State.BLOCKED}  # for the plan, by design
    waits.add(State.WAIT_TURN)  # for another model, in a state that has a deadline
    at_once = {State.CHECK, State.SPACE, State.VERIFY, State.SWAP, State.COMMIT, State.ROLLBACK}
    assert set(DEADLINE_S) == set(State) - waits - at_once
    ends = {
        State.DOWNLOAD: Cause.TIMED_OUT,
        State.STAGE: Cause.TIMED_OUT,
        State.SHADOW: Cause.SHADOWED,
        State.PROBATION: Cause.HEALTHY,
    }
    assert all((state, cause) in TRANSITIONS for state, cause in ends.items())


def test_the_documented_diagram_is_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "lifecycle.md"
    assert diagram() in page.read_text(encoding="utf-8")
