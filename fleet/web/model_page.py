"""One release over the fleet: accuracy with its interval, classes, slices, drift, calibration, latency. Pure.

Figures are those of fleet/quality.py, whose intervals know that the answers of one device are alike. The
band of the curve over time is Wilson's, which takes answers as independent: it is narrower, and only drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fleet.binned import Reference
from fleet.calibration import ReliabilityBin
from fleet.comparing import Difference, compare
from fleet.drift import Drift, drift
from fleet.findings import ReleaseFacts
from fleet.quality import Quality, SliceFigures, quality
from fleet.spans import Slot
from fleet.values import ValueFigures, value_figures
from fleet.web import wording
from fleet.web.charts import Chart, Curve, thinned
from fleet.web.figures import Share, added, share
from fleet.web.latency_chart import latency_chart
from fleet.web.lookback import SPANS, Span
from fleet.web.tiles import Tile
from wire.counters import Cells, ModelCounters
from wire.histogram import quantile
from wire.messages import Release

#: Classes that a confusion matrix shows; of more the per-class table must do.
_MATRIX_CLASSES: Final = 20
_HEATS: Final = 9
_SLOWEST: Final = 12


@dataclass(frozen=True)
class Cell:
    """One cell of a confusion matrix; `heat` is its share of its row, 0 to 9."""

    count: str
    share: str
    heat: int
    right: bool


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: a row for each true class, a column for each answer."""

    classes: Sequence[int]
    rows: Sequence[tuple[int, Sequence[Cell]]]
    left_out: int = 0


@dataclass(frozen=True)
class ClassLine:
    """One class."""

    number: int
    labels: int
    recall: Share
    precision: Share
    f1: Share


@dataclass(frozen=True)
class SliceLine:
    """One slice; `clear` tells whether its interval leaves out the accuracy of all."""

    tag: str
    inferences: str
    accuracy: Share
    clear: bool


@dataclass(frozen=True)
class SpreadLine:
    """One feature of the inputs: how its values spread over its bins, in per cent, and the fullest."""

    name: str
    count: str
    shares: Sequence[float]
    highest: float


@dataclass(frozen=True)
class ModelPage:
    """All that the page shows."""

    name: str
    tiles: Sequence[Tile]
    difference: str
    charts: Sequence[Chart]
    matrix: Matrix | None
    classes: Sequence[ClassLine]
    slices: Sequence[SliceLine]
    drifts: Sequence[Drift]
    features: Sequence[SpreadLine]
    bins: Sequence[ReliabilityBin]
    values: Sequence[Sequence[str]]
    slowest: Sequence[tuple[str, str, str, str]]
    facts: Sequence[tuple[str, str]]
    span: Span
    spans: Sequence[Span] = SPANS


@dataclass(frozen=True)
class ModelReadings:
    """What was read of a release: its slots, its sums by device, what it is held against, who runs it."""

    slots: Sequence[Slot]
    by_device: Mapping[str, ModelCounters]
    compared: ReleaseFacts | None
    running: int


def model_page(release: Release, read: ModelReadings, chosen: Span) -> ModelPage:
    """Return what the page of `release` shows."""
    figures = quality(read.by_device)
    charts = (
        _accuracy(read.slots),
        latency_chart("Latency of all devices", read.slots),
        _traffic(read.slots),
    )
    return ModelPage(
        name=release.name,
        tiles=_tiles(figures, read.running),
        difference=_difference(read.compared),
        charts=[chart for chart in charts if chart.times_s],
        matrix=confusion_matrix(figures.confusion),
        classes=[
            ClassLine(c.number, c.truths, Share.of(c.recall), Share.of(c.precision), Share.of(c.f1))
            for c in figures.classes
        ],
        slices=[_slice(part, Share.of(figures.accuracy)) for part in figures.slices],
        drifts=drifts(read.compared),
        features=_features(read.by_device.values()),
        bins=[b for b in figures.calibration.bins if b.labelled] if figures.calibration else [],
        values=[_values(one) for one in value_figures(read.by_device.values())],
        slowest=_slowest(read.by_device),
        facts=_facts(release),
        span=chosen,
    )


def _tiles(figures: Quality, running: int) -> list[Tile]:
    right, f1 = Share.of(figures.accuracy), Share.of(figures.macro.f1)
    calibration = figures.calibration
    passed = figures.golden_runs - figures.golden_failed
    return [
        Tile("devices", wording.count(running), f"run it, {wording.count(figures.devices)} did in this span"),
        Tile("accuracy", wording.percent(right.value), wording.interval(right.low, right.high, "no labels")),
        Tile("macro F1", wording.percent(f1.value), wording.interval(f1.low, f1.high, "no labels")),
        Tile("labels", wording.short_count(figures.labelled), f"{wording.percent(figures.coverage)} of all"),
        Tile("calibration error", wording.percent(calibration.error if calibration else None),
             f"{wording.percent(calibration.by_chance)} by chance" if calibration else "no labels"),
        Tile("latency p99", wording.micros(figures.p99_us), f"p50 {wording.micros(figures.p50_us)}"),
        Tile("self-tests", f"{passed} of {figures.golden_runs}" if figures.golden_runs else wording.UNKNOWN,
             "passed", "warn" if figures.golden_failed else ""),
    ]  # fmt: skip


