"""Blob files leave the disk when nothing needs them: never before, and whenever somebody is killed."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.adapters.assignment import Assignment
from fleet.adapters.blob_folder import BlobFolder
from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.adapters.steering import Steering, Wanted
from fleet.releasing import Built
from fleet.server import Server
from tests.support.shelf import TOPICS, Goods, make_goods, make_successor
from wire.deadline import Deadline
from wire.errors import SettingsError, UnavailableError
from wire.memory_link import MemoryBroker
from wire.messages import Release


def _shelf() -> dict[int, Goods]:
    """Nine releases, each with an update from the one before it."""
    goods = {1: make_goods(1, 20_000)}
    for version in range(2, 10):
        goods[version] = make_successor(version, goods[version - 1])
    return goods


GOODS = _shelf()


def files_of(releases: list[Release]) -> set[str]:
    return {d for release in releases for blob in release.blobs for d in (blob.sha256, blob.chunks_sha256)}


class Fleet:
    """A registry, and what a server does about it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.database = Database(state).open()
        self.registry = Registry(self.database).open()
        self.registry.welcome(["pi-1"])

    def push(self, version: int, group: str = "all") -> None:
        with self.database.transaction():
            self.registry.plan(self.registry.add_release(GOODS[version].built), group)

    def clear(self) -> None:
        self.registry.cleared([release.name for release in self.registry.retired()])

    @property
    def files(self) -> set[str]:
        return {path.name for path in (self.state / "blobs").iterdir()}

    @property
    def here(self) -> list[str]:
        return [release.name for release in self.registry.releases()]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.database.close()


def test_what_left_the_broker_leaves_the_disk_and_not_before(fleet: Fleet) -> None:
    for version in range(1, 6):
        fleet.push(version)
    assert fleet.registry.collect(()) == 0
    fleet.clear()
    assert fleet.registry.collect(()) == len(files_of([GOODS[1].release, GOODS[2].release]))
    assert fleet.here == ["digits/3", "digits/4", "digits/5"]
    assert fleet.files == files_of([GOODS[n].release for n in (3, 4, 5)])
    assert fleet.registry.collect(()) == 0


def test_what_is_pinned_or_led_back_to_or_held_by_a_device_stays(fleet: Fleet) -> None:
    fleet.push(2, "lab")
    fleet.push(3, "lab")  # an undo leads lab back to 2
    for version in (1, 4):
        fleet.push(version)
    Assignment(fleet.database, fleet.registry).pin("pi-1", "digits/1")
    for version in (5, 6, 7, 8, 9):
        fleet.push(version)
    fleet.clear()
    fleet.registry.collect({"digits/5"})
    assert fleet.here == [f"digits/{n}" for n in (2, 3, 1, 5, 7, 8, 9)]
    assert fleet.files == files_of([GOODS[n].release for n in (1, 2, 3, 5, 7, 8, 9)])


def test_a_collected_release_that_is_pushed_again_is_whole_again(fleet: Fleet) -> None:
    for version in range(1, 6):
        fleet.push(version)
    fleet.clear()
    fleet.registry.collect(())
    bare = GOODS[2].built
    with fleet.database.transaction():
        again = fleet.registry.add_release(Built(_whole(bare.release), bare.blob, bare.digests))
        fleet.registry.plan(again, "all")
    assert again.blobs == GOODS[2].release.blobs[:1]  # its update went with it
    found = fleet.registry.targets().releases
    assert [r.name for r in found] == ["digits/2", "digits/3", "digits/4", "digits/5"]
    assert all(fleet.registry.publishable(r) == r for r in found)
    fleet.registry.collect(())
    assert files_of([again]) <= fleet.files
    assert fleet.registry.retired() == []


def _whole(release: Release) -> Release:
    return replace(release, blobs=release.blobs[:1])


def test_other_content_never_takes_the_name_of_a_collected_release(fleet: Fleet) -> None:
    for version in range(1, 6):
        fleet.push(version)
    fleet.clear()
    fleet.registry.collect(())
    with pytest.raises(SettingsError, match="other content"):
        fleet.registry.add_release(make_goods(1, 999).built)


def test_what_is_collected_is_neither_gone_back_to_nor_pinned(fleet: Fleet) -> None:
    for version in range(1, 6):
        fleet.push(version)
    fleet.clear()
    fleet.registry.collect(())
    steering = Steering(fleet.database, fleet.registry)
    assert [steering.undo(Wanted("digits"))[0].release for _ in range(2)] == ["digits/4", "digits/3"]
    with pytest.raises(UnavailableError, match="digits/2 is no longer here: push it again"):
        steering.undo(Wanted("digits"))
    with pytest.raises(SettingsError, match="no release 'digits/1' here"):
        Assignment(fleet.database, fleet.registry).pin("pi-1", "digits/1")


