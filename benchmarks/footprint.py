"""What it costs to be there: import, memory and idle processor time, beside bare interpreters and TensorFlow.

    pip install 'edgeflock[benchmarks]'
    python benchmarks/footprint.py [--only ROW] [--idle SECONDS] [--work FOLDER] [--json FILE]

Each row is a process of its own that imports (numpy included), loads MobileNetV2, answers 50 images
and then waits. Import is the median of five processes. Memory is the resident set, of children too:
the model's process where there is one. The last rows are the whole agent, connected to a broker, with
telemetry, its store and its outbox; its idle time is that of a device whose camera sees nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

_CALLS = 50
_IMPORTS = 5
_SHAPE = (1, 224, 224, 3)
_ROWS = {
    "ai-edge-litert alone": "bare:ai_edge_litert",
    "tflite-runtime alone": "bare:tflite_runtime",
    "TensorFlow": "bare:tensorflow",
    "ours on ai-edge-litert": "ours:ai-edge-litert:thread",
    "ours on tflite-runtime": "ours:tflite-runtime:thread",
    "ours, process": "ours:ai-edge-litert:process",
    "agent": "agent:thread",
    "agent, process": "agent:process",
}
_COLUMNS = ("row", "import ms", "rss imported", "rss loaded", "rss served", "first answer ms", "idle cpu %")
_AGENT = """\
[device]
name = "pi-1"
state = "{folder}/state"
[broker]
port = {port}
[model]
name = "mobilenet"
bundle = "{bundle}"
isolation = "{isolation}"
"""


def importing(what: str) -> Callable[[], Any]:
    """Return what imports a row's library and gives the function that makes its `predict`."""
    kind, name, *more = what.split(":")
    if kind == "ours":

        def ours() -> Any:
            from edge import open_bundle

            return lambda path: open_bundle(path, backend=name, isolation=more[0]).predict

        return ours

    def bare() -> Any:
        if name == "tensorflow":
            import tensorflow

            interpreter_class = tensorflow.lite.Interpreter
        else:
            interpreter_class = __import__(f"{name}.interpreter").interpreter.Interpreter
        return lambda path: _bare_predict(interpreter_class(str(path), num_threads=1))

    return bare


def _bare_predict(interpreter: Any) -> Callable[[Any], Any]:
    interpreter.allocate_tensors()
    (given,), (got,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(image: Any) -> Any:
        interpreter.set_tensor(given["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(got["index"])

    return predict


def be(what: str, bundle: Path, idle_s: float) -> dict[str, Any]:
    """Be the process of a row, and measure it from inside."""
    start = time.perf_counter()
    make = importing(what)()
    import_ms = (time.perf_counter() - start) * 1000
    if not idle_s:
        return {"import_ms": import_ms}
    import numpy as np

    imported_mb = rss_mb(os.getpid())
    predict = make(bundle)
    loaded_mb = rss_mb(os.getpid())
    image = np.random.default_rng(0).random(_SHAPE, np.float32)
    predict(image)
    first_ms = (time.perf_counter() - start) * 1000
    for _ in range(_CALLS):
        predict(image)
    return {
        "import_ms": import_ms,
        "rss_imported_mb": imported_mb,
        "rss_loaded_mb": loaded_mb,
        "rss_served_mb": rss_mb(os.getpid()),
        "first_answer_ms": first_ms,
        "idle_cpu_percent": idle_percent(os.getpid(), idle_s),
    }


def be_agent(isolation: str, bundle: Path, idle_s: float, folder: Path) -> dict[str, Any]:
    """Start the agent beside a broker, wait until it is connected, and measure it from outside."""
    from fleet.adapters.broker import free_port, start_broker
    from wire.adapters.paho_link import BrokerAddress
    from wire.adapters.processes import python_environment, python_module
    from wire.deadline import Deadline, wait_until

    address = BrokerAddress("127.0.0.1", free_port())
    broker = start_broker(folder / "broker", address)
    settings, log = folder / "device.toml", folder / "agent.log"
    settings.write_text(
        _AGENT.format(folder=folder, port=address.port, bundle=bundle.resolve(), isolation=isolation)
    )
    command = python_module("edgeflock", "agent", str(settings))
    start = time.perf_counter()
    with log.open("wb") as out:
        agent = subprocess.Popen(command, env=python_environment(), stdout=out, stderr=out)
    try:
        if not wait_until(lambda: b"connected" in log.read_bytes(), Deadline.after(60)):
            raise SystemExit(f"the agent did not start:\n{log.read_text()}")
        ready_ms = (time.perf_counter() - start) * 1000
        time.sleep(3.0)  # connected, and its first report sent
        idle = idle_percent(agent.pid, idle_s)
        return {"rss_served_mb": rss_mb(agent.pid), "first_answer_ms": ready_ms, "idle_cpu_percent": idle}
    finally:
        agent.terminate()
        agent.wait()
        broker.stop()


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process and its children."""
    total = 0
    for member in (pid, *_children(pid)):
        lines = Path(f"/proc/{member}/status").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return total / 1024


def idle_percent(pid: int, seconds: float) -> float:
    """Return the share of one core that a process and its children use while nothing is asked of them."""
    members = (pid, *_children(pid))
    before = sum(map(_cpu_s, members))
    time.sleep(seconds)
    return 100 * (sum(map(_cpu_s, members)) - before) / seconds


def _children(pid: int) -> list[int]:
    return [
        int(c)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for c in (task / "children").read_text().split()
    ]


def _cpu_s(pid: int) -> float:
    """Return the seconds on a processor; the scheduler counts nanoseconds, `stat` only ticks."""
    nanoseconds = [
        int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()
    ]
    return sum(nanoseconds) / 1e9


def measure(row: str, bundle: Path, idle_s: float) -> dict[str, Any]:
    what = _ROWS[row]
    if what.startswith("agent:"):
        with tempfile.TemporaryDirectory() as name:
            found = be_agent(what.partition(":")[2], bundle, idle_s, Path(name))
    else:
        imports = [_child(what, bundle, 0)["import_ms"] for _ in range(_IMPORTS)]
        found = _child(what, bundle, idle_s) | {"import_ms": statistics.median(imports)}
    return {"row": row} | {key: round(value, 2) for key, value in found.items()}


def _child(what: str, bundle: Path, idle_s: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", what, "--idle", str(idle_s), "--work", str(bundle)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(found: dict[str, Any]) -> None:
    keys = (
        "import_ms", "rss_imported_mb", "rss_loaded_mb", "rss_served_mb", "first_answer_ms",
        "idle_cpu_percent",
    )  # fmt: skip
    cells = [str(found.get(key, "")).rjust(len(name)) for key, name in zip(keys, _COLUMNS[1:], strict=True)]
    print("  ".join([found["row"].ljust(22), *cells]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose name begins so (default: all)")
    parser.add_argument("--idle", type=float, default=20.0, help="seconds of idleness (default: 20)")
    parser.add_argument("--work", type=Path, help="keep the network in this folder")
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.one:
        print(json.dumps(be(parsed.one, parsed.work, parsed.idle)))
        return
    from benchmarks.nets import bundles

    print("  ".join([_COLUMNS[0].ljust(22), *_COLUMNS[1:]]))
    with tempfile.TemporaryDirectory() as name:
        bundle, _ = bundles(parsed.work or Path(name), "mobilenet")
        results = []
        for row in filter(lambda row: row.startswith(parsed.only), _ROWS):
            results.append(measure(row, bundle, parsed.idle))
            show(results[-1])
    if parsed.json:
        parsed.json.write_text(json.dumps({"results": results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
