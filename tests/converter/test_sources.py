"""A source by its path: what it is, whether it is there, and a whole conversion of one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from converter.adapters.sources import convert
from converter.source import SourceOptions
from tests.support.source_attempts import models
from wire.errors import EdgeflockError, ModelError, SettingsError


def test_two_conversions_make_the_same_bytes_and_leave_the_source_alone(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = models(tmp_path_factory.getbasetemp()) / "gru.h5"
    before = path.read_bytes()
    rows = {"": np.random.default_rng(1).random((3, 7, 4))}
    one, two = (convert(path, rows, SourceOptions()) for _ in range(2))
    assert one.tflite == two.tflite
    assert one.sha256 == hashlib.sha256(before).hexdigest()
    assert (one.framework, one.size_bytes) == ("Keras", len(before))
    assert [array.shape for array in (*one.rows, *one.answers)] == [(3, 7, 4), (3, 2)]
    assert path.read_bytes() == before


def test_a_folders_digest_is_of_its_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = models(tmp_path_factory.getbasetemp()) / "scale"
    converted = convert(path, None, SourceOptions(signature="once"))
    files = [file for file in path.rglob("*") if file.is_file()]
    lines = [
        f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(path).as_posix()}\n" for f in files
    ]
    assert converted.sha256 == hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    assert converted.size_bytes == sum(file.stat().st_size for file in files)
    assert len(converted.rows[0]) == 64


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("none.keras", None, "none.keras is not there"),
        ("empty.keras", b"", "empty.keras is empty"),
        ("empty.tflite", b"", "empty.tflite is empty"),
        ("text.keras", b"hello", "text.keras is not a Keras model, or is cut off"),
        ("text.h5", b"hello", "text.h5 is not an HDF5 file"),
        ("text.tflite", b"hello, world", r"text.tflite is not a TFLite model \(no TFL3 mark\)"),
        ("text.pt2", b"hello", "text.pt2 is not a program of torch.export.save"),
        ("model.onnx", b"hello", "model.onnx is not read: give the .* model that it was exported from"),
        ("model.pth", b"hello", "model.pth holds Python objects .*torch.export.save"),
        ("model.py", b"hello", "model.py is Python code: name the function"),
        ("none.py:make", None, "none.py is not there"),
        ("model.txt", b"hello", "model.txt has no ending of a model; taken are Keras .keras or .h5"),
        ("model", "folder", r"model is a folder, but not a SavedModel \(no saved_model.pb in it\)"),
        ("model.keras", "folder", "model.keras is a folder: give the file"),
    ],
)
def test_what_is_no_model_is_one_line(
    tmp_path: Path, name: str, content: bytes | str | None, line: str
) -> None:
    if content == "folder":
        (tmp_path / name).mkdir()
    elif isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=line) as caught:
        convert(tmp_path / name, None, SourceOptions())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("m.keras", SourceOptions(signature="a"), "--signature is for SavedModel folders and .tflite files"),
        ("m.tflite", SourceOptions(code=(Path("a.py"),)), "--code is for Keras and scikit-learn models"),
    ],
)
def test_an_option_of_another_kind_is_refused(
    tmp_path: Path, name: str, options: SourceOptions, line: str
) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SettingsError, match=line):
        convert(tmp_path / name, None, options)


def test_an_error_begins_with_the_path_as_it_was_given(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models(tmp_path_factory.getbasetemp()))
    with pytest.raises(EdgeflockError, match=r"^int8.tflite: it is quantized already"):
        convert(Path("int8.tflite"), None, SourceOptions())
