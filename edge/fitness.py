"""Whether a release could run on this board at all, from its manifest alone: told before the first byte.

Pure. What only the file or a run can show (its structure, the golden set, the real use of memory) is
the trial's; here is what needs neither. A rule that is in doubt lets the model through: it costs a
download, where a wrong refusal costs the model. `choose` asks again when the plan changes, and a
start of the agent with other software asks anew: nothing is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from edge.flatfile.model import level_of
from edge.flatfile.schema import KNOWN_CUSTOM, OPERATORS
from edge.preflight import runtime_level
from wire.manifest import Manifest, Software, TensorSpec

_BYTES = {"float64": 8, "int64": 8, "uint64": 8, "float16": 2, "int16": 2, "uint16": 2, "int8": 1, "uint8": 1,
          "bool": 1}  # fmt: skip


@dataclass(frozen=True)
class Board:
    """What a model would find here; what is not known refuses nothing.

    `machine` is the userland's (`aarch64`, `armv7l`, `x86_64`), `backend` the interpreter with its
    version, `memory_bytes` what a trial lets a model take, `python` the version of Python.
    """

    machine: str = ""
    backend: str = ""
    memory_bytes: int | None = None
    python: str = ""


def unfit(manifest: Manifest, board: Board) -> str | None:
    """Return why a model of this manifest cannot run on `board`, in one line; None when it may."""
    if manifest.machines and board.machine and board.machine not in manifest.machines:
        return f"is for {', '.join(manifest.machines)}, this is {board.machine}"
    if manifest.software is not None:
        return _unfit_software(manifest.software, board.python)
    unknown = _unknown(manifest.operators)
    if unknown:
        return f"needs operators that no interpreter here has: {', '.join(unknown)}"
    level = runtime_level(board.backend)
    needed = level_of(manifest.min_runtime)
    if level and needed[:2] > level:
        return f"needs TensorFlow Lite {manifest.min_runtime}, the interpreter here is {board.backend}"
    needs = manifest.memory_bytes or _least_bytes(manifest)
    if board.memory_bytes is not None and needs > board.memory_bytes:
        return f"needs {_mib(needs)} MiB of memory, a model may take {_mib(board.memory_bytes)} here"
    return None


def _unfit_software(software: Software, python: str) -> str | None:
    here, first, end = map(_numbers, (python, software.python_from, software.python_below))
    if not here or (first <= here and (not end or here < end)):
        return None
    below = f" and below {software.python_below}" if software.python_below else ""
    return f"is for Python {software.python_from}{below}, this is {python}"


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (3, 11) of "3.11"; none of what is no version."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _unknown(operators: Iterable[str]) -> list[str]:
    """Return operators (`CONV_2D 3`) that are neither TensorFlow Lite's nor custom ones that are known.

    The trial refuses the same ones (edge/flatfile/model.py): a number above the table is damage to it.
    """
    names = {operator.rpartition(" ")[0] or operator for operator in operators}
    return sorted(names - set(OPERATORS) - KNOWN_CUSTOM)


def _least_bytes(manifest: Manifest) -> int:
    """Return what it takes at the least: its weights, and a copy of each input and output."""
    tensors = sum(_tensor_bytes(spec) for spec in (*manifest.inputs, *manifest.outputs))
    return manifest.tflite_bytes + tensors


def _tensor_bytes(spec: TensorSpec) -> int:
    return _BYTES.get(spec.dtype, 4) * prod(max(1, size) for size in spec.shape)


def _mib(size_bytes: int) -> int:
    return -(-size_bytes // 2**20)
