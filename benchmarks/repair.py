"""What does a reconnect of the server cost, with 50 MB of blobs: looking first, beside publishing again?

A real mosquitto on 127.0.0.1 is restarted (it saves what it retains), loses ten chunks, or loses all.
Bytes are those of chunks that the server sent and received until the broker holds everything again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from unittest.mock import patch

from fleet.adapters.broker import RunningBroker, free_port, start_broker
from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.publishing import Publisher
from fleet.releasing import Built
from fleet.server import CLIENT_ID, Server
from tests.support.examples import MANIFEST
from wire.adapters.paho_link import BrokerAddress, PahoLink
from wire.blob import describe, digest_list
from wire.deadline import Deadline
from wire.link import Incoming, LinkEvent
from wire.messages import Release
from wire.topics import Topics

TOPICS = Topics()


class CountedLink(PahoLink):
    """A link that counts the payloads of chunks."""

    sent = received = 0

    def publish(self, topic: str, payload: bytes, **how: object) -> bool:
        taken = super().publish(topic, payload, **how)  # type: ignore[arg-type]  # the same
        self.sent += len(payload) if taken and "/blobs/" in topic else 0
        return taken

    def receive(self, timeout_s: float) -> LinkEvent | None:
        event = super().receive(timeout_s)
        if isinstance(event, Incoming) and "/blobs/" in event.topic:
            self.received += len(event.payload)
        return event


class CountedServer(Server):
    """A server that counts its connections."""

    connections = 0
    connected_s = 0.0

    def _connected(self) -> None:
        super()._connected()
        self.connections += 1
        self.connected_s = time.perf_counter()


def release(megabytes: int) -> Built:
    blob = os.urandom(megabytes * 1_000_000)
    sha256 = hashlib.sha256(blob).hexdigest()
    return Built(Release("digits/1", sha256, len(blob), (describe(blob),), MANIFEST), blob, digest_list(blob))


def settle(server: CountedServer, link: CountedLink) -> None:
    quiet = 0
    while quiet < 3:
        server.turn()
        quiet = quiet + 1 if server._settled and server._auditor.idle and not link.unacknowledged else 0


def restart(broker: RunningBroker, folder: Path, *, lose: bool) -> RunningBroker:
    if lose:
        broker.process.kill()
        broker.process.wait()
        (folder / "mosquitto.db").unlink(missing_ok=True)
    else:
        broker.stop()
    return start_broker(folder, broker.address, kind="mosquitto")


def forget(address: BrokerAddress, built: Built, count: int) -> None:
    link = PahoLink(address, "forgetful")
    link.start()
    link.receive(5)
    for i in range(count):
        link.publish(TOPICS.blob(built.description.sha256, 7 * i), b"", retain=True)
    while link.unacknowledged:
        time.sleep(0.01)
    link.close()


def measure(case: str, built: Built, *, again: bool) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = start_broker(folder / "broker", BrokerAddress("127.0.0.1", free_port()), kind="mosquitto")
        database = Database(folder / "fleet").open()
        registry = Registry(database).open()
        registry.plan(registry.add_release(built), "all")
        link = CountedLink(broker.address, CLIENT_ID)
        server = CountedServer(database, link, TOPICS)
        with patch.object(Publisher, "doubt", lambda *_: None) if again else threading.Lock():
            link.start()
            server.wait_for_broker(Deadline.after(10), threading.Event())
            settle(server, link)
            if case == "ten chunks lost":
                forget(broker.address, built, 10)
            link.sent = link.received = 0
            broker = restart(broker, folder / "broker", lose=case == "all lost")
            connections = server.connections
            while server.connections == connections:
                server.turn()
            settle(server, link)
        took_s = time.perf_counter() - server.connected_s
        link.close()
        database.close()
        broker.stop()
    return {"case": case, "way": "publish again" if again else "look first", "sent": link.sent,
            "received": link.received, "seconds": round(took_s, 2)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=50)
    built = release(parser.parse_args().megabytes)
    for case in ("nothing lost", "ten chunks lost", "all lost"):
        for again in (False, True):
            print(json.dumps(measure(case, built, again=again)), flush=True)


if __name__ == "__main__":
    main()
