"""From a bundle file to a model that is ready to serve."""

from __future__ import annotations

from pathlib import Path

from edge.backend import Loader
from edge.runtime import LoadedModel, load
from wire.bundle import Bundle, unpack
from wire.errors import BundleError


def read_bundle(path: Path) -> Bundle:
    """Read and check the bundle at `path`; raise BundleError with its name in the message."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error
    return unpack(data, name=str(path))


def release_name(bundle: Bundle) -> str:
    """Return the name under which a bundle is released, such as `digits/2`."""
    return f"{bundle.manifest.model}/{bundle.manifest.version}"


def load_bundle(path: Path, loader: Loader) -> LoadedModel:
    """Load and warm the model of the bundle at `path`; raise BundleError or ModelError."""
    bundle = read_bundle(path)
    return load(release_name(bundle), path, loader, bundle.labels)
