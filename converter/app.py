"""Wiring: a source and a data set in; a bundle, a report and the reasons for both out.

One thread. Every foreign library runs in a child process (converter/adapters/child.py), one after
the other. Nothing is written before everything is known; the source is only read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from converter import packing, reporting
from converter.adapters import interpreter
from converter.adapters.datasets import DataOptions, read_dataset
from converter.adapters.finetune import Tuning
from converter.adapters.flatbuffer import read_graphs
from converter.adapters.outputs import Outputs, check_outputs, write_outputs
from converter.adapters.sources import convert as convert_source
from converter.adapters.sources import source_file
from converter.bench import Bench, evaluated_rows, make_bench
from converter.budget import Budget
from converter.compression import levels
from converter.dataset import Dataset
from converter.declaring import fit_answers, fit_preprocessing
from converter.packing import Label
from converter.planning import check_rules
from converter.recipes import RECIPES, Rule
from converter.report import Report
from converter.search import (
    Baseline,
    Entry,
    Variant,
    choose,
    closest,
    default_plan,
    is_out_of_reach,
    judge,
    search_plan,
)
from converter.source import Converted, SourceOptions
from converter.workshop import Base, Order, Progress, Tried, Workshop
from wire.blob import compress
from wire.bundle import Bundle, pack, unpack
from wire.errors import EdgeflockError, ModelError, SettingsError, UnavailableError
from wire.manifest import MACHINES, Manifest, Postprocessing, Preprocessing
from wire.software import SOFTWARE
from wire.topics import check_name

#: The recipe that is no recipe: the smallest of a few that suit every device, if it keeps its accuracy.
AUTO: Final = "auto"


@dataclass(frozen=True)
class ConvertRequest:
    """What to convert, with what, to where.

    `recipe` and `compression` name one form; with AUTO the default plan is tried, and with a
    `budget` the search's. `allow_miss` hands out the closest form where none is inside the budget.
    `base` is the bundle that devices hold now. `machines` are those of wire.manifest.MACHINES that it is
    for, none: all. `preprocessing` and `postprocessing` are declared to
    devices; images in a folder are prepared by the former too.
    """

    source: Path
    outputs: Outputs
    model: str
    version: str
    data: Path | Dataset | None = None
    recipe: str = AUTO
    compression: str = ""
    rules: tuple[Rule, ...] = ()
    budget: Budget | None = None
    allow_miss: bool = False
    base: Path | None = None
    source_options: SourceOptions = field(default_factory=SourceOptions)
    data_options: DataOptions = field(default_factory=DataOptions)
    preprocessing: Preprocessing | None = None
    postprocessing: Postprocessing = field(default_factory=Postprocessing)
    machines: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConvertResult:
    """What was written."""

    out: Path
    bundle_bytes: int
    manifest: Manifest
    report: Report


@dataclass(frozen=True)
class _Chosen:
    tried: Tried
    passed_over: tuple[Entry, ...] = ()
    warnings: tuple[str, ...] = ()


def convert(request: ConvertRequest, progress: Progress) -> ConvertResult:
    """Convert, measure, prove and write; raise an EdgeflockError and leave no file behind."""
    _check_request(request)
    base = _read_base(request.base)
    progress("reading the data set")
    data = _read_data(request)
    progress(f"loading and converting {request.source.name}")
    rows = evaluated_rows(data) if data else None
    converted = convert_source(request.source, rows, request.source_options)
    bench = make_bench(data, converted, apart=request.budget is not None)
    check_rules(read_graphs(converted.tflite), request.rules)
    label = reporting.make_label(request.model, request.version, bench, converted, data)
    label = replace(
        label,
        provenance={**label.provenance, **_exceptions(request.rules)},
        machines=tuple(sorted(set(request.machines))),
    )
    label = _declared(label, request, converted)
    order = Order(request.rules, base, _tuning(request, bench, converted))
    workshop = Workshop(converted, bench, label, order, progress)
    float32 = workshop.baseline()
    if float32.entry.cost is None:
        raise ModelError(f"{request.source} as float32 TFLite: {float32.entry.error}")
    baseline = Baseline(*bench.marks(bench.reference), float32.entry.cost)
    tried = _try_all(_plan(request, bench, converted, base), workshop, float32, request.budget)
    chosen = _choose(request, tried, baseline)
    progress("proving on the interpreters of devices")
    bundle, doubts = _proved(chosen.tried, workshop, baseline)
    packed = pack(bundle)
    unpack(packed, name=str(request.outputs.bundle))  # the reader's own checks, before anybody relies on it
    progress("comparing layer by layer")
    report = reporting.make_report(
        reporting.Measured(
            manifest=bundle.manifest,
            converted=converted,
            bench=bench,
            data=data,
            baseline=baseline,
            float32=float32,
            chosen=chosen.tried,
            tried=tuple(tried),
            passed_over=chosen.passed_over,
            budget=request.budget,
            base=base,
            packed=packed,
            wire_bytes=len(compress(packed)),
            calibration=workshop.calibration,
            warnings=(*chosen.warnings, *doubts),
        )
    )
    progress("writing")
    write_outputs(request.outputs, packed, report)
    return ConvertResult(request.outputs.bundle, len(packed), bundle.manifest, report)


def _exceptions(rules: Sequence[Rule]) -> dict[str, str]:
    return {"exceptions": ", ".join(f"{rule.pattern}={rule.recipe}" for rule in rules)} if rules else {}


def _declared(label: Label, request: ConvertRequest, converted: Converted) -> Label:
    """Return `label` with what the request declares, once it fits the model."""
    how, first = request.preprocessing, converted.inputs[0]
    if how is not None and label.preprocessing.kind == "none":  # else images were read by it
        label = replace(label, preprocessing=fit_preprocessing(how, first.shape, first.name))
    shapes = [answers.shape[1:] for answers in converted.answers]
    return replace(label, postprocessing=fit_answers(request.postprocessing, converted.outputs, shapes))


def _check_request(request: ConvertRequest) -> None:
    check_name("model name (--name)", request.model)
    if request.model == SOFTWARE:
        raise SettingsError(f"{SOFTWARE} is the name by which the agents' own software travels")
    check_name("version (--version)", request.version)
    if request.recipe != AUTO and request.recipe not in RECIPES:
        raise SettingsError(f"--recipe {request.recipe!r}: choose {AUTO}, {', '.join(RECIPES)}")
    if request.recipe != AUTO and request.budget is not None:
        raise SettingsError("--budget searches among recipes, --recipe names one: give one of the two")
    if request.compression and request.recipe == AUTO:
        raise SettingsError("--compress needs --recipe: say which form is to be compressed, such as int8")
    for machine in request.machines:
        if machine not in MACHINES:
            raise SettingsError(f"--machine {machine!r}: choose {', '.join(MACHINES)}")
    if request.rules and request.recipe == "float32":
        raise SettingsError(
            "--except has nothing to except from float32: give --recipe weight-int8 or another"
        )
    data = request.data if isinstance(request.data, Path) else None
    sources = [source_file(request.source), request.base, data, *request.source_options.code]
    check_outputs(request.outputs, [source for source in sources if source is not None])


def _read_base(path: Path | None) -> Base | None:
    if path is None:
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"--base {path}: {error.strerror}") from error
    try:
        return Base(path.name, unpack(data, name=str(path)).tflite, data)
    except EdgeflockError:
        if data[4:8] != b"TFL3":
            raise
        return Base(path.name, data, data)  # a bare .tflite will do


def _read_data(request: ConvertRequest) -> Dataset | None:
    if not isinstance(request.data, Path):
        return request.data
    options = replace(request.data_options, preprocessing=request.preprocessing)
    if request.data.is_dir() and options.image_size is None:
        # Images become what the model takes, so it has to be asked first: some seconds for an option less.
        inputs = convert_source(request.source, None, request.source_options).inputs
        if len(inputs) == 1:
            options = replace(options, shape_hint=inputs[0].shape)
    return read_dataset(request.data, options)


def _tuning(request: ConvertRequest, bench: Bench, converted: Converted) -> Tuning | None:
    if "trainable" not in converted.traits or bench.train is None:
        return None
    return Tuning(request.source, request.source_options.code, bench.task)


def _plan(
    request: ConvertRequest, bench: Bench, converted: Converted, base: Base | None
) -> tuple[Variant, ...]:
    trains = _tuning(request, bench, converted) is not None
    calibrates = bench.train is not None
    if request.recipe != AUTO:
        if request.compression and not trains:
            raise SettingsError("--compress trains: it needs a Keras model and --data with training rows")
        return (Variant(request.recipe, request.compression),)
    if request.budget is not None:
        names = [level.name for level in levels()]
        plan = search_plan(converted.traits, names, calibrates=calibrates, trains=trains)
    else:
        plan = default_plan(converted.traits, calibrates=calibrates)
    static = [v for v in plan if RECIPES[v.recipe].calibrates and not v.compression]
    return (*plan, *(Variant(v.recipe, fresh=True) for v in static)) if base else plan


def _try_all(
    plan: Sequence[Variant], workshop: Workshop, float32: Tried, budget: Budget | None
) -> list[Tried]:
    """Return what came of each of the plan, in its order."""
    plain = [v for v in plan if not v.compression and v.recipe != "float32"]
    tuned = [v for v in plan if v.compression]
    found = {tried.entry.variant: tried for tried in (float32, *workshop.plain(plain, float32))}
    if budget is not None:
        made = [tried.entry for tried in found.values()]
        tuned = [variant for variant in tuned if not is_out_of_reach(made, variant, budget)]
    found |= {tried.entry.variant: tried for tried in workshop.tuned(tuned, float32)}
    return [found[variant] for variant in plan if variant in found]


def _choose(request: ConvertRequest, tried: Sequence[Tried], baseline: Baseline) -> _Chosen:
    by_variant = {one.entry.variant: one for one in tried}
    if request.recipe != AUTO:
        only = tried[0]
        if only.candidate is None:
            raise ModelError(f"{request.source} as {only.entry.variant.name}: {only.entry.error}")
        return _Chosen(only)
    entries = [one.entry for one in tried]
    budget = request.budget or Budget()
    choice = choose(entries, baseline, budget, margin=request.budget is not None)
    if choice.entry is not None:
        return _Chosen(by_variant[choice.entry.variant], choice.passed_over)
    near = closest(entries, baseline, budget)
    if near is None:
        raise ModelError(f"{request.source}: no form could be made: {entries[0].error}")
    why = "; ".join(judge(near, baseline, budget, margin=request.budget is not None).misses)
    why = why or "it kept inside on the choosing split and not on the report's"
    line = f"none of {len(entries)} forms keeps inside the budget; the closest is {near.variant.name}: {why}"
    if not request.allow_miss:
        raise ModelError(f"{line}; give a wider --budget, more data, or --allow-miss to take it")
    return _Chosen(by_variant[near.variant], choice.passed_over, (line,))


def _proved(chosen: Tried, workshop: Workshop, baseline: Baseline) -> tuple[Bundle, list[str]]:
    """Return the bundle, with the interpreters that reproduce its golden outputs, and why others do not."""
    candidate, bench = chosen.candidate, workshop.bench
    assert candidate is not None
    proof = packing.golden_set(candidate, bench.rows, bench.test.truth)
    proved, doubts = [], []
    for backend in interpreter.installed():
        try:
            again = interpreter.run(candidate.tflite, proof.inputs, backend, timed_calls=0)
            packing.check_golden(proof, again.answers, backend)
            proved.append(again.runtime)
        except (ModelError, UnavailableError) as error:
            if backend == interpreter.REFERENCE:
                raise
            doubts.append(f"not for devices with {backend}: {error}")
    label = replace(workshop.label_of(candidate), runtimes=tuple(proved))
    marks = bench.marks(candidate.answers)[1]
    return packing.make_bundle(candidate, proof, baseline.test, marks, label, rows=bench.real_rows), doubts
