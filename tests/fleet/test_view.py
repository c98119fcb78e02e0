"""What a person sees of a device with several models: a row for each, and every count once."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from fleet.adapters.terminal import device_table
from fleet.ingest import ReleaseTotal
from fleet.view import DeviceFacts, DeviceRow, one_each, rows
from tests.support.examples import VITALS, counters
from wire.counters import Buckets
from wire.messages import Loss, ModelState, Reported, Telemetry
from wire.software import SOFTWARE

NOTHING = Buckets(0, ())
ANTS = ModelState("ants", "idle", "ants/2")
AS_INSTALLED = ModelState(SOFTWARE, "idle", None)
BEES = ModelState("bees", "wait-turn", None, None, "bees/1", error="the disk is full")


def total(inferences: int, errors: int = 0) -> ReleaseTotal:
    return ReleaseTotal(inferences, errors, 10, 9, NOTHING)


def facts(*models: ModelState) -> DeviceFacts:
    said = (counters("ants/2", 20), counters("bees/7", 30), counters("none", 0))
    return DeviceFacts(
        device="pi-1",
        online=True,
        silent_for_s=0.0,
        reported=Reported("b1", 1, 0.0, models) if models else None,
        telemetry=Telemetry(10.0, said, VITALS, Loss(results_dropped=3)),
        totals={"ants/1": total(5), "ants/2": total(20), "bees/7": total(30, 2), "none": total(0, 4)},
    )


def test_each_model_has_a_row_with_what_its_releases_did() -> None:
    ants, bees = rows(facts(ANTS, BEES))
    assert (ants.device, ants.model, ants.current, ants.state) == ("pi-1", "ants", "ants/2", "idle")
    assert (bees.device, bees.model, bees.target, bees.error) == (
        "pi-1",
        "bees",
        "bees/1",
        "the disk is full",
    )
    assert (ants.inferences, bees.inferences) == (25, 30)
    assert (ants.rate_hz, bees.rate_hz) == (2.0, 3.0)
    assert (ants.accuracy, bees.accuracy) == (0.9, None)
    assert ants.p50_us is not None
    assert bees.p50_us is None


def test_every_count_is_in_one_row_whatever_is_reported() -> None:
    for models in ((), (ANTS,), (BEES,), (ANTS, BEES), (BEES, ANTS)):
        found = rows(facts(*models))
        assert sum(row.inferences for row in found) == 55
        assert sum(row.errors for row in found) == 6
        assert {row.dropped for row in found} == {3}


def test_the_software_has_a_row_once_a_release_of_it_was_pushed() -> None:
    for models in ((ANTS, AS_INSTALLED), (AS_INSTALLED, ANTS)):
        assert [row.model for row in rows(facts(*models))] == ["ants"]
    assert [row.model for row in rows(facts(AS_INSTALLED))] == [None]
    fetches = replace(AS_INSTALLED, state="download", target="edgeflock-software/2.0.0")
    runs = replace(AS_INSTALLED, current="edgeflock-software/2.0.0")
    refused = replace(AS_INSTALLED, error="the disk is full")
    for told in (fetches, runs, refused):
        assert [row.model for row in rows(facts(ANTS, told))] == ["ants", SOFTWARE]


def test_of_several_rows_of_a_device_that_of_the_model_is_looked_at() -> None:
    found = [*rows(facts(ANTS, BEES)), DeviceRow("pi-2", "online", "ants"), DeviceRow("pi-3", "offline")]
    chosen = one_each(found, "bees")
    assert [(row.device, row.model) for row in chosen] == [("pi-1", "bees"), ("pi-2", "ants"), ("pi-3", None)]


def test_a_model_without_a_release_is_told_from_the_others_by_its_name() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(device_table(rows(facts(replace(ANTS, current=None), BEES))))
    written = console.file
    assert isinstance(written, io.StringIO)
    assert "ants/-" in written.getvalue()
    assert "bees/-" in written.getvalue()
