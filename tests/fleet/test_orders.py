"""An order is carried out wholly, or refused before a token is made for it and a byte is written."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from fleet.provision.adapters.mounted_folder import MountedFolder
from fleet.provision.card import DeviceCard
from fleet.provision.fat_volume import FatVolume, open_fat
from fleet.provision.medium import FakeMedium
from fleet.provision.orders import Order
from fleet.provision.partitions import Partition
from tests.support.card_images import STOCK_FILES, make_fat, needs_card_tools, put_files
from tests.support.cards import LOCKED, TOKEN, TRIXIE, lay
from wire.errors import UnavailableError

PACKAGES = {"edgeflock/wheels/a_package_with_a_long_name-1.0-py3-none-any.whl": bytes(700)}
#: As long as those of a fleet: key and certificate of its authority.
IDENTITY = "-----BEGIN PRIVATE KEY-----\n" + "x" * 1500


class Desk:
    """Gives one of the things that let a device in, and counts."""

    def __init__(self, **given: str) -> None:
        self.issued = 0
        self._given = given

    def issue(self) -> DeviceCard:
        self.issued += 1
        return replace(LOCKED, **{"claim_token": None, **self._given})

    def order(self) -> Order:
        return Order(replace(LOCKED, claim_token=None), self.issue, packages=PACKAGES)


@pytest.fixture(scope="module", params=[1, 8])
def stock(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("fat") / "boot.fat"
    mib = 4 if request.param == 1 else 17
    put_files(make_fat(path, mib=mib, bits=16, sectors_per_cluster=request.param), STOCK_FILES)
    return path.read_bytes()


def filled(medium: FakeMedium, clusters: int) -> FatVolume:
    """Return the file system with so many clusters free."""
    boot = open_fat(medium, Partition(0, len(medium.data), is_fat=True), "boot", datetime(2026, 11, 30))
    boot.write("filler", b"")
    boot.write("filler", bytes(boot.free_bytes() - clusters * boot._layout.cluster_bytes))
    return boot


@needs_card_tools
@pytest.mark.parametrize("given", [{"claim_token": TOKEN}, {"identity": IDENTITY}], ids=["claim", "identity"])
def test_what_does_not_fit_is_refused_before_a_token_is_made(given: dict[str, str], stock: bytes) -> None:
    written = 0
    for left in range(0, 200, 7):
        medium, desk = FakeMedium(stock), Desk(**given)
        boot = filled(medium, left)
        before = bytes(medium.data)
        with suppress(UnavailableError):
            desk.order().write(boot)
            written += 1
            continue
        assert not desk.issued
        assert medium.data == before
    assert 5 < written < 25


def test_a_mounted_card_counts_in_clusters_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot, desk = MountedFolder(lay(tmp_path, TRIXIE)), Desk(claim_token=TOKEN)
    room = sum(len(data or b"") for data in desk.order().pending(boot).values()) + 8192
    monkeypatch.setattr(MountedFolder, "free_bytes", lambda _: room)
    with pytest.raises(UnavailableError, match="is full"):
        desk.order().write(boot)
    assert not desk.issued
