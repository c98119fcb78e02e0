"""How much slower a board is than this machine: stated, or told by a bundle whose time there is known.

A factor is a stand-in for measuring on the board: kernels differ, so a rank is right more often than
a number. The time of a bundle on a board of the fleet is what `edgeflock fleet devices` shows.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from converter.adapters import interpreter
from converter.budget import microseconds
from wire.bundle import unpack
from wire.errors import SettingsError


def board_factor(text: str) -> float:
    """Return the factor that `text` states (`8`), or that follows from it (`old.bundle=310us`).

    Raises SettingsError for what is neither, and BundleError or ModelError for a bundle that does not run.
    """
    name, separator, time = text.rpartition("=")
    try:
        factor = microseconds(time.strip()) / _here_us(Path(name)) if separator else float(text)
    except ValueError as error:
        raise SettingsError(
            f"--board {text!r}: give a factor (8) or BUNDLE=TIME (old.bundle=310us)"
        ) from error
    if not 0 < factor < float("inf"):
        raise SettingsError(f"--board {text!r}: a board takes some time")
    return factor


def _here_us(path: Path) -> float:
    """Return the time of a call of the bundle at `path` on this machine, on its golden inputs."""
    try:
        bundle = unpack(path.read_bytes(), name=str(path))
    except OSError as error:
        raise SettingsError(f"--board {path}: {error.strerror}") from error
    with np.load(io.BytesIO(bundle.golden), allow_pickle=False) as archive:
        inputs = [archive[key] for key in archive.files if key.startswith("inputs")]  # in their order
    latency = interpreter.run(bundle.tflite, inputs).latency
    assert latency is not None
    return latency.median_us
