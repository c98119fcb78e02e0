"""The on-device runtime: inference, telemetry and updates.

    from edge import open_bundle

    with open_bundle("digits.bundle") as runtime:
        print(runtime.predict(image).label)

Importing it starts no thread and loads no network code.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from edge.adapters.tflite import make_loader
from edge.loading import load_bundle
from edge.runtime import Prediction, Runtime

__all__ = ["Prediction", "Runtime", "open_bundle"]


def open_bundle(path: str | PathLike[str], *, backend: str = "auto", threads: int = 1) -> Runtime:
    """Return a runtime that serves the bundle at `path`.

    `backend` is `auto`, `ai-edge-litert` or `tflite-runtime`. Raises BundleError or ModelError when
    the file cannot serve. The file is trusted: it is loaded in this process, without the trial that
    a pushed model must pass.
    """
    runtime = Runtime()
    runtime.swap(load_bundle(Path(path), make_loader(backend, threads=threads)))
    return runtime
