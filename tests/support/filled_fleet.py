"""A simulated fleet in a store, with what a simulation alone does not have: releases, plans, and trouble."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from fleet.adapters.alert_book import AlertBook
from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.registry import Registry
from fleet.adapters.report_store import ReportStore
from fleet.alerts import Finding
from fleet.ingest import Arrival, StateWord, Word
from fleet.release_words import ReleaseWords
from fleet.simulation.device import device_name
from fleet.simulation.filling import fill as simulate
from fleet.simulation.scenario import Phase, Scenario
from tests.support.examples import VITALS, counters
from tests.support.shelf import make_goods
from wire.messages import Head, Loss, ModelState, Reported, Samples, Telemetry

name: Final = device_name

#: What the releases call their ten classes.
NAMES: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Filling:
    """How much to put into a store: `reports` of each device, `interval_s` apart, up to now."""

    devices: int = 200
    reports: int = 12
    interval_s: float = 300.0
    seed: int = 7


def fill(state: Path, filling: Filling | None = None) -> None:
    """Fill a fleet's folder: two releases, the newer one on its way, some devices that are not well.

    Device 4 of ten downloads, 5 of fifty refuses, each 37th has said nothing for two hours.
    """
    filling = filling or Filling()
    database = Database(state).open()
    try:
        registry = Registry(database).open()
        for version in (1, 2):
            built = replace(make_goods(version, 1000).built, words=ReleaseWords(NAMES))
            release = registry.add_release(built)
            registry.plan(release, "all", percent=100.0 if version == 1 else 60.0)
        hours = filling.reports * filling.interval_s / 3600
        change = Phase("rollout", from_min=hours * 30, for_min=hours * 15, share=0.4, release="digits/2")
        scenario = Scenario(
            seed=filling.seed,
            model="digits",
            release="digits/1",
            interval_s=filling.interval_s,
            phases=(change, Phase("heat", from_min=hours * 20, share=0.03, amount=30.0)),
        )
        simulate(database, scenario, devices=filling.devices, hours=hours)
        ReportStore(database).open().take(
            [*_trouble(filling, {r.device: r.current for r in FleetReader(database).rows()}), pictures()]
        )
        _age(database, filling)
        _alert(database)
    finally:
        database.close()


def report(device: str, sequence: int, time_s: float, release: str) -> Arrival:
    """Return a report of another life of a device."""
    body = Telemetry(300.0, (counters(release, 3000, total=3000),), VITALS, Loss())
    return Arrival(device, "telemetry", Head("b9", sequence, 1, time_s), body)


def pictures() -> Arrival:
    """Return sampled answers whose inputs a person can look at: a seven, and a bar that was taken for one."""
    seven = "11111100 00000110 00000110 00001100 00011000 00011000 00110000 00110000"
    bar = "00011000 " * 8
    inputs = tuple(
        base64.b64encode(np.array([int(c) for row in text.split() for c in row], "<f4").tobytes()).decode()
        for text in (seven, bar)
    )
    body = Samples(
        "digits/2", 0.5, ("looks-7", "looks-1"), (7, 7), (0.97, 0.31), (7, 1), policies=("uniform",) * 2,
        inputs=inputs,
    )  # fmt: skip
    return Arrival(name(0), "samples", Head("b8", 1, 1, time.time()), body)


def _trouble(filling: Filling, current: dict[str, str | None]) -> list[Word]:
    words: list[Word] = []
    for i in range(filling.devices):
        stands = current.get(name(i))
        if stands != "digits/1":
            continue
        state = ModelState("digits", "idle", stands)
        if i % 10 == 4:
            state = replace(state, state="download", target="digits/2", done_chunks=i % 16, total_chunks=16)
        elif i % 50 == 5:
            error = "golden outputs differ by 0.31, 0.05 allowed"
            state = replace(state, state="blocked", target="digits/2", error=error)
        else:
            continue
        words.append(StateWord(name(i), Reported("sim-1", 10**6, time.time(), (state,), ("all",))))
    return words


def _age(database: Database, filling: Filling) -> None:
    """Make some devices look as if they had not spoken for a while."""
    with database.transaction() as sql:
        for i in range(0, filling.devices, 37):
            sql.execute("update device set last_seen_s = last_seen_s - 7200 where name = ?", (name(i),))


def _alert(database: Database) -> None:
    now_s, book = time.time(), AlertBook(database)
    for at_s in (now_s - 600, now_s - 300):
        book.look([Finding("device-silent", name(0), "no word for 2 h")], at_s)
