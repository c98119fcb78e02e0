"""What is inside a bundle, or a bare .tflite: read, checked, and put in words. Pure.

Rules:
- a bundle that does not add up is a BundleError, as it is for a device; nothing of it is shown;
- a file that was a bundle and lost its end is one too, and no bare model;
- every field of the manifest is shown by its name, so one that is added later is not forgotten; of
  how samples and answers are prepared only the kind, and what was declared.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import IO, Any, Final

import numpy as np

from converter.table import Table, plain, without_empty
from wire.blob import compress
from wire.bundle import MANIFEST, unpack
from wire.errors import BundleError
from wire.manifest import Manifest, TensorSpec
from wire.reference import Feature, Reference

_TFLITE_MARK: Final = b"TFL3"
#: The first entry of a bundle's zip as it lies in the file, whether or not the zip's end is there.
_MANIFEST_ENTRY: Final = re.compile(rb"PK\x03\x04.{26}" + re.escape(MANIFEST.encode()), re.DOTALL)
#: What zipfile and numpy raise for a golden file that is none.
_GOLDEN_ERRORS: Final = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, SyntaxError)


@dataclass(frozen=True)
class GoldenArray:
    """One array of the golden set: a model's input as it takes it, or the answer to it."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """What a .tflite tells about itself; `operators` as in a manifest, `CONV_2D 3` for name and version."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    operators: tuple[str, ...] = ()
    min_runtime: str = ""


@dataclass(frozen=True)
class Inspection:
    """What a file holds. `manifest` is None for a bare .tflite, which `model` tells about instead.

    `zip_bytes` is what lies behind the model, `wire_bytes` the whole as a device fetches it.
    `entries` are the files in the zip with their sizes, `missing` says what could not be shown.
    """

    name: str
    intact: str
    file_bytes: int
    model_bytes: int
    zip_bytes: int
    wire_bytes: int
    sha256: str
    manifest: Manifest | None = None
    labels: tuple[str, ...] = ()
    reference: Reference | None = None
    golden: tuple[GoldenArray, ...] = ()
    entries: Mapping[str, int] | None = None
    model: Model | None = None
    missing: tuple[str, ...] = ()


def is_bare_model(data: bytes) -> bool:
    """Tell a .tflite that never was a bundle, with or without files of others appended."""
    return data[4:8] == _TFLITE_MARK and not _MANIFEST_ENTRY.search(data)


def inspect_bundle(data: bytes, name: str) -> Inspection:
    """Take the bytes of a bundle apart; raise BundleError when it is damaged."""
    bundle = unpack(data, name=name)
    golden = _golden_arrays(bundle.golden, name)
    count = bundle.manifest.golden.count
    if not golden or any(array.shape[:1] != (count,) for array in golden):
        raise BundleError(f"{name}: the golden set does not hold the {count} samples of the manifest")
    return Inspection(
        name=name,
        intact="yes: the model part has the manifest's digest, labels and golden set their number",
        file_bytes=len(data),
        model_bytes=len(bundle.tflite),
        zip_bytes=len(data) - len(bundle.tflite),
        wire_bytes=len(compress(data)),
        sha256=hashlib.sha256(data).hexdigest(),
        manifest=bundle.manifest,
        labels=bundle.labels,
        reference=bundle.reference,
        golden=golden,
        entries=_zip_entries(data),
    )


def inspect_model(data: bytes, name: str, model: Model | None, missing: tuple[str, ...] = ()) -> Inspection:
    """Return what is known of a bare .tflite; `model` is None where nothing could read it."""
    entries = _zip_entries(data)
    return Inspection(
        name=name,
        intact="unknown: a bare .tflite carries no digest",
        file_bytes=len(data),
        model_bytes=_zip_start(data),
        zip_bytes=len(data) - _zip_start(data),
        wire_bytes=len(compress(data)),
        sha256=hashlib.sha256(data).hexdigest(),
        entries=entries,
        model=model,
        missing=missing,
    )


