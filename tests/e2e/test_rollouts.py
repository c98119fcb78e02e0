"""An operator's commands on a real mosquitto: they take effect within a second, and cost no byte too many."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.golden import Verdict
from edgeflock import main
from fleet.adapters.broker import find_mosquitto
from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from tests.support.live_fleet import TOPICS, LiveDevice, LiveFleet
from tests.support.shelf import make_goods
from wire.adapters.paho_link import PahoLink
from wire.blob import CHUNK_BYTES
from wire.link import Incoming, LinkUp

pytestmark = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")

ONE, TWO, LARGE = make_goods(1, 300_000), make_goods(2, 300_000), make_goods(3, 4_000_000)
RATE_BYTES_S = 500_000


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LiveFleet]:
    fleet = LiveFleet(tmp_path)
    yield fleet
    fleet.stop()


def order(fleet: LiveFleet, *arguments: str) -> None:
    assert main(["fleet", *arguments, "--state", str(fleet.state)]) == 0


def downloading(fleet: LiveFleet, chunks: int) -> LiveDevice:
    device = fleet.device()
    fleet.push(LARGE, rate_bytes_s=RATE_BYTES_S)
    fleet.wait("a part of the download", lambda: device.updater.report().done_chunks >= chunks)
    return device


@pytest.mark.parametrize("command", ["pause", "abort"])
def test_a_download_stops_within_a_second(fleet: LiveFleet, command: str) -> None:
    device = downloading(fleet, 5)
    start_s = time.monotonic()
    order(fleet, command, "digits")
    fleet.wait("it stands still", lambda: device.updater.report().state == "idle" and not device.asked_for, 5)
    assert time.monotonic() - start_s < 1.0
    assert max(device.arrivals) - start_s < 1.0
    assert device.updater.report().current is None


def test_a_download_that_goes_on_fetches_only_what_it_lacks(fleet: LiveFleet) -> None:
    device = downloading(fleet, 5)
    order(fleet, "pause", "digits")
    fleet.wait("it stands still", lambda: device.updater.report().state == "idle")
    had = len(device.arrivals)
    order(fleet, "resume", "digits")
    fleet.commit(device, "digits/3")
    total = len(LARGE.digests) // 32
    assert [e.detail for e in device.events if e.cause == "complete"] == [
        f"fetched {total - had} of {total} chunks"
    ]
    assert len(device.arrivals) == total


def test_a_cap_holds_over_seconds(fleet: LiveFleet) -> None:
    device = downloading(fleet, 40)
    first_s, last_s = device.arrivals[5], device.arrivals[35]  # the first may wait for the publisher
    rate = 30 * CHUNK_BYTES / (last_s - first_s)
    assert rate == pytest.approx(RATE_BYTES_S, rel=0.1)


def test_an_undo_downloads_nothing(fleet: LiveFleet) -> None:
    device = fleet.device()
    for goods in (ONE, TWO):
        fleet.push(goods)
        fleet.commit(device, goods.release.name)
    device.events.clear()
    arrived = len(device.arrivals)
    order(fleet, "undo", "digits")
    fleet.commit(device, "digits/1")
    assert len(device.arrivals) == arrived
    causes = [e.cause for e in device.events]
    assert "on-disk" in causes
    assert not {"wanted", "space-reserved"} & set(causes)


def blocking(fleet: LiveFleet, release: str) -> frozenset[str]:
    database = Database(fleet.state).open()
    try:
        return FleetReader(database).blocking(release)
    finally:
        database.close()


def test_an_undo_to_what_a_device_blocked_is_told_and_a_retry_leads_it_there(
    fleet: LiveFleet, capsys: pytest.CaptureFixture[str]
) -> None:
    device = fleet.device()
    device.trial.verdict = Verdict(False, "wrong answers")
    fleet.push(ONE)
    fleet.wait("it is blocked, and the server knows", lambda: blocking(fleet, "digits/1") == {"pi-1"})
    device.trial.verdict = Verdict(True, "fine")
    fleet.push(TWO)
    fleet.commit(device, "digits/2")
    order(fleet, "undo", "digits")
    assert "1 of 1 devices in all blocked digits/1 before" in capsys.readouterr().err
    fleet.wait("it refuses", lambda: device.updater.report().state == "blocked")
    order(fleet, "resume", "digits/1", "--retry")
    fleet.commit(device, "digits/1")


def test_the_status_follows_a_rollout(fleet: LiveFleet, capsys: pytest.CaptureFixture[str]) -> None:
    device = downloading(fleet, 10)

    def status() -> dict[str, int]:
        capsys.readouterr()
        order(fleet, "status", "digits", "--json")
        (told,) = json.loads(capsys.readouterr().out)
        return told["counts"] | {"chunks": told["devices"][0]["done_chunks"] if told["devices"] else 0}

    fleet.wait("it is seen", lambda: status()["downloading"] == 1 and status()["chunks"] >= 10)
    order(fleet, "status")
    assert "pi-1 digits/3: downloading" in capsys.readouterr().out
    fleet.commit(device, "digits/3")
    fleet.wait("it is done", lambda: status()["done"] == 1)


class Listener:
    """Notes what the server publishes again: only who subscribes later gets a chunk marked as retained."""

    def __init__(self, fleet: LiveFleet, topics: list[str]) -> None:
        self.link = PahoLink(fleet.broker.address, "listener")
        self.link.subscribe(topics)
        self.link.start()
        self.seen: list[str] = []
        fleet.wait("the listener is up", lambda: isinstance(self.link.receive(0.1), LinkUp))

    def settle(self) -> None:
        while (event := self.link.receive(1.0)) is not None:
            if isinstance(event, Incoming) and event.payload and not event.retained:
                self.seen.append(event.topic)


def test_a_broker_that_lost_some_chunks_gets_those_and_no_others(fleet: LiveFleet) -> None:
    device = fleet.device()
    fleet.push(ONE)
    fleet.commit(device, "digits/1")
    topics = [TOPICS.blob(ONE.release.blobs[0].sha256, i) for i in range(len(ONE.digests) // 32)]
    breaker = PahoLink(fleet.broker.address, "breaker")
    breaker.start()
    fleet.wait("it is connected", lambda: breaker.publish(topics[1], b"", retain=True))
    breaker.publish(topics[3], b"tampered", retain=True)
    fleet.wait("that is done", lambda: breaker.unacknowledged == 0)
    breaker.close()
    fleet.restart_broker(lose=False)
    listener = Listener(fleet, topics)
    fleet.wait("they are repaired", lambda: listener.settle() or len(listener.seen) >= 2, 30)
    listener.settle()
    listener.link.close()
    assert sorted(listener.seen) == sorted([topics[1], topics[3]])


def test_a_broker_that_lost_everything_in_a_download_is_filled_and_the_download_goes_on(
    fleet: LiveFleet,
) -> None:
    device = downloading(fleet, 10)
    fleet.restart_broker(lose=True)
    fleet.commit(device, "digits/3")
    total = len(LARGE.digests) // 32
    assert len(device.arrivals) <= total * 1.05


def test_the_chunks_of_old_releases_leave_the_broker(fleet: LiveFleet) -> None:
    device = fleet.device()
    old = make_goods(1, 70_000)
    for version in range(1, 6):
        fleet.push(make_goods(version, 70_000))
        fleet.commit(device, f"digits/{version}")
    link = PahoLink(fleet.broker.address, "looker")
    link.subscribe([TOPICS.blob(old.release.blobs[0].sha256, i) for i in range(2)])
    link.start()
    fleet.wait("the looker is up", lambda: isinstance(link.receive(0.1), LinkUp))
    assert link.receive(1.0) is None
    link.close()
    file = fleet.state / "blobs" / old.release.blobs[0].sha256
    fleet.wait("its file leaves the disk", lambda: not file.exists())
