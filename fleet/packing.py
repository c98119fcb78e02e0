"""From a bundle file to what is pushed: packed whole, and as updates from what the fleet runs. Wiring."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fleet.adapters.registry import Registry
from fleet.adapters.terminal import steps_shown
from fleet.releasing import Built, build, read_release
from fleet.updates import with_updates
from wire.errors import BundleError
from wire.messages import ModelState


@dataclass(frozen=True)
class BundleFile:
    """A file that was read, and is a bundle."""

    name: str
    data: bytes


def read_bundle(path: Path) -> BundleFile:
    """Read a bundle; raise BundleError for a file that is none, before anything takes long."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error
    read_release(data, name=str(path))
    return BundleFile(str(path), data)


def pack(bundle: BundleFile, registry: Registry, models: Iterable[ModelState]) -> tuple[Built, Built]:
    """Return the release of a bundle without its updates, and with them; show how far it is.

    `models` is what devices said that they run.
    """
    with steps_shown() as begin:
        built = build(bundle.data, name=bundle.name, begin=begin)
        return built, with_updates(built, bundle.data, registry.bases(built.release, models), begin)
