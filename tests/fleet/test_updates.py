"""Updates from the push to the broker and off it again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.publishing import withdrawals
from fleet.releasing import Built
from fleet.updates import MOST_BASES, bases_of, travels, with_updates
from tests.support.shelf import TOPICS, Goods, make_goods, make_successor
from wire.blob import Told
from wire.delta import apply
from wire.messages import DELTA, WHOLE, ModelState

ONE = make_goods(1, 100_000)
TWO = make_successor(2, ONE)
THREE = make_successor(3, TWO, ONE)


def bare(goods: Goods) -> Built:
    """Return what `fleet push` has before it looks for bases."""
    return Built(replace(goods.release, blobs=goods.release.blobs[:1]), goods.blob, goods.digests)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    database = Database(tmp_path).open()
    yield Registry(database).open()
    database.close()


def push(registry: Registry, goods: Goods) -> Built:
    """Do what `fleet push` does."""
    built = with_updates(bare(goods), goods.bundle, registry.bases(goods.release))
    registry.add_release(built)
    return built


def test_a_release_travels_whole_first_and_as_updates_from_the_newest_few(registry: Registry) -> None:
    push(registry, ONE)
    push(registry, TWO)
    built = push(registry, THREE)
    whole, *updates = registry.releases()[-1].blobs
    assert (whole.encoding, whole.base_sha256) == (WHOLE, None)
    assert [u.base_sha256 for u in updates] == [TWO.release.bundle_sha256, ONE.release.bundle_sha256]
    assert {u.encoding for u in updates} == {DELTA}
    for base, packed in zip((TWO, ONE), built.updates, strict=True):
        again = apply(
            io.BytesIO(base.bundle),
            [packed.data],
            base_sha256=base.release.bundle_sha256,
            size_bytes=len(THREE.bundle),
        )
        assert b"".join(again) == THREE.bundle


def test_an_update_that_saves_little_is_not_made(registry: Registry) -> None:
    push(registry, ONE)
    assert push(registry, make_goods(2, 100_000)).updates == ()


RELEASES = [make_goods(n, 100).release for n in range(1, 8)]


def runs(current: int | None, previous: int | None = None, model: str = "digits") -> ModelState:
    """Return what a device says that runs these versions."""
    names = [f"{model}/{n}" if n else None for n in (current, previous)]
    return ModelState(model, "idle", *names)


@pytest.mark.parametrize(
    ("models", "bases"),
    [
        ([], (6, 5, 4)),  # nobody has said anything: the newest
        ([runs(None)], (6, 5, 4)),
        ([runs(2)], (2, 6, 5)),
        ([runs(5, 4)], (5, 6, 4)),
        ([runs(2), runs(2), runs(3), runs(1), runs(1), runs(1)], (1, 2, 3)),
        ([runs(1), runs(2), runs(3), runs(4)], (4, 3, 2)),  # as many hold each: the newest
        ([runs(5, 4)] * 6 + [runs(3, 2)] * 3 + [runs(1)] * 2, (5, 3, 1)),  # each device has a base once
        ([runs(5, 4), runs(6, 4), runs(3)], (4, 3, 6)),  # one that two hold before what one runs
        ([runs(9, 8), runs(2, model="faces")], (6, 5, 4)),  # nothing that is here, nothing of this model
    ],
)
def test_the_bases_are_what_most_devices_hold_and_then_the_newest(
    models: list[ModelState], bases: tuple[int, ...]
) -> None:
    manifest = replace(RELEASES[0].manifest, model="other")
    here = [*RELEASES, replace(RELEASES[0], name="other/1", manifest=manifest)]
    found = bases_of(RELEASES[6], here, models)
    assert [base.name for base in found] == [f"digits/{n}" for n in bases]
    assert len(found) == MOST_BASES


def test_an_update_starts_from_what_a_device_runs_though_no_plan_names_it_any_more(
    registry: Registry,
) -> None:
    push(registry, ONE)
    for version in range(4, 8):
        push(registry, make_goods(version, 1000))
    assert "digits/1" not in {release.name for release in registry.targets().releases}
    built = with_updates(bare(TWO), TWO.bundle, registry.bases(TWO.release, [runs(1)]))
    assert [packed.blob.base_sha256 for packed in built.updates] == [ONE.release.bundle_sha256]
    assert travels(built.release, registry.releases()).endswith(" as an update from digits/1")


def test_each_step_of_packing_is_told_to_its_end() -> None:
    told: dict[str, list[tuple[int, int]]] = {}

    def begin(step: str) -> Told:
        told[step] = []
        return lambda done, total: told[step].append((done, total))

    with_updates(bare(TWO), TWO.bundle, [(ONE.release, ONE.bundle), (THREE.release, THREE.bundle)], begin)
    assert list(told) == ["update from digits/1", "update from digits/3"]
    assert all(steps == sorted(steps) and steps[-1][0] == steps[-1][1] for steps in told.values())


def test_what_travels_is_told_by_the_names_of_the_releases() -> None:
    here = [ONE.release, TWO.release, THREE.release]
    sizes = [f"{blob.size_bytes:,}" for blob in THREE.release.blobs]
    assert travels(ONE.release, here) == f"{ONE.release.blobs[0].size_bytes:,} bytes"
    assert travels(THREE.release, here) == (
        f"{sizes[0]} bytes, {sizes[1]} as an update from digits/2, {sizes[2]} as an update from digits/1"
    )


def test_a_push_again_keeps_the_updates_whose_bases_are_out_of_reach(registry: Registry) -> None:
    push(registry, ONE)
    push(registry, TWO)
    registry.add_release(bare(TWO))
    (stored,) = (r for r in registry.releases() if r.name == "digits/2")
    assert [b.base_sha256 for b in stored.blobs] == [None, ONE.release.bundle_sha256]


def test_a_base_whose_blob_is_damaged_makes_no_update(registry: Registry, tmp_path: Path) -> None:
    push(registry, ONE)
    (tmp_path / "blobs" / ONE.release.blobs[0].sha256).write_bytes(b"rotten")
    assert push(registry, TWO).updates == ()


def test_a_release_that_lost_an_update_is_published_without_it(registry: Registry, tmp_path: Path) -> None:
    push(registry, ONE)
    release = push(registry, TWO).release
    assert registry.publishable(release) == release
    (tmp_path / "blobs" / release.blobs[1].sha256).unlink()
    assert registry.publishable(release) == replace(release, blobs=release.blobs[:1])
    (tmp_path / "blobs" / release.blobs[0].sha256).unlink()
    assert registry.publishable(release) is None


def test_updates_leave_the_broker_with_their_release() -> None:
    topics = {publication.topic for publication in withdrawals([TWO.release], TOPICS)}
    assert TOPICS.blob(TWO.release.blobs[1].sha256, 0) in topics
    assert TOPICS.blob(TWO.release.blobs[1].chunks_sha256, 0) in topics
