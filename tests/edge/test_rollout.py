"""Which release a device should run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.lifecycle import Cause
from edge.rollout import Holdings, Wishes, choose
from tests.support.examples import RELEASE_1, RELEASE_2
from wire.messages import Desired, Plan, Targets
from wire.wave import bucket, takes_part

PLAN = Plan(2, "all", "digits", RELEASE_2.name, RELEASE_2.bundle_sha256)
WISHES = Wishes(Desired(1, ("all",)), (PLAN,), Targets(2, (RELEASE_1, RELEASE_2)))
HOLDS_1 = Holdings(current=RELEASE_1.bundle_sha256)


def cause(wishes: Wishes = WISHES, holdings: Holdings = HOLDS_1, model: str = "digits") -> Cause:
    return choose("pi-1", model, wishes, holdings).cause


def test_a_planned_release_is_wanted() -> None:
    choice = choose("pi-1", "digits", WISHES, HOLDS_1)
    assert (choice.cause, choice.release) == (Cause.WANTED, RELEASE_2)


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        (Wishes(), Cause.UP_TO_DATE),
        (replace(WISHES, desired=None), Cause.UP_TO_DATE),
        (replace(WISHES, desired=Desired(1, ("other",))), Cause.UP_TO_DATE),
        (replace(WISHES, targets=None), Cause.UNKNOWN_RELEASE),
        (replace(WISHES, targets=Targets(1, (RELEASE_1,))), Cause.UNKNOWN_RELEASE),
        (replace(WISHES, plans=(replace(PLAN, bundle_sha256="0" * 64),)), Cause.UNKNOWN_RELEASE),
        (replace(WISHES, plans=(replace(PLAN, state="pause"),)), Cause.PAUSED),
        (replace(WISHES, plans=(replace(PLAN, state="abort"),)), Cause.UP_TO_DATE),
        (replace(WISHES, plans=(replace(PLAN, percent=0.0),)), Cause.NOT_OUR_WAVE),
        (replace(WISHES, plans=(replace(PLAN, percent=0.0, canaries=("pi-1",)),)), Cause.WANTED),
    ],
)
def test_the_plan_decides_as_far_as_it_can_be_followed(wishes: Wishes, expected: Cause) -> None:
    assert cause(wishes) is expected


def test_what_the_device_has_decides_the_rest() -> None:
    sha256 = RELEASE_2.bundle_sha256
    assert cause(holdings=Holdings(current=sha256)) is Cause.UP_TO_DATE
    assert cause(holdings=Holdings(blocked=frozenset({sha256}))) is Cause.BLOCKED_BEFORE
    assert cause(holdings=Holdings(on_disk=frozenset({sha256}))) is Cause.ON_DISK


def test_a_pin_wins_over_the_plan_and_over_its_pause() -> None:
    pinned = Desired(2, ("all",), {"digits": RELEASE_1.name})
    paused = replace(WISHES, desired=pinned, plans=(replace(PLAN, state="pause"),))
    assert choose("pi-1", "digits", paused, Holdings()).release == RELEASE_1


def test_the_newest_plan_among_the_devices_groups_wins() -> None:
    older = replace(PLAN, sequence=1, release=RELEASE_1.name, bundle_sha256=RELEASE_1.bundle_sha256)
    both = replace(WISHES, plans=(PLAN, replace(older, group="beta")), desired=Desired(1, ("all", "beta")))
    assert choose("pi-1", "digits", both, Holdings()).release == RELEASE_2


def test_a_release_of_another_model_is_never_chosen() -> None:
    stray = replace(WISHES, plans=(replace(PLAN, model="faces"),))
    assert cause(stray, model="faces") is Cause.UNKNOWN_RELEASE


def test_a_percentage_is_nested_and_near_its_share() -> None:
    devices = [f"pi-{n}" for n in range(2000)]
    some = {d for d in devices if takes_part(replace(PLAN, percent=10.0), d)}
    more = {d for d in devices if takes_part(replace(PLAN, percent=30.0), d)}
    assert some < more
    assert 150 < len(some) < 250  # 200 expected, standard deviation 13
    assert all(takes_part(PLAN, d) for d in devices)


def test_each_release_has_other_canaries() -> None:
    assert bucket("digits/1", "pi-1") != bucket("digits/2", "pi-1")
