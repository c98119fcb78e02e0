"""The on-device runtime: inference, telemetry and updates.

    from edge import open_bundle

    with open_bundle("digits.bundle") as runtime:
        print(runtime.predict(image).label)

Importing it starts no thread and loads no network code.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from edge.adapters.cores import shared_out
from edge.adapters.loaders import choose_loader
from edge.adapters.sealed_copy import sealed_copy
from edge.counted import Counted
from edge.loading import load, read_bundle, release_name
from edge.runtime import Prediction, Predictions, Runtime, Stream
from wire.errors import ModelError

__all__ = ["Counted", "Prediction", "Predictions", "Runtime", "Stream", "open_bundle"]


def open_bundle(
    path: str | PathLike[str],
    *,
    backend: str = "auto",
    threads: int = 1,
    pool: int = 1,
    isolation: str = "thread",
) -> Runtime:
    """Return a runtime that serves the bundle at `path`.

    `backend` is `auto`, `ai-edge-litert` or `tflite-runtime`. `pool` interpreters answer side by side
    and `threads` work inside each, together at most as many as this process may use cores (0: as many).
    `isolation` is `thread`, or `process` to run the model in a process of its own, whose crash is one
    failed call.
    Raises BundleError or ModelError when the file cannot serve. The file may be written over
    meanwhile: what is served is a copy. It is trusted: it is loaded without the trial that a pushed
    model must pass.
    """
    threads, pool = shared_out(threads, pool)
    loader = choose_loader(backend, threads=threads, isolation=isolation)
    bundle = read_bundle(Path(path))
    copy = sealed_copy(bundle.tflite, Path(path))
    try:
        model = load(
            release_name(bundle), copy.path, loader,
            labels=bundle.labels, manifest=bundle.manifest, pool=pool,
        )  # fmt: skip
    except BaseException as error:
        copy.close()
        if isinstance(error, ModelError):  # by the name that the caller knows
            raise ModelError(str(error).replace(str(copy.path), str(path))) from error
        raise
    copy.belong_to(model)
    runtime = Runtime()
    runtime.swap(model)
    return runtime
