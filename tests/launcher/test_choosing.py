"""Which software starts, from what the disk says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.choosing import PROBATION_STARTS, TRUSTED_STARTS, Named, Slot, Starts, choose, counted, given_up

OLD, NEW = Slot("s/1", "a" * 64), Slot("s/2", "b" * 64)
BOTH = Named(NEW, OLD)
ON_PROBATION = replace(BOTH, on_probation=True)


def whole(_sha256: str) -> bool:
    return True


def test_the_factorys_software_starts_where_nothing_was_pushed() -> None:
    choice = choose(Named(), Starts(), whole)
    assert choice.slot is None
    assert choice.starts == Starts()


def test_what_the_pointer_names_starts_and_is_counted_before() -> None:
    choice = choose(BOTH, Starts(), whole)
    assert (choice.slot, choice.starts.of(NEW.sha256), choice.on_probation) == (NEW, 1, False)


def starts_until_given_up(named: Named) -> list[Slot | None]:
    """Start again and again, and let every start fail; return what was started."""
    starts, started = Starts(), []
    for _ in range(40):
        choice = choose(named, starts, whole)
        starts = choice.starts
        started.append(choice.slot)
    return started


def test_software_on_probation_has_its_starts_then_the_one_before_and_at_last_the_factorys() -> None:
    started = starts_until_given_up(ON_PROBATION)
    assert started[:PROBATION_STARTS] == [NEW] * PROBATION_STARTS
    assert started[PROBATION_STARTS:][:TRUSTED_STARTS] == [OLD] * TRUSTED_STARTS
    assert set(started[PROBATION_STARTS + TRUSTED_STARTS :]) == {None}


def test_trusted_software_has_more_starts() -> None:
    started = starts_until_given_up(BOTH)
    assert started[: TRUSTED_STARTS + 1] == [NEW] * TRUSTED_STARTS + [OLD]


@pytest.mark.parametrize(
    ("damaged", "starts_instead"), [({NEW.sha256}, OLD), ({NEW.sha256, OLD.sha256}, None)]
)
def test_damaged_software_is_passed_over_and_has_its_starts_still(
    damaged: set[str], starts_instead: Slot | None
) -> None:
    choice = choose(ON_PROBATION, Starts(), lambda sha256: sha256 not in damaged)
    assert choice.slot == starts_instead
    assert not choice.on_probation
    assert not given_up(choice.starts, NEW.sha256, on_probation=True)


def test_a_start_that_is_taken_back_does_not_count() -> None:
    starts = counted(counted(Starts(), NEW.sha256), NEW.sha256, -1)
    assert starts.of(NEW.sha256) == 0
    assert counted(starts, NEW.sha256, -1).of(NEW.sha256) == 0
