"""Requests per second of `edgeflock serve`, an empty application on the same server, and other model servers.

    python -m benchmarks.serving --models FOLDER --cache FOLDER [--rounds 5] [--real-time]

Needs wrk. Each server has an environment of its own under the cache, made on first use, and is started
for its turn only; turns go round, so that all meet the same noise. The model is the dense one of
nets.py: it runs in about 1 us, so that the servers are what is measured. All get the same
body; peers run the model with the usual three lines. A peer that cannot be installed or started is
reported as absent. `--real-time` runs servers and wrk above everything else on the machine (needs root).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.nets import bundles
from edge import open_bundle

ROOT: Final = Path(__file__).parents[1]
PEERS: Final = Path(__file__).parent / "serving_peers"
CONNECTIONS: Final = (1, 8)

#: Put in front of the commands of servers and wrk; filled by --real-time.
REAL_TIME: Final[list[str]] = []

_RUNTIME: Final = ("numpy", "ai-edge-litert==2.3.0")
_SERVER: Final = ("uvicorn", "httptools", "uvloop", "orjson")
_START_S: Final = 60.0


@dataclass(frozen=True)
class Contestant:
    """A server: what it needs, how it starts, and where it answers."""

    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    path: str


@dataclass(frozen=True)
class Course:
    """What all contestants have to run."""

    port: int
    model: Path
    body: bytes
    script: Path
    seconds: int


def contestants(bundle: Path, port: int, settings: Path) -> list[Contestant]:
    """Return all servers; `{bin}` in a command is its environment's folder of programs."""
    python = "{bin}/python"
    ours = (python, "-m", "edgeflock", "serve", str(bundle), "--port", str(port))
    infer = "/v2/models/dense/infer"
    return [
        Contestant("ours", (*_RUNTIME, *_SERVER), ours, infer),
        Contestant("empty", (*_RUNTIME, *_SERVER), (python, str(PEERS / "empty_peer.py")), "/"),
        Contestant("mlserver", (*_RUNTIME, "mlserver"), ("{bin}/mlserver", "start", str(settings)), infer),
        Contestant(
            "litserve", (*_RUNTIME, "litserve"), (python, str(PEERS / "litserve_peer.py")), "/predict"
        ),
        Contestant(
            "bentoml", (*_RUNTIME, "bentoml"),
            ("{bin}/bentoml", "serve", "bentoml_peer:Served", "--working-dir", str(PEERS),
             "--port", str(port)),
            "/predict",
        ),
    ]  # fmt: skip


