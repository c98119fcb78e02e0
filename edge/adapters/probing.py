"""Tries the interpreters that are installed, each in a child process: a crash of one is a finding.

`python -m edge.adapters.probing BACKEND` is the child; it prints one JSON object.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.backend import Loader
from edge.checkup.diagnosis import LITERT, PACKAGES, RUNTIME, Probe
from edge.checkup.probe_model import KINDS, probe_model
from wire.adapters.processes import python_environment, python_module, tied
from wire.errors import EdgeflockError

_PATIENCE_S: Final = 60.0
#: Where the distribution or the module is called otherwise.
_OTHER_NAMES: Final = {"opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python")}
_MODULES: Final = {"opencv": "cv2", "pillow": "PIL", "paho-mqtt": "paho"}


def probe_installed() -> tuple[Probe, ...]:
    """Try each interpreter that is installed on the probe models, and return what came of it."""
    return tuple(
        _probe(backend, version) for backend in (LITERT, RUNTIME) if (version := installed_version(backend))
    )


def installed_packages() -> dict[str, str]:
    """Return the version of each of PACKAGES, "" for what is missing."""
    return {name: installed_version(name) for name in PACKAGES}


def installed_version(package: str) -> str:
    """Return a package's version; Debian has some without one, which are "installed"."""
    for name in _OTHER_NAMES.get(package, (package,)):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    found = importlib.util.find_spec(_MODULES.get(package, package.replace("-", "_")))
    return "installed" if found else ""


def _probe(backend: str, version: str) -> Probe:
    try:
        done = subprocess.run(
            tied(python_module("edge.adapters.probing", backend)),
            env=python_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Probe(backend, version, f"did not answer within {_PATIENCE_S:.0f} s")
    if done.returncode < 0:
        return Probe(backend, version, f"ended by {signal.Signals(-done.returncode).name}")
    try:
        said = json.loads(done.stdout)
        delegated = frozenset(said["delegated"])
        return Probe(backend, version, said["error"], delegated, float(said["load_ms"]))
    except (ValueError, KeyError, TypeError):
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        return Probe(backend, version, lines[-1][:300])


def run_probes(loader: Loader) -> dict[str, Any]:
    """Run the probe models; return `error`, the kinds that were `delegated`, and the longest `load_ms`."""
    delegated, load_ms = [], 0.0
    given = np.arange(8)
    with tempfile.TemporaryDirectory(prefix="edgeflock-") as folder:
        for kind in KINDS:
            path = Path(folder) / f"{kind}.tflite"
            path.write_bytes(probe_model(kind))
            start = time.perf_counter()
            interpreter = loader(path)
            load_ms = max(load_ms, (time.perf_counter() - start) * 1e3)
            tensor, out = interpreter.inputs[0], interpreter.outputs[0]
            step_in, step_out = tensor.scale or 1.0, out.scale or 1.0
            interpreter.input_view(0)[...] = (given / step_in).astype(tensor.dtype)
            interpreter.invoke()
            answered = interpreter.reader(0)() * step_out
            if not np.allclose(answered, given * 2 + 1):
                return {"error": f"computes {kind} models wrongly", "delegated": [], "load_ms": load_ms}
            if interpreter.facts.delegated:
                delegated.append(kind)
            interpreter.close()
    return {"error": "", "delegated": delegated, "load_ms": load_ms}


def main(backend: str) -> int:
    """Be the child."""
    try:
        from edge.adapters.tflite import make_loader  # what may crash is imported here alone

        said = run_probes(make_loader(backend))
    except (EdgeflockError, ImportError, SystemError, AttributeError) as error:
        said = {"error": " ".join(str(error).split())[:300], "delegated": [], "load_ms": 0.0}
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
