"""The commands of an operator, on a fleet folder without a server: they write what should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeflock import main
from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.adapters.report_store import ReportStore
from fleet.ingest import Arrival, Presence, StateWord
from fleet.releasing import Built
from tests.support.shelf import make_goods
from wire.messages import Event, Head, ModelState, Online, Reported


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A fleet with two plans of one model, and a device that downloads the second."""
    database = Database(tmp_path).open()
    registry = Registry(database).open()
    registry.welcome(["pi-1", "pi-2"])
    for version in (1, 2):
        goods = make_goods(version, 1000)
        registry.plan(registry.add_release(Built(goods.release, goods.blob, goods.digests)), "all")
    loading = ModelState("digits", "download", "digits/1", None, "digits/2", 3, 4)
    refusing = ModelState("digits", "blocked", "digits/1", None, "digits/2", error="golden outputs differ")
    store = ReportStore(database).open()
    for device, model in (("pi-1", loading), ("pi-2", refusing)):
        store.take(
            [Presence(device, Online("b1", True)), StateWord(device, Reported("b1", 1, 0.0, (model,)))]
        )
    database.close()
    return tmp_path


def fleet(*arguments: str | Path) -> int:
    return main(["fleet", *map(str, arguments)])


def test_they_say_what_they_did_and_a_second_time_that_there_is_nothing_to_do(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for arguments in (("pause", "digits"), ("pause", "digits"), ("resume", "digits/2"), ("undo", "digits"),
                      ("abort", "digits", "--from", "all")):  # fmt: skip
        assert fleet(*arguments, "--state", state) == 0
        said.append(capsys.readouterr().out)
    assert said == [
        "digits/2 in all: paused\n",
        "nothing to do: that is its state already\n",
        "digits/2 in all: goes on\n",
        "digits/1 in all: is the plan again\n",
        "digits/1 in all: aborted\n",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("pause", "faces"), 2, "no rollout of model 'faces'; there are: digits"),
        (("undo", "digits/1"), 2, "no rollout of digits/1; there are: digits/2 in all"),
        (("abort", "digits", "--from", "lab"), 2, "no rollout of digits in lab"),
        (("status", "dig its"), 2, "model 'dig its': use"),
        (("status", "faces"), 2, "no rollout of model 'faces'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_code(
    state: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, says: str
) -> None:
    assert fleet(*arguments, "--state", state) == code
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert says in said.err


def test_what_is_aborted_or_has_nothing_before_it_ends_with_one(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleet("undo", "digits", "--state", state) == 0
    assert fleet("undo", "digits", "--state", state) == 1
    assert fleet("abort", "digits", "--state", state) == 0
    assert fleet("resume", "digits", "--state", state) == 1
    assert capsys.readouterr().err.splitlines() == [
        "edgeflock: no other release of digits was planned for all before",
        "edgeflock: digits/1 was aborted in all: push it again to go on",
    ]


def block(state: Path, device: str, sequence: int, *events: Event) -> None:
    database = Database(state).open()
    ReportStore(database).open().take(
        Arrival(device, "event", Head("b1", sequence + i, 1, 0.0), event) for i, event in enumerate(events)
    )
    database.close()


BLOCKED = Event("digits", "stage", "blocked", "trial-failed", "digits/1", "wrong answers")


def test_an_undo_says_who_blocked_what_it_leads_back_to(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    block(state, "pi-1", 1, BLOCKED)
    assert fleet("undo", "digits", "--state", state) == 0
    said = capsys.readouterr()
    assert said.out == "digits/1 in all: is the plan again\n"
    assert said.err == (
        "note: 1 of 2 devices in all blocked digits/1 before and will refuse it; "
        "`edgeflock fleet resume digits/1 --from all --retry` lets them try it again\n"
    )
    assert fleet("resume", "digits/1", "--from", "all", "--retry", "--state", state) == 0
    assert capsys.readouterr() == ("digits/1 in all: goes on\n", "")


def test_an_undo_that_asks_for_another_try_needs_no_note(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    block(state, "pi-1", 1, BLOCKED)
    assert fleet("undo", "digits", "--retry", "--state", state) == 0
    assert capsys.readouterr().err == ""
    database = Database(state).open()
    (plan,) = Registry(database).open().plans()
    database.close()
    assert plan.retry == plan.sequence


def test_a_folder_without_a_fleet_ends_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in (("pause", "digits"), ("undo", "digits"), ("status",)):
        assert fleet(*part, "--state", tmp_path / "none") == 1
    assert "no fleet in" in capsys.readouterr().err


def test_the_status_shows_progress_and_reasons(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fleet("status", "digits", "--state", state) == 0
    text = capsys.readouterr().out
    assert "pi-1 digits/2: downloading 75 % (3 of 4 chunks)" in text
    assert "pi-2 digits/2: refused: golden outputs differ" in text
    assert "100 %" in text


def test_the_status_is_json_for_scripts(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fleet("status", "--state", state, "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["release"], told["state"], told["counts"]["downloading"]) == ("digits/2", "run", 1)


def test_a_fleet_without_a_rollout_says_how_to_begin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Database(tmp_path).open().close()
    assert fleet("status", "--state", tmp_path) == 0
    assert "edgeflock fleet push" in capsys.readouterr().out
