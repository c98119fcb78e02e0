"""What callers feel while models are swapped under them: threads, processes, and stop-load-start.

    pip install 'edgeflock[benchmarks]'
    python benchmarks/swap.py [--nets cnn,mobilenet] [--ways process,thread,bare] [--work FOLDER]

A steady stream at 80 % of what one caller reaches; each request has a moment at which it is due, and
its latency counts from there, so that a stall is charged to all requests that it makes late. Three
blocks take turns: quiet, ten swaps, quiet. The swaps' p99 is compared with that of the quiet blocks
beside them, and one quiet block with the other: that is the noise. A stall is the latency of the
worst request beyond the usual one. Ours loads in another thread and closes there what it replaced;
`bare` is what most projects do: the serving loop closes the old interpreter and loads the new one.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.nets import SHAPES, bundles
from edge import Runtime
from edge.adapters.loaders import choose_loader
from edge.adapters.tflite import backend_version
from edge.backend import Interpreter, Loader
from edge.loading import load_bundle

_WAYS = ("process", "thread", "bare")
_SHARE_OF_CAPACITY = 0.8
_SWAPS_PER_BLOCK = 10
_PAUSE_S = 0.1
_QUIET_S = 2.0
_CAPACITY_S = 1.0
_SWITCH_INTERVAL_S = 0.0005  # as the agent has it
_REALTIME_PRIORITY = 5
_COLUMNS = (
    "net", "way", "swaps", "failed", "p50 ms", "p99 quiet", "p99 swaps", "ratio", "noise",
    "worst quiet", "worst swaps", "load ms", "allocate ms", "rss 5", "rss 100",
)  # fmt: skip


@dataclass(frozen=True)
class Block:
    """What the requests of one block met; latencies count from the moment at which each was due.

    Figures and no list: what is kept would show in the memory that is measured.
    """

    requests: int
    failed: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


class Bare:
    """A loop around an interpreter, as most projects have it."""

    def __init__(self, backend: str) -> None:
        package = backend_version(backend).split()[0].replace("-", "_")
        self._class = importlib.import_module(f"{package}.interpreter").Interpreter
        self._wanted: Path | None = None
        self.allocate_ms = 0.0

    def start(self, path: Path) -> None:
        self._interpreter = self._class(str(path), num_threads=1)
        start = time.perf_counter()
        self._interpreter.allocate_tensors()
        self.allocate_ms = (time.perf_counter() - start) * 1000
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._wanted = None

    def swap(self, path: Path) -> None:
        """Ask the loop for another model, and wait until it has it."""
        self._wanted = path
        while self._wanted is not None:
            time.sleep(0.001)

    def predict(self, image: Any) -> Any:
        if self._wanted is not None:
            del self._interpreter
            self.start(self._wanted)
        self._interpreter.set_tensor(self._input, image)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)


class Ours:
    """The public interface; loading is the swapping thread's, or another process's."""

    def __init__(self, backend: str, isolation: str, *, realtime: bool) -> None:
        load = choose_loader(backend, isolation=isolation)
        self._loader = _serving_in_real_time(load) if realtime and isolation == "process" else load
        self._runtime = Runtime()
        self.allocate_ms = 0.0
        self.predict = self._runtime.predict

    def start(self, path: Path) -> None:
        self.swap(path)

    def swap(self, path: Path) -> None:
        model = load_bundle(path, self._loader)
        self.allocate_ms = model.facts.allocate_ms
        self._runtime.swap(model)


class Swapper(threading.Thread):
    """Swaps ten times, with pauses, beside the stream."""

    def __init__(self, server: Bare | Ours, models: Iterator[Path], *, realtime: bool) -> None:
        super().__init__(name="swapper")
        self._realtime = realtime
        self._server = server
        self._models = models
        self.load_ms: list[float] = []
        self.allocate_ms: list[float] = []

    def run(self) -> None:
        if self._realtime:  # what holds the lock of the interpreter must not wait for strangers
            be_realtime(0)
        for _ in range(_SWAPS_PER_BLOCK):
            start = time.perf_counter()
            self._server.swap(next(self._models))
            self.load_ms.append((time.perf_counter() - start) * 1000)
            self.allocate_ms.append(self._server.allocate_ms)
            time.sleep(_PAUSE_S)


def be_realtime(pid: int) -> None:
    """Go before all that others run on this machine; children start as usual."""
    os.sched_setscheduler(pid, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(_REALTIME_PRIORITY))


def _serving_in_real_time(load: Loader) -> Loader:
    def load_and_raise(path: Path) -> Interpreter:
        interpreter = load(path)  # loaded like any process, since that is what a swap must not be hurt by
        be_realtime(interpreter.pid)  # type: ignore[attr-defined]  # it is a ProcessInterpreter
        return interpreter

    return load_and_raise


def stream(predict: Callable[[Any], Any], image: Any, every_s: float, go_on: Callable[[], bool]) -> Block:
    """Send a request every `every_s` while `go_on` says so. None is left out: a late one is late."""
    latencies_s, failed = array("d"), 0
    due = time.perf_counter() + every_s
    while go_on():
        wait_s = due - time.perf_counter()
        if wait_s > 0:
            time.sleep(wait_s)
        try:
            predict(image)
        except Exception:  # the measurement's outermost loop: whatever it was, a request failed
            failed += 1
        latencies_s.append(time.perf_counter() - due)
        due += every_s
    p50, p99, worst = np.quantile(latencies_s, (0.5, 0.99, 1.0)) * 1000
    return Block(len(latencies_s), failed, float(p50), float(p99), float(worst))


def until(end: float) -> Callable[[], bool]:
    return lambda: time.perf_counter() < end


def mean_s(predict: Callable[[Any], Any], image: Any) -> float:
    """Return the mean seconds of one call after the other: what one caller reaches, noise included."""
    start, calls = time.perf_counter(), 0
    while (took_s := time.perf_counter() - start) < _CAPACITY_S:
        predict(image)
        calls += 1
    return took_s / calls


def rss_mb() -> float:
    """Return what this process and its children hold, in MB; what they share counts for each."""
    tasks = Path("/proc/self/task").iterdir()  # a process belongs to the thread that started it
    children = [child for task in tasks for child in (task / "children").read_text().split()]
    total = 0
    for pid in ("self", *children):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return round(total / 1024, 1)


def measure(folder: Path, net: str, way: str, swaps: int, *, realtime: bool) -> dict[str, Any]:
    """Measure one way with one network, in this process."""
    if realtime:
        be_realtime(0)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    pair = bundles(folder, net)
    models = iter([pair[n % 2] for n in range(1, swaps + 16)])
    server = Bare("auto") if way == "bare" else Ours("auto", way, realtime=realtime)
    server.start(pair[0])
    image = np.random.default_rng(0).random((1, *SHAPES[net]), np.float32)
    gc.collect()
    gc.freeze()
    for _ in range(5):
        server.swap(next(models)) if way != "bare" else server.start(next(models))
    rss_after_5 = rss_mb()
    before, during, after = list[Block](), list[Block](), list[Block]()
    load_ms, allocate_ms = list[float](), list[float]()
    for _ in range(max(1, (swaps - 5) // _SWAPS_PER_BLOCK)):
        every_s = mean_s(server.predict, image) / _SHARE_OF_CAPACITY
        before.append(stream(server.predict, image, every_s, until(time.perf_counter() + _QUIET_S)))
        swapper = Swapper(server, models, realtime=realtime)
        swapper.start()
        during.append(stream(server.predict, image, every_s, swapper.is_alive))
        swapper.join()
        after.append(stream(server.predict, image, every_s, until(time.perf_counter() + _QUIET_S)))
        load_ms += swapper.load_ms
        allocate_ms += swapper.allocate_ms
    return {
        "net": net,
        "way": way,
        "rate_hz": round(1 / every_s, 1),
        "swaps": len(load_ms) + 5,
        **latencies(before, during, after),
        "load_ms": round(statistics.median(load_ms), 1),
        "allocate_ms": [round(statistics.median(allocate_ms), 2), round(max(allocate_ms), 2)],
        "rss_mb": [rss_after_5, rss_mb()],
    }


def latencies(before: list[Block], during: list[Block], after: list[Block]) -> dict[str, Any]:
    """Compare the blocks with swaps to the quiet ones beside them."""
    quiet = [*before, *after]
    usual_ms = statistics.median(block.p50_ms for block in quiet)
    triples = list(zip(before, during, after, strict=True))
    ratios = [d.p99_ms / ((b.p99_ms + a.p99_ms) / 2) for b, d, a in triples]
    noise = [max(b.p99_ms, a.p99_ms) / min(b.p99_ms, a.p99_ms) for b, _, a in triples]
    return {
        "requests": sum(block.requests for block in (*quiet, *during)),
        "failed": sum(block.failed for block in (*quiet, *during)),
        "p50_ms": round(usual_ms, 3),
        "p99_quiet_ms": _middle([block.p99_ms for block in quiet]),
        "p99_swaps_ms": _middle([block.p99_ms for block in during]),
        "ratio": _middle(ratios),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "noise": _middle(noise),
        "worst_quiet_ms": [round(block.worst_ms - usual_ms, 2) for block in quiet],
        "worst_swaps_ms": [round(block.worst_ms - usual_ms, 2) for block in during],
    }


def _middle(values: list[float]) -> float:
    return round(statistics.median(values), 3)


def show(found: dict[str, Any]) -> None:
    cells = (
        found["net"], found["way"], found["swaps"], found["failed"], found["p50_ms"],
        found["p99_quiet_ms"], found["p99_swaps_ms"], found["ratio"], found["noise"],
        _middle(found["worst_quiet_ms"]), _middle(found["worst_swaps_ms"]),
        found["load_ms"], found["allocate_ms"][0], *found["rss_mb"],
    )  # fmt: skip
    print(
        "  ".join(str(cell).rjust(len(name)) for cell, name in zip(cells, _COLUMNS, strict=True)), flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nets", default="cnn,mobilenet", help="which of cnn, mobilenet (default: both)")
    parser.add_argument(
        "--ways", default=",".join(_WAYS), help="which of process, thread, bare (default: all)"
    )
    parser.add_argument("--swaps", type=int, default=105, help="swaps in each case (default: 105)")
    parser.add_argument("--work", type=Path, help="keep the networks in this folder")
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument(
        "--realtime", action="store_true", help="in the real-time class, on a machine others use"
    )
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = parsed.work or Path(name)
        if parsed.one:
            print(
                json.dumps(measure(folder, parsed.nets, parsed.ways, parsed.swaps, realtime=parsed.realtime))
            )
            return
        print("  ".join(_COLUMNS))
        results = []
        for net in parsed.nets.split(","):
            bundles(folder, net)
            for way in parsed.ways.split(","):
                options = ["--nets", net, "--ways", way, "--swaps", str(parsed.swaps), "--work", folder]
                flags = ["--one", *(["--realtime"] if parsed.realtime else [])]
                command = [sys.executable, __file__, *flags, *options]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                results.append(json.loads(done.stdout))
                show(results[-1])
    if parsed.json:
        found = {"backend": backend_version(), "realtime": parsed.realtime, "results": results}
        parsed.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
