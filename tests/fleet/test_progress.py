"""How far a rollout is, from what devices said last."""

from __future__ import annotations

import pytest

from fleet.progress import STANDINGS, Device, as_json, rollout
from wire.messages import Desired, ModelState, Plan

PLAN = Plan(5, "all", "digits", "digits/2", "2" * 64)
EVERYONE = Desired(1, ("all",))


def said(state: str, current: str = "digits/1", target: str = "digits/2", **more: object) -> ModelState:
    return ModelState("digits", state, current, None, target, **more)  # type: ignore[arg-type]


def standing(
    model: ModelState | None,
    *,
    plan: Plan = PLAN,
    plans: tuple[Plan, ...] = (),
    desired: Desired = EVERYONE,
    present: bool = True,
) -> str:
    device = Device("pi-1", present, (model,) if model else (), desired)
    (part,) = rollout(plan, [device], (plan, *plans)).parts
    return part.standing


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (None, "waiting"),
        (said("idle", target="digits/1"), "waiting"),
        (said("idle", error="needs 9 bytes free, has 3"), "waiting"),
        (said("download"), "downloading"),
        (said("verify"), "trial"),
        (said("stage"), "trial"),
        (said("shadow"), "trial"),
        (said("probation", current="digits/2"), "probation"),
        (said("idle", current="digits/2"), "done"),
        (said("blocked"), "refused"),
        (said("download", current="digits/2", target="digits/3"), "done"),
    ],
)
def test_a_device_is_in_one_standing(model: ModelState | None, expected: str) -> None:
    assert standing(model) == expected
    assert expected in STANDINGS


def test_a_silent_device_is_neither_a_success_nor_a_failure_and_a_done_one_stays_done() -> None:
    assert standing(said("blocked"), present=False) == "silent"
    assert standing(None, present=False) == "silent"
    assert standing(said("idle", current="digits/2"), present=False) == "done"


def test_who_is_not_in_the_wave_is_outside() -> None:
    assert standing(said("wait-wave"), plan=Plan(5, "all", "digits", "digits/2", "2" * 64, percent=0.0)) == (
        "outside"
    )
    aborted = Plan(5, "all", "digits", "digits/2", "2" * 64, state="abort")
    assert standing(said("idle"), plan=aborted) == "outside"
    assert standing(said("idle", current="digits/2"), plan=aborted) == "done"


def test_a_pin_and_a_newer_plan_of_another_group_lead_elsewhere() -> None:
    both = Desired(1, ("all", "lab"))
    newer = Plan(6, "lab", "digits", "digits/3", "3" * 64)
    assert standing(said("idle"), plans=(newer,), desired=both) == "elsewhere"
    assert standing(said("idle"), plans=(newer,)) == "waiting"  # not of that group
    assert standing(said("idle"), desired=Desired(1, ("all",), {"digits": "digits/1"})) == "elsewhere"


def test_the_counts_sum_up_to_the_devices_of_the_group_and_json_has_them_all() -> None:
    devices = [
        Device("pi-1", True, (said("download", done_chunks=3, total_chunks=9),), EVERYONE),
        Device("pi-2", True, (said("blocked", error="golden outputs differ"),), EVERYONE),
        Device("pi-3", True, (), Desired(1, ("lab",))),
    ]
    found = rollout(PLAN, devices, (PLAN,))
    assert sum(found.count(s) for s in STANDINGS) == len(found.parts) == found.taking_part == 2
    told = as_json(found)
    assert told["counts"] == {s: int(s in ("downloading", "refused")) for s in STANDINGS}
    assert told["devices"] == [
        {"device": "pi-1", "standing": "downloading", "reason": None, "done_chunks": 3, "total_chunks": 9},
        {
            "device": "pi-2",
            "standing": "refused",
            "reason": "golden outputs differ",
            "done_chunks": 0,
            "total_chunks": 0,
        },
    ]
