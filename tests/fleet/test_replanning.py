"""Pause, resume, abort and undo: always a new plan, never a way back to what was undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.adapters.steering import Steering, Wanted
from fleet.releasing import Built
from tests.support.shelf import make_goods
from wire.errors import SettingsError, UnavailableError
from wire.messages import Plan
from wire.wave import takes_part

DEVICES = [f"pi-{n}" for n in range(40)]
DIGITS = Wanted("digits")


class Fleet:
    """A registry with three releases and forty devices."""

    def __init__(self, state: Path) -> None:
        self.database = Database(state).open()
        self.registry = Registry(self.database).open()
        self.registry.welcome(DEVICES)
        self.steering = Steering(self.database, self.registry)
        self.goods = {n: make_goods(n, 1000) for n in (1, 2, 3)}
        for goods in self.goods.values():
            self.registry.add_release(Built(goods.release, goods.blob, goods.digests))

    def push(self, version: int, group: str = "all", **how: object) -> Plan:
        return self.registry.plan(self.goods[version].release, group, **how)  # type: ignore[arg-type]

    @property
    def plan(self) -> Plan:
        (plan,) = self.registry.plans()
        return plan


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.database.close()


@pytest.mark.parametrize("state", ["pause", "abort"])
def test_a_rollout_is_held_or_ended_by_a_plan_with_a_higher_sequence(fleet: Fleet, state: str) -> None:
    pushed = fleet.push(1, percent=30.0, canaries=("pi-3",), rate_bytes_s=1000)
    (made,) = fleet.steering.set_state(DIGITS, state)
    assert fleet.plan == made
    assert (made.state, made.sequence) == (state, pushed.sequence + 1)
    assert (made.percent, made.canaries, made.rate_bytes_s) == (30.0, ("pi-3",), 1000)


def test_what_is_in_that_state_already_gets_no_new_plan(fleet: Fleet) -> None:
    fleet.push(1)
    assert fleet.steering.set_state(DIGITS, "run") == []
    assert fleet.plan.sequence == 1


def test_an_aborted_rollout_does_not_go_on(fleet: Fleet) -> None:
    fleet.push(1)
    fleet.steering.set_state(DIGITS, "abort")
    with pytest.raises(UnavailableError, match="was aborted in all"):
        fleet.steering.set_state(DIGITS, "run")


def test_an_undo_names_the_release_before_and_nothing_is_released_anew(fleet: Fleet) -> None:
    fleet.push(1)
    fleet.push(2)
    (made,) = fleet.steering.undo(DIGITS)
    assert (made.release, made.sequence, made.state) == ("digits/1", 3, "run")
    assert made.bundle_sha256 == fleet.goods[1].release.bundle_sha256
    assert len(fleet.registry.releases()) == 3


def test_a_second_undo_goes_further_back_and_never_to_what_was_undone(fleet: Fleet) -> None:
    for version in (1, 2, 3):
        fleet.push(version)
    releases = [fleet.steering.undo(DIGITS)[0].release for _ in range(2)]
    assert releases == ["digits/2", "digits/1"]
    with pytest.raises(UnavailableError, match="no other release of digits"):
        fleet.steering.undo(DIGITS)
    fleet.push(3)
    assert fleet.steering.undo(DIGITS)[0].release == "digits/1"


def test_an_undo_passes_over_wider_waves_and_pauses_of_the_same_release(fleet: Fleet) -> None:
    fleet.push(1)
    fleet.push(2, percent=10.0)
    fleet.push(2, percent=50.0)
    fleet.steering.set_state(DIGITS, "pause")
    assert fleet.steering.undo(DIGITS)[0].release == "digits/1"


def test_an_undo_does_not_go_back_to_a_rollout_that_was_aborted(fleet: Fleet) -> None:
    fleet.push(1)
    fleet.push(2)
    fleet.steering.set_state(DIGITS, "abort")
    fleet.push(3)
    assert fleet.steering.undo(DIGITS)[0].release == "digits/1"


def test_whoever_took_part_takes_part_in_the_way_back(fleet: Fleet) -> None:
    old = fleet.push(1, percent=20.0)
    canaries = fleet.push(2, percent=0.0, canaries=("pi-1", "pi-2"))
    wider = fleet.push(2, percent=20.0)
    (made,) = fleet.steering.undo(DIGITS)
    back = {d for d in DEVICES if takes_part(made, d)}
    assert back == {d for d in DEVICES if any(takes_part(p, d) for p in (old, canaries, wider))}
    assert len(back) < len(DEVICES)


def test_what_an_undo_returns_to_never_leaves_the_broker(fleet: Fleet) -> None:
    fleet.push(1)
    for n in range(4, 8):
        goods = make_goods(n, 1000)
        fleet.registry.add_release(Built(goods.release, goods.blob, goods.digests))
        fleet.goods[n] = goods
    fleet.push(7)
    retired = [g.release for n, g in fleet.goods.items() if n in (2, 3, 4)]
    assert fleet.registry.retired() == retired
    fleet.steering.undo(DIGITS)
    assert fleet.plan.release == "digits/1"
    assert fleet.registry.retired() == retired


def test_what_an_undo_returns_to_stays_in_the_targets(fleet: Fleet) -> None:
    for n in (4, 5):
        fleet.goods[n] = make_goods(n, 1000)
    fleet.push(1)
    for n in (2, 3):
        fleet.push(n, "lab")
    for n in (4, 5):
        goods = fleet.goods[n]
        fleet.registry.add_release(Built(goods.release, goods.blob, goods.digests))
        fleet.push(n, "lab" if n == 4 else "all")
    names = [release.name for release in fleet.registry.targets().releases]
    assert names == ["digits/1", "digits/3", "digits/4", "digits/5"]  # 3: what lab goes back to


def test_what_is_not_signed_is_not_planned(fleet: Fleet) -> None:
    fleet.push(1)
    fleet.push(2)
    steering = Steering(fleet.database, fleet.registry, lambda: frozenset({"digits/2"}))
    with pytest.raises(UnavailableError, match="digits/1 is no longer signed: push it again"):
        steering.undo(DIGITS)
    assert fleet.plan.release == "digits/2"


def test_a_group_alone_is_steered_where_it_is_named(fleet: Fleet) -> None:
    fleet.push(1)
    fleet.push(2, "lab")
    fleet.steering.set_state(Wanted.parse("digits", "lab"), "pause")
    assert {(p.group, p.state) for p in fleet.registry.plans()} == {("all", "run"), ("lab", "pause")}
    fleet.steering.set_state(DIGITS, "pause")
    assert {p.state for p in fleet.registry.plans()} == {"pause"}


@pytest.mark.parametrize(
    ("name", "group", "says"),
    [
        ("faces", None, "no rollout of model 'faces'; there are: digits"),
        ("digits/9", None, "no rollout of digits/9; there are: digits/1 in all"),
        ("digits", "lab", "no rollout of digits in lab; there are: digits/1 in all"),
        ("dig its", None, "model 'dig its': use 1 to 64"),
        ("digits/", None, "version '': use 1 to 64"),
        ("digits", "a/b", "group 'a/b': use 1 to 64"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(fleet: Fleet, name: str, group: str, says: str) -> None:
    fleet.push(1)
    with pytest.raises(SettingsError, match=says.replace("[", r"\[")):
        fleet.steering.set_state(Wanted.parse(name, group), "pause")


def test_one_group_that_cannot_be_undone_does_not_keep_the_others_from_it(fleet: Fleet) -> None:
    fleet.push(1)
    fleet.push(2)
    fleet.push(3, "lab")
    assert [plan.release for plan in fleet.steering.undo(DIGITS)] == ["digits/1"]
    assert fleet.steering.skipped == ["no other release of digits was planned for lab before"]
    with pytest.raises(UnavailableError, match="planned for lab"):
        fleet.steering.undo(Wanted.parse("digits", "lab"))


def test_an_aborted_group_does_not_keep_the_others_from_a_stop(fleet: Fleet) -> None:
    fleet.push(1)
    fleet.push(2, "lab")
    fleet.steering.set_state(Wanted.parse("digits", "lab"), "abort")
    assert [plan.group for plan in fleet.steering.set_state(DIGITS, "pause")] == ["all"]
    assert "was aborted in lab" in fleet.steering.skipped[0]


def test_a_release_for_one_canary_does_not_come_to_everybody(fleet: Fleet) -> None:
    fleet.push(1)
    fleet.push(2, percent=0.0, canaries=("pi-1",))
    fleet.push(3)
    (made,) = fleet.steering.undo(DIGITS)
    assert (made.release, made.percent) == ("digits/1", 100.0)


def test_a_push_that_asks_for_another_try_says_so_through_a_pause(fleet: Fleet) -> None:
    fleet.push(1)
    retried = fleet.push(1, retry=True)
    assert retried.retry == retried.sequence == 2
    for state in ("pause", "run"):
        fleet.steering.set_state(DIGITS, state)
    assert (fleet.plan.retry, fleet.plan.sequence) == (2, 4)


def test_an_undo_may_ask_for_another_try_and_so_may_a_rollout_that_stands(fleet: Fleet) -> None:
    fleet.push(1)
    fleet.push(2, retry=True)
    (made,) = fleet.steering.undo(DIGITS)
    assert (made.retry, made.sequence) == (0, 3)
    (made,) = fleet.steering.set_state(DIGITS, "run", retry=True)
    assert (made.release, made.state, made.retry, made.sequence) == ("digits/1", "run", 4, 4)
    fleet.push(2)
    (made,) = fleet.steering.undo(DIGITS, retry=True)
    assert (made.release, made.retry, made.sequence) == ("digits/1", 6, 6)
