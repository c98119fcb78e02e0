"""What a plain consumer costs: the peers of benchmarks/ingest.py.

    python benchmarks/ingest_peers.py paho|gmqtt STATE PORT

Decode each report, insert a row, commit every 500; no checks, no sums, no acknowledgement to the device.
"""

from __future__ import annotations

import asyncio
import json
import queue
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any, Final

_FILTER: Final = "edgeflock/d/+/telemetry"
_BATCH: Final = 500


def _database(state: Path) -> sqlite3.Connection:
    sql = sqlite3.connect(state / "fleet.db", isolation_level=None)
    sql.execute("pragma journal_mode=wal")
    sql.execute("pragma synchronous=full")
    sql.execute("create table report (device text, sequence integer, time_s real, body blob)")
    sql.execute("create index report_device on report (device, time_s)")
    return sql


def _row(topic: str, report: Any, payload: bytes) -> tuple[str, int, float, bytes]:
    return topic.split("/")[2], report["head"]["sequence"], report["head"]["time_s"], payload


def _insert(sql: sqlite3.Connection, rows: list[tuple[str, int, float, bytes]]) -> None:
    sql.execute("begin immediate")
    sql.executemany("insert into report values (?, ?, ?, ?)", rows)
    sql.execute("commit")


def paho(state: Path, port: int) -> None:
    """paho-mqtt's network thread, a queue, the standard library's json."""
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    stop, waiting = threading.Event(), queue.Queue[Any](20_000)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    sql = _database(state)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="peer", protocol=mqtt.MQTTv5)
    client.on_message = lambda _c, _u, message: waiting.put((message.topic, message.payload))
    client.on_connect = lambda c, *_: c.subscribe(_FILTER, 1)
    client.on_subscribe = lambda *_: (state / "ready").touch()
    client.connect("127.0.0.1", port)
    client.loop_start()
    while not stop.is_set():
        rows: list[tuple[str, int, float, bytes]] = []
        try:
            topic, payload = waiting.get(timeout=0.05)
            while len(rows) < _BATCH:
                rows.append(_row(topic, json.loads(payload), payload))
                topic, payload = waiting.get_nowait()
            rows.append(_row(topic, json.loads(payload), payload))
        except queue.Empty:
            pass
        if rows:
            _insert(sql, rows)
    client.loop_stop()


async def gmqtt(state: Path, port: int) -> None:
    """gmqtt on asyncio, msgspec."""
    import msgspec
    from gmqtt import Client

    stop = asyncio.Event()
    rows: list[tuple[str, int, float, bytes]] = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    sql, decode = _database(state), msgspec.json.Decoder().decode

    def take(_client: Any, topic: str, payload: bytes, _qos: int, _properties: Any) -> int:
        rows.append(_row(topic, decode(payload), payload))
        return 0

    client = Client("peer")
    client.on_message = take
    client.on_connect = lambda c, *_: c.subscribe(_FILTER, qos=1)
    client.on_subscribe = lambda *_: (state / "ready").touch()
    await client.connect("127.0.0.1", port)
    while not stop.is_set():
        await asyncio.sleep(0.05)
        for i in range(0, len(rows), _BATCH):
            _insert(sql, rows[i : i + _BATCH])
        rows.clear()
    await client.disconnect()


def main() -> None:
    """Be the named consumer until SIGTERM."""
    way, state, port = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if way == "paho":
        paho(state, port)
    else:
        asyncio.run(gmqtt(state, port))


if __name__ == "__main__":
    main()
