"""A release that differs little travels as the difference: real processes over a real broker."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from tests.support.local_fleet import LocalFleet
from tests.support.training import Bundles
from wire.blob import chunk_count
from wire.bundle import pack, unpack
from wire.messages import Release


@pytest.fixture(scope="session")
def successor(bundles: Bundles) -> Path:
    """Return `large` as version 5, with another array in its golden file."""
    bundle = unpack(bundles.large.read_bytes())
    with np.load(io.BytesIO(bundle.golden)) as archive:
        golden = dict(archive.items())
    out = io.BytesIO()
    np.savez(out, **(golden | {"more": np.arange(9.0)}))
    path = bundles.large.with_name("digits-5.bundle")
    path.write_bytes(
        pack(replace(bundle, manifest=replace(bundle.manifest, version="5"), golden=out.getvalue()))
    )
    return path


def release_of(fleet: LocalFleet, name: str) -> Release:
    database = Database(fleet.state).open()
    try:
        (release,) = (r for r in Registry(database).open().releases() if r.name == name)
    finally:
        database.close()
    return release


def fetched(fleet: LocalFleet) -> list[str | None]:
    return [e.detail for _, e in fleet.reader.events("pi-1") if e.cause == "complete"]


def test_a_device_that_runs_a_release_fetches_only_what_is_new_in_the_next(
    fleet: LocalFleet, bundles: Bundles, successor: Path
) -> None:
    fleet.start_device()
    fleet.push(bundles.large)
    fleet.wait_for_release("digits/3")
    fleet.push(successor)
    fleet.wait_for_release("digits/5")
    whole, update = release_of(fleet, "digits/5").blobs
    chunks = chunk_count(update.size_bytes)
    assert update.size_bytes * 20 < whole.size_bytes
    assert fetched(fleet)[1:] == [f"fetched {chunks} of {chunks} chunks of an update from digits/3"]
    installed = fleet.folder / "pi-1" / "models" / f"{release_of(fleet, 'digits/5').bundle_sha256}.tflite"
    assert installed.read_bytes() == successor.read_bytes()


def test_a_device_that_never_had_the_base_fetches_the_whole_bundle(
    fleet: LocalFleet, bundles: Bundles, successor: Path
) -> None:
    fleet.start_device()
    fleet.wait("the device is known", lambda: fleet.row().state == "idle")
    fleet.end("pi-1")
    fleet.push(bundles.large)
    fleet.push(successor)
    fleet.start_device()
    fleet.wait_for_release("digits/5")
    chunks = chunk_count(release_of(fleet, "digits/5").blobs[0].size_bytes)
    assert fetched(fleet) == [f"fetched {chunks} of {chunks} chunks"]
