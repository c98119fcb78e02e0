"""What is larger than any message of ours must not fill a device's memory. Real brokers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from fleet.adapters.broker import RunningBroker, find_mosquitto, free_port, start_broker
from wire.adapters.paho_link import _MAX_WAITING_BYTES, BrokerAddress, PahoLink
from wire.deadline import Deadline, wait_until
from wire.link import Incoming, LinkUp
from wire.messages import MAX_PAYLOAD_BYTES

TOPIC = "edgeflock/meta/timestamp.json"
MANY = 150


@pytest.fixture(params=["mosquitto", "embedded"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningBroker]:
    if request.param == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    broker = start_broker(tmp_path, BrokerAddress("127.0.0.1", free_port()), kind=request.param)
    yield broker
    broker.stop()


@pytest.fixture
def stranger(broker: RunningBroker) -> Iterator[mqtt.Client]:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "stranger", protocol=mqtt.MQTTv5)
    client.connect(broker.address.host, broker.address.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


def connected(broker: RunningBroker, link: PahoLink, stranger: mqtt.Client) -> PahoLink:
    """Return `link` when it hears TOPIC."""
    link.subscribe([TOPIC])
    link.start()
    assert link.receive(10) == LinkUp()
    deadline = Deadline.after(10)
    while link.receive(0.1) is None:
        assert not deadline.passed
        stranger.publish(TOPIC, b"are you there?", qos=1).wait_for_publish(10)
    while link.receive(0.5) is not None:
        pass
    return link


def test_what_is_larger_than_ours_is_dropped_and_told_once(
    broker: RunningBroker, stranger: mqtt.Client, caplog: pytest.LogCaptureFixture
) -> None:
    link = connected(broker, PahoLink(broker.address, "pi-1"), stranger)
    largest = bytes(MAX_PAYLOAD_BYTES)
    try:
        for _ in range(MANY):
            stranger.publish(TOPIC, bytes(1_000_000), qos=1).wait_for_publish(10)
        for _ in range(2):
            stranger.publish(TOPIC, largest + b"x", qos=1).wait_for_publish(10)
        stranger.publish(TOPIC, largest, qos=1)
        assert link.receive(30) == Incoming(TOPIC, largest)
        assert caplog.text.count("are dropped") == 1
    finally:
        link.close()


def test_a_link_for_pictures_takes_them(broker: RunningBroker, stranger: mqtt.Client) -> None:
    link = connected(broker, PahoLink(broker.address, "camera", largest_bytes=None), stranger)
    try:
        stranger.publish(TOPIC, bytes(1_000_000), qos=1)
        assert link.receive(30) == Incoming(TOPIC, bytes(1_000_000))
    finally:
        link.close()


def test_what_waits_is_bounded_in_bytes_and_all_of_it_comes(
    broker: RunningBroker, stranger: mqtt.Client
) -> None:
    link = connected(broker, PahoLink(broker.address, "camera", largest_bytes=None), stranger)
    try:
        for n in range(60):
            stranger.publish(TOPIC, n.to_bytes(4, "big") * 250_000, qos=1).wait_for_publish(10)
        assert wait_until(lambda: link._waiting_bytes > _MAX_WAITING_BYTES, Deadline.after(30))
        assert link._waiting_bytes <= _MAX_WAITING_BYTES + 1_000_000
        got = [link.receive(10) for _ in range(60)]
        assert [e.payload[:4] for e in got if isinstance(e, Incoming)] == [
            n.to_bytes(4, "big") for n in range(60)
        ]
        assert link._waiting_bytes == 0
    finally:
        link.close()