def environment_of(contestant: Contestant, cache: Path) -> Path:
    """Return the folder of programs of a contestant's environment, made if it is not there; may fail."""
    digest = hashlib.sha256(" ".join(contestant.packages).encode()).hexdigest()[:8]
    folder = cache / f"venv-{digest}"
    if not (folder / "done").exists():
        print(f"installing {' '.join(contestant.packages)}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "pip"), "install", "-q", *contestant.packages], check=True)
        (folder / "done").touch()
    return folder / "bin"


@contextlib.contextmanager
def running(contestant: Contestant, programs: Path, course: Course) -> Iterator[tuple[int, float]]:
    """Start a server; yield its process id and the seconds to its first answer."""
    command = REAL_TIME + [part.format(bin=programs) for part in contestant.command]
    environment = os.environ | {
        "BENCH_MODEL": str(course.model), "BENCH_PORT": str(course.port), "PYTHONPATH": f"{ROOT}:{PEERS}",
        "BENTOML_DO_NOT_TRACK": "true", "PATH": f"{programs}:{os.environ['PATH']}",
    }  # fmt: skip
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for_answer(process, f"http://127.0.0.1:{course.port}{contestant.path}", course.body)
        yield process.pid, time.perf_counter() - start
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_answer(process: subprocess.Popen[bytes], url: str, body: bytes) -> None:
    """Ask until there is an answer; raise OSError when there is none."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    end = time.perf_counter() + _START_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                response.read()
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if process.poll() is not None or time.perf_counter() > end:
                raise OSError(f"{url}: {error}") from error
        time.sleep(0.01)


def requests_per_s(url: str, course: Course, connections: int) -> float:
    """Return what wrk measures; raise OSError if an answer was an error."""
    command = [
        *REAL_TIME,
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{course.seconds}s",
        "-s",
        str(course.script),
        url,
    ]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise OSError(text)
    found = re.search(r"Requests/sec:\s+([0-9.]+)", text)
    assert found is not None, text
    return float(found[1])


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and its children."""
    pids, total = [pid], 0
    while pids:
        one = Path(f"/proc/{pids.pop()}")
        with contextlib.suppress(OSError):
            total += int((one / "statm").read_text(encoding="ascii").split()[1])
            for task in (one / "task").iterdir():
                pids += map(int, (task / "children").read_text(encoding="ascii").split())
    return total * os.sysconf("SC_PAGE_SIZE") / 1e6


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def write_requests(bundle: Path, cache: Path) -> tuple[Path, bytes]:
    """Write the request for wrk; return its script and the body."""
    with open_bundle(bundle) as runtime:
        assert runtime.model is not None
        name = runtime.model.inputs[0].key
    data = [round(0.01 * n, 2) for n in range(16)]
    body = json.dumps({"inputs": [{"name": name, "shape": [1, 16], "datatype": "FP32", "data": data}]})
    script = cache / "request.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = '{body}'\nwrk.headers['Content-Type'] = 'application/json'\n",
        encoding="utf-8",
    )
    return script, body.encode()


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    cache: Path = arguments.cache
    cache.mkdir(parents=True, exist_ok=True)
    bundle = bundles(arguments.models, "dense")[0]
    script, body = write_requests(bundle, cache)
    port = free_port()
    course = Course(port, bundle, body, script, arguments.seconds)
    settings = cache / "mlserver"
    settings.mkdir(exist_ok=True)
    write_mlserver_settings(settings, port)
    wanted = {"ours", "empty", *arguments.peers.split(",")}
    rows: dict[str, dict[str, Any]] = {}
    ready: list[tuple[Contestant, Path]] = []
    for contestant in contestants(bundle, port, settings):
        if contestant.name not in wanted:
            continue
        try:
            ready.append((contestant, environment_of(contestant, cache)))
            rows[contestant.name] = {"rps": {n: [] for n in CONNECTIONS}, "start_s": [], "rss_mb": []}
        except (OSError, subprocess.CalledProcessError) as error:
            rows[contestant.name] = {"absent": str(error)[:300]}
    for turn in range(arguments.rounds):
        for contestant, programs in ready if turn % 2 == 0 else reversed(ready):
            row = rows[contestant.name]
            if "absent" not in row:
                take_turn(contestant, programs, course, row)
    return {"machine": platform.machine(), "cores": os.cpu_count(), "servers": summarize(rows)}


def take_turn(contestant: Contestant, programs: Path, course: Course, row: dict[str, Any]) -> None:
    """Start a server, measure it and end it."""
    try:
        with running(contestant, programs, course) as (pid, start_s):
            row["start_s"].append(start_s)
            url = f"http://127.0.0.1:{course.port}{contestant.path}"
            for connections in CONNECTIONS:
                row["rps"][connections].append(requests_per_s(url, course, connections))
            row["rss_mb"].append(resident_mb(pid))
    except (OSError, subprocess.CalledProcessError) as error:
        row["absent"] = str(error)[:300]
    print(
        contestant.name,
        row.get("absent") or {n: round(v[-1]) for n, v in row["rps"].items()},
        file=sys.stderr,
    )


def write_mlserver_settings(folder: Path, port: int) -> None:
    server = {
        "http_port": port, "grpc_port": free_port(), "metrics_port": free_port(), "parallel_workers": 0,
        "debug": False, "host": "127.0.0.1",
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(server), encoding="utf-8")
    model = {"name": "dense", "implementation": "mlserver_peer.Served"}
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")


def summarize(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return medians, and how many times a server's requests per second ours answers, turn by turn."""
    ours = rows["ours"]
    summary: dict[str, Any] = {}
    for name, row in rows.items():
        if "absent" in row:
            summary[name] = row
            continue
        ratios = {
            n: statistics.median(a / b for a, b in zip(ours["rps"][n], row["rps"][n], strict=True))
            for n in CONNECTIONS
        }
        summary[name] = {
            "requests_per_s": {n: round(statistics.median(row["rps"][n])) for n in CONNECTIONS},
            "ours_times_this": {n: round(ratio, 2) for n, ratio in ratios.items()},
            "start_s": round(statistics.median(row["start_s"]), 2),
            "rss_mb": round(statistics.median(row["rss_mb"]), 1),
        }
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder for the bundles of nets.py")
    parser.add_argument("--cache", type=Path, required=True, help="where environments are kept")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--peers", default="mlserver,litserve,bentoml")
    parser.add_argument("--real-time", action="store_true", help="run servers and wrk with chrt -r 5")
    arguments = parser.parse_args()
    if arguments.real_time:
        REAL_TIME.extend(("chrt", "-r", "5"))
    if shutil.which("wrk") is None:
        parser.error("needs wrk: apt-get install wrk")
    print(json.dumps(measure(arguments), indent=2))


if __name__ == "__main__":
    main()
