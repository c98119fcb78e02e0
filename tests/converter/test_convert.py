"""Real models through the whole of it, up to the device's own trial."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converter.adapters import interpreter
from converter.app import ConvertResult, convert
from converter.evaluation import Array
from edge.adapters.tflite import installed_backends, make_loader
from edge.trial import examine
from tests.support.conversion import quiet, request_for
from tests.support.training import Trained
from wire.bundle import unpack
from wire.errors import DataError, EdgeflockError, ModelError, SettingsError


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_demo_trains_an_early_and_a_good_model(trained: Trained) -> None:
    early, good = (float(share) for share in re.findall(r"([\d.]+)% of 540 unseen", trained.log))
    assert 80 < early < 95
    assert good > 97


def test_the_bundle_says_what_is_in_it(trained: Trained, converted: ConvertResult) -> None:
    bundle = unpack(converted.out.read_bytes())
    manifest = bundle.manifest
    assert manifest == converted.manifest
    assert (manifest.model, manifest.version) == ("digits", "2")
    assert manifest.source == sha256(trained.v2)
    assert bundle.labels == tuple("0123456789")
    assert manifest.inputs[0].shape == (1, 8, 8, 1)
    assert manifest.inputs[0].dtype == manifest.recipe
    assert manifest.runtimes[0].startswith("ai-edge-litert ")


@pytest.mark.parametrize("backend", installed_backends())
def test_a_device_accepts_it(converted: ConvertResult, backend: str) -> None:
    verdict = examine(converted.out, make_loader(backend))
    assert verdict.passed, verdict.reason
    assert any(runtime.startswith(backend) for runtime in converted.manifest.runtimes)


def test_the_device_computes_exactly_what_was_measured(converted: ConvertResult) -> None:
    assert "within 0;" in examine(converted.out, make_loader("ai-edge-litert")).reason


def test_int8_keeps_the_accuracy_in_a_third_of_the_bytes(int8: ConvertResult) -> None:
    metrics = int8.manifest.metrics
    assert metrics["float_accuracy"] - metrics["accuracy"] <= 0.01
    assert metrics["agreement"] >= 0.98
    keras, float32, quantized = int8.report.rows
    assert quantized.size_bytes * 3 < float32.size_bytes < keras.size_bytes
    assert float32.evaluation.agreement == 1.0
    assert int8.report.warnings == ()


def test_equal_inputs_make_equal_bundles_and_leave_the_source_alone(
    trained: Trained,
    int8: ConvertResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = sha256(trained.v2)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numpy.py").write_text("raise RuntimeError('not ours to import')")
    again = convert(request_for(trained, Path("other.bundle")), quiet)
    assert again.out.read_bytes() == int8.out.read_bytes()
    assert sha256(trained.v2) == before


@pytest.mark.usefixtures("no_keras")
def test_an_interrupt_at_the_last_moment_leaves_no_file(trained: Trained, tmp_path: Path) -> None:
    def interrupt(stage: str) -> None:
        if stage == "writing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(request_for(trained, tmp_path / "x.bundle", "float32"), interrupt)
    assert list(tmp_path.iterdir()) == []


def refused(request, kind: type[EdgeflockError], line: str) -> None:  # type: ignore[no-untyped-def]
    before = sorted(request.out.parent.iterdir())
    with pytest.raises(kind, match=line) as caught:
        convert(request, quiet)
    assert "\n" not in str(caught.value)
    assert sorted(request.out.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("none.keras", None, "none.keras is not there"),
        ("empty.keras", lambda _: b"", "empty.keras is empty"),
        (
            "cut.keras",
            lambda whole: whole[: len(whole) // 2],
            "cut.keras is not a Keras model, or is cut off",
        ),
        ("text.keras", lambda _: b"hello", "text.keras is not a Keras model"),
        ("text.h5", lambda _: b"hello", "text.h5 is not an HDF5 file"),
        ("model.onnx", lambda whole: whole, "no ending of a Keras model"),
        (
            "hurt.keras",
            lambda whole: whole[:60000] + b"hurt" + whole[60004:],
            "hurt.keras is damaged: model.weights.h5",
        ),
    ],
)
def test_a_bad_model_is_one_line_and_no_file(
    trained: Trained, tmp_path: Path, name: str, content, line: str
) -> None:
    source = tmp_path / name
    if content:
        source.write_bytes(content(trained.v2.read_bytes()))
    refused(request_for(trained, tmp_path / "x.bundle", source=source), ModelError, line)


def test_data_of_another_shape_is_one_line_and_no_file(trained: Trained, tmp_path: Path) -> None:
    flat = tmp_path / "flat.npz"
    with np.load(trained.data) as data:
        inputs = {key: data[key].reshape(-1, 64) for key in ("x_train", "x_test")}
        np.savez(flat, **inputs, y_train=data["y_train"], y_test=data["y_test"])
    line = r"v2.keras: a row of x_test is \[64\], the model takes \[8, 8, 1\]"
    refused(request_for(trained, tmp_path / "x.bundle", data=flat), DataError, line)


@pytest.mark.usefixtures("no_keras")
def test_an_interpreter_that_answers_otherwise_is_not_named(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = interpreter.run

    def run(
        tflite: bytes, inputs: Array, backend: str = interpreter.REFERENCE, **more: int
    ) -> interpreter.Run:
        ran = real(tflite, inputs, **more)
        return ran if backend == interpreter.REFERENCE else replace(ran, answers=ran.answers[::-1])

    monkeypatch.setattr(interpreter, "run", run)
    monkeypatch.setattr(interpreter, "installed", lambda: [interpreter.REFERENCE, "old-runtime"])
    result = convert(request_for(trained, tmp_path / "x.bundle", "float32"), quiet)
    assert len(result.manifest.runtimes) == 1
    assert "not for devices with old-runtime: golden outputs differ by" in result.report.warnings[0]


@pytest.mark.usefixtures("no_keras")
def test_a_class_that_the_model_lacks_is_one_line_and_no_file(trained: Trained, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.npz"
    with np.load(trained.data) as data:
        np.savez(
            wrong, **{key: data[key] + (10 if key == "y_test" else 0) for key in data if key != "labels"}
        )
    refused(request_for(trained, tmp_path / "x.bundle", data=wrong), DataError, "y_test holds class 19")


def test_the_source_is_never_overwritten(trained: Trained, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(trained.v2)
    for out in (trained.v2, trained.data, link):
        refused(request_for(trained, out), SettingsError, "is the source: it would be overwritten")
