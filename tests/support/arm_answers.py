"""A device's work, as a script that the host and an emulated board run alike: FOLDER OUT.npz

Of each bundle in FOLDER what every interpreter answers to 40 digits, as tensors and as a caller reads it;
the update `delta` applied to `base`; and what board it takes this for.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edge import open_bundle
from edge.adapters.board import read_board
from edge.adapters.tflite import installed_backends
from wire import delta


def answers(bundle: Path, backend: str, inputs: Any) -> dict[str, Any]:
    with open_bundle(bundle, backend=backend) as runtime:
        predictions = [runtime.predict(row) for row in inputs]
    return {
        "raw": np.array([p.raw[0] for p in predictions]),
        "confidence": np.array([p.confidence for p in predictions]),
        "best": np.array([p.best for p in predictions]),
    }


def updated(folder: Path, size_bytes: int) -> bytes:
    base = folder / "base"
    digest = hashlib.sha256(base.read_bytes()).hexdigest()
    with base.open("rb") as file:
        pieces = [(folder / "delta").read_bytes()]
        return b"".join(delta.apply(file, pieces, base_sha256=digest, size_bytes=size_bytes))


def main(folder: Path, out: Path, size_bytes: int) -> None:
    with np.load(folder / "digits.npz") as data:
        inputs = data["x_test"][:40]
    found: dict[str, Any] = {
        "board": np.array(read_board().model),
        "updated": np.frombuffer(updated(folder, size_bytes), np.uint8),
    }
    for backend in installed_backends():
        for bundle in sorted(folder.glob("*.bundle")):
            for key, value in answers(bundle, backend, inputs).items():
                found[f"{backend} {bundle.stem} {key}"] = value
    np.savez(out, **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
