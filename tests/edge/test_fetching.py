"""Updates on a device: fetched where the base is there and whole, never trusted, never in the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge.adapters.model_store import RESERVE_BYTES
from edge.fetching import choose_blob
from edge.lifecycle import State
from tests.edge.test_updater import Device
from tests.support.shelf import Goods, make_goods, make_successor
from wire.blob import describe, digest_list
from wire.delta import encode
from wire.memory_link import MemoryBroker
from wire.messages import DELTA, Blob

ONE = make_goods(1)
TWO = make_successor(2, ONE)
THREE = make_successor(3, TWO, ONE)
#: The update of this one has several chunks.
LONG = make_goods(7, 1_300_000)
LONGER = make_successor(8, LONG, changed_bytes=400_000)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "state", MemoryBroker())


def complete(device: Device) -> list[str | None]:
    return [e.detail for e in device.journal if e.cause == "complete"]


def with_update(goods: Goods, base: Goods, delta: bytes) -> Goods:
    """Return `goods` with bytes of our own as its update from `base`."""
    blob = replace(describe(delta), encoding=DELTA, base_sha256=base.release.bundle_sha256)
    packed = replace(goods.updates[0], blob=blob, data=delta, digests=digest_list(delta))
    release = replace(goods.release, blobs=(goods.release.blobs[0], blob))
    return replace(goods, release=release, updates=(packed,))


# --- the choice ---------------------------------------------------------------------------------


def digest(of: Goods) -> str:
    return of.release.bundle_sha256


def test_the_smallest_blob_is_chosen_whose_base_is_there() -> None:
    whole, from_two, from_one = THREE.release.blobs
    assert choose_blob(THREE.release, frozenset({digest(TWO), digest(ONE)}), frozenset()) in (
        from_two,
        from_one,
    )
    assert choose_blob(THREE.release, frozenset({digest(ONE)}), frozenset()) == from_one
    assert choose_blob(THREE.release, frozenset({digest(LONG)}), frozenset()) == whole


def test_an_update_that_failed_or_is_of_a_kind_not_known_here_is_passed_over() -> None:
    whole, update = TWO.release.blobs
    bases = frozenset({digest(ONE)})
    assert choose_blob(TWO.release, bases, frozenset({update.sha256})) == whole
    strange = replace(TWO.release, blobs=(whole, replace(update, encoding="delta-of-tomorrow")))
    assert choose_blob(strange, bases, frozenset()) == whole


def test_an_update_larger_than_the_whole_is_not_chosen() -> None:
    whole = TWO.release.blobs[0]
    large = Blob("0" * 64, whole.size_bytes + 1, "0" * 64, DELTA, digest(ONE))
    release = replace(TWO.release, blobs=(whole, large))
    assert choose_blob(release, frozenset({digest(ONE)}), frozenset()) == whole


# --- on a device --------------------------------------------------------------------------------


def test_a_device_that_holds_the_base_fetches_the_update(device: Device) -> None:
    device.commit(ONE)
    device.commit(ONE, TWO)
    assert complete(device)[1:] == ["fetched 1 of 1 chunks of an update from digits/1"]
    assert device.store.path(digest(TWO)).read_bytes() == TWO.bundle
    assert device.updater.report().current == "digits/2"


def test_the_previous_model_is_a_base_too(device: Device) -> None:
    device.commit(ONE)
    device.commit(ONE, LONG)
    device.commit(ONE, LONG, TWO)
    assert complete(device)[2:] == ["fetched 1 of 1 chunks of an update from digits/1"]


def test_a_device_without_the_base_fetches_the_whole_bundle(device: Device) -> None:
    device.commit(ONE, TWO)
    assert complete(device) == ["fetched 5 of 5 chunks"]


def test_a_damaged_base_is_noticed_before_the_first_byte(device: Device) -> None:
    device.commit(ONE)
    device.store.path(digest(ONE)).write_bytes(ONE.bundle[:-1] + b"?")
    device.commit(ONE, TWO)
    assert complete(device)[1:] == ["fetched 5 of 5 chunks"]


@pytest.mark.parametrize("damage", ["gone", "rotten"])
def test_a_base_that_is_lost_during_the_download_costs_the_update_only(device: Device, damage: str) -> None:
    device.commit(ONE)
    device.wish(ONE, TWO)
    device.turn_to(State.DOWNLOAD)
    path = device.store.path(digest(ONE))
    path.unlink()
    if damage == "rotten":
        path.write_bytes(ONE.bundle[:-1] + b"?")
    device.turn_to(State.PROBATION)
    assert device.updater.report().current == "digits/2"
    assert device.store.path(digest(TWO)).read_bytes() == TWO.bundle
    assert device.store.read_pointer().blocked == ()


@pytest.mark.parametrize("delta", [b"nonsense", encode(ONE.bundle, TWO.bundle[:-1] + b"?")])
def test_an_update_that_makes_something_else_is_journalled_and_never_tried_again(
    device: Device, delta: bytes
) -> None:
    device.commit(ONE)
    goods = with_update(TWO, ONE, delta)
    device.wish(ONE, goods)
    device.turn_to(State.PROBATION)
    assert device.store.path(digest(TWO)).read_bytes() == TWO.bundle
    (damaged,) = (e for e in device.journal if e.cause == "damaged")
    assert "an update from digits/1; fetching the whole bundle" in str(damaged.detail)
    assert complete(device)[1:] == [
        "fetched 1 of 1 chunks of an update from digits/1", "fetched 5 of 5 chunks",
    ]  # fmt: skip
    pointer = device.store.read_pointer()
    assert (pointer.blocked, pointer.failed_blobs) == ((), (goods.release.blobs[1].sha256,))


def test_a_failed_update_is_remembered_over_a_restart(device: Device) -> None:
    device.commit(ONE)
    goods = with_update(TWO, ONE, b"nonsense")
    device.wish(ONE, goods)
    device.turn(lambda: len(complete(device)) == 2)
    device.restart()
    device.wish(ONE, goods)
    device.turn_to(State.PROBATION)
    assert complete(device)[2:] == ["fetched 5 of 5 chunks"]


def test_an_update_whose_chunks_never_come_gives_way_to_the_whole_bundle(device: Device) -> None:
    device.commit(ONE)
    device.wish(ONE, TWO)
    for topic in [t for t in device.broker.retained if TWO.release.blobs[1].sha256 in t]:
        device.broker.retained.pop(topic)
    device.turn(lambda: device.updater.state is State.PROBATION, turns=20_000)
    assert complete(device)[1:] == ["fetched 5 of 5 chunks"]
    assert device.store.read_pointer().failed_blobs == ()


def test_an_update_goes_on_after_a_restart_where_it_was(device: Device) -> None:
    device.commit(LONG)
    device.wish(LONG, LONGER)
    device.turn(lambda: device.updater.report().done_chunks >= 3)
    done, total = device.updater.report().done_chunks, device.updater.report().total_chunks
    device.restart()
    device.wish(LONG, LONGER)
    device.turn_to(State.PROBATION)
    assert complete(device)[1:] == [f"fetched {total - done} of {total} chunks of an update from digits/7"]


def test_an_update_needs_room_for_itself_and_the_bundle_only(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.commit(ONE)
    room = RESERVE_BYTES + len(TWO.bundle) + TWO.release.blobs[1].size_bytes
    monkeypatch.setattr(device.store, "free_bytes", lambda: room)
    device.wish(ONE, TWO)
    assert device.updater.state is State.DOWNLOAD
