"""One release over the fleet: accuracy with its band, confusion, classes, slices, inputs, latency. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fleet.web import wording
from fleet.web.charts import Chart, Curve, thinned
from fleet.web.figures import ClassFigures, Share, added, macro_f1, per_class, share
from fleet.web.overview import Tile
from fleet.web.reading import Slot
from fleet.web.spans import SPANS, Span
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
class SliceLine:
    """One slice; `clear` tells whether its interval leaves out the whole's accuracy."""

    tag: str
    inferences: str
    accuracy: str
    range: str
    labels: str
    clear: bool


@dataclass(frozen=True)
class FeatureLine:
    """One feature of the inputs: how its values spread over its bins, in per cent."""

    name: str
    count: str
    shares: Sequence[float]


@dataclass(frozen=True)
class ModelPage:
    """All that the page shows."""

    name: str
    tiles: Sequence[Tile]
    charts: Sequence[Chart]
    matrix: Matrix | None
    classes: Sequence[ClassFigures]
    slices: Sequence[SliceLine]
    features: Sequence[FeatureLine]
    slowest: Sequence[tuple[str, str, str, str]]
    facts: Sequence[tuple[str, str]]
    devices: int
    span: Span
    spans: Sequence[Span] = SPANS


def model_page(
    release: Release,
    slots: Sequence[Slot],
    by_device: Mapping[str, ModelCounters],
    running: int,
    chosen: Span,
) -> ModelPage:
    """Return what the page of `release` shows; `running` devices run it now."""
    total = added(release.name, [slot.counters for slot in slots])
    right = share(total.correct, total.labelled)
    classes = per_class(total.confusion)
    return ModelPage(
        name=release.name,
        tiles=_tiles(total, right, classes, running),
        charts=[chart for chart in (_accuracy(slots), _latency(slots), _traffic(slots)) if chart.times_s],
        matrix=confusion_matrix(total.confusion),
        classes=classes,
        slices=[_slice(s.tag, s.inferences, share(s.correct, s.labelled), right) for s in total.slices],
        features=[_feature(f.name, f.counts) for f in total.features if sum(f.counts)],
        slowest=_slowest(by_device),
        facts=_facts(release),
        devices=running,
        span=chosen,
    )


def _tiles(total: ModelCounters, right: Share, classes: Sequence[ClassFigures], running: int) -> list[Tile]:
    coverage = total.labelled / total.inferences if total.inferences else None
    return [
        Tile("runs on", f"{wording.count(running)} devices", "now"),
        Tile("accuracy", wording.percent(right.value),
             wording.percent_range(right.low, right.high) if right.trials else "no labels in this span"),
        Tile("macro F1", wording.percent(macro_f1(classes)), f"{len(classes)} classes seen"),
        Tile("labels", wording.count(total.labelled), f"{wording.percent(coverage)} of the answers"),
        Tile("latency p99", wording.micros(quantile(total.latency_us, 0.99)),
             f"p50 {wording.micros(quantile(total.latency_us, 0.5))}, all devices"),
        Tile("self-tests", _passed(total), "passed", "warn" if total.golden_failed else ""),
    ]  # fmt: skip


def _passed(total: ModelCounters) -> str:
    if not total.golden_runs:
        return wording.UNKNOWN
    return f"{total.golden_runs - total.golden_failed} of {total.golden_runs}"


def _accuracy(slots: Sequence[Slot]) -> Chart:
    told = [slot for slot in slots if slot.counters.labelled]
    kept = [told[i] for i in thinned(len(told))]
    shares = [share(slot.counters.correct, slot.counters.labelled) for slot in kept]

    def column(values: Sequence[float | None]) -> list[float | None]:
        return [None if v is None else v * 100 for v in values]

    return Chart(
        "accuracy",
        "Accuracy",
        "%",
        [slot.start_s for slot in kept],
        (
            Curve("accuracy", column([s.value for s in shares]), 1),
            Curve("95 % from", column([s.low for s in shares]), 1, band=True),
            Curve("to", column([s.high for s in shares]), 1, band=True),
        ),
    )


def _latency(slots: Sequence[Slot]) -> Chart:
    busy = [slot for slot in slots if slot.counters.inferences]
    kept = [busy[i] for i in thinned(len(busy))]

    def curve(name: str, q: float, colour: int) -> Curve:
        values = [quantile(slot.counters.latency_us, q) for slot in kept]
        return Curve(name, [v / 1000 if v is not None else None for v in values], colour)

    curves = (curve("p50", 0.5, 1), curve("p99", 0.99, 2))
    return Chart("latency", "Latency of all devices", "ms", [slot.start_s for slot in kept], curves, 2)


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
    rows = []
    for truth in kept:
        members = max(1, sum(count for (t, _), count in counts.items() if t == truth))
        rows.append((truth, [_cell(counts.get((truth, p), 0), members, truth == p) for p in kept]))
    return Matrix(kept, rows, len(weight) - len(kept))


def _cell(count: int, members: int, right: bool) -> Cell:  # which of two kinds of cell
    part = count / members
    heat = 0 if not count else max(1, round(part * _HEATS))
    return Cell(wording.count(count) if count else "", wording.percent(part), heat, right)


def _slice(tag: str, inferences: int, part: Share, whole: Share) -> SliceLine:
    clear = (
        part.low is not None
        and part.high is not None
        and whole.value is not None
        and not part.low <= whole.value <= part.high
    )
    return SliceLine(
        tag,
        wording.count(inferences),
        wording.percent(part.value),
        wording.percent_range(part.low, part.high),
        wording.count(part.trials),
        clear,
    )


def _feature(name: str, counts: Sequence[int]) -> FeatureLine:
    whole = sum(counts)
    return FeatureLine(name, wording.count(whole), [100 * count / whole for count in counts])


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
    facts = [
        ("recipe", manifest.recipe),
        ("model", wording.size(manifest.tflite_bytes)),
        ("on the wire", wording.size(release.blobs[0].size_bytes)),
        ("updates", f"{len(release.blobs) - 1} differences from earlier releases"),
        ("memory needed", wording.size(manifest.memory_bytes) if manifest.memory_bytes else ""),
        ("boards", ", ".join(manifest.machines)),
        ("SHA-256", release.bundle_sha256),
    ]
    return [(name, text) for name, text in facts if text]
