"""One device of benchmarks/transfer.py, in a process of its own: `… WAY PORT FOLDER BLOB`.

It connects, prints its memory, waits for a line, fetches the blob, and prints how that went. `chunks` is
the code that an agent runs (link, window, part file), in the loop of its control thread; the peers hash and
write what they receive, as an updater must.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import queue
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

sys.path.insert(0, str(Path(__file__).parents[1]))

from edge.adapters.model_store import PartFile
from edge.download import Download
from tests.support.device_process import forget_most, memory_mib
from wire.adapters.paho_link import BrokerAddress, PahoLink
from wire.blob import CHUNK_BYTES
from wire.link import Incoming, LinkUp
from wire.messages import Blob
from wire.topics import BlobTopic, Topics

TOPICS = Topics()
WHOLE = "edgeflock/whole"  # of the one retained message
_BATCH = 64
_WAIT_S = 0.1

#: Fetches the blob; returns when it is on the disk.
Fetch = Callable[[], None]


def chunks(port: int, folder: Path, blob: Blob) -> Fetch:
    link = PahoLink(BrokerAddress("127.0.0.1", port), folder.name)
    link.start()
    while not isinstance(link.receive(30), LinkUp):
        pass
    part = PartFile(folder / f"{blob.sha256}.part", blob)

    def fetch() -> None:
        part.reserve()
        download = Download(blob, part, link, TOPICS, rate_bytes_s=None)
        download.begin()
        while not download.finished:
            download.tick(time.monotonic())
            event = link.receive(_WAIT_S)
            for _ in range(_BATCH):
                if event is None:
                    break
                if isinstance(event, Incoming) and isinstance(topic := TOPICS.parse(event.topic), BlobTopic):
                    download.receive(topic, event.payload, time.monotonic())
                event = link.receive(0)
        print(f"{download.repeats} requests repeated", file=sys.stderr)

    return fetch


def message(port: int, folder: Path, blob: Blob) -> Fetch:
    came: queue.Queue[bytes | bytearray] = queue.Queue()
    up: queue.Queue[None] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=folder.name, protocol=mqtt.MQTTv5)
    client.on_socket_open = _undelayed
    client.on_connect = lambda *_: up.put(None)
    client.on_message = lambda _c, _u, m: came.put(m.payload)
    client.connect("127.0.0.1", port, keepalive=600)
    client.loop_start()
    up.get(timeout=30)

    def fetch() -> None:
        client.subscribe(WHOLE, qos=1)
        data = came.get()
        assert hashlib.sha256(data).hexdigest() == blob.sha256
        (folder / "blob").write_bytes(data)

    return fetch


def _undelayed(_client: Any, _userdata: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def download(port: int, folder: Path, blob: Blob) -> Fetch:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.connect()

    def fetch() -> None:
        connection.request("GET", "/blob")
        answer, digest = connection.getresponse(), hashlib.sha256()
        with (folder / "blob").open("wb") as file:
            while piece := answer.read(CHUNK_BYTES):
                digest.update(piece)
                file.write(piece)
        assert digest.hexdigest() == blob.sha256

    return fetch


WAYS: dict[str, Callable[[int, Path, Blob], Fetch]] = {"chunks": chunks, "message": message, "http": download}


def main(way: str, port: int, folder: Path, fields: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    fetch = WAYS[way](port, folder, Blob(**fields))
    forget_most()
    before, _ = memory_mib()
    print("ready", flush=True)
    sys.stdin.readline()
    start_s = time.perf_counter()
    fetch()
    took_s = time.perf_counter() - start_s
    print(json.dumps({"seconds": took_s, "growth_mib": memory_mib()[1] - before}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4]))
