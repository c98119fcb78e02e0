"""What the check of signed metadata costs a device: time of a check, memory added. Prints JSON.

    python benchmarks/trust.py

"Nothing new" is the check that runs when a timestamp arrives: python-tuf loads what it kept, verifies the
chain, and the versions are compared with the floor. Memory is measured in children, after a first check,
as what comes on top of the agent's other imports: with the package cryptography, and beside it where it
is there anyway. The peer is a bare Ed25519 signature over a manifest, which has neither roles, expiry of
its own, nor rotation.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from edge.adapters.tuf_trust import TufTrust
from tests.support.examples import MANIFEST, RELEASE_1
from tests.support.signed_fleet import SignedFleet
from wire.messages import Plan

ROUNDS: Final = 200

_CHILD: Final = """
import json, resource, sys, time
import paho.mqtt.client, ssl, numpy, psutil
if sys.argv[3:]:
    import cryptography.hazmat.primitives.asymmetric.ed25519
import edge.updater, edge.adapters.outbox, edge.adapters.model_store, wire.adapters.paho_link
def rss(): return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize()
before, start = rss(), time.process_time()
from edge.adapters.tuf_trust import TufTrust
imported_s = time.process_time() - start
from pathlib import Path
files = {p.name: p.read_bytes() for p in Path(sys.argv[1], 'files').iterdir()}
trust = TufTrust(files['1.root.json'], Path(sys.argv[2]), time.time).open()
trust.refresh(files.get)
trust.named(['digits/1'], files.get)
trust.commit()
print(json.dumps([(rss() - before) / 1e6, imported_s * 1e3]))
"""


def main() -> None:
    """Measure, and print."""
    fleet = SignedFleet()
    releases = [
        replace(RELEASE_1, name=f"digits/{n}", manifest=replace(MANIFEST, version=str(n))) for n in (1, 2, 3)
    ]
    fleet.release(*releases)
    plan = fleet.seal(Plan(1, "all", "digits", "digits/1", RELEASE_1.bundle_sha256))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = _once(lambda n: _opened(fleet, folder / f"first-{n}").refresh(fleet.files.get))
        trust = _opened(fleet, folder / "again")
        trust.refresh(fleet.files.get)
        results: dict[str, Any] = {
            "first_check_ms": first,
            "nothing_new_ms": _once(lambda _: _check(trust, fleet)),
            "plan_ms": _once(lambda _: trust.plan(plan, group="all", model="digits")),
            "release_lookup_ms": _once(lambda _: trust.named(["digits/1"], fleet.files.get)),
            "bare_ed25519_ms": _once(_bare(fleet)),
            "metadata_bytes": {file: len(data) for file, data in sorted(fleet.files.items())},
            **_memory(fleet, folder),
        }
    print(json.dumps(results, indent=2))


def _opened(fleet: SignedFleet, folder: Path) -> TufTrust:
    return TufTrust(fleet.files["1.root.json"], folder, time.time).open()


def _check(trust: TufTrust, fleet: SignedFleet) -> None:
    trust.refresh(fleet.files.get)
    trust.commit()


def _bare(fleet: SignedFleet) -> Callable[[int], Any]:
    manifest = fleet.files["1.targets.json"]
    signature, key = fleet.plan.sign(manifest), fleet.plan.public_key
    return lambda _: key.verify_signature(signature, manifest)


def _once(step: Callable[[int], Any]) -> dict[str, float]:
    """Return the median and the 95th percentile of one step, wall time, and its median processor time."""
    walls, cpus = [], []
    for n in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.thread_time()
        step(n)
        walls.append((time.perf_counter() - wall) * 1e3)
        cpus.append((time.thread_time() - cpu) * 1e3)
    walls.sort()
    return {
        "median": round(statistics.median(walls), 3),
        "p95": round(walls[int(0.95 * len(walls))], 3),
        "cpu_median": round(statistics.median(cpus), 3),
    }


def _memory(fleet: SignedFleet, folder: Path) -> dict[str, float]:
    (folder / "files").mkdir()
    for name, data in fleet.files.items():
        (folder / "files" / name).write_bytes(data)
    found: dict[str, float] = {}
    for name, more in (("", []), ("_beside_cryptography", ["cryptography"])):
        runs = []
        for n in range(5):
            command = [sys.executable, "-c", _CHILD, str(folder), str(folder / f"child-{n}{name}"), *more]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs.append(json.loads(done.stdout))
        rss_mb, import_ms = (round(statistics.median(values), 1) for values in zip(*runs, strict=True))
        found |= {f"added_rss_mb{name}": rss_mb, f"import_cpu_ms{name}": import_ms}
    return found


if __name__ == "__main__":
    main()
