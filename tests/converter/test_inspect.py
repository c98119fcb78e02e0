"""What `edgeflock inspect` shows of a bundle, and what it says of a file that is none."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from converter import golden
from edgeflock import main
from tests.support.examples import MANIFEST
from tests.support.tiny_model import tiny_tflite
from wire.bundle import Bundle, pack
from wire.manifest import Golden, Manifest, TensorSpec
from wire.reference import Feature, Reference

ROOT = Path(__file__).parents[2]
TFLITE = tiny_tflite()
QUANTIZED = TensorSpec("x", "int8", (1, 4), 0.5, -3)
ROWS = np.arange(8, dtype=np.int8).reshape(2, 4)
BUNDLE = Bundle(
    replace(
        MANIFEST,
        tflite_sha256=hashlib.sha256(TFLITE).hexdigest(),
        tflite_bytes=len(TFLITE),
        inputs=(QUANTIZED,),
        outputs=(replace(QUANTIZED, name="y"),),
        golden=Golden(2, 0.25),
        labels=2,
        runtimes=("ai-edge-litert 2.3.0",),
        operators=("RELU 2",),
        metrics={"accuracy": 0.9765, "float_accuracy": 0.98},
        provenance={"keras": "3.15.1"},
    ),
    TFLITE,
    ("cat", "dog\x1b[2J"),
    golden.encode([ROWS], [ROWS.astype(np.float32)]),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "pets-1.bundle"
    path.write_bytes(pack(BUNDLE))
    return path


def test_a_bundle_says_who_it_is_and_what_it_was_measured_to_do(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(bundle)]) == 0
    text = capsys.readouterr().out
    said = {name: value.strip() for name, _, value in (line.partition("  ") for line in text.splitlines())}
    assert said["intact"].startswith("yes")
    assert said["file_bytes"] == f"{bundle.stat().st_size:,}"
    assert said["model_bytes"] == f"{len(TFLITE):,}"
    assert said["golden.count"] == "2"
    assert said["golden arrays"] == "inputs int8 [2, 4]; expected float32 [2, 4]"
    assert said["operators"] == "RELU 2"
    assert (said["preprocessing.kind"], said["postprocessing.kind"]) == ("none", "none")
    assert "preprocessing.order" not in said  # as nothing was declared
    for part in ("-3", "1 x 4", "accuracy", "0.9765", "3.15.1"):
        assert part in text


def test_a_reference_is_shown_feature_by_feature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, feature = tmp_path / "pets-2.bundle", Feature("x[3]", "column", (1.5, 2.5), (7, 8, 9))
    path.write_bytes(pack(replace(BUNDLE, reference=Reference(24, (feature,)))))
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    for part in ("features of 24 inputs", "x[3]", "1.5, 2.5", "7, 8, 9"):
        assert part in text
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reference"]["features"][0]["counts"] == [7, 8, 9]


def test_every_field_of_the_manifest_is_shown(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said["manifest"]) == {part.name for part in fields(Manifest)}
    assert main(["inspect", str(bundle)]) == 0
    text = capsys.readouterr().out
    shown = {"inputs": "input 0", "outputs": "output 0"}
    empty = {name for name, value in said["manifest"].items() if value in (None, "", [])}
    assert empty <= {"source", "min_runtime", "labels_sha256", "machines", "memory_bytes", "software"}
    for part in fields(Manifest):
        assert part.name in empty or shown.get(part.name, part.name) in text, part.name


def test_a_label_cannot_move_the_cursor(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", str(bundle)])
    text = capsys.readouterr().out
    assert "cat, dog\\x1b[2J" in text
    assert "\x1b" not in text


def _cut(data: bytes) -> bytes:
    return data[:-30]


def _changed(data: bytes) -> bytes:
    return data[:200] + bytes([data[200] ^ 1]) + data[201:]


def _short_golden(data: bytes) -> bytes:
    del data
    return pack(replace(BUNDLE, golden=golden.encode([ROWS[:1]], [ROWS[:1].astype(np.float32)])))


def _no_golden(data: bytes) -> bytes:
    del data
    return pack(replace(BUNDLE, golden=b"hello"))


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (_cut, "no readable zip behind the model"),
        (_changed, "is damaged: the model part is not the one"),
        (_short_golden, "the golden set does not hold the 2 samples of the manifest"),
        (_no_golden, "its golden set is no npz file that can be read"),
        (lambda _: b"", "is empty"),
        (lambda _: b"hello, world", "is not a TFLite model"),
    ],
)
def test_a_damaged_bundle_is_one_line_and_exit_1(bundle: Path, capsys, damage, line: str) -> None:  # type: ignore[no-untyped-def]
    bundle.write_bytes(damage(bundle.read_bytes()))
    assert main(["inspect", str(bundle)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert line in told.err
    assert str(bundle) in told.err
    assert told.err.count("\n") == 1


def test_a_file_that_is_not_there_is_one_line_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "nowhere.bundle"]) == 1
    assert capsys.readouterr().err == "edgeflock: nowhere.bundle: No such file or directory\n"


def test_a_bare_model_is_shown_as_far_as_it_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(TFLITE)
    assert main(["inspect", str(path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["intact"].startswith("unknown")
    assert said["manifest"] is None
    assert said["model"]["inputs"] == [
        {"name": "x", "dtype": "int8", "shape": [1, 4], "scale": 0.5, "zero_point": -3}
    ]
    assert said["model"]["operators"] == ["RELU 2"]
    assert main(["inspect", str(path)]) == 0
    assert "output 0" in capsys.readouterr().out


def test_files_that_others_appended_to_a_model_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = io.BytesIO(TFLITE)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("labelmap.txt", "cat\ndog")
    path = tmp_path / "theirs.tflite"
    path.write_bytes(out.getvalue())
    assert main(["inspect", str(path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["entries"] == {"labelmap.txt": 7}
    assert said["model_bytes"] == len(TFLITE)


def test_a_model_that_is_cut_off_is_one_line_and_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(TFLITE[: len(TFLITE) // 2])
    assert main(["inspect", str(path)]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "cut.tflite: it is no whole TFLite file" in told


_BARE_PYTHON = """\
import sys
for name in ("tensorflow", "keras", "ai_edge_litert", "tflite_runtime", "litert_quantizer", "matplotlib"):
    sys.modules[name] = None  # importing it raises ImportError
from edgeflock import main
sys.exit(main(sys.argv[1:]))
"""


def test_neither_tensorflow_nor_an_interpreter_is_needed(bundle: Path, tmp_path: Path) -> None:
    bare = tmp_path / "tiny.tflite"
    bare.write_bytes(TFLITE)
    texts = []
    for path in (bundle, bare):
        command = [sys.executable, "-c", _BARE_PYTHON, "inspect", str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        texts.append(done.stdout)
    assert "RELU 2" in texts[0]
    assert "not shown" in texts[1]
    assert "ai-edge-litert cannot be imported: pip install 'edgeflock[converter]'" in texts[1]