def pairs(found: Inspection) -> tuple[tuple[str, str], ...]:
    """Return what takes a line each: its name and its text. What is empty is left out."""
    about = found.manifest if found.manifest is not None else found.model
    lines = [
        ("file", found.name),
        ("intact", found.intact),
        ("file_bytes", f"{found.file_bytes:,}"),
        ("model_bytes", f"{found.model_bytes:,}"),
        ("zip_bytes", f"{found.zip_bytes:,}"),
        ("wire_bytes", f"{found.wire_bytes:,}"),
        ("sha256", found.sha256),
        *(_lines(about) if about is not None else ()),
        ("label names", ", ".join(found.labels)),
        ("golden arrays", "; ".join(f"{g.name} {g.dtype} {list(g.shape)}" for g in found.golden)),
        ("in the zip", ", ".join(f"{name} {size:,}" for name, size in (found.entries or {}).items())),
        *(("not shown", line) for line in found.missing),
    ]
    return tuple((name, plain(text)) for name, text in lines if text)


def tables(found: Inspection) -> tuple[Table, ...]:
    """Return the tensors and whatever else the manifest has under names of its own."""
    about = found.manifest if found.manifest is not None else found.model
    made = [_tensor_table((*about.inputs, *about.outputs), len(about.inputs))] if about is not None else []
    for part in fields(found.manifest) if found.manifest is not None else ():
        value = getattr(found.manifest, part.name)
        if isinstance(value, Mapping) and value:
            rows = tuple((plain(str(name)), _text(held)) for name, held in value.items())
            texts = frozenset({1}) if any(isinstance(held, str) for held in value.values()) else frozenset()
            made.append(Table(part.name, ("name", "value"), rows, texts=texts))
    return (*made, *_reference_tables(found.reference)) if found.reference else tuple(made)


def _reference_tables(reference: Reference) -> Iterator[Table]:
    rows = tuple(
        (plain(f.name), f.measure, _ends(f), ", ".join(f"{count:,}" for count in f.counts))
        for f in reference.features
    )
    if rows:
        title = f"reference: features of {reference.rows:,} inputs"
        yield Table(title, ("name", "measure", "edges", "in each bin"), rows, texts=frozenset({1, 2, 3}))


def _ends(feature: Feature) -> str:
    edges = [f"{edge:.6g}" for edge in feature.edges]
    return ", ".join(edges if len(edges) <= 3 else (edges[0], "…", edges[-1]))


def _lines(about: Any, under: str = "") -> Iterable[tuple[str, str]]:
    """Yield every field of a dataclass that fits a line; tensors and mappings are tables."""
    for part in fields(about):
        value, name = getattr(about, part.name), f"{under}{part.name}"
        if under and value == part.default and part.name != "kind":
            continue
        if is_dataclass(value):
            yield from _lines(value, f"{name}.")
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            continue
        elif not isinstance(value, Mapping):
            yield name, f"{value:,}" if name.endswith("_bytes") else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def _tensor_table(specs: tuple[TensorSpec, ...], inputs: int) -> Table:
    rows = [
        (
            f"input {number}" if number < inputs else f"output {number - inputs}",
            plain(spec.name),
            spec.dtype,
            " x ".join(str(size) for size in spec.shape) or "scalar",
            "" if spec.scale is None else f"{spec.scale:.6g}",
            "" if spec.zero_point is None else str(spec.zero_point),
        )
        for number, spec in enumerate(specs)
    ]
    header, *kept = without_empty(("tensor", "name", "dtype", "shape", "scale", "zero point"), rows)
    return Table("tensors", header, tuple(kept), texts=frozenset({1, 2, 3}))


def _golden_arrays(golden: bytes, name: str) -> tuple[GoldenArray, ...]:
    """Read the headers alone: the arrays may be large."""
    found = []
    try:
        with zipfile.ZipFile(io.BytesIO(golden)) as archive:
            for entry in archive.namelist():
                with archive.open(entry) as file:
                    shape, dtype = _npy_header(file)
                found.append(GoldenArray(entry.removesuffix(".npy"), dtype, shape))
    except _GOLDEN_ERRORS as error:
        raise BundleError(f"{name}: its golden set is no npz file that can be read") from error
    return tuple(found)


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], str]:
    version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]  # numpy has no types there
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"npy version {version}")
    shape, _, dtype = readers[version](file)  # type: ignore[no-untyped-call]  # the same
    return tuple(shape), str(dtype)


def _zip_entries(data: bytes) -> dict[str, int]:
    """Return the names and sizes of the files in an appended zip, none without one."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {plain(info.filename): info.file_size for info in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, OSError):
        return {}


def _zip_start(data: bytes) -> int:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return min((info.header_offset for info in archive.infolist()), default=len(data))
    except (zipfile.BadZipFile, ValueError, OSError):
        return len(data)
