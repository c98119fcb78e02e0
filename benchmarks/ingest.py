"""Reports per second and core from mosquitto to durable rows, beside plain peers, end to end. Prints JSON.

    python benchmarks/ingest.py [--devices 100000] [--rate 1667] [--profile FILE]

Ours is the server's loop as it is: decode, refuse what cannot be, rows, marks, sums by hour and by minute,
acknowledgements that are retained for each device. Each device has reported four times before the clock
starts, and does once more at the stated rate: no report finds its device's sums in memory, and as many
devices have their sums due as in any other minute. The page and the evaluator, which look at the fleet
beside the loop, are left out; `--evaluate` has the latter in. The peers
take the same messages from the same mosquitto and do less: they decode and insert a row, in transactions of
500, and acknowledge nothing.

CPU is what the consumer's process used (user and system, all threads), from /proc; it is the figure to
trust on a busy machine. `at most` is how many reports a second would fill one core.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil

from benchmarks.ingest_load import TEMPLATES, bodies
from fleet.adapters.broker import free_port, start_broker
from fleet.adapters.database import Database
from fleet.adapters.msgspec_codec import decode
from fleet.adapters.registry import Registry
from fleet.adapters.report_store import ReportStore
from fleet.app import GARBAGE_AFTER, GATHER_S
from fleet.evaluator import Evaluator
from fleet.ingest import Arrival
from fleet.server import CLIENT_ID, Server
from wire.adapters.paho_link import BrokerAddress, PahoLink
from wire.deadline import Deadline, wait_until
from wire.messages import Head, Telemetry
from wire.topics import Topics

HERE: Final = Path(__file__).parent
_PATIENCE_S: Final = 1800.0
#: Reports of each device before the clock starts.
EARLIER: Final = 4


def rows(database: Path) -> tuple[int, int]:
    """Return how many reports are stored, and how many different ones."""
    sql = sqlite3.connect(database, timeout=30)
    try:
        query = "select count(*), count(distinct device || '/' || sequence) from report"
        all_, different = sql.execute(query).fetchone()
        return int(all_), int(different)
    except sqlite3.OperationalError:  # not made yet
        return 0, 0
    finally:
        sql.close()


def count(database: Path) -> int:
    """Return how many reports are stored, cheaply."""
    sql = sqlite3.connect(database, timeout=30)
    try:
        return int(sql.execute("select coalesce(max(rowid), 0) from report").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        sql.close()


def wait_for(database: Path, reports: int) -> None:
    """Wait until so many reports are stored."""
    deadline = Deadline.after(_PATIENCE_S)
    assert wait_until(lambda: count(database) >= reports, deadline, every_s=0.1), "reports are missing"


def load(port: int, devices: int, rounds: int, first: int, rate: int) -> subprocess.Popen[bytes]:
    """Start the load in a process of its own."""
    numbers = [str(n) for n in (port, devices, rounds, first, rate)]
    return subprocess.Popen([sys.executable, str(HERE / "ingest_load.py"), *numbers], stdout=subprocess.PIPE)


def measure(name: str, command: list[str], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one consumer from the first report of each device to the last, and return its figures."""
    broker = start_broker(folder / "broker", BrokerAddress("127.0.0.1", free_port()), kind="mosquitto")
    database = folder / "fleet" / "fleet.db"
    database.parent.mkdir(parents=True)
    consumer = subprocess.Popen([*command, str(database.parent), str(broker.address.port)])
    devices = arguments.devices
    try:
        ready = (folder / "fleet" / "ready").exists
        assert wait_until(ready, Deadline.after(_PATIENCE_S)), "not ready"
        time.sleep(2)  # its subscriptions
        already = count(database)
        process, served = psutil.Process(consumer.pid), psutil.Process(broker.process.pid)
        before, broker_before, start = process.cpu_times(), served.cpu_times(), time.monotonic()
        sender = load(broker.address.port, devices, 1, EARLIER + 1, arguments.rate)
        sent = int((sender.communicate()[0] or b"0").split()[0])
        wait_for(database, already + devices)
        seconds = time.monotonic() - start
        after, broker_after = process.cpu_times(), served.cpu_times()
        rss = process.memory_info().rss
    finally:
        consumer.send_signal(signal.SIGTERM)
        consumer.wait(60)
        broker.stop()
    stored, different = rows(database)
    used = after.user + after.system - before.user - before.system
    broker_used = broker_after.user + broker_after.system - broker_before.user - broker_before.system
    return {
        "consumer": name,
        "sent": sent,
        "per_second": round(sent / seconds),
        "cpu_us_per_report": round(used / sent * 1e6, 1),
        "of_a_core_percent": round(100 * used / seconds, 1),
        "at_most_per_second": round(sent / used),
        "broker_us_per_report": round(broker_used / sent * 1e6, 1),
        "lost": already + devices - different,
        "doubled": stored - different,
        "rss_mb": round(rss / 1e6),
        "bytes_per_report": round(sum(f.stat().st_size for f in database.parent.glob("fleet.db*")) / stored),
    }


