"""All of a fleet's releases are listed in one message: how much fits, and what is said when it is full."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge.adapters.tuf_trust import TufTrust
from fleet.adapters.database import Database
from fleet.adapters.metadata_store import MetadataStore
from fleet.adapters.registry import Registry
from fleet.adapters.steering import Steering, Wanted
from fleet.assigning import newcomer, pinned
from fleet.initialising import initialise, open_signing, root_file
from fleet.releasing import Built, Packed
from fleet.signed_release import released
from tests.support.examples import MANIFEST
from tests.support.shelf import make_goods, make_successor
from wire.errors import SettingsError
from wire.messages import DELTA, MAX_PAYLOAD_BYTES, Blob, Release


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def made_up(model: str, version: int, updates: int) -> Built:
    """Return a release whose bytes nobody looks at, with updates from the versions before it."""
    name = f"{model}/{version}"
    whole = Blob(sha(f"blob {name}"), 900_000, sha(f"list {name}"))
    deltas = [
        Blob(sha(f"delta {name} {n}"), 90_000, sha(f"dlist {name} {n}"), DELTA, sha(f"bundle {model}/{n}"))
        for n in range(version - updates, version)
    ]
    manifest = replace(MANIFEST, model=model, version=str(version))
    release = Release(name, sha(f"bundle {name}"), 1_000_000, (whole, *deltas), manifest)
    return Built(release, b"x", b"y", tuple(Packed(blob, b"x", b"y") for blob in deltas))


class Fleet:
    def __init__(self, state: Path) -> None:
        initialise(state)
        self.database = Database(state).open()
        self.database.sql.execute("pragma synchronous=off")
        self.registry = Registry(self.database).open()

    def push(self, built: Built, group: str = "all") -> None:
        with released(self.database, built) as release:
            self.registry.plan(release, group)

    @property
    def listed(self) -> dict[str, int]:
        """The releases of the targets, each with the number of its blobs."""
        return {r.name: len(r.blobs) for r in self.registry.targets().releases}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path / "fleet")
    yield fleet
    fleet.database.close()


def test_a_full_fleet_says_so_in_numbers_and_stays_as_it_was(fleet: Fleet) -> None:
    with pytest.raises(SettingsError) as refusal:
        for model in range(30):
            for version in range(1, 4):
                before = fleet.listed
                fleet.push(made_up(f"model-{model}", version, 0))
    count, models = len(before) + 1, model + 1
    assert str(refusal.value).startswith(
        f"the signed targets ({count} releases of {models} models) would have "
    )
    assert "a message takes 67,584: take back pins" in str(refusal.value)
    assert fleet.listed == before
    assert len(before) >= 30
    signed = MetadataStore(fleet.database).latest_bytes("targets")
    assert signed is not None
    assert 0.9 * MAX_PAYLOAD_BYTES < len(signed) <= MAX_PAYLOAD_BYTES


def test_only_what_may_be_installed_now_is_listed_with_its_updates(fleet: Fleet) -> None:
    for version in range(4, 7):
        fleet.push(made_up("digits", version, 3))
    assert fleet.listed == {"digits/4": 1, "digits/5": 1, "digits/6": 4}
    pin = pinned(newcomer("pi-1"), "digits", "digits/4")
    assert pin is not None
    fleet.registry.put_desired(pin)
    fleet.push(made_up("digits", 7, 3), "lab")
    steering = Steering(fleet.database, fleet.registry)
    steering.set_state(Wanted("digits", group="lab"), "pause")
    assert fleet.listed == {"digits/4": 4, "digits/5": 1, "digits/6": 4, "digits/7": 4}
    steering.set_state(Wanted("digits", group="lab"), "abort")
    assert fleet.listed["digits/7"] == 1


def test_what_is_signed_short_is_read_whole(fleet: Fleet, tmp_path: Path) -> None:
    one = make_goods(1, 20_000)
    two = make_successor(2, one)
    fleet.push(one.built)
    fleet.push(two.built)
    signing = open_signing(fleet.database)
    signing.freshen()
    files = dict(signing.files())
    root = root_file(fleet.database.state).read_bytes()
    trust = TufTrust(root, tmp_path / "trust", signing.now().timestamp).open()
    trust.refresh(files.get)
    found = trust.named(["digits/1", "digits/2"], files.get).targets
    assert found is not None
    assert found.releases == (one.release, two.release)
