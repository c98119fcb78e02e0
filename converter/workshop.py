"""Makes and measures the forms of one model. Wiring: each step runs in a child process of its own.

One thread. Costly results are kept for the time of a conversion: the ranges of the calibration, and
every form that was made, because the one that is chosen is not to be made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from converter import packing
from converter.adapters import interpreter, quantizer
from converter.adapters.finetune import Tuning, finetune_many
from converter.adapters.flatbuffer import activation_ranges, min_runtime, operators, read_graphs
from converter.bench import Bench
from converter.budget import Cost, is_slower
from converter.calibration import Calibration, merged, spread
from converter.compression import Compression
from converter.evaluation import Array, Latency
from converter.memory import least_bytes
from converter.packing import Candidate, Label
from converter.recipes import RECIPES, Ranges, Recipe, Rule
from converter.search import Entry, Variant
from converter.source import Converted
from wire import delta
from wire.blob import compress
from wire.bundle import pack
from wire.errors import ModelError

_TIMES_AGAIN: Final = 2


class Progress(Protocol):
    """Called with what happens now in a few words, and with the share that is done where it is known."""

    def __call__(self, stage: str, done: float | None = None) -> None: ...


@dataclass(frozen=True)
class Tried:
    """One form that was tried: its entry in the search, and what was made, unless it could not be."""

    entry: Entry
    candidate: Candidate | None = None
    run: interpreter.Run | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Base:
    """The bundle that devices hold now: the form of its model is kept as far as accuracy allows."""

    name: str
    tflite: bytes
    file: bytes

    @property
    def ranges(self) -> Ranges:
        return activation_ranges(self.tflite)


@dataclass(frozen=True)
class Order:
    """How forms are to be made: exceptions from the recipe, the previous bundle, how to train."""

    rules: tuple[Rule, ...] = ()
    base: Base | None = None
    tuning: Tuning | None = None


@dataclass
class Workshop:
    """Makes forms of `converted` and measures them on `bench`."""

    converted: Converted
    bench: Bench
    label: Label
    order: Order
    progress: Progress
    calibration: Calibration | None = None
    _ranges: dict[bytes, Ranges] = field(default_factory=dict)

    def baseline(self) -> Tried:
        """Return the float32 form, made by nothing but the conversion; every ratio is against it."""
        self.progress("measuring float32")
        return self._measure(Variant("float32"), self.converted.tflite)

    def plain(self, variants: Sequence[Variant], float32: Tried) -> Iterator[Tried]:
        """Make and measure forms without compression, all in one quantizing child."""
        self.progress(f"quantizing to {', '.join(v.recipe for v in variants)}")
        yield from self._quantized(variants, self.converted.tflite, float32)

    def tuned(self, variants: Sequence[Variant], float32: Tried) -> Iterator[Tried]:
        """Fine-tune, quantize and measure forms, one after the other."""
        if not variants:
            return
        tuning, train = self.order.tuning, self.bench.train
        assert tuning is not None, "only a model that can be trained has variants to tune"
        assert train is not None
        levels = [Compression.parse(variant.compression) for variant in variants]

        def tell(done: float) -> None:
            self.progress(f"fine-tuning {len(levels)} levels of compression", done)

        try:  # All of it first: a call that is timed beside a training is not timed at all.
            made = list(finetune_many(tuning, levels, train, self.converted.inputs, tell))
        except ModelError as error:  # what needs no training stands
            made = [str(error)] * len(levels)
        for variant, tflite in zip(variants, made, strict=True):
            if isinstance(tflite, str):
                yield Tried(Entry(variant, error=tflite))
                continue
            unrounded = interpreter.run(tflite, self.bench.rows, timed_calls=0).answers
            yield from self._quantized([variant], tflite, float32, unrounded)

    def _quantized(
        self,
        variants: Sequence[Variant],
        tflite: bytes,
        float32: Tried,
        unrounded: tuple[Array, ...] | None = None,
    ) -> Iterator[Tried]:
        for fresh in (False, True):
            group = [variant for variant in variants if variant.fresh is fresh]
            calibrates = any(self.calibrates(variant) for variant in group)
            try:
                ranges = self._calibrated(tflite, fresh=fresh) if calibrates else None
            except ModelError as error:
                static = [variant for variant in group if self.calibrates(variant)]
                yield from (Tried(Entry(variant, error=str(error))) for variant in static)
                group, ranges = [variant for variant in group if variant not in static], None
            jobs = [quantizer.Job(variant.recipe, self.order.rules) for variant in group]
            for variant, made in zip(
                group, quantizer.quantize(tflite, jobs, ranges) if jobs else [], strict=True
            ):
                if made.tflite is None:
                    yield Tried(Entry(variant, error=made.error))
                    continue
                self.progress(f"measuring {variant.name}")
                tried = self._timed_again(self._measure(variant, made.tflite, unrounded), float32)
                yield replace(tried, notes=made.notes)

    def _calibrated(self, tflite: bytes, *, fresh: bool) -> Ranges:
        train = self.bench.train
        if train is None:
            raise ModelError("static recipes need calibration data: give --data, or --recipe weight-int8")
        if tflite not in self._ranges:
            samples = tuple(spread(rows, quantizer.CALIBRATION_LIMIT) for rows in train.inputs)
            found = quantizer.calibrate(tflite, samples)
            self._ranges[tflite] = found.ranges
            if tflite is self.converted.tflite:
                self.calibration = found
        base = self.order.base
        return merged(self._ranges[tflite], base.ranges) if base and not fresh else self._ranges[tflite]

    def _measure(self, variant: Variant, tflite: bytes, unrounded: tuple[Array, ...] | None = None) -> Tried:
        """Measure one form. `unrounded` are the answers of its own float32 form, if not the source's."""
        try:
            ran = interpreter.run(tflite, self.bench.rows)
            chosen, tested = self.bench.marks(ran.answers)
        except ModelError as error:
            return Tried(Entry(variant, error=str(error)))
        assert ran.latency is not None
        differences = self.bench.differences(ran.answers, unrounded)
        exact = not self.order.rules and _is_exact(RECIPES[variant.recipe])
        candidate = Candidate(variant.name, tflite, ran.inputs, ran.outputs, ran.answers, differences, exact)
        cost = self._cost(candidate, ran.latency)
        return Tried(Entry(variant, chosen, tested, cost), candidate, ran)

    def calibrates(self, variant: Variant) -> bool:
        """Return whether any operator of `variant` needs ranges."""
        recipes = [variant.recipe, *(rule.recipe for rule in self.order.rules)]
        return variant.recipe != "float32" and any(RECIPES[recipe].calibrates for recipe in recipes)

    def _cost(self, candidate: Candidate, latency: Latency) -> Cost:
        """Return what the bundle takes, with all that it may say of itself."""
        proof = packing.golden_set(candidate, self.bench.rows, self.bench.test.truth)
        source, marks = self.bench.marks(self.bench.reference)[1], self.bench.marks(candidate.answers)[1]
        label = replace(self.label_of(candidate), runtimes=tuple(interpreter.versions()))
        packed = pack(packing.make_bundle(candidate, proof, source, marks, label, rows=self.bench.real_rows))
        whole, base = len(compress(packed)), self.order.base
        if base is None:
            return Cost(len(packed), whole, latency)
        update = len(delta.encode(base.file, packed))
        return Cost(len(packed), update if delta.pays(update, whole) else whole, latency, whole)

    def label_of(self, candidate: Candidate) -> Label:
        """Return the label with what `candidate` needs of an interpreter."""
        names = tuple(f"{operator.name} {operator.version}" for operator in operators(candidate.tflite))
        return replace(
            self.label,
            operators=names,
            min_runtime=min_runtime(candidate.tflite),
            memory_bytes=least_bytes(read_graphs(candidate.tflite), len(candidate.tflite)),
        )

    def _timed_again(self, tried: Tried, float32: Tried) -> Tried:
        """Measure once more, in turn with float32, before a form is called slower than it."""
        mine, other = tried.entry.cost, float32.entry.cost
        if mine is None or other is None or not is_slower(other.latency, mine.latency):
            return tried
        assert tried.candidate is not None
        best, ratio = mine.latency, mine.latency.median_us / other.latency.median_us
        for _ in range(_TIMES_AGAIN):
            base = self._latency(self.converted.tflite)
            again = self._latency(tried.candidate.tflite)
            if again.median_us / base.median_us < ratio:
                ratio = again.median_us / base.median_us
                best = replace(again, median_us=ratio * other.latency.median_us)
        return replace(tried, entry=replace(tried.entry, cost=replace(mine, latency=best)))

    def _latency(self, tflite: bytes) -> Latency:
        found = interpreter.run(tflite, [rows[:1] for rows in self.bench.rows]).latency
        assert found is not None
        return found


def _is_exact(recipe: Recipe) -> bool:
    return recipe.activations == "float32" and not recipe.dynamic