def consume(state: Path, port: int, arguments: argparse.Namespace) -> None:
    """Be our server until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    gc.set_threshold(GARBAGE_AFTER)  # as `serve` does
    database = Database(state).open()
    Registry(database).open().welcome(f"d{n:06}" for n in range(arguments.devices))
    store = ReportStore(database).open()
    _report(store, arguments.devices, [1])
    link = PahoLink(BrokerAddress("127.0.0.1", port), CLIENT_ID, gather_s=GATHER_S)
    evaluator = Evaluator(state, Topics()).start() if arguments.evaluate else None
    server = Server(database, link, Topics(), evaluator=evaluator)
    link.start()
    server.wait_for_broker(Deadline.after(10), stop)
    while not server._settled or server._acks:  # what stands on the broker of each device
        server.turn()
    _report(server._store, arguments.devices, range(2, EARLIER + 1))
    gc.freeze()  # as `serve` does
    (state / "ready").touch()
    wait_until(lambda: stop.is_set() or bool(link._events.qsize()), Deadline.after(_PATIENCE_S))
    profiler = cProfile.Profile()
    while not stop.is_set():
        if arguments.profile:
            profiler.runcall(server.turn)
        else:
            server.turn()
    if arguments.profile:
        profiler.dump_stats(arguments.profile)
    link.close()


def _report(store: ReportStore, devices: int, sequences: Iterable[int]) -> None:
    """Take reports of each device, as in a large fleet."""
    made = [decode(Telemetry, body) for body in bodies()]
    for sequence in sequences:
        for first in range(0, devices, 1000):
            words = (
                Arrival(f"d{n:06}", "telemetry", Head("b1", sequence, 1, time.time()), made[n % TEMPLATES])
                for n in range(first, min(first + 1000, devices))
            )
            store.take(words, later=True)


def main() -> None:
    """Measure ours and the peers, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=1_667, help="reports a second; 0 is as fast as it goes")
    parser.add_argument("--only", help="one consumer")
    parser.add_argument("--profile", type=Path, help="write a profile of ours there")
    parser.add_argument("--evaluate", action="store_true", help="with the thread that judges the fleet")
    parser.add_argument("--consume", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.consume:
        consume(Path(arguments.consume[0]), int(arguments.consume[1]), arguments)
        return
    own = [sys.executable, __file__, "--devices", str(arguments.devices)]
    own += ["--profile", str(arguments.profile)] if arguments.profile else []
    own += ["--evaluate"] if arguments.evaluate else []
    peers = [sys.executable, str(HERE / "ingest_peers.py")]
    ways = {
        "ours": [*own, "--consume"],
        "paho, json, one row": [*peers, "paho"],
        "gmqtt, msgspec, one row": [*peers, "gmqtt"],
    }
    results = []
    for name, command in ways.items():
        if arguments.only and arguments.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(name, command, Path(folder), arguments))
        print(json.dumps(results[-1]), file=sys.stderr)
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()[0], "results": results}, indent=2))


if __name__ == "__main__":
    main()
