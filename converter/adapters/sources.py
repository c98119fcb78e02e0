"""A source of any kind: what it is by its path, what it is as a file, and who converts it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from converter.adapters import keras_source, saved_model, sklearn_source, tflite_source, torch_source
from converter.adapters.source_child import Source
from converter.source import Array, Converted, SourceOptions
from wire.errors import ModelError, SettingsError


@dataclass(frozen=True)
class _Kind:
    framework: str
    convert: Callable[[Source], Converted]
    takes_code: bool = False
    takes_signature: bool = False


_KERAS: Final = _Kind("Keras", keras_source.convert, takes_code=True)
_SKLEARN: Final = _Kind("scikit-learn", sklearn_source.convert, takes_code=True)
_TFLITE: Final = _Kind("TFLite", tflite_source.convert, takes_signature=True)
_SAVED_MODEL: Final = _Kind("TensorFlow", saved_model.convert, takes_signature=True)
_TORCH: Final = _Kind("PyTorch", torch_source.convert)

_BY_SUFFIX: Final[Mapping[str, _Kind]] = {
    ".keras": _KERAS,
    ".h5": _KERAS,
    ".hdf5": _KERAS,
    ".tflite": _TFLITE,
    ".bundle": _TFLITE,
    ".pkl": _SKLEARN,
    ".pickle": _SKLEARN,
    ".joblib": _SKLEARN,
    ".pt2": _TORCH,
}
_TAKEN: Final = (
    "Keras .keras or .h5, a SavedModel folder, .tflite, scikit-learn .pkl or .joblib, "
    "PyTorch .pt2 or FILE.py:FUNCTION"
)
_PYTORCH_ADVICE: Final = (
    "holds Python objects of a program: export the model with torch.export.save to a .pt2 file, "
    "or give FILE.py:FUNCTION that returns it"
)
_ADVICE: Final[Mapping[str, str]] = {
    ".pt": _PYTORCH_ADVICE,
    ".pth": _PYTORCH_ADVICE,
    ".onnx": "is not read: give the Keras, TensorFlow or PyTorch model that it was exported from",
    ".pb": "is one file of a SavedModel: give the folder around it",
    ".py": "is Python code: name the function in it that returns the model, as FILE.py:FUNCTION",
}
_CHUNK_BYTES: Final = 1 << 20


def convert(path: Path, rows: Mapping[str, Array] | None, options: SourceOptions) -> Converted:
    """Convert the source at `path` to float32 TFLite for one row at a time. It is only read.

    `rows` are [n, ...] by input name, "" for the only one; None: made-up rows are answered instead.
    Raises ModelError for a source that is not there, not whole, of no known kind or that plain TFLite
    cannot express, DataError for rows that do not fit its inputs, SettingsError for an option that it
    does not take, and UnavailableError when a library is missing.
    """
    file = source_file(path)
    if not file.exists():
        raise ModelError(f"{file} is not there")
    kind = _kind(path, file)
    if options.code and not kind.takes_code:
        raise SettingsError(f"{path}: --code is for Keras and scikit-learn models, whose classes it defines")
    if options.signature is not None and not kind.takes_signature:
        raise SettingsError(f"{path}: --signature is for SavedModel folders and .tflite files")
    try:
        size_bytes, sha256 = (_measured_folder if file.is_dir() else _measured)(file)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    if not size_bytes:
        raise ModelError(f"{path} is empty")
    return kind.convert(Source(path, kind.framework, size_bytes, sha256, rows, options))


def source_file(path: Path) -> Path:
    """Return the file or folder of a source: of FILE.py:FUNCTION the file."""
    return torch_source.factory_file(path) or path


def _kind(path: Path, file: Path) -> _Kind:
    if file != path:
        return _TORCH
    suffix = path.suffix
    if path.is_dir():
        if saved_model.is_saved_model(path):
            return _SAVED_MODEL
        if suffix in _BY_SUFFIX:
            raise ModelError(f"{path} is a folder: give the file")
        raise ModelError(f"{path} is a folder, but not a SavedModel (no {saved_model.GRAPH} in it)")
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    raise ModelError(f"{path} {_ADVICE.get(suffix) or f'has no ending of a model; taken are {_TAKEN}'}")


def _measured(file: Path) -> tuple[int, str]:
    """Return the size of a file in bytes, and its SHA-256."""
    digest, size_bytes = hashlib.sha256(), 0
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return size_bytes, digest.hexdigest()


def _measured_folder(folder: Path) -> tuple[int, str]:
    """Return the size of a folder's files, and the SHA-256 of their lines of digest and name."""
    lines, total_bytes = [], 0
    for file in _files(folder):
        size_bytes, digest = _measured(file)
        total_bytes += size_bytes
        lines.append(f"{digest}  {file.relative_to(folder).as_posix()}\n")
    return total_bytes, hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file())
