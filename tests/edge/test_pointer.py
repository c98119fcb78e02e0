"""Which model a restart finds, after any history."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from edge.pointer import (
    MAX_PROBATION_STARTS,
    Pointer,
    Slot,
    attempted,
    blocked,
    committed,
    installed,
    lost,
    rolled_back,
    started,
)
from wire.codec import decode, encode

ONE, TWO, THREE = (Slot(f"digits/{n}", str(n) * 64) for n in (1, 2, 3))
SERVING_ONE = committed(installed(Pointer(), ONE))


def test_a_new_model_serves_on_probation_and_the_old_one_is_kept() -> None:
    pointer = installed(SERVING_ONE, TWO)
    assert (pointer.current, pointer.previous, pointer.on_probation) == (TWO, ONE, True)
    assert pointer.kept == {ONE.sha256, TWO.sha256}


def test_a_rollback_returns_to_the_previous_and_blocks_the_bad_one() -> None:
    pointer = rolled_back(installed(SERVING_ONE, TWO))
    assert (pointer.current, pointer.blocked, pointer.on_probation) == (ONE, (TWO.sha256,), False)


def test_a_model_that_keeps_ending_the_agent_loses_its_place() -> None:
    pointer = installed(SERVING_ONE, TWO)
    for _ in range(MAX_PROBATION_STARTS):
        pointer = started(pointer)
        assert pointer.current == TWO
    assert started(pointer).current == ONE


def test_a_committed_model_may_be_started_for_ever() -> None:
    pointer = SERVING_ONE
    for _ in range(100):
        pointer = started(pointer)
    assert pointer == SERVING_ONE


def test_attempts_are_counted_for_one_bundle_at_a_time() -> None:
    twice = attempted(attempted(Pointer(), "a"), "a")
    assert (twice.attempted, twice.attempts) == ("a", 2)
    assert attempted(twice, "b").attempts == 1


def test_a_lost_file_is_not_held_against_its_model() -> None:
    pointer = lost(installed(SERVING_ONE, TWO))
    assert (pointer.current, pointer.blocked) == (ONE, ())


_MOVES: list[Callable[[Pointer], Pointer]] = [
    lambda p: installed(p, ONE),
    lambda p: installed(p, TWO),
    lambda p: installed(p, THREE),
    committed,
    rolled_back,
    started,
    lambda p: blocked(p, THREE.sha256),
    lambda p: attempted(p, TWO.sha256),
]


@given(st.lists(st.sampled_from(_MOVES), max_size=40))
def test_any_history_leaves_a_pointer_that_can_be_written_and_read(
    moves: list[Callable[[Pointer], Pointer]],
) -> None:
    pointer, installs = Pointer(), 0
    for move in moves:
        before = pointer
        pointer = move(pointer)
        installs += pointer.current != before.current
        if before.current and not pointer.current:
            assert before.previous is None, "a way back existed and was not taken"
    assert decode(Pointer, encode(pointer)) == pointer
    assert len(set(pointer.blocked)) == len(pointer.blocked) <= 32
