"""Thousands of bad models are pushed at a process that serves: it survives each and keeps answering."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from random import SystemRandom

import pytest

from edge.adapters.tflite import installed_backends
from tests.support.mutants import mutants
from tests.support.training import Bundles
from tests.support.under_fire import Tally, fire

MANY = 10_000
FEW = {"ai-edge-litert": 240, "tflite-runtime": 120}


def survive(folder: Path, bundles: Bundles, backend: str, count: int, seed: int) -> Tally:
    """Push mutants of two models; nothing may get through that answers wrongly, or without a reason."""
    sources = [bundles.two, bundles.float_two]
    stream = mutants([path.read_bytes() for path in sources], seed)
    tally = fire(folder, backend, bundles.two, islice(stream, count))
    print(json.dumps(vars(tally), indent=2))
    assert tally.stages.total() == count
    assert (tally.unexplained, tally.unwell) == (0, 0), tally.examples
    assert "no verdict" not in tally.causes, tally.examples
    return tally


@pytest.mark.parametrize("backend", installed_backends())
def test_a_serving_process_survives_hundreds_of_bad_models(
    tmp_path: Path, bundles: Bundles, backend: str
) -> None:
    tally = survive(tmp_path, bundles, backend, FEW[backend], seed=1)
    assert {"digest", "preflight", "trial", "passed"} == set(tally.stages)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("backend", installed_backends())
def test_a_serving_process_survives_ten_thousand_bad_models(
    tmp_path: Path, bundles: Bundles, backend: str
) -> None:
    seed = SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    survive(tmp_path, bundles, backend, MANY, seed)
