"""Bytes on the wire and time to apply of an update: ours beside bsdiff4, HDiffPatch and zstd --patch-from.

    pip install 'edgeflock[benchmarks]'
    python benchmarks/delta.py [--nets mlp,mobilenet] [--work FOLDER] [--json FILE]

Two networks on 5,000 real digits, each converted to bundles by `edgeflock convert` (int8 with `--base`, as
a successor is): fine-tuned at three learning rates, with a new last layer only, and the same weights
calibrated with other samples. Sizes are of whole bundles, in % of the bundle as it travels without an update.
Each way applies its update in a child of its own, from file to file, all ways in turns: the median of fifteen
times, in processor time since the machine is shared, and by how much resident memory rose at its peak.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from converter.adapters.outputs import Outputs
from converter.app import ConvertRequest, convert
from wire.blob import compress

_NETS: Final = ("mlp", "mobilenet")
_CHANGES: Final = {
    "float32": ("1e-5", "1e-4", "1e-3", "head"),
    "int8": ("1e-5", "1e-4", "1e-3", "head", "recalibrated"),
}
_WAYS: Final = ("ours", "bsdiff4", "hdiffpatch", "zstd")
_ROUNDS: Final = 3


@dataclass(frozen=True)
class Line:
    """One way to send one update. `percent` is of the compressed bundle, `full_bytes`."""

    net: str
    form: str
    change: str
    way: str
    full_bytes: int
    wire_bytes: int
    percent: float
    apply_ms: float
    peak_mb: float


def measure(base: Path, new: Path, scratch: Path) -> list[tuple[str, int, float, float]]:
    """Return (way, bytes, median ms, peak MB) of each way, in turns."""
    wanted, out = new.read_bytes(), scratch / "out"
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in _WAYS}
    for way in _WAYS:
        _child("encode", way, base, new, scratch / way)
    for _ in range(_ROUNDS):
        for way, found in runs.items():
            found.append(json.loads(_child("apply", way, base, scratch / way, out)))
            if out.read_bytes() != wanted:
                raise SystemExit(f"{way} made something else of {base.name}")
    return [
        (
            way,
            (scratch / way).stat().st_size,
            median(ms for run in found for ms in run["apply_ms"]),
            median(run["peak_mb"] for run in found),
        )
        for way, found in runs.items()
    ]


def _child(task: str, way: str, *files: Path) -> str:
    command = [sys.executable, str(Path(__file__).with_name("delta_ways.py")), task, way, *map(str, files)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def prepare(folder: Path, nets: list[str]) -> None:
    """Train and convert what is not in `folder` yet."""
    missing = [net for net in nets if not (folder / f"{net}.head.keras").exists()]
    if missing:
        script = Path(__file__).with_name("delta_nets.py")
        subprocess.run([sys.executable, script, folder, *missing], check=True)
    for net in nets:
        for form, changes in _CHANGES.items():
            for change in ("base", *changes):
                _convert(folder, net, form, change)


def _convert(folder: Path, net: str, form: str, change: str) -> None:
    out = folder / f"{net}.{form}.{change}.bundle"
    if out.exists():
        return
    again = change == "recalibrated"
    request = ConvertRequest(
        source=folder / f"{net}.{'base' if again else change}.keras",
        outputs=Outputs(out),
        model=net,
        version=change,
        data=folder / f"{net}.{'later.' if again else ''}npz",
        recipe=form,
        base=None if again or change == "base" or form == "float32" else folder / f"{net}.{form}.base.bundle",
    )
    convert(request, lambda _stage, _done=None: None)


def run(folder: Path, nets: list[str]) -> list[Line]:
    prepare(folder, nets)
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        for net, form in ((net, form) for net in nets for form in _CHANGES):
            for change in _CHANGES[form]:
                base, new = (folder / f"{net}.{form}.{c}.bundle" for c in ("base", change))
                full = len(compress(new.read_bytes()))
                for way, size, apply_ms, peak_mb in measure(base, new, Path(scratch)):
                    percent = round(100 * size / full, 2)
                    line = Line(
                        net, form, change, way, full, size, percent, round(apply_ms, 2), round(peak_mb, 1)
                    )
                    print("  ".join(str(value) for value in asdict(line).values()), flush=True)
                    lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nets", default=",".join(_NETS), help="which of mlp, mobilenet (default: both)")
    parser.add_argument("--work", type=Path, help="keep networks and bundles in this folder")
    parser.add_argument("--json", type=Path, help="write the results there")
    parsed = parser.parse_args()
    nets = parsed.nets.split(",")
    if unknown := set(nets) - set(_NETS):
        parser.error(f"no such network: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as name:
        folder = parsed.work or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        lines = run(folder, nets)
    if parsed.json:
        found = {"results": [asdict(line) for line in lines]}
        parsed.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
