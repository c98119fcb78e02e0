"""The server takes what devices of earlier versions say, and acknowledges it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.server import Server
from tests.support import corpus
from wire.codec import decode
from wire.deadline import Deadline
from wire.memory_link import MemoryBroker
from wire.messages import Ack
from wire.protocol import OLDEST, VERSION
from wire.topics import Leaf, Topics

TOPICS = Topics()
SPOKEN: dict[str, Leaf] = {
    "Online": "online",
    "Reported": "reported",
    "EventReport": "event",
    "TelemetryReport": "telemetry",
    "SamplesReport": "samples",
}


@pytest.mark.parametrize("form", ["least", "full"])
@pytest.mark.parametrize("version", range(OLDEST, VERSION + 1))
def test_each_message_of_an_earlier_device_is_stored_and_acknowledged(
    tmp_path: Path, version: int, form: str
) -> None:
    broker = MemoryBroker()
    voice, link = broker.link(), broker.link()
    voice.start()
    database = Database(tmp_path).open()
    server = Server(database, link, TOPICS)
    link.start()
    server.wait_for_broker(Deadline.after(1), threading.Event())
    for name, said_as, payload in corpus.read(version):
        if said_as == form and name in SPOKEN:
            voice.publish(TOPICS.device("pi-1", SPOKEN[name]), payload)
    for _ in range(5):
        server.turn()
    ack = decode(Ack, broker.retained[TOPICS.device("pi-1", "ack")])
    assert {stream: [m.sequence for m in marks] for stream, marks in ack.streams.items()} == {
        "event": [7], "telemetry": [7], "samples": [7],
    }  # fmt: skip
    (row, *_) = FleetReader(database).rows()
    assert (row.device, row.model, row.presence) == ("pi-1", "digits", "online")
    assert row.rss_bytes == 7
    assert database.sql.execute("select count(*) from refusal").fetchone() == (0,)
    database.close()
