"""Real models through the whole of it, up to the device's own trial."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converter import app
from converter.adapters import interpreter
from converter.adapters.datasets import DataOptions
from converter.adapters.outputs import Outputs
from converter.app import ConvertRequest, ConvertResult, convert
from converter.budget import Budget, parse_budget
from converter.declaring import parse_preprocessing
from edge import open_bundle
from edge.adapters.media import read_image
from edge.adapters.tflite import installed_backends, make_loader
from edge.trial import examine
from tests.support.conversion import quiet, request_for
from tests.support.training import Trained
from wire.bundle import unpack
from wire.errors import DataError, EdgeflockError, ModelError, SettingsError
from wire.manifest import Postprocessing, Preprocessing


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
    assert (manifest.model, manifest.version, manifest.task) == ("digits", "2", "classes")
    assert manifest.source == sha256(trained.v2)
    assert manifest.provenance["data"] == sha256(trained.data)
    assert manifest.provenance["keras"]
    assert bundle.labels == tuple("0123456789")
    assert manifest.inputs[0].shape == (1, 8, 8, 1)
    assert manifest.inputs[0].dtype == manifest.recipe
    assert manifest.runtimes[0].startswith("ai-edge-litert ")
    assert any(operator.startswith("CONV_2D ") for operator in manifest.operators)
    assert manifest.min_runtime
    assert manifest.memory_bytes > manifest.tflite_bytes


@pytest.mark.usefixtures("no_keras")
def test_what_is_declared_is_in_the_bundle_fitted_to_the_model(trained: Trained, tmp_path: Path) -> None:
    declared = {
        "preprocessing": Preprocessing("image", scale=1 / 255),
        "postprocessing": Postprocessing("top-k", top_k=3),
        "machines": ("armv7l", "aarch64", "armv7l"),
    }
    made = convert(request_for(trained, tmp_path / "x.bundle", "float32", **declared), quiet).manifest
    assert (made.preprocessing.channels, made.preprocessing.scale) == (1, 1 / 255)
    assert made.postprocessing == Postprocessing("top-k", top_k=3)
    assert made.machines == ("aarch64", "armv7l")
    boxes = request_for(trained, tmp_path / "y.bundle", postprocessing=Postprocessing("boxes"))
    with pytest.raises(SettingsError, match="--boxes corners needs 2 outputs, there are 1"):
        convert(boxes, quiet)
    assert not (tmp_path / "y.bundle").exists()


def test_a_device_is_as_right_on_raw_pictures_as_was_measured(trained: Trained, tmp_path: Path) -> None:
    with np.load(trained.data) as digits:
        rows, truth = digits["x_test"], digits["y_test"]
    for number, (row, digit) in enumerate(zip(rows[:360], truth, strict=False)):
        path = tmp_path / "data" / ("val", "test", "test")[number % 3] / str(digit) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(np.rint(row.reshape(8, 8) * 255).astype(np.uint8))
        small.resize((20, 24)).convert("RGB").save(path)
    options = {
        "data": tmp_path / "data",
        "data_options": DataOptions(image_size=(8, 8), channels=1),
        "preprocessing": parse_preprocessing("image:scale=1/255"),
        "postprocessing": Postprocessing("top-k", top_k=2),
    }
    out = tmp_path / "x.bundle"
    made = convert(request_for(trained, out, "int8", **options), quiet)
    pictures = sorted((tmp_path / "data" / "test").rglob("*.png"))
    with open_bundle(out) as runtime:
        answers = [runtime.answer(runtime.predict(runtime.prepare(read_image(path)))) for path in pictures]
    right = [answer[0]["label"] == path.parent.name for answer, path in zip(answers, pictures, strict=True)]
    assert len(pictures) == 240
    assert np.mean(right) == pytest.approx(made.manifest.metrics["accuracy"], abs=1.1 / 240)


@pytest.mark.parametrize("backend", installed_backends())
def test_a_device_accepts_it(converted: ConvertResult, backend: str) -> None:
    verdict = examine(converted.out, make_loader(backend))
    assert verdict.passed, verdict.reason
    assert any(runtime.startswith(backend) for runtime in converted.manifest.runtimes)


def test_the_device_computes_exactly_what_was_measured(converted: ConvertResult) -> None:
    assert "within 0;" in examine(converted.out, make_loader("ai-edge-litert")).reason


def test_int8_keeps_the_accuracy_in_a_third_of_the_bytes(int8: ConvertResult) -> None:
    metrics = int8.manifest.metrics
    assert metrics["float_accuracy"] - metrics["accuracy"] <= 0.005
    assert metrics["agreement"] >= 0.98
    keras, float32, quantized = int8.report.forms
    assert quantized.file_bytes * 3 < float32.file_bytes < keras.file_bytes
    assert float32.evaluation.agreement == 1.0
    assert int8.report.warnings == ()


@pytest.mark.usefixtures("no_keras")
def test_by_default_the_smallest_that_keeps_its_accuracy_is_shipped(trained: Trained, tmp_path: Path) -> None:
    report = convert(request_for(trained, tmp_path / "x.bundle", "auto"), quiet).report
    assert [entry.variant.name for entry in report.entries] == ["int8", "weight-int8", "float16", "float32"]
    assert report.shipped in {"int8", "weight-int8"}  # int8, but for a clock that finds it slower
    assert report.misses[report.shipped] == ()


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
def test_a_new_version_that_hardly_differs_is_a_small_update(
    trained: Trained, int8: ConvertResult, tmp_path: Path
) -> None:
    request = request_for(trained, tmp_path / "x.bundle", "auto", base=int8.out)
    report = convert(request, quiet).report
    assert report.shipped == "int8"
    assert report.update is not None
    assert report.update.delta_bytes * 5 < report.update.full_bytes
    assert report.update.kept_ranges > 5


def search(trained: Trained, out: Path, budget: Budget, **other: object) -> ConvertRequest:
    # Without the Keras file there is nothing to fine-tune: these are about the choice alone.
    return request_for(trained, out, "auto", budget=budget, **other)


@pytest.fixture
def untrained(loaded, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(app, "convert_source", lambda *_: replace(loaded, traits=frozenset()))


@pytest.mark.usefixtures("untrained")
def test_a_search_chooses_on_one_half_and_reports_on_the_other(trained: Trained, tmp_path: Path) -> None:
    budget = parse_budget("accuracy=2pt,size=60kB,latency=1s")
    report = convert(search(trained, tmp_path / "x.bundle", budget), quiet).report
    assert (report.choose_count, report.count) == (270, 270)
    assert len(report.entries) == 7
    assert report.shipped in report.front
    assert report.misses["float32"][0].startswith("takes ")
    shipped = next(entry for entry in report.entries if entry.variant.name == report.shipped)
    assert shipped.cost is not None
    assert shipped.cost.file_bytes <= 60_000


@pytest.mark.usefixtures("untrained")
def test_a_budget_that_nothing_meets_hands_out_nothing_unless_told_to(
    trained: Trained, tmp_path: Path
) -> None:
    out, budget = tmp_path / "x.bundle", parse_budget("size=2kB")
    refused(search(trained, out, budget), ModelError, "none of 7 forms keeps inside the budget; the closest")
    result = convert(search(trained, out, budget, allow_miss=True), quiet)
    assert result.report.warnings[0].startswith("none of 7 forms keeps inside the budget")
    assert out.exists()


def test_compression_can_be_asked_for_by_name(trained: Trained, tmp_path: Path) -> None:
    request = request_for(trained, tmp_path / "x.bundle", compression="prune80+4bit")
    result = convert(request, quiet)
    assert result.manifest.recipe == "int8 prune80+4bit"
    assert result.report.wire_bytes * 8 < result.report.parameter_bytes
    assert result.manifest.metrics["accuracy"] > 0.97
    assert result.manifest.golden.tolerance < 0.3
    assert examine(result.out, make_loader("auto")).passed


@pytest.mark.usefixtures("no_keras")
def test_an_interrupt_at_the_last_moment_leaves_no_file(trained: Trained, tmp_path: Path) -> None:
    def interrupt(stage: str, done: float | None = None) -> None:
        if stage == "writing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(request_for(trained, tmp_path / "x.bundle", "float32"), interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_keras")
def test_every_report_is_written_beside_the_bundle(trained: Trained, tmp_path: Path) -> None:
    names = ("x.bundle", "x.json", "x.html", "x.png")
    outputs = Outputs(*(tmp_path / name for name in names))
    convert(request_for(trained, outputs.bundle, "float32", outputs=outputs), quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def refused(request: ConvertRequest, kind: type[EdgeflockError], line: str) -> None:
    folder = request.outputs.bundle.parent
    before = sorted(folder.iterdir())
    with pytest.raises(kind, match=line) as caught:
        convert(request, quiet)
    assert "\n" not in str(caught.value)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("none.keras", None, "none.keras is not there"),
        ("empty.keras", lambda _: b"", "empty.keras is empty"),
        ("cut.keras", lambda whole: whole[: len(whole) // 2], "cut.keras is not a Keras model, or is cut"),
        ("text.keras", lambda _: b"hello", "text.keras is not a Keras model"),
        ("text.h5", lambda _: b"hello", "text.h5 is not an HDF5 file"),
        ("model.onnx", lambda whole: whole, "model.onnx is not read"),
        ("hurt.keras", lambda whole: whole[:60000] + b"hurt" + whole[60004:], "hurt.keras is damaged"),
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
    line = r"v2.keras: .* a row is \[64\], the model takes \[8, 8, 1\]"
    refused(request_for(trained, tmp_path / "x.bundle", data=flat), DataError, line)


@pytest.mark.usefixtures("no_keras")
def test_an_interpreter_that_answers_otherwise_is_not_named(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = interpreter.run

    def run(tflite, inputs, backend=interpreter.REFERENCE, **more):  # type: ignore[no-untyped-def]
        ran = real(tflite, inputs, **more)
        if backend == interpreter.REFERENCE:
            return ran
        return replace(ran, answers=tuple(answers[::-1] for answers in ran.answers))

    monkeypatch.setattr(interpreter, "run", run)
    monkeypatch.setattr(interpreter, "installed", lambda: [interpreter.REFERENCE, "old-runtime"])
    monkeypatch.setattr(interpreter, "versions", lambda: ["ai-edge-litert 2", "old-runtime 1"])
    result = convert(request_for(trained, tmp_path / "x.bundle", "float32"), quiet)
    assert len(result.manifest.runtimes) == 1
    assert "not for devices with old-runtime: golden outputs differ by" in result.report.warnings[0]


@pytest.mark.usefixtures("no_keras")
@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda data: {"y_test": data["y_test"] + 10}, "y_test holds class 19"),
        (lambda data: {"x_test": data["x_test"] * 255}, "scale both as in training"),
        (lambda data: {"labels": np.array(["a", "b"])}, "2 labels, but the model has 10 outputs"),
        (lambda data: {"x_test": data["x_test"] * np.nan}, "NaN or infinity"),
    ],
)
def test_data_that_does_not_fit_is_one_line_and_no_file(
    trained: Trained, tmp_path: Path, change, line: str
) -> None:
    wrong = tmp_path / "wrong.npz"
    with np.load(trained.data) as data:
        np.savez(wrong, **({key: data[key] for key in data} | change(data)))
    refused(request_for(trained, tmp_path / "x.bundle", data=wrong), DataError, line)


def test_data_of_0_to_255_is_told_by_what_the_model_makes_of_it(trained: Trained, tmp_path: Path) -> None:
    raw = tmp_path / "raw.npz"
    with np.load(trained.data) as data:
        scaled = {key: data[key] * 255 for key in ("x_train", "x_test")}
        random = np.random.default_rng(0)  # a model of strokes still sees strokes: shuffle what it says
        np.savez(raw, **scaled, y_train=data["y_train"], y_test=random.permutation(data["y_test"]))
    request = request_for(trained, tmp_path / "x.bundle", "float32", data=raw)
    warnings = convert(request, quiet).report.warnings
    assert any("near chance; the inputs go up to 255: was the model trained on 0..1?" in w for w in warnings)


def test_the_source_is_never_overwritten(trained: Trained, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(trained.v2)
    for out in (trained.v2, trained.data, link):
        refused(request_for(trained, out), SettingsError, "is the source: it would be overwritten")


def test_a_board_that_is_not_known_is_one_line_and_no_file(trained: Trained, tmp_path: Path) -> None:
    wrong = request_for(trained, tmp_path / "x.bundle", machines=("arm64",))
    refused(wrong, SettingsError, "--machine 'arm64': choose aarch64, armv7l, x86_64")
