"""Looks through a .tflite before any interpreter does, in pure Python.

An old interpreter reads whatever offset a damaged file holds, and ends its process: a fifth of the
corrupted files did that to tflite-runtime 2.14. So every table, list, offset and index is checked
here first. Besides, the reasons are better: which operator, which tensor.

Rules:
- what an interpreter can run is never refused: where real files are careless, so are we;
- the work is bounded (edge/flatfile/reader.py), whatever the file claims;
- it is no sandbox: a file that is well formed can still crash a kernel, take for ever or all memory.
  That is what the trial in a child process is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edge.flatfile.model import Level, Peek, level_of, read
from edge.flatfile.reader import DamageError, Reader
from edge.flatfile.schema import KNOWN_CUSTOM
from wire.errors import ModelError
from wire.manifest import Manifest, TensorSpec

_MARK: Final = b"TFL3"


def peek(data: bytes | memoryview) -> Peek:
    """Return what the .tflite in `data` is; raise ModelError, in one line, when it is no whole one.

    Bytes behind the flatbuffer (a bundle's zip) do no harm.
    """
    if bytes(data[4:8]) != _MARK:
        raise ModelError("no TFLite model: its first bytes are not those of one")
    try:
        return read(Reader(memoryview(data)))
    except DamageError as damage:
        raise ModelError(f"the model file is damaged: {damage}") from damage


def runtime_level(backend: str) -> Level | None:
    """Return the TensorFlow Lite release whose operators `backend` ("tflite-runtime 2.14.0") has.

    None where that is not known: ai-edge-litert has its own numbers, and refuses by itself and
    cleanly what it does not know.
    """
    name, _, version = backend.partition(" ")
    return level_of(version)[:2] or None if name == "tflite-runtime" else None


def check(
    found: Peek, manifest: Manifest, level: Level | None = None, memory_bytes: int | None = None
) -> None:
    """Raise ModelError unless the file is what its manifest says and `level` can run it.

    `memory_bytes` is what a trial may take: a single tensor above it is refused.
    """
    unknown = sorted(set(found.custom) - KNOWN_CUSTOM)
    if unknown:
        raise ModelError(f"needs custom operators that no interpreter here has: {', '.join(unknown)}")
    needed = level_of(found.min_runtime)
    if level and needed[:2] > level:
        raise ModelError(
            f"needs TensorFlow Lite {found.min_runtime}, the interpreter here is {'.'.join(map(str, level))}:"
            " convert it for this one"
        )
    _check_side("inputs", found.inputs, manifest.inputs, found)
    _check_side("outputs", found.outputs, manifest.outputs, found)
    name, size_bytes = found.largest
    if memory_bytes is not None and size_bytes > memory_bytes:
        raise ModelError(
            f"needs more than {memory_bytes >> 20} MiB of memory:"
            f" its tensor {name!r} alone has {size_bytes >> 20} MiB"
        )


def check_contract(manifest: Manifest, serving: Manifest) -> None:
    """Raise ModelError when who calls the serving model could not call this one in the same way.

    Floats and codes are one: callers give floats to both, and who sends raw codes must look at the dtype.
    Names do not count, since converters number them anew each time, unless both have the same ones in
    another order: who sends by position would be answered wrongly. The number of classes may grow.
    """
    new, old = (_callable_as(m.inputs) for m in (manifest, serving))
    if new != old:
        raise ModelError(f"its inputs are {_listed(manifest.inputs)}; callers send {_listed(serving.inputs)}")
    for side in ("inputs", "outputs"):
        names, before = ([spec.name for spec in getattr(m, side)] for m in (manifest, serving))
        if names != before and sorted(names) == sorted(before):
            raise ModelError(f"its {side} are in another order: {', '.join(names)}, not {', '.join(before)}")
    if manifest.task != serving.task:
        raise ModelError(f"it answers with {manifest.task}; callers expect {serving.task}")
    if not _readable_as(manifest, serving):
        raise ModelError(
            f"its outputs are {_listed(manifest.outputs)}; callers expect {_listed(serving.outputs)}"
        )


def _callable_as(specs: Iterable[TensorSpec]) -> list[tuple[str, tuple[int, ...]]]:
    return [("real" if s.scale is not None or s.dtype == "float32" else s.dtype, s.shape) for s in specs]


def _readable_as(manifest: Manifest, serving: Manifest) -> bool:
    """Return whether each output that callers know is there, in its shape or with more classes.

    Boxes are read as the bundle declares, whatever the detector's own outputs look like.
    """
    if manifest.postprocessing.kind == serving.postprocessing.kind == "boxes":
        return True
    if len(manifest.outputs) < len(serving.outputs):
        return False
    return all(
        new.shape == old.shape
        or (
            manifest.task == "classes"
            and new.shape[:-1] == old.shape[:-1]
            and new.shape[-1:] > old.shape[-1:]
        )
        for new, old in zip(manifest.outputs, serving.outputs, strict=False)
    )


def _check_side(side: str, specs: tuple[TensorSpec, ...], told: tuple[TensorSpec, ...], found: Peek) -> None:
    aliases = {pair for signature in found.signatures if not signature.subgraph for pair in signature.aliases}
    same = len(specs) == len(told) and all(
        (want.name == spec.name or (spec.name, want.name) in aliases)
        and want.dtype == spec.dtype
        and (want.shape == spec.shape or spec.name in found.dynamic)
        and want.scale in (None, spec.scale)
        for spec, want in zip(specs, told, strict=True)
    )
    if not same:
        raise ModelError(f"its {side} are {_listed(specs)}, the manifest says {_listed(told)}")


def _listed(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{s.name} {s.dtype} {list(s.shape)}" for s in specs[:8]) or "none"
