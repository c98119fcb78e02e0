"""A real bundle around the model of one operator: made in a millisecond, with any declared preparation."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

from tests.support.tiny_model import tiny_tflite
from wire.bundle import Bundle, pack
from wire.manifest import Golden, Manifest, Postprocessing, Preprocessing, TensorSpec
from wire.reference import Reference

#: What the tests' bundles may declare; the model takes four numbers and gives back the positive ones.
GREY_2X2 = Preprocessing(kind="image", channels=1, height=2, width=2)
WAVE_OF_4 = Preprocessing(kind="wave", rate_hz=8, scale=10.0)


def write_tiny_bundle(
    path: Path,
    preprocessing: Preprocessing | None = None,
    postprocessing: Postprocessing | None = None,
    reference: Reference | None = None,
) -> Path:
    """Write the bundle `tiny/1` with the labels a, b, c and d to `path`, and return it."""
    tflite = tiny_tflite()
    golden = io.BytesIO()
    np.savez(golden, inputs=np.ones((1, 4), np.float32), expected=np.ones((1, 4), np.float32))
    manifest = Manifest(
        model="tiny",
        version="1",
        recipe="int8",
        tflite_sha256=hashlib.sha256(tflite).hexdigest(),
        tflite_bytes=len(tflite),
        inputs=(TensorSpec("x", "int8", (1, 4), 0.5, -3),),
        outputs=(TensorSpec("y", "int8", (1, 4), 0.5, -3),),
        golden=Golden(1, 0.5),
        labels=4,
        preprocessing=preprocessing or Preprocessing(),
        postprocessing=postprocessing or Postprocessing(),
    )
    path.write_bytes(pack(Bundle(manifest, tflite, ("a", "b", "c", "d"), golden.getvalue(), reference)))
    return path
