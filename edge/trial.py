"""The trial of a pushed model: load it, run its golden set, judge the answers.

This runs in a child process (edge/adapters/child_trial.py): a bad file can end the interpreter
with a segmentation fault, allocate without end, or never return.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from edge.backend import Loader
from edge.golden import Verdict, judge, read_golden
from edge.loading import read_bundle
from edge.runtime import load
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
        name = model.outputs[0].name
        got = [model.run(x).outputs[name].ravel() for x in golden.inputs]
    except (BundleError, ModelError, InputError) as error:
        return Verdict(False, str(error))
    verdict = judge(golden.expected, np.asarray(got), bundle.manifest.golden.tolerance)
    each_us = (time.perf_counter() - start) / len(got) * 1e6 if got else 0.0
    return Verdict(verdict.passed, f"{verdict.reason}; {each_us:.0f} us each")
