"""How fast does a blob reach devices: retained chunks, beside one retained message and an HTTP download?

    python benchmarks/transfer.py [--rounds 3] [--devices 1,50] [--links all] > transfer.jsonl

Real mosquitto, real processes, all on 127.0.0.1; each device is a process (benchmarks/transfer_device.py)
that is connected before the clock starts. The HTTP peer is a ThreadingHTTPServer that answers with sendfile
and knows ranges: the least that a download server can do. The three ways take turns, a broker is started
anew for each; figures are medians of the rounds. Shaped links are a proxy of ours (tests/support) between
one device and its server, since a kernel need not have netem.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.transfer_device import TOPICS, WAYS, WHOLE
from fleet.adapters.broker import find_mosquitto, free_port
from tests.support.chaos_proxy import ChaosProxy, Shape
from tests.support.device_process import forget_most, memory_mib
from wire.adapters.paho_link import BrokerAddress, PahoLink
from wire.blob import chunks, describe, digest_list
from wire.deadline import Deadline, wait_until
from wire.link import LinkUp

_HERE = Path(__file__).parent

#: As our own broker is set up, but that one message may be as large as the blob.
_MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_inflight_messages 1000
persistence false
user root
"""


@dataclass(frozen=True)
class Case:
    """What one figure is of."""

    name: str
    megabytes: float
    devices: int = 1
    shape: Shape | None = None


LINKS = (
    Case("10 Mbit, 60 ms", 5.0, shape=Shape(1_250_000, 0.06)),
    Case("2 Mbit, 200 ms", 2.5, shape=Shape(250_000, 0.2)),
    Case("0.5 Mbit, 600 ms", 1.25, shape=Shape(62_500, 0.6)),
)


@dataclass(frozen=True)
class Served:
    """A server with the blob on it. A file server holds nothing, so only a broker's memory counts."""

    port: int
    pid: int
    empty_mib: float

    def grown_mib(self) -> float:
        return memory_mib(self.pid)[1] - self.empty_mib


@contextlib.contextmanager
def http_server(blob: bytes, folder: Path) -> Iterator[Served]:
    path = folder / "blob"
    path.write_bytes(blob)
    command = [sys.executable, str(_HERE / "transfer_peer.py"), str(path)]
    quiet = subprocess.DEVNULL  # it would tell at length of each device that is ended
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, text=True) as server:
        assert server.stdout is not None
        yield Served(int(server.stdout.readline()), server.pid, memory_mib(server.pid)[0])
        server.terminate()


@contextlib.contextmanager
def broker(blob: bytes, folder: Path, *, whole: bool) -> Iterator[Served]:
    port, config = free_port(), folder / "mosquitto.conf"
    config.write_text(_MOSQUITTO.format(port=port))
    program = find_mosquitto()
    assert program, "mosquitto is not installed"
    with subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL) as process:
        publish = _publish_whole if whole else _publish_chunks
        link = PahoLink(BrokerAddress("127.0.0.1", port), "publisher")
        link.start()
        while not isinstance(link.receive(10), LinkUp):
            pass
        empty_mib, _ = memory_mib(process.pid)
        publish(blob, link, port)
        link.close()
        forget_most(process.pid)
        yield Served(port, process.pid, empty_mib)
        process.terminate()


def _publish_chunks(blob: bytes, link: PahoLink, _port: int) -> None:
    blob_of = describe(blob)
    wanted = [(TOPICS.blob(blob_of.sha256, i), chunk) for i, chunk in enumerate(chunks(blob))]
    for topic, payload in [*wanted, (TOPICS.blob(blob_of.chunks_sha256, 0), digest_list(blob))]:
        wait_until(lambda t=topic, p=payload: link.publish(t, p, retain=True), Deadline.after(60))  # type: ignore[misc]
    assert wait_until(lambda: not link.unacknowledged, Deadline.after(60))


def _publish_whole(blob: bytes, _link: PahoLink, port: int) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.publish(WHOLE, blob, qos=1, retain=True).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def measure(case: Case, way: str, blob: bytes) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = http_server(blob, folder) if way == "http" else broker(blob, folder, whole=way == "message")
        with server as served:
            proxy = ChaosProxy(served.port, case.shape) if case.shape else None
            try:
                times = _fetch(_start_devices(case.devices, way, blob, proxy or served, folder))
            finally:
                if proxy:
                    proxy.stop()
            passed = {"bytes_for_one": proxy.passed / len(blob)} if proxy else {}
            return times | passed | {"server_growth_mib": served.grown_mib()}


def _start_devices(
    count: int, way: str, blob: bytes, server: Served | ChaosProxy, folder: Path
) -> list[subprocess.Popen[str]]:
    command = [sys.executable, str(_HERE / "transfer_device.py"), way, str(server.port)]
    what = json.dumps(asdict(describe(blob)))
    return [
        subprocess.Popen(
            [*command, str(folder / f"pi-{n}"), what],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for n in range(count)
    ]  # fmt: skip


def _fetch(devices: list[subprocess.Popen[str]]) -> dict[str, float]:
    """Let all begin at once; return the seconds until the last has it, and the most that one grew."""
    try:
        for device in devices:
            assert _line(device) == "ready\n"
        start_s = time.perf_counter()
        for device in devices:
            assert device.stdin is not None
            device.stdin.write("\n")
            device.stdin.flush()
        told: list[dict[str, Any]] = [json.loads(_line(device)) for device in devices]
        took_s = time.perf_counter() - start_s
    finally:
        for device in devices:
            device.kill()
            device.communicate()
    return {
        "seconds": took_s if len(told) > 1 else told[0]["seconds"],
        "device_growth_mib": max(t["growth_mib"] for t in told),
    }


def _line(device: subprocess.Popen[str]) -> str:
    assert device.stdout is not None
    return device.stdout.readline()


def compare(case: Case, rounds: int) -> list[dict[str, object]]:
    blob = os.urandom(int(case.megabytes * 1_000_000))
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, kept in runs.items():
            kept.append(measure(case, way, blob))
    medians = {
        way: {key: statistics.median(run[key] for run in kept) for key in kept[0]}
        for way, kept in runs.items()
    }
    megabytes = case.megabytes * case.devices
    return [
        {
            "case": case.name, "devices": case.devices, "megabytes": case.megabytes, "way": way,
            "mb_s": round(megabytes / median["seconds"], 3),
            "of_http": round(medians["http"]["seconds"] / median["seconds"], 3),
            "server_growth_of_blob": round(median["server_growth_mib"] * 2**20 / len(blob), 2),
        } | {key: round(value, 3) for key, value in median.items()}
        for way, median in medians.items()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=20.0, help="of the blob without a shaped link")
    parser.add_argument("--devices", default="1,50", help="how many at once, without a shaped link")
    parser.add_argument("--links", choices=("all", "none"), default="all")
    given = parser.parse_args()
    counts = [int(text) for text in given.devices.split(",") if text]
    cases = [Case("loopback", given.megabytes, count) for count in counts]
    for case in (*cases, *(LINKS if given.links == "all" else ())):
        for row in compare(case, given.rounds):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