def _difference(compared: ReleaseFacts | None) -> str:
    """Return how it does against the release before it, in a sentence."""
    found: Difference | None = compare(compared.before, compared.window) if compared else None
    if found is None or compared is None:
        return ""
    points, low, high = (100 * v for v in (found.value, found.low, found.high))
    verdict = {"better": "more accurate", "worse": "less accurate", "unclear": "no clear difference"}
    return (
        f"Against {compared.before_name} on the same {found.devices} devices: {points:+.1f} points, "
        f"95 % from {low:+.1f} to {high:+.1f}: {verdict[found.verdict]}."
    )


def drifts(compared: ReleaseFacts | None) -> Sequence[Drift]:
    """Return what was found of each thing that is compared; nothing without a reference."""
    if compared is None or not compared.reference:
        return ()
    if isinstance(compared.reference, Reference):
        return drift(compared.recent.items(), compared.reference)
    return drift(compared.recent.items(), [item for window in compared.reference for item in window.items()])


def _accuracy(slots: Sequence[Slot]) -> Chart:
    told = [slot for slot in slots if slot.counters.labelled]
    kept = [told[i] for i in thinned(len(told))]
    shares = [share(slot.counters.correct, slot.counters.labelled) for slot in kept]

    def column(values: Sequence[float | None]) -> list[float | None]:
        return [None if v is None else v * 100 for v in values]

    curves = (
        Curve("accuracy", column([s.value for s in shares]), 1),
        Curve("from", column([s.low for s in shares]), 1, band=True),
        Curve("to", column([s.high for s in shares]), 1, band=True),
    )
    return Chart("accuracy", "Accuracy", "%", [slot.start_s for slot in kept], curves)


def _traffic(slots: Sequence[Slot]) -> Chart:
    kept = [slots[i] for i in thinned(len(slots))]
    rates = [slot.counters.inferences / slot.seconds for slot in kept]
    return Chart("traffic", "Answers", "/s", [s.start_s for s in kept], (Curve("answers", rates, 3),))


def confusion_matrix(cells: Cells) -> Matrix | None:
    """Return the matrix of the classes that occur most; None where nothing is labelled."""
    counts = dict(zip(zip(cells.truth, cells.predicted, strict=True), cells.counts, strict=True))
    if not counts:
        return None
    weight: dict[int, int] = {}
    for (truth, predicted), count in counts.items():
        weight[truth] = weight.get(truth, 0) + count
        weight[predicted] = weight.get(predicted, 0) + count
    kept = sorted(sorted(weight, key=lambda c: -weight[c])[:_MATRIX_CLASSES])
    members = dict.fromkeys(kept, 0)
    for (truth, _), count in counts.items():
        if truth in members:
            members[truth] += count
    rows = [(t, [_cell(counts.get((t, p), 0), members[t], right=t == p) for p in kept]) for t in kept]
    return Matrix(kept, rows, len(weight) - len(kept))


def _cell(count: int, members: int, *, right: bool) -> Cell:
    part = count / max(1, members)
    heat = 0 if not count else max(1, round(part * _HEATS))
    return Cell(wording.count(count) if count else "", wording.percent(part), heat, right)


def _slice(part: SliceFigures, whole: Share) -> SliceLine:
    found = Share.of(part.accuracy)
    clear = (
        found.low is not None
        and found.high is not None
        and whole.value is not None
        and not found.low <= whole.value <= found.high
    )
    return SliceLine(part.tag, wording.count(part.inferences), found, clear)


def _features(parts: Iterable[ModelCounters]) -> list[SpreadLine]:
    lines = []
    for feature in added("", parts).features:
        whole = sum(feature.counts)
        if whole:
            shares = [100 * count / whole for count in feature.counts]
            lines.append(SpreadLine(feature.name, wording.short_count(whole), shares, max(shares)))
    return lines


def _values(of: ValueFigures) -> list[str]:
    """Return a line: column, answers, mean, deviation, lowest, highest, with truth, bias, MAE, RMSE."""
    figures = (of.mean, of.deviation, of.low, of.high, of.bias, of.off, of.rms)
    texts = [wording.UNKNOWN if figure is None else f"{figure:.4g}" for figure in figures]
    return [str(of.column), wording.count(of.answers), *texts[:4], wording.count(of.judged), *texts[4:]]


def _slowest(by_device: Mapping[str, ModelCounters]) -> list[tuple[str, str, str, str]]:
    timed = [(quantile(c.latency_us, 0.99) or 0.0, device, c) for device, c in by_device.items()]
    timed.sort(key=lambda entry: (-entry[0], entry[1]))
    return [
        (
            device,
            wording.micros(quantile(c.latency_us, 0.5)),
            wording.micros(p99),
            wording.count(c.inferences),
        )
        for p99, device, c in timed[:_SLOWEST]
    ]


def _facts(release: Release) -> list[tuple[str, str]]:
    manifest = release.manifest
    differences = len(release.blobs) - 1
    facts = [
        ("recipe", manifest.recipe),
        ("model", wording.size(manifest.tflite_bytes)),
        ("on the wire", wording.size(release.blobs[0].size_bytes)),
        ("updates", f"from {differences} earlier releases" if differences else "whole only"),
        ("memory needed", wording.size(manifest.memory_bytes) if manifest.memory_bytes else ""),
        ("boards", ", ".join(manifest.machines)),
        ("SHA-256", release.bundle_sha256),
    ]
    return [(name, text) for name, text in facts if text]
