"""A process that serves a model while bad ones are pushed at it, and the tally of what became of them.

`python under_fire.py serve BACKEND BUNDLE` serves; each line of its input is the path of a bundle to
try, and to serve if it passes; each line of its output says what came of it. A process of its own
beside it, started before any interpreter is loaded, forks a worker for each trial: to start Python
each time would take ten times as long. Run as a file, so nothing of the tests' packages is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge.adapters.child_trial import Request, try_here
from edge.adapters.tflite import backend_version, make_loader
from edge.golden import Verdict, read_golden
from edge.loading import load_bundle, read_bundle
from edge.preflight import check, peek, runtime_level
from edge.runtime import Runtime
from wire.codec import decode, encode
from wire.errors import BundleError, EdgeflockError, ModelError

if TYPE_CHECKING:
    from tests.support.mutants import Mutant

ROOT: Final = Path(__file__).parents[2]
_MEMORY_BYTES: Final = 256 * 1024**2
_PROCESSOR_S: Final = 3
_WALL_S: Final = 20.0
_TOLD_OF_EACH: Final = 3


@dataclass(frozen=True)
class Shot:
    """What became of one bundle. `well`: the model that serves then gives its golden answer."""

    stage: str
    reason: str
    well: bool
    took_s: float


class Child:
    """A child that answers each line with a line."""

    def __init__(self, *arguments: str) -> None:
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, line: bytes) -> bytes:
        """Return its answer; raise AssertionError when it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"it ended with {self._process.wait()} at {line!r}"
        return answer

    def close(self) -> int:
        self._process.communicate()
        return self._process.returncode


@dataclass
class Tally:
    """What became of all; `unexplained` had no reason of one line, `unwell` spoiled what serves."""

    stages: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, Counter[str]] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    unexplained: int = 0
    unwell: int = 0
    slowest_s: float = 0.0
    seconds: float = 0.0

    def add(self, kind: str, shot: Shot) -> None:
        self.stages[shot.stage] += 1
        self.kinds.setdefault(kind, Counter())[shot.stage] += 1
        self.unexplained += not shot.reason or not shot.reason.isprintable()
        self.unwell += not shot.well
        self.slowest_s = max(self.slowest_s, shot.took_s)
        cause = _cause(shot.reason) if shot.stage == "trial" else shot.stage
        self.causes[cause] += 1
        examples = self.examples.setdefault(cause, [])
        if len(examples) < _TOLD_OF_EACH:
            examples.append(f"{kind}: {shot.reason}")


def fire(folder: Path, backend: str, serving: Path, mutants: Iterator[Mutant]) -> Tally:
    """Push the mutants at a process that serves `serving`; raise AssertionError if it does not survive."""
    tally, start_s = Tally(), time.monotonic()
    child = Child("serve", backend, str(serving))
    for number, mutant in enumerate(mutants):
        path = folder / f"{number}-{mutant.kind.replace(' ', '-')}.bundle"
        path.write_bytes(mutant.data)
        shot = decode(Shot, child.ask(str(path).encode()))
        tally.add(mutant.kind, shot)
        if shot.stage != "passed":
            path.unlink()
    assert child.close() == 0
    tally.seconds = time.monotonic() - start_s
    return tally


def _cause(reason: str) -> str:
    signs = (
        "ended by", "processor time", "of memory", "longer than", "cannot be loaded", "failed while running",
        "not finite", "golden outputs differ", "which are not the manifest's", "no verdict",
    )  # fmt: skip
    found = next((sign for sign in signs if sign in reason), "other")
    return " ".join(reason.split()[4:6]) if found == "ended by" else found


def _serve(backend: str, bundle: Path) -> int:
    trials, loader, runtime = Child("trials", backend), make_loader(backend), Runtime()
    runtime.swap(load_bundle(bundle, loader))
    serving, level = bundle, runtime_level(backend_version(backend))
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        start_s = time.monotonic()
        verdict = decode(Verdict, trials.ask(str(path).encode()))
        took_s = time.monotonic() - start_s
        if verdict.passed:
            runtime.swap(load_bundle(path, loader))
            if serving != bundle:
                serving.unlink()
            serving = path
        stage = "passed" if verdict.passed else _stage(path, level)
        shot = Shot(stage, verdict.reason, _answers_well(runtime, serving), took_s)
        print(json.dumps(asdict(shot)), flush=True)
    runtime.close()
    return trials.close()


def _stage(path: Path, level: Any) -> str:
    """Return which of the first two doors keeps the bundle out, or `trial`."""
    try:
        bundle = read_bundle(path)
    except BundleError:
        return "digest"
    try:
        check(peek(bundle.tflite), bundle.manifest, level, _MEMORY_BYTES)
    except ModelError:
        return "preflight"
    return "trial"


def _answers_well(runtime: Runtime, serving: Path) -> bool:
    """Return whether the model that serves gives the first of its golden answers."""
    bundle = read_bundle(serving)
    golden = read_golden(bundle.golden, bundle.manifest.golden)
    try:
        answer = next(iter(runtime.predict(golden.inputs[0][0]).outputs.values()))
    except EdgeflockError:
        return False
    worst = np.max(np.abs(np.ravel(answer) - np.ravel(golden.expected[0][0])))
    return bool(worst <= bundle.manifest.golden.tolerance)


def _try(backend: str) -> int:
    request = Request(backend, memory_bytes=_MEMORY_BYTES, processor_s=_PROCESSOR_S, wall_s=_WALL_S)
    for line in sys.stdin:
        sys.stdout.buffer.write(encode(try_here(request, Path(line.rstrip("\n")))) + b"\n")
        sys.stdout.buffer.flush()
    return 0


def main(arguments: list[str]) -> int:
    match arguments:
        case ["serve", backend, bundle]:
            return _serve(backend, Path(bundle))
        case ["trials", backend]:
            return _try(backend)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
