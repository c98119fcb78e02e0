"""Fine-tuning towards a compression, in a child process: TensorFlow starts once for a series of levels.

Each level starts anew from the model in the file, so its bytes are the same alone and in any series.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np

from converter.adapters.child import watch_child, work_folder
from converter.compression import Compression
from converter.dataset import Samples
from converter.source import InputSpec
from converter.task import Task
from wire.errors import ModelError

Progress = Callable[[float], None]

_CHILD: Final = "converter.adapters.finetune_child"


@dataclass(frozen=True)
class Tuning:
    """What is fine-tuned, and how.

    `source` is a `.keras` or `.h5` file, which stays as it is; `code` are Python files with its own
    layers; `task` says what its first output means. `epochs` are passes over the training rows, None
    makes as many as settle most nets. `time_limit_s` is for each level.
    """

    source: Path
    code: tuple[Path, ...]
    task: Task
    epochs: int | None = None
    seed: int = 0
    time_limit_s: float = 1800.0


def _silent(_: float) -> None:
    pass


def finetune(
    tuning: Tuning,
    compression: Compression,
    train: Samples,
    inputs: Sequence[InputSpec],
    progress: Progress = _silent,
) -> bytes:
    """Return the model as float32 TFLite after fine-tuning it towards `compression`.

    It learns what the model in the file answers to `train`, and the truth where there is one.
    `progress` is called with the share that is done, 0 to 1. Raises ModelError when the model cannot
    be trained or takes too long, DataError when the truth does not fit its outputs.
    """
    (made,) = finetune_many(tuning, [compression], train, inputs, progress)
    if isinstance(made, str):
        raise ModelError(f"{tuning.source}: {made}")
    return made


def finetune_many(
    tuning: Tuning,
    compressions: Sequence[Compression],
    train: Samples,
    inputs: Sequence[InputSpec],
    progress: Progress = _silent,
) -> Iterator[bytes | str]:
    """Yield what each of `compressions` makes, in their order and as soon as it is there.

    That is float32 TFLite, or a line that says why there is none. The child works ahead meanwhile, and
    ends when the iterator is closed. Raises DataError as `finetune` does.
    """
    position = 0
    with work_folder() as folder:
        _write_job(folder, tuning, compressions, train, inputs)
        limit_s = tuning.time_limit_s * len(compressions)
        with closing(watch_child(_CHILD, folder, doing="fine-tuning", time_limit_s=limit_s)) as watching:
            try:
                for done in chain(watching, [1.0]):
                    progress(done)
                    while (made := _made(folder, position)) is not None:
                        position += 1
                        yield made
            except ModelError as error:  # of the child; what it has made before is handed out
                reason = str(error)
        for left in range(position, len(compressions)):
            yield _made(folder, left) or reason


def _write_job(
    folder: Path,
    tuning: Tuning,
    compressions: Sequence[Compression],
    train: Samples,
    inputs: Sequence[InputSpec],
) -> None:
    for position, rows in enumerate(train.inputs):
        np.save(folder / f"input-{position}.npy", rows, allow_pickle=False)
    if train.truth is not None:
        np.save(folder / "truth.npy", train.truth, allow_pickle=False)
    job = {
        "source": str(tuning.source.resolve()),
        "code": [str(path.resolve()) for path in tuning.code],
        "task": tuning.task,
        "epochs": tuning.epochs,
        "seed": tuning.seed,
        "time_limit_s": tuning.time_limit_s,
        "compressions": [compression.name for compression in compressions],
        "inputs": [asdict(spec) for spec in inputs],
    }
    (folder / "job.json").write_text(json.dumps(job))


def _made(folder: Path, position: int) -> bytes | str | None:
    """Return what the child has made of a level: its file, why there is none, None while there is nothing."""
    tflite, error = (folder / f"{position}.{ending}" for ending in ("tflite", "error"))
    if tflite.exists():
        return tflite.read_bytes()
    return error.read_text() if error.exists() else None
