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
from wire.delta import apply
from wire.messages import DELTA, WHOLE, Targets

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


def test_the_bases_are_the_newest_releases_of_the_same_model() -> None:
    releases = tuple(make_goods(n, 100).release for n in range(1, 7))
    manifest = replace(releases[5].manifest, model="other")
    stranger = replace(releases[5], name="other/6", manifest=manifest)
    bases = bases_of(releases[4], Targets(1, (*releases[:5], stranger)))
    assert [base.name for base in bases] == ["digits/4", "digits/3", "digits/2"][:MOST_BASES]


def test_what_travels_is_told_by_the_names_of_the_releases() -> None:
    targets = Targets(1, (ONE.release, TWO.release, THREE.release))
    sizes = [f"{blob.size_bytes:,}" for blob in THREE.release.blobs]
    assert travels(ONE.release, targets) == f"{ONE.release.blobs[0].size_bytes:,} bytes"
    assert travels(THREE.release, targets) == (
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
