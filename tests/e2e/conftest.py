"""A fleet of real processes, on each broker that this machine has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_fleet import BROKERS, LocalFleet
from tests.support.training import Trained


@pytest.fixture(params=BROKERS)
def broker_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fleet(tmp_path: Path, trained: Trained, broker_kind: str) -> Iterator[LocalFleet]:
    """A fleet with its broker and server running, and no device yet."""
    fleet = LocalFleet(tmp_path, trained.data, broker_kind)
    try:
        fleet.start_broker()
        fleet.start_server()
        yield fleet
    finally:
        fleet.stop()
