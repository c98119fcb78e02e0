"""Bytes on the wire against accuracy: ours beside TensorFlow Lite's conversions and the bare quantizer.

    pip install 'edgeflock[benchmarks]'
    python benchmarks/compression.py [--nets mlp,cnn,separable] [--work FOLDER] [--json FILE]

Three networks on 5,000 real digits: LeNet-300-100, a network like LeNet-5, and a depthwise-separable
one. Ours is `edgeflock convert --budget accuracy=1.0pt`, once with the worst class free and once with
at most 5 points of recall lost by any class: chosen on one split, and every figure here is of another.
The ratio is of the float32 weights to what travels: for peers xz of the model file, for ours xz of the
whole bundle, with its manifest and golden set. Latencies are of one call after the other in one run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converter.adapters import interpreter, quantizer
from converter.adapters.flatbuffer import parameter_bytes
from converter.adapters.outputs import Outputs
from converter.app import ConvertRequest, convert
from converter.budget import loss_points, parse_budget
from converter.evaluation import ClassMarks, Evaluation, evaluate, largest_recall_drop
from wire.blob import compress
from wire.bundle import unpack

_NETS = ("mlp", "cnn", "separable")
_CLASS_POINTS = (100, 5)
_ROUNDS = 3
_COLUMNS = ("net", "form", "accuracy", "lost pt", "worst class", "file", "wire", "ratio", "median us")


@dataclass(frozen=True)
class Line:
    """One form of one network on the 1,000 samples of the report split."""

    net: str
    form: str
    accuracy: float
    lost_points: float
    worst_class_points: float
    file_bytes: int
    wire_bytes: int
    ratio: float
    median_us: float


def bare_quantizer(folder: Path, net: str) -> bytes:
    """Return static int8 as litert-quantizer makes it by itself, with its own calibration."""
    script = (
        "import sys, numpy as np\n"
        "from litert_quantizer import calibrator, quantizer, recipe\n"
        "path, data, out = sys.argv[1:]\n"
        "engine = quantizer.Quantizer(path)\n"
        "engine.load_quantization_recipe(recipe.static_wi8_ai8())\n"
        "from ai_edge_litert.interpreter import Interpreter\n"
        "signatures = Interpreter(path).get_signature_list()\n"
        "((key, parts),) = signatures.items()\n"
        "(name,) = parts['inputs']\n"
        "rows = np.load(data)['x_train'][:100]\n"
        "ranges = engine.calibrate({key: [{name: row[None]} for row in rows]})\n"
        "open(out, 'wb').write(engine.quantize(ranges).quantized_model)\n"
    )
    out = folder / f"{net}.bare.tflite"
    files = (folder / f"{net}.tflite", folder / f"{net}.npz", out)
    subprocess.run([sys.executable, "-c", script, *files], check=True, capture_output=True)
    return out.read_bytes()


def ours(folder: Path, net: str, class_points: int) -> tuple[str, bytes, int, float]:
    """Return what the search ships: its name, the model, bytes on the wire, and the seconds it took."""
    start = time.monotonic()
    out = folder / f"{net}.{class_points}.bundle"
    request = ConvertRequest(
        source=folder / f"{net}.keras",
        outputs=Outputs(out, json=out.with_suffix(".json"), page=out.with_suffix(".html")),
        model=net,
        version="1",
        data=folder / f"{net}.npz",
        budget=parse_budget(f"accuracy=1.0pt,class={class_points}pt,latency=1s"),
    )
    result = convert(request, lambda _stage, _done=None: None)
    seconds = time.monotonic() - start
    return result.manifest.recipe, unpack(out.read_bytes()).tflite, result.report.wire_bytes, seconds


def measure(folder: Path, net: str) -> tuple[list[Line], dict[str, float]]:
    """Make and measure every form of one network, in turns."""
    with np.load(folder / f"{net}.npz") as data:
        x, truth = data["x_test"], data["y_test"]
    float32 = (folder / f"{net}.tflite").read_bytes()
    forms = {
        "TFLite float32": (float32, len(compress(float32))),
        "TFLite int8": _sized((folder / f"{net}.int8.tflite").read_bytes()),
        "litert-quantizer int8": _sized(bare_quantizer(folder, net)),
    }
    seconds = {}
    for points in _CLASS_POINTS:
        form, tflite, wire_bytes, seconds[f"{net} class={points}pt"] = ours(folder, net, points)
        forms[f"ours, {form} (class {points} pt)"] = (tflite, wire_bytes)
    runs: dict[str, list[interpreter.Run]] = {form: [] for form in forms}
    for _ in range(_ROUNDS):
        for form, (tflite, _) in forms.items():
            runs[form].append(interpreter.run(tflite, [x]))
    reference = runs["TFLite float32"][0].answers[0]
    source = evaluate(reference, reference, truth, "classes")
    lines = [
        _line(
            net,
            form,
            size=(len(tflite), wire_bytes),
            marks=(source, evaluate(runs[form][0].answers[0], reference, truth, "classes")),
            weights_bytes=parameter_bytes(float32),
            median_us=_median_us(runs[form]),
        )
        for form, (tflite, wire_bytes) in forms.items()
    ]
    return lines, seconds


def _sized(tflite: bytes) -> tuple[bytes, int]:
    return tflite, len(compress(tflite))


def _median_us(runs: list[interpreter.Run]) -> float:
    return float(np.median([run.latency.median_us for run in runs if run.latency is not None]))


def _line(
    net: str,
    form: str,
    *,
    size: tuple[int, int],
    marks: tuple[Evaluation, Evaluation],
    weights_bytes: int,
    median_us: float,
) -> Line:
    source, made = marks
    before, after = source.classes, made.classes
    assert isinstance(before, ClassMarks)
    assert isinstance(after, ClassMarks)
    return Line(
        net=net,
        form=form,
        accuracy=round(after.accuracy, 4),
        lost_points=round(loss_points(source, made), 2),
        worst_class_points=round(-100 * largest_recall_drop(before, after).drop, 1),
        file_bytes=size[0],
        wire_bytes=size[1],
        ratio=round(weights_bytes / size[1], 1),
        median_us=round(median_us, 1),
    )


def show(lines: list[Line]) -> None:
    rows = [_COLUMNS, *(tuple(str(value) for value in asdict(line).values()) for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    for row in rows:
        cells = (
            c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join(cells), flush=True)


def run(folder: Path, nets: list[str]) -> dict[str, Any]:
    missing = [net for net in nets if not (folder / f"{net}.int8.tflite").exists()]
    if missing:
        script = Path(__file__).with_name("mnist_nets.py")
        subprocess.run([sys.executable, script, folder, *missing], check=True)
    lines, seconds = [], {}
    for net in nets:
        found, taken = measure(folder, net)
        lines += found
        seconds.update(taken)
        show(found)
    return {
        "quantizer": f"static int8, calibrated on {quantizer.CALIBRATION_LIMIT} samples",
        "search_seconds": {name: round(value, 1) for name, value in seconds.items()},
        "results": [asdict(line) for line in lines],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nets", default=",".join(_NETS), help="which of mlp, cnn, separable (default: all)")
    parser.add_argument("--work", type=Path, help="keep networks and bundles in this folder")
    parser.add_argument("--json", type=Path, help="write the results there")
    parsed = parser.parse_args()
    nets = parsed.nets.split(",")
    if unknown := set(nets) - set(_NETS):
        parser.error(f"no such network: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as name:
        folder = parsed.work or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        found = run(folder, nets)
    if parsed.json:
        parsed.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
