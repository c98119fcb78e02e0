"""Between a source and the child that holds its framework: what goes in, and what comes back.

The parent calls `run_source`; the child reads `read_job`, works, and ends with `Answered.write`. Arrays
travel as files in their shared folder. numpy only: a child may live in an environment of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from converter.adapters.child import answer, run_child, work_folder
from converter.dataset import Split, bind
from converter.source import Array, Converted, InputSpec, SourceOptions, Trait
from wire.errors import ModelError

_TIME_LIMIT_S: Final = 900.0
_MADE_UP_ROWS: Final = 64
_SEED: Final = 20


@dataclass(frozen=True)
class Job:
    """What a child is to convert; `rows` are [n, ...] by input name, None when no data was given."""

    folder: Path
    path: Path
    rows: Mapping[str, Array] | None
    options: SourceOptions

    def bound(self, specs: Sequence[InputSpec], limits: Mapping[str, int] | None = None) -> tuple[Array, ...]:
        """Return the rows as an array for each input, made-up ones when there are none.

        `limits` says, by input, below which number made-up integers stay. Raises DataError for rows
        that do not fit.
        """
        if self.rows is None:
            return made_up(specs, limits or {})
        return bind(Split(self.rows, None), specs, "x").inputs


@dataclass(frozen=True)
class Answered:
    """What a child made: the fields of `Converted` that only it can know."""

    tflite: bytes
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    rows: tuple[Array, ...]
    answers: tuple[Array, ...]
    traits: frozenset[Trait] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def write(self, folder: Path) -> dict[str, Any]:
        """Leave everything in `folder`; return the part that fits into an answer.

        Raises ModelError when the answers are not finite numbers.
        """
        for name, given in zip(self.outputs, self.answers, strict=True):
            if not np.isfinite(given).all():
                raise ModelError(f"its answers ({name}) on these rows are not finite")
        (folder / "model.tflite").write_bytes(self.tflite)
        _save(folder, "bound", self.rows)
        _save(folder, "answer", [np.asarray(given, np.float32) for given in self.answers])
        return {
            "inputs": [asdict(spec) for spec in self.inputs],
            "outputs": self.outputs,
            "traits": sorted(self.traits),
            "versions": dict(self.versions),
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Source:
    """A source as its parent knows it before any framework looks at it."""

    path: Path
    framework: str
    size_bytes: int
    sha256: str
    rows: Mapping[str, Array] | None
    options: SourceOptions


def run_source(module: str, source: Source, *arguments: str, of: Path | None = None) -> Converted:
    """Convert `source` in the child `module`; `of` is the file that it reads, if that is another.

    Raises what the child raises, in a line that begins with the source's path.
    """
    with work_folder() as folder:
        names = None if source.rows is None else list(source.rows)
        _save(folder, "row", [] if source.rows is None else list(source.rows.values()))
        job = {
            "path": str((of or source.path).resolve()),
            "names": names,
            "code": [str(path.resolve()) for path in source.options.code],
            "signature": source.options.signature,
        }
        (folder / "job.json").write_text(json.dumps(job))
        doing = str(source.path)
        said = run_child(module, folder, *arguments, doing=doing, time_limit_s=_TIME_LIMIT_S)
        inputs = tuple(
            InputSpec(spec["name"], spec["dtype"], tuple(spec["shape"])) for spec in said["inputs"]
        )
        return Converted(
            tflite=(folder / "model.tflite").read_bytes(),
            inputs=inputs,
            outputs=tuple(said["outputs"]),
            rows=_load(folder, "bound", len(inputs)),
            answers=_load(folder, "answer", len(said["outputs"])),
            framework=source.framework,
            size_bytes=source.size_bytes,
            sha256=source.sha256,
            traits=frozenset(said["traits"]),
            versions=said["versions"],
            notes=tuple(said["notes"]),
        )


def be_child(arguments: list[str], work: Callable[[Job], Answered]) -> int:
    """Be the child: do `work` on the job in the folder that the first argument names."""
    folder = Path(arguments[0])
    return answer(folder, lambda: work(read_job(folder)).write(folder))


def read_job(folder: Path) -> Job:
    """Read what the parent left in `folder`."""
    said = json.loads((folder / "job.json").read_text())
    names = said["names"]
    rows = None if names is None else dict(zip(names, _load(folder, "row", len(names)), strict=True))
    options = SourceOptions(tuple(map(Path, said["code"])), said["signature"])
    return Job(folder, Path(said["path"]), rows, options)


def made_up(specs: Sequence[InputSpec], limits: Mapping[str, int]) -> tuple[Array, ...]:
    """Return 64 rows for each input, the same every time: normal floats, small whole numbers, any bytes."""
    generator = np.random.default_rng(_SEED)
    return tuple(_made_up(generator, spec, limits.get(spec.name)) for spec in specs)


def _made_up(generator: np.random.Generator, spec: InputSpec, limit: int | None) -> Array:
    shape = (_MADE_UP_ROWS, *spec.shape)
    if spec.dtype.startswith("float"):
        return generator.standard_normal(shape).astype(spec.dtype)
    below = limit or (256 if spec.dtype == "uint8" else 2)
    return generator.integers(0, below, shape).astype(spec.dtype)


def _save(folder: Path, stem: str, arrays: Sequence[Array]) -> None:
    for position, array in enumerate(arrays):
        np.save(folder / f"{stem}-{position}.npy", array, allow_pickle=False)


def _load(folder: Path, stem: str, count: int) -> tuple[Array, ...]:
    return tuple(np.load(folder / f"{stem}-{i}.npy", allow_pickle=False) for i in range(count))
