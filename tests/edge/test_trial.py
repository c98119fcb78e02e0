"""The trial of a pushed model: its verdict, and what comes with it."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from edge.adapters.child_trial import ChildTrial, VerdictChild, read_verdict
from edge.adapters.tflite import installed_backends, make_loader
from edge.golden import Measured, Verdict
from edge.trial import Limits, attempt, examine, judge_speed
from tests.support.bad_models import ROW, bundle_of, tiny_float
from tests.support.tiny_bundle import GREY_2X2, write_tiny_bundle
from tests.support.training import Bundles
from tests.support.trials import verdict_of
from wire.bundle import pack, unpack
from wire.codec import encode
from wire.deadline import Deadline, wait_until
from wire.manifest import Postprocessing, Preprocessing, TensorSpec

MEASURED = Measured(100.0, 150.0, 300, 2.0, 40_000_000, 1, 7)


@pytest.mark.parametrize("backend", installed_backends())
def test_a_good_bundle_passes_with_its_measurements_on_each_interpreter(
    bundles: Bundles, backend: str
) -> None:
    verdict = verdict_of(bundles.two, backend)
    assert verdict.passed, verdict.reason
    assert verdict.reason.startswith("golden outputs within")
    measured = verdict.measured
    assert measured is not None
    assert 0 < measured.p50_us <= measured.p99_us
    assert measured.calls == 300 or measured.p99_us > 2e6 / 300  # it was slow: two seconds were over first
    assert measured.operators == 7
    assert measured.allocate_ms > 0
    assert 10_000_000 < measured.peak_rss_bytes < 400_000_000
    assert 0 < measured.needs_bytes < measured.peak_rss_bytes / 2


def test_wrong_golden_outputs_fail(bundles: Bundles) -> None:
    verdict = verdict_of(bundles.wrong)
    assert not verdict.passed
    assert "golden outputs differ" in verdict.reason


@pytest.mark.parametrize(
    ("preprocessing", "postprocessing", "reason"),
    [
        (Preprocessing(kind="mfcc"), None, "prepares inputs by 'mfcc', which this version cannot"),
        (Preprocessing(kind="image", channels=1, height=7, width=7), None, "declares images of 1 channels"),
        (None, Postprocessing(kind="masks"), "reads outputs by 'masks', which this version cannot"),
        (None, Postprocessing(kind="boxes", layout="corners"), "boxes need the outputs"),
    ],
)
def test_a_declared_way_in_or_out_that_cannot_be_gone_fails(
    tmp_path: Path, preprocessing: Preprocessing | None, postprocessing: Postprocessing | None, reason: str
) -> None:
    assert verdict_of(
        write_tiny_bundle(tmp_path / "good.bundle", GREY_2X2, Postprocessing(kind="top-k"))
    ).passed
    verdict = verdict_of(write_tiny_bundle(tmp_path / "tiny.bundle", preprocessing, postprocessing))
    assert not verdict.passed
    assert reason in verdict.reason


def test_a_missing_file_fails_with_its_reason(tmp_path: Path) -> None:
    assert verdict_of(tmp_path / "none").reason.endswith("No such file or directory")


def test_a_path_that_no_interpreter_takes_fails_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.bundle")
    path.write_bytes(tiny_float())
    assert " .bundle cannot be loaded by " in verdict_of(path).reason


def test_a_model_with_the_manifest_of_another_fails(bundles: Bundles, tmp_path: Path) -> None:
    bundle = unpack(bundles.two.read_bytes())
    (spec,) = bundle.manifest.inputs
    lying = replace(bundle.manifest, inputs=(replace(spec, shape=(1, 16, 16, 1)),))
    path = tmp_path / "lying.bundle"
    path.write_bytes(pack(replace(bundle, manifest=lying)))
    verdict = examine(path, make_loader())
    assert not verdict.passed
    assert "[1, 8, 8, 1], the manifest says" in verdict.reason


def test_a_model_that_its_callers_could_not_call_fails(bundles: Bundles, tmp_path: Path) -> None:
    path = tmp_path / "other.bundle"
    path.write_bytes(tiny_float())
    verdict = verdict_of(path, serving=bundles.two)
    assert not verdict.passed
    assert "callers send" in verdict.reason
    assert verdict_of(bundles.float_two, serving=bundles.two).passed


def test_a_bundle_with_another_manifest_than_the_signed_one_fails(bundles: Bundles) -> None:
    manifest = unpack(bundles.two.read_bytes()).manifest
    assert verdict_of(bundles.two, signed=manifest).passed
    other = replace(manifest, postprocessing=Postprocessing(kind="top-k"))
    assert (
        verdict_of(bundles.two, signed=other).reason == "its manifest is not the one that was signed for it"
    )


def test_a_serving_model_that_is_lost_is_no_fault_of_the_next(bundles: Bundles, tmp_path: Path) -> None:
    assert verdict_of(bundles.two, serving=tmp_path / "none").passed


def test_a_model_that_is_too_slow_fails(bundles: Bundles) -> None:
    verdict = verdict_of(bundles.two, p99_us=0.001)
    assert not verdict.passed
    assert "too slow: 99 of 100 calls take up to" in verdict.reason
    assert verdict.measured is not None


@pytest.mark.parametrize(("limit_us", "passed"), [(None, True), (150.0, True), (149.0, False)])
def test_a_model_may_be_as_slow_as_the_limit(limit_us: float | None, passed: bool) -> None:
    assert judge_speed(Verdict(True, "fine", measured=MEASURED), limit_us).passed is passed


def test_a_verdict_tells_what_was_measured(bundles: Bundles) -> None:
    assert re.search(r"; p50 \d+ us, p99 \d+ us; \d+ MB of memory", verdict_of(bundles.two).reason)
    without = judge_speed(Verdict(True, "fine", measured=replace(MEASURED, delegated=0)), None)
    assert without.reason.endswith("no part of it runs in XNNPACK")


def test_golden_inputs_that_do_not_fit_fail(tmp_path: Path) -> None:
    path = tmp_path / "short.bundle"
    good = unpack(tiny_float())
    other = unpack(bundle_of(good.tflite, {"x": ROW[:, :3]}, {"y": ROW}))
    path.write_bytes(pack(replace(other, manifest=good.manifest)))
    assert "has shape [1, 4], got [1, 3]" in examine(path, make_loader()).reason


def test_the_phases_are_told_as_they_begin(bundles: Bundles) -> None:
    phases: list[str] = []
    attempt(bundles.two, make_loader(), Limits(), phases.append)
    assert phases == [
        "while its file was read", "while it was loaded", "on its golden inputs", "while it was timed",
    ]  # fmt: skip


def test_names_from_the_file_do_not_reach_the_terminal_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x.bundle"
    bundle = unpack(tiny_float())
    strange = replace(bundle.manifest, inputs=(TensorSpec("\x1b[31m\n" + "x" * 999, "float32", (1, 4)),))
    path.write_bytes(pack(replace(bundle, manifest=strange)))
    reason = examine(path, make_loader()).reason
    assert reason.isprintable()
    assert len(reason) <= 400


@pytest.mark.parametrize(
    ("code", "answer", "reason"),
    [
        (-signal.SIGSEGV, b"", "ended by SIGSEGV"),
        (-signal.SIGKILL, b'{"passed":true,"reason":"x"}', "ended by SIGKILL"),
        (0, b"", "code 0 and no verdict"),
        (1, b"Traceback", "code 1 and no verdict"),
        (0, b"[]", "no verdict"),
        (0, b'{"passed":"yes","reason":"x"}', "no verdict"),
        (3, b'{"passed":true,"reason":"x"}', "no verdict"),
    ],
)
def test_whatever_else_a_child_does_means_that_the_model_failed(
    code: int, answer: bytes, reason: str
) -> None:
    verdict = read_verdict(code, answer)
    assert not verdict.passed
    assert reason in verdict.reason


def test_a_verdict_arrives_as_it_was_sent() -> None:
    sent = Verdict(True, "fine", measured=MEASURED)
    assert read_verdict(0, encode(sent)) == sent


def test_a_trial_can_be_killed(bundles: Bundles) -> None:
    trial = ChildTrial("auto", 1)
    trial.start(bundles.two)
    trial.kill()
    assert trial.poll() == Verdict(False, "no trial is running")


def test_a_backend_that_is_not_there_is_the_reason(bundles: Bundles) -> None:
    assert "choose auto" in verdict_of(bundles.two, "onnx").reason


def test_a_trial_that_broke_off_says_why() -> None:
    trial = VerdictChild()
    verdicts: list[Verdict] = []
    trial.begin("edge.no_such_trial")

    def polled() -> bool:
        verdict = trial.poll()
        verdicts.extend([verdict] if verdict else [])
        return bool(verdicts)

    assert wait_until(polled, Deadline.after(60))
    assert verdicts[0].reason.startswith("the trial ended with code 1 and no verdict: ")
    assert verdicts[0].reason.endswith("No module named edge.no_such_trial")
