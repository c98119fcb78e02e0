"""Groups and pins from the command to the device: two of them, a real server and broker, real keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_fleet import BROKERS, LocalFleet, run
from tests.support.training import Bundles, Trained


@pytest.fixture
def fleet(tmp_path: Path, trained: Trained) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path, trained.data, BROKERS[0])
    try:
        fleet.start_broker()
        fleet.start_server()
        yield fleet
    finally:
        fleet.stop()


def test_a_push_reaches_its_group_alone_and_a_pin_wins_over_it(fleet: LocalFleet, bundles: Bundles) -> None:
    fleet.do("group", "add", "lab", "pi-1")  # before anybody has heard of it
    for device in ("pi-1", "pi-2"):
        fleet.start_device(device)
    fleet.push(bundles.one)
    for device in ("pi-1", "pi-2"):
        fleet.wait_for_release("digits/1", device)
    fleet.push(bundles.two, "--to", "lab")
    fleet.wait_for_release("digits/2", "pi-1")
    assert "digits/2" not in {event.release for _, event in fleet.reader.events("pi-2")}
    assert fleet.row("pi-2").current == "digits/1"

    fleet.do("group", "add", "lab", "pi-2")
    fleet.wait_for_release("digits/2", "pi-2")
    fleet.do("pin", "pi-2", "digits/1")
    fleet.wait_for_release("digits/1", "pi-2")
    assert standings(fleet, "lab") == {"pi-1": "done", "pi-2": "elsewhere"}
    fleet.do("unpin", "pi-2", "digits")
    fleet.wait_for_release("digits/2", "pi-2")
    assert fleet.row("pi-1").current == "digits/2"


def standings(fleet: LocalFleet, group: str) -> dict[str, str]:
    told = json.loads(run("fleet", "status", "--json", "--state", fleet.state).stdout)
    (rollout,) = (r for r in told if r["group"] == group)
    return {part["device"]: part["standing"] for part in rollout["devices"]}
