"""Groups and pins: what a person says of single devices, on a fleet with keys and without a server."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeflock import main
from fleet.adapters.assignment import Assignment
from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.assigning import EVERYONE, joined, newcomer, parted, pinned, unpinned
from fleet.initialising import initialise
from fleet.signed_release import released
from tests.support.shelf import make_goods
from wire.errors import SettingsError
from wire.messages import MAX_GROUPS, Desired

GOODS = {n: make_goods(n, 1000) for n in range(1, 8)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet with keys, five releases and two devices."""
    state = tmp_path_factory.mktemp("made")
    initialise(state)
    for version in range(1, 6):
        push(state, version)
    with opened(state) as registry:
        registry.welcome(["pi-1", "pi-2"])
    return state


@pytest.fixture
def state(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "fleet")
    return tmp_path / "fleet"


def test_what_a_command_changed_of_a_device_is_in_the_audit(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (
        "group add lab pi-1 pi-2", "group add lab pi-1", "group remove lab pi-2", "pin pi-1 digits/5",
        "unpin pi-1 digits", "keys renew targets", "remove pi-2 --yes",
    ):  # fmt: skip
        assert main(["fleet", *command.split(), "--state", str(state)]) == 0
    capsys.readouterr()
    assert main(["fleet", "audit", "--json", "--state", str(state)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(a["action"], a["subject"]) for a in told] == [
        ("add to group", "pi-1: lab"),
        ("add to group", "pi-2: lab"),
        ("remove from group", "pi-2: lab"),
        ("pin", "pi-1: digits/5"),
        ("unpin", "pi-1: digits"),
        ("renew metadata", "targets"),
        ("remove", "pi-2"),
    ]
    login = pwd.getpwuid(os.getuid()).pw_name
    assert {(a["who"], a["source"]) for a in told} == {(login, "command line")}


@contextmanager
def opened(state: Path) -> Iterator[Registry]:
    database = Database(state).open()
    try:
        yield Registry(database).open()
    finally:
        database.close()


def push(state: Path, version: int, group: str = EVERYONE) -> None:
    database = Database(state).open()
    with released(database, GOODS[version].built) as release:
        Registry(database).plan(release, group)
    database.close()


def fleet(state: Path, *arguments: str) -> int:
    return main(["fleet", *arguments, "--state", str(state)])


def desired(state: Path, device: str) -> Desired:
    with opened(state) as registry:
        return registry.desired()[device]


ONE = newcomer("pi-1")


@pytest.mark.parametrize(
    ("after", "groups", "pins"),
    [
        (joined(ONE, "lab"), ("all", "lab"), {}),
        (joined(ONE, "all"), None, None),
        (parted(ONE, "lab"), None, None),
        (parted(Desired(1, ("all", "lab")), "lab"), ("all",), {}),
        (pinned(ONE, "digits", "digits/1"), ("all",), {"digits": "digits/1"}),
        (pinned(Desired(1, (), {"digits": "digits/1"}), "digits", "digits/1"), None, None),
        (pinned(Desired(1, (), {"a": "a/1"}), "b", "b/2"), (), {"a": "a/1", "b": "b/2"}),
        (unpinned(Desired(1, (), {"a": "a/1", "b": "b/2"}), "a"), (), {"b": "b/2"}),
        (unpinned(ONE, "digits"), None, None),
    ],
)
def test_each_change_is_a_state_with_the_next_sequence_and_none_is_no_change(
    after: Desired | None, groups: tuple[str, ...] | None, pins: dict[str, str] | None
) -> None:
    told = (after.sequence, after.groups, after.pins) if after else None
    assert told == (None if groups is None else (2, groups, pins))


def test_a_device_is_in_no_more_groups_than_a_message_takes() -> None:
    full = Desired(1, tuple(f"g{n}" for n in range(MAX_GROUPS)), device="pi-1")
    with pytest.raises(SettingsError, match="pi-1 is in 64 groups, which is the most"):
        joined(full, "lab")


def test_devices_join_and_leave_a_group(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for arguments in (("add", "lab", "pi-1", "pi-2"), ("add", "lab", "pi-2"), ("remove", "lab", "pi-1"),
                      ("remove", "lab", "pi-1"), ("remove", "lab", "pi-2")):  # fmt: skip
        assert fleet(state, "group", *arguments) == 0
        said.append(capsys.readouterr().out.strip())
    assert said == [
        "lab: joined by pi-1, pi-2",
        "nothing to do: pi-2 in it already",
        "lab: left by pi-1",
        "nothing to do: pi-1 not in it",
        "lab: left by pi-2",
    ]
    assert [desired(state, d) for d in ("pi-1", "pi-2")] == [
        Desired(3, ("all",), {}, "pi-1"),
        Desired(3, ("all",), {}, "pi-2"),
    ]


def test_a_device_that_is_still_to_come_finds_its_groups(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleet(state, "group", "add", "lab", "pi-1", "new-1", "new-2") == 0
    assert capsys.readouterr().err == "note: not seen yet: new-1, new-2\n"
    with opened(state) as registry:
        assert registry.members("lab") == ["pi-1"]
        registry.welcome(["new-1"])
        assert registry.members("lab") == ["new-1", "pi-1"]
        assert registry.members("all") == ["new-1", "pi-1", "pi-2"]
    assert desired(state, "new-1") == Desired(2, ("all", "lab"), {}, "new-1")


def test_the_groups_are_listed_without_misspelt_names_that_were_taken_back(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet(state, "group", "add", "lab", "pi-1", "pi-l", "new-1")
    fleet(state, "group", "remove", "lab", "pi-l")
    capsys.readouterr()
    assert fleet(state, "group", "list", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [device["device"] for device in told["all"]] == ["new-1", "pi-1", "pi-2"]
    assert told["lab"] == [{"device": "new-1", "seen": False}, {"device": "pi-1", "seen": True}]
    assert fleet(state, "group", "list") == 0
    assert "new-1, pi-1" in capsys.readouterr().out


def test_a_pin_stands_until_it_is_taken_back(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for arguments in (("pin", "pi-1", "digits/3"), ("pin", "pi-1", "digits/3"), ("pin",),
                      ("unpin", "pi-1", "digits"), ("unpin", "pi-1", "digits"), ("pin",)):  # fmt: skip
        assert fleet(state, *arguments) == 0
        said.append(capsys.readouterr().out.strip())
    assert said == [
        "pi-1: digits/3 is pinned",
        "nothing to do: pi-1: digits/3 is pinned already",
        "pi-1 digits/3",
        "pi-1: digits follows the plans again",
        "nothing to do: pi-1 has no pin of digits",
        "no pins: every device follows the plans of its groups",
    ]
    assert desired(state, "pi-1") == Desired(3, ("all",), {}, "pi-1")


def test_what_is_pinned_stays_signed_and_on_the_broker(state: Path) -> None:
    assert fleet(state, "pin", "pi-1", "digits/3") == 0
    for version in (6, 7):
        push(state, version)
    with opened(state) as registry:
        names = [release.name for release in registry.targets().releases]
        assert names == ["digits/3", "digits/5", "digits/6", "digits/7"]
        assert "digits/3" not in {release.name for release in registry.retired()}
    assert fleet(state, "pin", "pi-2", "digits/3") == 0  # it is signed still
    for device in ("pi-1", "pi-2"):
        fleet(state, "unpin", device, "digits")
    with opened(state) as registry:
        assert "digits/3" in {release.name for release in registry.retired()}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("group", "add", "all", "pi-1"), 2, "every device is in all already"),
        (("group", "add", "la b", "pi-1"), 2, "group 'la b': use 1 to 64"),
        (("group", "add", "lab", "pi-1", "p/2"), 2, "device 'p/2': use 1 to 64"),
        (("group", "add", "lab", "fleet-server"), 2, "the name is the server's own"),
        (("group", "remove", "all", "pi-1"), 2, "every device stays in all"),
        (("group", "remove", "lba", "pi-1"), 2, "no group 'lba'; there are: all"),
        (("pin", "pi-1"), 2, "which release for pi-1?"),
        (("pin", "pi-1", "digits"), 2, "write MODEL/VERSION, as in digits/1"),
        (("pin", "pi-1", "digits/"), 2, "version '': use 1 to 64"),
        (("pin", "pi-1", "digits/9"), 2, "no release 'digits/9' here; of digits there are: digits/1"),
        (("pin", "pi-1", "faces/1"), 2, "of faces there are: none"),
        (("pin", "pi 1", "digits/5"), 2, "device 'pi 1': use 1 to 64"),
        (("pin", "pi-1", "digits/1"), 1, "digits/1 is no longer signed: push its bundle again"),
        (("unpin", "pi-9", "digits"), 2, "no device 'pi-9' here"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_changes_nothing(
    state: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, says: str
) -> None:
    before = desired(state, "pi-1")
    assert fleet(state, *arguments) == code
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert says in said.err
    assert desired(state, "pi-1") == before
    with opened(state) as registry:
        assert set(registry.desired()) == {"pi-1", "pi-2"}


def test_devices_that_are_pinned_join_a_group_without_a_look_at_all_releases_for_each(state: Path) -> None:
    statements: list[str] = []
    database = Database(state).open()
    registry = Registry(database).open()
    assignment = Assignment(database, registry)
    for device in ("pi-1", "pi-2"):
        assignment.pin(device, "digits/1")
    database.sql.set_trace_callback(statements.append)
    assignment.add("lab", ["pi-1", "pi-2"])
    database.close()
    assert not [statement for statement in statements if "from release" in statement]


def test_a_release_whose_blob_was_lost_is_not_pinned(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (state / "blobs" / GOODS[4].release.blobs[0].sha256).unlink()
    assert fleet(state, "pin", "pi-1", "digits/4") == 1
    assert "digits/4 lacks a blob on the disk" in capsys.readouterr().err


def test_a_fleet_without_keys_pins_what_it_has(tmp_path: Path) -> None:
    database = Database(tmp_path).open()
    registry = Registry(database).open()
    registry.plan(registry.add_release(GOODS[1].built), EVERYONE)
    Assignment(database, registry).pin("pi-1", "digits/1")
    assert registry.desired()["pi-1"].pins == {"digits": "digits/1"}
    database.close()
