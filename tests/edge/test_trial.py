"""The trial of a pushed model, in a real child process."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from edge.adapters.child_trial import ChildTrial, read_verdict
from edge.adapters.tflite import installed_backends, make_loader
from edge.golden import Verdict
from edge.trial import examine
from tests.support.training import Bundles
from wire.bundle import pack, unpack
from wire.deadline import Deadline, wait_until


def verdict_of(bundle: Path, backend: str = "auto") -> Verdict:
    trial, found = ChildTrial(backend, 1), []
    trial.start(bundle)

    def answered() -> bool:
        if (verdict := trial.poll()) is not None:
            found.append(verdict)
        return bool(found)

    assert wait_until(answered, Deadline.after(60))
    return found[0]


@pytest.mark.parametrize("backend", installed_backends())
def test_a_good_bundle_passes_on_each_interpreter(bundles: Bundles, backend: str) -> None:
    verdict = verdict_of(bundles.two, backend)
    assert verdict.passed, verdict.reason
    assert "golden outputs within" in verdict.reason


def test_wrong_golden_outputs_fail(bundles: Bundles) -> None:
    verdict = verdict_of(bundles.wrong)
    assert not verdict.passed
    assert "golden outputs differ" in verdict.reason


def test_a_missing_file_fails_with_its_reason(tmp_path: Path) -> None:
    assert verdict_of(tmp_path / "none").reason.endswith("No such file or directory")


def test_a_model_whose_tensors_are_not_the_manifests_fails(bundles: Bundles, tmp_path: Path) -> None:
    bundle = unpack(bundles.two.read_bytes())
    (spec,) = bundle.manifest.inputs
    lying = replace(bundle.manifest, inputs=(replace(spec, shape=(1, 16, 16, 1)),))
    path = tmp_path / "lying.bundle"
    path.write_bytes(pack(replace(bundle, manifest=lying)))
    verdict = examine(path, make_loader())
    assert not verdict.passed
    assert "are not the manifest's" in verdict.reason


@pytest.mark.parametrize(
    ("code", "answer", "reason"),
    [
        (-signal.SIGSEGV, b"", "ended by SIGSEGV"),
        (-signal.SIGKILL, b'{"passed":true,"reason":"x"}', "ended by SIGKILL"),
        (0, b"", "code 0 and no verdict"),
        (1, b"Traceback", "code 1 and no verdict"),
        (0, b"[]", "no verdict"),
        (0, b'{"passed":"yes","reason":"x"}', "x"),
        (3, b'{"passed":true,"reason":"x"}', "x"),
    ],
)
def test_whatever_else_a_child_does_means_that_the_model_failed(
    code: int, answer: bytes, reason: str
) -> None:
    verdict = read_verdict(code, answer)
    assert not verdict.passed
    assert reason in verdict.reason


def test_a_trial_can_be_killed(bundles: Bundles) -> None:
    trial = ChildTrial("auto", 1)
    trial.start(bundles.two)
    trial.kill()
    assert trial.poll() == Verdict(False, "no trial is running")
