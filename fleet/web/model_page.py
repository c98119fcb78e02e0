"""One release over the fleet: accuracy with its interval, classes, slices, drift, calibration, latency. Pure.

Figures are those of fleet/quality.py, whose intervals know that the answers of one device are alike; the
band of the curve over time knows it too (fleet/banding.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fleet.agreeing import Agreement
from fleet.banding import Alikeness, alikeness, share_of_a_moment
from fleet.binned import Reference
from fleet.boards import by_board
from fleet.calibration import ReliabilityBin
from fleet.class_names import ClassNames, cleaned
from fleet.comparing import Difference, compare
from fleet.drift import Drift, drift
from fleet.estimating import column
from fleet.findings import ReleaseFacts
from fleet.quality import Quality, SliceFigures, quality
from fleet.spans import Slot
from fleet.values import ValueFigures, value_figures
from fleet.web import wording
from fleet.web.charts import Chart, Curve, thinned
from fleet.web.confusion import SHORT, ClassText, Matrix, confusion_matrix
from fleet.web.figures import Share, added
from fleet.web.latency_chart import latency_chart
from fleet.web.lookback import SPANS, Span
from fleet.web.reading import Reading, Window
from fleet.web.tiles import Tile
from wire.counters import ModelCounters
from wire.histogram import quantile
from wire.messages import Release

_SLOWEST: Final = 12


@dataclass(frozen=True)
class ClassLine:
    """One class."""

    shown: ClassText
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
class BoardLine:
    """One kind of board."""

    board: str
    devices: str
    answers: str
    p50: str
    p99: str


@dataclass(frozen=True)
class AgreementLine:
    """Samples that were taken for one reason and run on a reference model; `share` is of all answers, where
    they are a picture of all. `truths` says who was right where they differ and that is known, of the samples
    of all reasons: it stands in the first line."""

    reference: str
    time_s: float
    policy: str
    counts: str
    share: Share
    truths: str


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
    sureness_told: bool
    boards: Sequence[BoardLine]
    agreements: Sequence[AgreementLine]
    slowest: Sequence[tuple[str, str, str, str]]
    facts: Sequence[tuple[str, str]]
    span: Span
    spans: Sequence[Span] = SPANS


@dataclass(frozen=True)
class ModelReadings:
    """What was read of a release: its slots, its sums by device, what it is held against, who runs it, what
    its numbers stand for, the boards of devices, and how it agreed with reference models."""

    slots: Sequence[Slot]
    by_device: Mapping[str, ModelCounters]
    compared: ReleaseFacts | None
    running: int
    names: ClassNames = field(default_factory=ClassNames)
    boards: Mapping[str, str] = field(default_factory=dict)
    agreements: Sequence[Agreement] = ()


def model_readings(reading: Reading, name: str, window: Window) -> ModelReadings:
    """Read all of it but what the release is held against, which takes longer than the rest."""
    devices = reading.devices()
    return ModelReadings(
        reading.fleet(name, window),
        reading.by_device(name, window),
        compared=None,
        running=sum(d.runs(name) for d in devices),
        names=reading.meaning(name).classes,
        boards={d.name: d.board for d in devices},
        agreements=reading.agreements(name),
    )


def model_page(release: Release, read: ModelReadings, chosen: Span) -> ModelPage:
    """Return what the page of `release` shows."""
    figures = quality(read.by_device)
    charts = (
        _accuracy(read.slots, alike(read.by_device)),
        latency_chart("Latency of all devices", read.slots),
        _traffic(read.slots),
    )
    return ModelPage(
        name=release.name,
        tiles=_tiles(figures, read.running, release),
        difference=_difference(read.compared),
        charts=[chart for chart in charts if chart.times_s],
        matrix=confusion_matrix(figures.confusion, read.names),
        classes=[
            ClassLine(
                ClassText.of(c.number, read.names),
                c.truths,
                Share.of(c.recall),
                Share.of(c.precision),
                Share.of(c.f1),
            )
            for c in figures.classes
        ],
        slices=[_slice(part, Share.of(figures.accuracy)) for part in figures.slices],
        drifts=drifts(read.compared),
        features=_features(read.by_device.values()),
        bins=[b for b in figures.calibration.bins if b.labelled] if figures.calibration else [],
        values=[_values(one) for one in value_figures(read.by_device.values())],
        sureness_told=figures.calibration is not None and figures.calibration.told,
        boards=_boards(read.by_device, read.boards),
        agreements=[line for found in read.agreements for line in _agreement(found)],
        slowest=_slowest(read.by_device),
        facts=_facts(release),
        span=chosen,
    )


def _tiles(figures: Quality, running: int, release: Release) -> list[Tile]:
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
        Tile("size", wording.size(release.manifest.tflite_bytes),
             f"{wording.size(release.blobs[0].size_bytes)} on the wire"),
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


def alike(by_device: Mapping[str, ModelCounters]) -> Alikeness:
    """Return how alike the answers of one device were over a stretch."""
    counters = by_device.values()
    return alikeness(column(c.correct for c in counters), column(c.labelled for c in counters))


def _accuracy(slots: Sequence[Slot], found: Alikeness) -> Chart:
    told = [slot for slot in slots if slot.counters.labelled]
    kept = [told[i] for i in thinned(len(told))]
    shares = [
        Share.of(share_of_a_moment(slot.counters.correct, slot.counters.labelled, found)) for slot in kept
    ]

    def in_percent(values: Sequence[float | None]) -> list[float | None]:
        return [None if v is None else v * 100 for v in values]

    curves = (
        Curve("accuracy", in_percent([s.value for s in shares]), 1),
        Curve("from", in_percent([s.low for s in shares]), 1, band=True),
        Curve("to", in_percent([s.high for s in shares]), 1, band=True),
    )
    return Chart("accuracy", "Accuracy", "%", [slot.start_s for slot in kept], curves)


def _traffic(slots: Sequence[Slot]) -> Chart:
    kept = [slots[i] for i in thinned(len(slots))]
    rates = [slot.counters.inferences / slot.seconds for slot in kept]
    return Chart("traffic", "Answers", "/s", [s.start_s for s in kept], (Curve("answers", rates, 3),))


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
    errors = (of.bias, of.mean_absolute_error, of.root_mean_square_error)
    figures = (of.mean, of.deviation, of.low, of.high, *errors)
    texts = [wording.UNKNOWN if figure is None else f"{figure:.4g}" for figure in figures]
    return [str(of.column), wording.count(of.answers), *texts[:4], wording.count(of.judged), *texts[4:]]


def _boards(by_device: Mapping[str, ModelCounters], boards: Mapping[str, str]) -> list[BoardLine]:
    return [
        BoardLine(
            line.board,
            wording.count(line.devices),
            wording.short_count(line.answers),
            wording.micros(line.p50_us),
            wording.micros(line.p99_us),
        )
        for line in by_board(by_device, boards)
    ]


def _agreement(found: Agreement) -> list[AgreementLine]:
    reference = cleaned(found.against.model or found.against.file)
    truths = ", ".join(f"{side} {count}" for side, count in sorted(found.truths.items()))
    return [
        AgreementLine(
            reference,
            found.at_s,
            cleaned(part.policy, SHORT),
            f"{wording.count(part.agreeing)} of {wording.count(part.answers)}",
            Share.of(part.share),
            "" if i else truths,
        )
        for i, part in enumerate(found.policies)
    ]


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
        ("updates", f"from {differences} earlier releases" if differences else "whole only"),
        ("memory needed", wording.size(manifest.memory_bytes) if manifest.memory_bytes else ""),
        ("boards", ", ".join(manifest.machines)),
        ("SHA-256", release.bundle_sha256),
    ]
    return [(name, text) for name, text in facts if text]
