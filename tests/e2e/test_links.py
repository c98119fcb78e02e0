"""Bad links and brokers that forget, in the middle of a transfer: real agents, brokers and bundles."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from fleet.adapters.broker import find_mosquitto
from tests.support.chaos_proxy import ChaosProxy, Shape
from tests.support.local_fleet import LocalFleet
from tests.support.training import Bundles

pytestmark = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")

#: So many bytes may arrive for one of the blob, all messages included.
MOST = 1.05


@pytest.fixture
def broker_kind() -> str:
    return "mosquitto"


class Transfer:
    """The way of one large bundle to one device, through a proxy."""

    def __init__(self, fleet: LocalFleet, bundles: Bundles, shape: Shape) -> None:
        self.fleet, self.bundles = fleet, bundles
        self.proxy = ChaosProxy(fleet.address.port, shape)
        fleet.device_port = self.proxy.port
        fleet.start_device()
        fleet.wait("the device is known", lambda: fleet.row().state == "idle")
        self._before = 0

    def begin(self) -> None:
        self._before = self.proxy.passed
        self.fleet.push(self.bundles.huge, "--rate-kb", "2000")

    def wait_for_half(self) -> None:
        self.fleet.wait("half of it", lambda: 40 <= self.fleet.row().done_chunks < 100)

    def complete(self) -> None:
        """Assert that it arrives, and at what cost."""
        self.fleet.wait_for_release("digits/8")
        (said,) = (str(e.detail) for _, e in self.fleet.reader.events("pi-1") if e.cause == "complete")
        _, fetched, _, total, _ = said.split()[:5]
        cost = (
            self.proxy.passed - self._before
        ) / self.bundles.huge.stat().st_size  # noise: xz gains nothing
        print(f"{said}, {self.proxy.resets} resets, {cost:.3f} bytes for one")
        assert fetched == total
        assert cost <= MOST


@pytest.fixture
def transfer(fleet: LocalFleet, bundles: Bundles, request: pytest.FixtureRequest) -> Iterator[Transfer]:
    transfer = Transfer(fleet, bundles, getattr(request, "param", Shape()))
    yield transfer
    fleet.stop()
    transfer.proxy.stop()


@pytest.mark.parametrize("transfer", [Shape(2_000_000, 0.02, reset_every=1_500_000)], indirect=True)
def test_a_connection_that_is_reset_every_1_5_mb(transfer: Transfer) -> None:
    transfer.begin()
    transfer.complete()
    assert transfer.proxy.resets >= 5


def test_a_half_open_link(transfer: Transfer) -> None:
    transfer.begin()
    transfer.wait_for_half()
    transfer.proxy.stall()
    transfer.complete()


def test_a_broker_killed_with_what_it_had_saved(transfer: Transfer) -> None:
    broker = transfer.fleet.broker
    assert broker is not None
    transfer.begin()
    transfer.wait_for_half()
    saved = transfer.fleet.folder / "broker" / "mosquitto.db"
    os.kill(broker.process.pid, signal.SIGUSR1)
    transfer.fleet.wait("it has saved", lambda: saved.exists() and saved.stat().st_size > 8_000_000)
    transfer.fleet.kill_broker()
    transfer.fleet.start_broker()
    transfer.complete()


def test_a_broker_that_lost_what_it_retained(transfer: Transfer) -> None:
    transfer.begin()
    transfer.wait_for_half()
    transfer.fleet.kill_broker()
    (transfer.fleet.folder / "broker" / "mosquitto.db").unlink(missing_ok=True)
    transfer.fleet.start_broker()
    transfer.complete()
