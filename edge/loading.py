"""From a bundle file to a model that is ready to serve."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edge.backend import Interpreter, Loader
from edge.loaded import LoadedModel, warm_up
from edge.meter import Meter
from wire.bundle import Bundle, inspect, unpack
from wire.errors import BundleError, ModelError
from wire.manifest import Manifest
from wire.reference import Reference


def read_bundle(path: Path) -> Bundle:
    """Read and check the bundle at `path`; raise BundleError with its name in the message."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error
    return unpack(data, name=str(path))


def inspect_bundle(path: Path) -> Bundle:
    """Check the bundle at `path` and return all of it but the model; raise BundleError."""
    try:
        with path.open("rb") as file:
            return inspect(file, name=str(path))
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error


def release_name(bundle: Bundle) -> str:
    """Return the name under which a bundle is released, such as `digits/2`."""
    return f"{bundle.manifest.model}/{bundle.manifest.version}"


def load_bundle(path: Path, loader: Loader, *, pool: int = 1, meter: Meter | None = None) -> LoadedModel:
    """Load and warm the model of the bundle at `path`; raise BundleError or ModelError.

    `pool` interpreters answer side by side; a stateful model has one.
    """
    bundle = inspect_bundle(path)
    return load(
        release_name(bundle), path, loader,
        labels=bundle.labels, manifest=bundle.manifest, reference=bundle.reference, pool=pool, meter=meter,
    )  # fmt: skip


def load(
    release: str,
    path: Path,
    loader: Loader,
    *,
    labels: tuple[str, ...] = (),
    manifest: Manifest | None = None,
    reference: Reference | None = None,
    pool: int = 1,
    meter: Meter | None = None,
) -> LoadedModel:
    """Load and warm the model in `path`; raise ModelError when it cannot run."""
    interpreters = [_warm(path, loader)]
    if not interpreters[0].facts.stateful:
        interpreters += [_warm(path, loader) for _ in range(pool - 1)]
    return LoadedModel(
        release, interpreters, labels=labels, manifest=manifest, reference=reference, meter=meter,
        fresh=partial(loader, path),
    )  # fmt: skip


def _warm(path: Path, loader: Loader) -> Interpreter:
    interpreter = loader(path)
    try:
        if not (interpreter.inputs and interpreter.outputs):
            raise ModelError(f"{path} has no input or no output: there is nothing to ask it")
        warm_up(interpreter)
    except BaseException:
        interpreter.close()
        raise
    if not interpreter.facts.stateful:
        return interpreter
    interpreter.close()  # the calls left their traces in its variables, which nothing can reset
    return loader(path)
