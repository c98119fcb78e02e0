"""Real models for the tests: the demo's, trained once a session in a child process."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tests.support.local_fleet import ROOT, run
from wire.bundle import pack, unpack


@dataclass(frozen=True)
class Trained:
    """Two versions of a digits classifier and their data."""

    folder: Path
    data: Path
    v1: Path
    v2: Path
    log: str


@dataclass(frozen=True)
class Bundles:
    """What `edgeflock convert` made of them: `one` and `two` are int8, `float_two` is float32.

    `large` is `two` as version 3 with 3 MB of ballast in its golden file: about 50 chunks.
    `wrong` is `two` as version 4 with golden outputs that it does not give.
    `huge` is `two` as version 8 with 8 MB of ballast: what a fault in the middle of a transfer needs.
    """

    one: Path
    two: Path
    float_two: Path
    large: Path
    wrong: Path
    huge: Path


def train(folder: Path) -> None:
    """Leave both versions, their data and what was said in `folder`."""
    data, v1, v2 = folder / "digits.npz", folder / "v1.keras", folder / "v2.keras"
    files = ["--out-data", str(data), "--out-v1", str(v1), "--out-v2", str(v2)]
    command = [sys.executable, "-m", "demo.train", *files]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (folder / "train.log").write_text(done.stdout)


def trained_in(folder: Path) -> Trained:
    """Return what `train` left in a folder: a device's Python has no TensorFlow to train with."""
    data, v1, v2, log = (folder / name for name in ("digits.npz", "v1.keras", "v2.keras", "train.log"))
    return Trained(folder, data, v1, v2, log.read_text())


def bundles_in(folder: Path) -> Bundles:
    """Return what `convert_all` left there."""
    return Bundles(*(folder / f"digits-{version}.bundle" for version in ("1", "2", "2f", "3", "4", "8")))


def convert_all(trained: Trained) -> Bundles:
    one, two = (
        _convert(trained, source, version, "--recipe", "int8")
        for source, version in ((trained.v1, "1"), (trained.v2, "2"))
    )
    float_two = _convert(trained, trained.v2, "2f", "--recipe", "float32")
    large = rewrite(two, "3", ballast=np.random.default_rng(1).bytes(3_000_000))
    wrong = rewrite(two, "4", shift=0.5)
    huge = rewrite(two, "8", ballast=np.random.default_rng(2).bytes(8_000_000))
    return Bundles(one, two, float_two, large, wrong, huge)


def _convert(trained: Trained, source: Path, version: str, *options: str) -> Path:
    out = trained.folder / f"digits-{version}.bundle"
    done = run("convert", source, "--data", trained.data, "--out", out, "--name", "digits",
               "--version", version, *options)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


def rewrite(
    source: Path, version: str, *, model: str = "digits", ballast: bytes = b"", shift: float = 0.0
) -> Path:
    """Write `source` as another version, with ballast in its golden file or shifted golden outputs.

    `model` is the name that it goes by.
    """
    bundle = unpack(source.read_bytes())
    with np.load(io.BytesIO(bundle.golden)) as archive:
        golden = {"inputs": archive["inputs"], "expected": archive["expected"] + np.float32(shift)}
    out = io.BytesIO()
    np.savez(out, ballast=np.frombuffer(ballast, np.uint8), **golden)
    path = source.with_name(f"{model}-{version}.bundle")
    manifest = replace(bundle.manifest, model=model, version=version)
    path.write_bytes(pack(replace(bundle, manifest=manifest, golden=out.getvalue())))
    return path
