"""A store filled as a fleet of many devices would have filled it: for the page's tests and pictures."""

from __future__ import annotations

import itertools
import math
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.adapters.report_store import ReportStore
from fleet.ingest import Arrival, Presence, StateWord, Word
from fleet.releasing import Built
from tests.support.shelf import make_goods
from wire.counters import Cells, Classes, FeatureCounts, ModelCounters, Reliability, SliceCounters
from wire.histogram import BUCKETS, bucket_of, pack
from wire.messages import Event, Head, Loss, ModelState, Online, Reported, Samples, Telemetry, Vitals

CLASSES: Final = 10
_KINDS: Final = (("pi3", 9_000.0, 61.0), ("pi4", 3_800.0, 55.0), ("pi5", 1_400.0, 49.0))


@dataclass(frozen=True)
class Filling:
    """How much to put into a store: `reports` of each device, `interval_s` apart, up to now."""

    devices: int = 200
    reports: int = 12
    interval_s: float = 300.0
    seed: int = 7


def fill(state: Path, filling: Filling | None = None) -> None:
    """Fill a fleet's folder: two releases, the newer one on its way, some devices that are not well."""
    filling = filling or Filling()
    random_ = random.Random(filling.seed)
    database = Database(state).open()
    try:
        registry = Registry(database).open()
        registry.welcome([name(i) for i in range(filling.devices)])
        for version in (1, 2):
            goods = make_goods(version, 1000)
            release = registry.add_release(Built(goods.release, goods.blob, goods.digests))
            registry.plan(release, "all", percent=100.0 if version == 1 else 60.0)
        store = ReportStore(database).open()
        words: list[Word] = []
        for i in range(filling.devices):
            words += _device(i, filling, random_)
        store.take(words)
        _age(database, filling)
    finally:
        database.close()


def name(i: int) -> str:
    site = ("north", "south", "lab", "roof")[i % 4]
    return f"{site}-{i:04}"


def report(device: str, sequence: int, time_s: float, release: str = "digits/2", seed: int = 1) -> Arrival:
    """Return one more report of a device."""
    counters = _counters(release, random.Random(seed), 3_800.0, 0.97, sequence)
    telemetry = Telemetry(300.0, (counters,), _vitals(random.Random(seed), 55.0, 0.0), Loss())
    return Arrival(device, "telemetry", Head("b1", sequence, 1, time_s), telemetry)


def _device(i: int, filling: Filling, random_: random.Random) -> list[Word]:
    now_s, device = time.time(), name(i)
    _, latency_us, heat_c = _KINDS[i % 3]
    new = i % 10 < 4
    release = "digits/2" if new else "digits/1"
    words: list[Word] = [Presence(device, Online("b1", i % 41 != 0, "edgeflock 0.1.0"))]
    words.append(StateWord(device, Reported("b1", 1, now_s, (_state(i, release),), ("all",), 9 * 10**9)))
    for n in range(filling.reports):
        time_s = now_s - (filling.reports - 1 - n) * filling.interval_s - 1
        current = "digits/1" if n < filling.reports // 2 else release
        accuracy = 0.955 if current == "digits/1" else 0.972
        counters = _counters(current, random_, latency_us, accuracy, n)
        vitals = _vitals(random_, heat_c, n / 2)
        loss = Loss(results_dropped=3) if i % 67 == 5 else Loss()
        body = Telemetry(filling.interval_s, (counters,), vitals, loss, queue_depth=i % 3)
        words.append(Arrival(device, "telemetry", Head("b1", n + 1, 1, time_s), body))
    for n, event in enumerate(_events(release)):
        words.append(Arrival(device, "event", Head("b1", n + 1, 1, now_s - 1800 + n * 20), event))
    words.append(
        Arrival(device, "samples", Head("b1", 1, 1, now_s - 60), _samples(device, release, now_s, random_))
    )
    return words


