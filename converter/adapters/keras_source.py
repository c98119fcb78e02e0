"""Keras files as a source: checks what can be checked cheaply, and leaves the rest to a child."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, Final

from converter.adapters.child import one_line
from converter.adapters.keras_inputs import input_names
from converter.adapters.source_child import Source, run_source
from converter.keras_config import own_objects
from converter.source import Converted
from wire.errors import ModelError

_CHILD: Final = "converter.adapters.keras_child"
_HDF5_MARK: Final = b"\x89HDF\r\n\x1a\n"
_METADATA: Final = "metadata.json"
_CONFIG: Final = "config.json"


def convert(source: Source) -> Converted:
    """Convert a `.keras` or `.h5` file.

    Raises ModelError for a file that is not a whole model, that needs code which is not given, or
    that plain TFLite cannot express, and DataError when the rows do not fit its inputs.
    """
    if source.path.suffix == ".keras":
        _check_zip(source.path)
    else:
        _check_hdf5(source.path)
    return run_source(_CHILD, source)


def save_keras(model: Any, folder: Path) -> Path:
    """Save a Keras model in `folder`, so that another process can convert it; return the file or folder.

    A model with layers or functions of the caller's own becomes a SavedModel, which carries what they
    compute but cannot be trained further. Raises ModelError when it can be saved in neither form.
    """
    path, why_not = folder / "model.keras", ""
    try:
        model.save(path)
    except Exception as error:  # a layer's own get_config raises what it likes; a SavedModel asks for none
        why_not = f" (nor as .keras: {one_line(error)})"
    if not why_not and not _has_own_objects(path):
        _without_time(path)
        return path
    path.unlink(missing_ok=True)
    exported = folder / "model"
    try:
        model.export(exported, verbose=False, input_signature=_one_row(model))
    except Exception as error:  # what a layer's code raises, and Keras for a model that was never called
        raise ModelError(f"the model {model.name} cannot be saved: {one_line(error)}{why_not}") from error
    return exported


def _has_own_objects(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return bool(own_objects(json.loads(archive.read(_CONFIG))))


def _without_time(path: Path) -> None:
    """Write a `.keras` file anew without the time of saving: equal models make equal files."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    described = json.loads(entries[_METADATA])
    described.pop("date_saved", None)
    entries[_METADATA] = json.dumps(described).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def _one_row(model: Any) -> Any:
    """Return a signature with a batch of 1, which recurrent layers need; None where inputs are not known."""
    import keras

    inputs = getattr(model, "inputs", None)
    if not inputs:
        return None
    names = {tensor.name: name for tensor, name in zip(inputs, input_names(model), strict=True)}

    def one(tensor: Any) -> Any:
        return keras.InputSpec(tensor.dtype, (1, *tensor.shape[1:]), name=names[tensor.name])

    return [keras.tree.map_structure(one, getattr(model, "_functional", model).input)]


def _check_hdf5(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_HDF5_MARK)) != _HDF5_MARK:
            raise ModelError(f"{path} is not an HDF5 file")


def _check_zip(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path} is not a Keras model, or is cut off")
    try:
        with zipfile.ZipFile(path) as archive:
            names, broken = set(archive.namelist()), archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    if _CONFIG not in names:
        raise ModelError(f"{path} is a zip file, but not a Keras model (no {_CONFIG})")
    if broken:
        raise ModelError(f"{path} is damaged: {broken} does not match its checksum")