def test_a_push_beside_us_keeps_its_files_and_one_that_was_refused_leaves_none(fleet: Fleet) -> None:
    fleet.push(1)
    other = Fleet(fleet.state)
    removed: list[int] = []
    collector = threading.Thread(target=lambda: removed.append(collect_at(fleet.state)))
    with other.database.transaction():
        other.push(2)
        collector.start()
        collector.join(0.2)
        assert collector.is_alive(), "it waits for the push"
    collector.join()
    assert removed == [0]
    with pytest.raises(RuntimeError), other.database.transaction():
        other.push(3)
        raise RuntimeError("refused")
    assert files_of([GOODS[3].release]) <= fleet.files
    assert fleet.registry.collect(()) == len(files_of([GOODS[3].release]))
    assert fleet.files == files_of([GOODS[1].release, GOODS[2].release])
    other.database.close()


def collect_at(state: Path) -> int:
    database = Database(state).open()
    try:
        return Registry(database).open().collect(())
    finally:
        database.close()


@pytest.mark.parametrize("removals", range(4))
def test_one_that_ends_in_the_middle_leaves_no_release_without_its_files(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, removals: int
) -> None:
    for version in range(1, 6):
        fleet.push(version)
    fleet.clear()
    left = iter(range(removals))
    unlink = Path.unlink

    def fails(path: Path, *, missing_ok: bool = False) -> None:
        if next(left, None) is None:
            raise OSError("killed")
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fails)
        with pytest.raises(OSError, match="killed"):
            fleet.registry.collect(())
    assert all(fleet.registry.publishable(release) == release for release in fleet.registry.releases())
    fleet.registry.collect(())
    assert fleet.files == files_of([GOODS[n].release for n in (3, 4, 5)])


STEPS = st.one_of(
    st.tuples(st.just("push"), st.integers(1, 9), st.sampled_from(["all", "lab"])),
    st.tuples(st.just("undo"), st.sampled_from(["all", "lab", None])),
    st.tuples(st.sampled_from(["pin", "hold"]), st.integers(1, 9)),
    st.tuples(st.sampled_from(["unpin", "clear"])),
    st.tuples(st.just("collect")),
)


@given(st.lists(STEPS, max_size=20), st.booleans())
@settings(max_examples=30, deadline=None)
def test_whatever_is_done_what_devices_may_be_told_of_is_on_the_disk(
    steps: list[tuple[object, ...]], tidy: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder))
        fleet.database.sql.execute("pragma synchronous=off")
        held: set[str] = set()
        before: list[tuple[object, ...]] = [("push", version, "all") for version in range(1, 7)]
        before += [("clear",), ("collect",)] if tidy else []
        try:
            for step in [*before, *steps, ("clear",), ("collect",)]:
                _do(fleet, held, step)
                there = fleet.registry.targets().releases
                assert all(fleet.registry.publishable(release) == release for release in there)
                assert {plan.release for plan in fleet.registry.plans()} <= {r.name for r in there}
                assert files_of(fleet.registry.retired()) <= fleet.files
            assert fleet.files == files_of(fleet.registry.releases())
        finally:
            fleet.database.close()


def _do(fleet: Fleet, held: set[str], step: tuple[object, ...]) -> None:
    assignment = Assignment(fleet.database, fleet.registry)
    try:
        match step:
            case ("push", int(version), str(group)):
                fleet.push(version, group)
            case ("undo", group):
                Steering(fleet.database, fleet.registry).undo(Wanted("digits", group=group))  # type: ignore[arg-type]
            case ("pin", int(version)):
                assignment.pin("pi-1", f"digits/{version}")
            case ("unpin",):
                assignment.unpin("pi-1", "digits")
            case ("hold", int(version)):
                held.add(f"digits/{version}")
            case ("clear",):
                fleet.clear()
            case ("collect",):
                fleet.registry.collect(held)
    except (SettingsError, UnavailableError):
        pass  # there is nothing to go back to, or it is not here


def test_the_server_collects_what_it_took_off_the_broker(tmp_path: Path) -> None:
    fleet, broker = Fleet(tmp_path), MemoryBroker()
    link = broker.link()
    server = Server(fleet.database, link, TOPICS)
    link.start()
    server.wait_for_broker(Deadline.after(1), threading.Event())
    other = Fleet(tmp_path)
    for version in range(1, 6):
        other.push(version)
        server._look_now()
        for _ in range(3):
            server.turn()
        while not server._auditor.idle:
            server.turn()
    assert fleet.files == files_of([GOODS[n].release for n in (3, 4, 5)])
    on_broker = {topic.split("/")[2] for topic in broker.retained if "/blobs/" in topic}
    assert on_broker == fleet.files
    other.database.close()
    fleet.database.close()


def test_what_is_no_blob_is_left_alone(tmp_path: Path) -> None:
    folder = BlobFolder(tmp_path).open()
    for name in ("README", ".0a.123.tmp", "0" * 64):
        (tmp_path / "blobs" / name).touch()
    assert folder.remove_all_but([]) == 1
    assert {p.name for p in (tmp_path / "blobs").iterdir()} == {"README", ".0a.123.tmp"}
