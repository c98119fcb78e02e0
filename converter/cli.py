"""`edgeflock convert`: from a trained model to a bundle."""

from __future__ import annotations

import argparse
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from converter.adapters.datasets import DataOptions
from converter.adapters.outputs import Outputs
from converter.adapters.terminal import Stages, make_console, show
from converter.app import AUTO, ConvertRequest, convert
from converter.board import board_factor
from converter.budget import EXAMPLE, parse_budget
from converter.compression import Compression
from converter.dataset import SCALES
from converter.declaring import AnswerOptions, parse_answers, parse_preprocessing
from converter.recipes import RECIPES, parse_rule
from converter.source import SourceOptions
from wire.errors import SettingsError
from wire.manifest import MACHINES

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_HELP = """\
Makes a bundle from a trained model: finds the smallest form that keeps its accuracy, measures what that
costs on test data, and packs it with its labels and with golden outputs, on which every device checks it
before it serves. The source is only read.

MODEL is a Keras file (.keras, .h5), a SavedModel folder, a float .tflite, a scikit-learn model (.joblib,
.pkl: loading one runs code in it, so take only your own), a PyTorch export (.pt2), or FILE.py:FUNCTION
that returns a PyTorch module and example inputs.

DATA is an npz file, a CSV or Parquet table, or a folder of images with a folder for each class:

    numpy.savez_compressed("digits.npz", x_train=..., y_train=..., x_test=..., y_test=...,
                           labels=["zero", "one", ...])

The train rows calibrate (100 of them) and train compression; the test rows measure: the model must not
have seen them. Inputs are as the model was trained on them, scaled alike. Without DATA nothing static can
be made and no accuracy told: the weights become int8, and answers are compared on random inputs.
"""

_MORE = """\
budget:
    --budget searches recipes and levels of compression, each measured, and ships the smallest inside it.
    Keys: accuracy (points that may be lost: hundredths of accuracy; of a regression, root mean square
    error in hundredths of the target's standard deviation), class (points of recall of any one class;
    default 5), size (bundle on disk), wire (what a device fetches), latency (a call, on the board). It is
    chosen on one half of the test rows and reported on the other.

examples:
    edgeflock convert digits.keras --data digits.npz --version 2
    edgeflock convert digits.keras --data digits.npz --budget accuracy=1.0pt,wire=30kB --report report.html
    edgeflock convert house_price_model.h5 --data houses.csv
    edgeflock convert digits.keras --data digits.npz --version 3 --base digits-2.bundle
"""


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], version: str) -> None:  # noqa: ARG001  # every command's signature
    """Add `convert` to the command line."""
    recipes = "\n".join(f"    {recipe.name:20s} {recipe.summary}" for recipe in RECIPES.values())
    first = f"    {AUTO:20s} the smallest of a few that keeps its accuracy (the default)"
    parser = commands.add_parser(
        "convert",
        help="make a small, proven bundle from a trained model",
        description=_HELP,
        epilog=f"recipes:\n{first}\n{recipes}\n\n{_MORE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", metavar="MODEL", help="a model file or folder")
    add("--data", type=Path, metavar="DATA", help="calibration and test data")
    add("--out", type=Path, metavar="FILE", help="the bundle (default: NAME-VERSION.bundle)")
    add("--name", help="the model's name in the fleet (default: MODEL without its ending)")
    add("--version", default="1", metavar="V", help="this release's version (default: 1)")
    _add_form(parser)
    _add_data(parser)
    _add_device(parser)
    reports = parser.add_argument_group("reports")
    reports.add_argument("--report", type=Path, metavar="FILE", help="write the whole report as an HTML page")
    reports.add_argument("--json", type=Path, metavar="FILE", help="write the whole report as JSON")
    reports.add_argument("--plot", type=Path, metavar="FILE", help="draw size against loss as a PNG")
    parser.set_defaults(run=_run)