def _state(i: int, release: str) -> ModelState:
    state = ModelState("digits", "idle", release, "digits/1" if release == "digits/2" else None)
    if i % 10 == 4:
        return replace(state, state="download", target="digits/2", done_chunks=i % 16, total_chunks=16)
    if i % 50 == 5:
        return replace(
            state, state="blocked", target="digits/2", error="golden outputs differ by 0.31, 0.05 allowed"
        )
    return state


def _counters(
    release: str, random_: random.Random, latency_us: float, accuracy: float, n: int
) -> ModelCounters:
    inferences, labelled = 3000, 60
    counts = [0] * BUCKETS
    for _ in range(60):
        counts[bucket_of(latency_us * math.exp(random_.gauss(0, 0.12)))] += inferences // 60
    cells: dict[tuple[int, int], int] = {}
    for _ in range(labelled):
        truth = random_.randrange(CLASSES)
        right = random_.random() < accuracy
        predicted = truth if right else (truth + random_.choice((1, 3, 7))) % CLASSES
        cells[truth, predicted] = cells.get((truth, predicted), 0) + 1
    correct = sum(count for (t, p), count in cells.items() if t == p)
    keys = sorted(cells)
    per_class = inferences // CLASSES
    confidence = (*(0,) * 14, 30, 60, 110, 300, 700, 1800)
    return ModelCounters(
        release=release,
        inferences=inferences,
        errors=1 if random_.random() < 0.01 else 0,
        latency_us=pack(counts),
        labelled=labelled,
        correct=correct,
        total=inferences * (n + 1),
        confusion=Cells(tuple(k[0] for k in keys), tuple(k[1] for k in keys), tuple(cells[k] for k in keys)),
        predicted=Classes(tuple(range(CLASSES)), (per_class,) * CLASSES),
        confidence=confidence,
        reliability=Reliability((0,) * 9 + (labelled,), (0,) * 9 + (correct,)),
        features=(FeatureCounts("mean", (300, 900, 1000, 600, 200)),),
        slices=(
            SliceCounters("light=day", 2000, 40, min(40, correct)),
            SliceCounters("light=night", 1000, 20, max(0, correct - 40)),
        ),
        golden_runs=1,
    )


def _vitals(random_: random.Random, heat_c: float, warming_c: float) -> Vitals:
    return Vitals(
        cpu_percent=20 + random_.random() * 15,
        process_cpu_percent=12 + random_.random() * 5,
        rss_bytes=66_000_000 + random_.randrange(3_000_000),
        memory_available_bytes=400_000_000,
        disk_free_bytes=9_000_000_000,
        temperature_c=heat_c + warming_c + random_.random(),
        uptime_s=86_400.0 * 12,
        clock_mhz=1500.0,
    )


def _events(release: str) -> list[Event]:
    if release == "digits/1":
        return [Event("digits", "probation", "idle", "committed", "digits/1")]
    steps = ("idle", "check", "download", "verify", "stage", "swap", "probation", "idle")
    return [
        Event("digits", before, after, "plan" if before == "idle" else "done", release)
        for before, after in itertools.pairwise(steps)
    ]


def _samples(device: str, release: str, now_s: float, random_: random.Random) -> Samples:
    truth = [random_.choice((None, None, n % CLASSES)) for n in range(6)]
    return Samples(
        release=release,
        rate=0.01,
        ids=tuple(f"{device}-{n}" for n in range(6)),
        predicted=tuple(random_.choice((n % CLASSES, n % CLASSES, 8)) for n in range(6)),
        confidence=tuple(round(0.35 + random_.random() * 0.6, 3) for _ in range(6)),
        truth=tuple(truth),
        times_s=tuple(now_s - 60 - n for n in range(6)),
        policies=tuple("low-confidence" if n % 2 else "uniform" for n in range(6)),
        slices=tuple((("light=day",), ("light=night",))[n % 2] for n in range(6)),
    )


def _age(database: Database, filling: Filling) -> None:
    """Make some devices look as if they had not spoken for a while."""
    with database.transaction() as sql:
        for i in range(0, filling.devices, 37):
            sql.execute("update device set last_seen_s = last_seen_s - 7200 where name = ?", (name(i),))
