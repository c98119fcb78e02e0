"""Trust from end to end: commands, server, broker and device as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.adapters.key_files import offline_folder
from tests.support.local_fleet import BROKERS, LocalFleet
from tests.support.training import Bundles, Trained
from wire.adapters.paho_link import PahoLink
from wire.deadline import Deadline, wait_until
from wire.link import Incoming, LinkUp
from wire.topics import Topics

TOPICS = Topics()


@pytest.fixture
def bare(tmp_path: Path, trained: Trained) -> Iterator[LocalFleet]:
    """A fleet whose broker runs, and nothing else."""
    fleet = LocalFleet(tmp_path, trained.data, BROKERS[0])
    try:
        fleet.start_broker()
        yield fleet
    finally:
        fleet.stop()


class Attacker:
    """Somebody who reaches the broker."""

    def __init__(self, fleet: LocalFleet) -> None:
        self.link = PahoLink(fleet.address, "attacker")
        self.link.start()
        assert wait_until(lambda: isinstance(self.link.receive(0), LinkUp), Deadline.after(10))

    def hear(self, topic: str) -> bytes:
        """Return what is retained there."""
        heard: list[bytes] = []

        def listen() -> bool:
            event = self.link.receive(0.1)
            heard.extend([event.payload] if isinstance(event, Incoming) and event.topic == topic else [])
            return bool(heard)

        self.link.subscribe([topic])
        assert wait_until(listen, Deadline.after(10))
        self.link.unsubscribe([topic])
        return heard[0]

    def say(self, topic: str, payload: bytes) -> None:
        assert self.link.publish(topic, payload, retain=True)
        assert wait_until(lambda: self.link.unacknowledged == 0, Deadline.after(10))


def refusals(fleet: LocalFleet) -> set[str]:
    return {str(e.detail).split(":")[0] for _, e in fleet.reader.events("pi-1") if e.cause == "refused"}


def test_keys_on_a_stick_rotations_and_automatic_releases_reach_a_device(
    fleet: LocalFleet, bundles: Bundles, tmp_path: Path
) -> None:
    stick = tmp_path / "stick"
    offline_folder(fleet.state).rename(stick)
    fleet.start_device()
    fleet.push(bundles.one, "--keys", str(stick))
    fleet.wait_for_release("digits/1")
    fleet.end("pi-1")
    for role in ("root", "targets", "online", "plan"):
        fleet.do("keys", "rotate", role, "--keys", stick)
    fleet.do("keys", "auto", "digits", "--on", "--keys", stick)
    fleet.push(bundles.two, "--auto")
    fleet.start_device()
    fleet.wait_for_release("digits/2")
    assert refusals(fleet) == set()
    assert fleet.row().stale_metadata is False


def test_who_reaches_the_broker_can_change_nothing_and_is_seen(bare: LocalFleet, bundles: Bundles) -> None:
    bare.start_server()
    bare.start_device()
    bare.push(bundles.one)
    bare.wait_for_release("digits/1")
    attacker = Attacker(bare)
    timestamp, plan = TOPICS.meta("timestamp.json"), TOPICS.plan("all", "digits")
    old_timestamp, old_plan = attacker.hear(timestamp), attacker.hear(plan)
    bare.push(bundles.two)
    bare.wait_for_release("digits/2")
    attacker.say(timestamp, old_timestamp)
    attacker.say(plan, old_plan)
    bare.wait(
        "both are refused",
        lambda: refusals(bare) == {"BadVersionNumberError", "SequenceFloorError"},
    )
    bare.kill("pi-1")
    bare.start_device()
    bare.wait("it reports", lambda: "BadVersionNumberError" in str(bare.row().error))
    assert bare.row().current == "digits/2"
    before = len(bare.answered())
    bare.wait("it goes on serving", lambda: len(bare.answered()) >= before + 20)
    attacker.link.close()


def test_a_device_that_was_told_nobody_to_believe_follows_nothing(bare: LocalFleet, bundles: Bundles) -> None:
    bare.start_server()
    bare.trust = ""
    bare.start_device()
    bare.push(bundles.one)
    bare.wait("it says why", lambda: "NoTrustError" in str(bare.row().error))
    assert bare.row().current is None


def test_a_fleet_without_keys_has_to_be_wished_for_on_both_sides(bare: LocalFleet, bundles: Bundles) -> None:
    bare.trust = "[trust]\nunsigned = true"
    bare.start_server()
    bare.start_device()
    bare.push(bundles.one)
    bare.wait_for_release("digits/1")