def _add_form(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("form").add_argument
    add("--recipe", choices=(AUTO, *RECIPES), default=AUTO, metavar="R", help="one of the recipes below")
    add(
        "--compress",
        default="",
        metavar="LEVEL",
        help="train pruning or low-bit weights in, such as prune80+4bit; needs --recipe",
    )
    add(
        "--except",
        dest="rules",
        action="append",
        default=[],
        metavar="PATTERN=R",
        help="another recipe for an operator (SOFTMAX) or for layers by name (dense.*); may be repeated",
    )
    add("--budget", metavar="LIMITS", help=f"search for the smallest inside these limits, {EXAMPLE}")
    add("--allow-miss", action="store_true", help="take the closest where nothing is inside the budget")
    add("--base", type=Path, metavar="BUNDLE", help="what devices hold now: keeps the update small")
    add(
        "--board",
        metavar="FACTOR",
        help="how much slower the board is: a number, or BUNDLE=TIME that it takes there (old.bundle=310us)",
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("reading").add_argument
    add("--target", metavar="COLUMN", help="the column of a table that is to be predicted")
    add("--image-size", metavar="HxW", help="resize images, such as 96x96")
    add(
        "--scale",
        choices=SCALES,
        help="of images: raw 0..255, unit 0..1 (default), signed -1..1",
    )
    add("--signature", metavar="NAME", help="which signature of a SavedModel or .tflite")
    add(
        "--code",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.py",
        help="Python code with a model's own layers; it is run; may be repeated",
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what devices do with raw samples and with answers").add_argument
    add(
        "--preprocess",
        metavar="SPEC",
        help="how a picture or a sound becomes the input, such as image:scale=1/127.5,offset=-1,order=bgr, "
        "image:scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225 or "
        "log-mel:rate_hz=16000,window=400,hop=160,bands=40; images in DATA are prepared by it too",
    )
    add("--top-k", type=int, metavar="N", help="answer with the N best classes")
    add("--threshold", type=float, metavar="X", help="answer with the classes or boxes that score X or more")
    add(
        "--boxes",
        metavar="LAYOUT",
        help="the outputs are boxes: corners (boxes and scores of classes) or detections "
        "(TFLite_Detection_PostProcess); corners:iou=0.5,outputs=BOXES:SCORES says more",
    )
    add(
        "--activation", default="none", metavar="A", help="of scores, first: none (default), softmax, sigmoid"
    )
    add(
        "--machine",
        dest="machines",
        action="append",
        default=[],
        metavar="M",
        help=f"only for boards of this kind ({', '.join(MACHINES)}; default: all); may be repeated",
    )
    add("--first-class", type=int, default=0, metavar="N", help="the first label is for class N (default: 0)")


def _run(arguments: argparse.Namespace) -> int:
    request = _request(arguments)
    stages = Stages(make_console(stderr=True))
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with stages.shown():
            result = convert(request, stages)
    finally:
        signal.signal(signal.SIGTERM, before)
    console = make_console()
    show(console, result.report)
    console.print(f"wrote {result.out}: {result.bundle_bytes:,} bytes")
    return 0


def _end(number: int, _: object) -> None:
    """End as by Ctrl-C, so that temporary files and child processes go too."""
    raise SystemExit(128 + number)


def _request(arguments: argparse.Namespace) -> ConvertRequest:
    source = Path(arguments.source)
    name = _default_name(source) if arguments.name is None else arguments.name
    budget = None
    if arguments.budget is not None:
        budget = parse_budget(arguments.budget)
        if arguments.board:
            budget = replace(budget, board_factor=board_factor(arguments.board))
    elif arguments.board or arguments.allow_miss:
        raise SettingsError("--board and --allow-miss are about a budget: give --budget too")
    if arguments.compress:
        Compression.parse(arguments.compress)
    preprocessing = None if arguments.preprocess is None else parse_preprocessing(arguments.preprocess)
    if preprocessing is not None and arguments.scale is not None:
        raise SettingsError("--scale and --preprocess both scale: write image:scale=1/255 and no --scale")
    return ConvertRequest(
        source=source,
        outputs=Outputs(
            arguments.out or Path(f"{name}-{arguments.version}.bundle"),
            arguments.json,
            arguments.report,
            arguments.plot,
        ),
        model=name,
        version=arguments.version,
        data=arguments.data,
        recipe=arguments.recipe,
        compression=arguments.compress,
        rules=tuple(parse_rule(text) for text in arguments.rules),
        budget=budget,
        allow_miss=arguments.allow_miss,
        base=arguments.base,
        source_options=SourceOptions(tuple(arguments.code), arguments.signature),
        data_options=DataOptions(
            target=arguments.target,
            image_size=_image_size(arguments.image_size),
            scale=arguments.scale or "unit",
        ),
        preprocessing=preprocessing,
        machines=tuple(arguments.machines),
        postprocessing=parse_answers(
            AnswerOptions(
                arguments.top_k,
                arguments.threshold,
                arguments.boxes,
                arguments.activation,
                arguments.first_class,
            )
        ),
    )


def _default_name(source: Path) -> str:
    """Return the file's name without its ending; of `nets.py:make` the function's."""
    if source.suffix.startswith(".py:"):
        return source.name.rpartition(":")[2]
    return source.stem if source.suffix else source.name


def _image_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise SettingsError(f"--image-size {text!r}: give height and width, such as 96x96")
    return int(height), int(width)
