"""The trial of a pushed model: load it, run its golden set, judge the answers.

This runs in a child process (edge/adapters/child_trial.py): a bad file can end the interpreter
with a segmentation fault, allocate without end, or never return.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from edge.backend import Array, Loader
from edge.golden import GoldenSet, Verdict, judge_all, read_golden
from edge.loading import read_bundle
from edge.runtime import LoadedModel, load
from wire.errors import BundleError, InputError, ModelError


def examine(path: Path, loader: Loader) -> Verdict:
    """Return whether the bundle at `path` may serve here, and why not."""
    try:
        bundle = read_bundle(path)
        golden = read_golden(bundle.golden, bundle.manifest.golden)
        model = load(bundle.manifest.model, path, loader)
        found = {(t.name, str(t.dtype), t.shape) for t in (*model.inputs, *model.outputs)}
        told = {(t.name, t.dtype, t.shape) for t in (*bundle.manifest.inputs, *bundle.manifest.outputs)}
        if found != told:
            return Verdict(
                False, f"the model's tensors {sorted(found)} are not the manifest's {sorted(told)}"
            )
        start = time.perf_counter()
        got = _answers(model, golden)
    except (BundleError, ModelError, InputError) as error:
        return Verdict(False, str(error))
    verdict = judge_all(golden.expected, got, bundle.manifest.golden)
    each_us = (time.perf_counter() - start) / max(1, bundle.manifest.golden.count) * 1e6
    return Verdict(verdict.passed, f"{verdict.reason}; {each_us:.0f} us each")


def _answers(model: LoadedModel, golden: GoldenSet) -> tuple[Array, ...]:
    """Return what the model answers to the golden inputs: an array [n, ...] for each output."""
    names = [tensor.name for tensor in model.inputs]
    if len(golden.inputs) != len(names):
        raise BundleError(f"golden set has {len(golden.inputs)} inputs, the model takes {len(names)}")
    runs = [
        model.run(row[0] if len(names) == 1 else dict(zip(names, row, strict=True))).outputs
        for row in zip(*golden.inputs, strict=True)
    ]
    return tuple(np.asarray([run[tensor.name] for run in runs]) for tensor in model.outputs)
