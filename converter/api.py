"""Converting from Python: the same as the command, for objects that need no file.

    from converter import convert_model

    result = convert_model(model, (x_train, y_train), name="digits", out="digits-1.bundle")
    print(result.report.forms[-1].evaluation.score)

`model` is a Keras model, a scikit-learn estimator, or the path of anything that the command takes;
`data` a path, arrays `x` or `(x, y)`, a dict with the keys of an npz file, a tf.data.Dataset, or any
iterable of samples.
"""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import Any

from converter.adapters.datasets import DataOptions
from converter.adapters.in_memory import from_python
from converter.adapters.keras_source import save_keras
from converter.adapters.outputs import Outputs
from converter.app import AUTO, ConvertRequest, ConvertResult, convert
from converter.board import board_factor
from converter.budget import parse_budget
from converter.dataset import Dataset, Scale
from converter.declaring import AnswerOptions, parse_answers, parse_preprocessing
from converter.recipes import parse_rule
from converter.source import SourceOptions
from converter.workshop import Progress
from wire.errors import SettingsError


def _quiet(stage: str, done: float | None = None) -> None:
    del stage, done  # nobody watches


def convert_model(
    model: Any,
    data: Any = None,
    *,
    name: str,
    version: str = "1",
    out: str | Path | None = None,
    recipe: str = AUTO,
    compress: str = "",
    rules: tuple[str, ...] = (),
    budget: str | None = None,
    board: str | None = None,
    allow_miss: bool = False,
    base: str | Path | None = None,
    target: str | None = None,
    image_size: tuple[int, int] | None = None,
    scale: Scale = "unit",
    preprocess: str | None = None,
    answers: AnswerOptions | None = None,
    machines: tuple[str, ...] = (),
    signature: str | None = None,
    code: tuple[str | Path, ...] = (),
    report: str | Path | None = None,
    json: str | Path | None = None,
    plot: str | Path | None = None,
    progress: Progress = _quiet,
) -> ConvertResult:
    """Convert `model` with `data` and write the bundle (default: NAME-VERSION.bundle).

    The options are those of `edgeflock convert`, as text; `rules` are its `--except`, `machines` its
    `--machine`, and `answers` has those about what a device answers (`AnswerOptions(top_k=3)`). `progress`
    is called with what happens now and the share that is done, where that is known. Raises an
    EdgeflockError with one line that says what to do; nothing is left behind then.
    """
    if budget is None and (board is not None or allow_miss):
        raise SettingsError("board and allow_miss are about a budget: give budget too")
    options = DataOptions(target=target, image_size=image_size, scale=scale, shape_hint=_row_shape(model))
    with tempfile.TemporaryDirectory(prefix="edgeflock-") as folder:
        request = ConvertRequest(
            source=_source(model, Path(folder)),
            outputs=Outputs(
                Path(out or f"{name}-{version}.bundle"),
                *(Path(p) if p else None for p in (json, report, plot)),
            ),
            model=name,
            version=version,
            data=Path(data) if isinstance(data, str | Path) else _held(data, options),
            recipe=recipe,
            compression=compress,
            rules=tuple(parse_rule(rule) for rule in rules),
            budget=None if budget is None else parse_budget(budget, board_factor(board or "1")),
            allow_miss=allow_miss,
            base=Path(base) if base else None,
            source_options=SourceOptions(tuple(Path(file) for file in code), signature),
            data_options=DataOptions(target=target, image_size=image_size, scale=scale),
            preprocessing=parse_preprocessing(preprocess) if preprocess else None,
            postprocessing=parse_answers(answers or AnswerOptions()),
            machines=machines,
        )
        return convert(request, progress)


def _source(model: Any, folder: Path) -> Path:
    if isinstance(model, str | Path):
        return Path(model)
    if not isinstance(model, type):
        if hasattr(model, "get_params") and hasattr(model, "predict"):  # scikit-learn's own definition
            return _pickled(model, folder / "model.pkl")
        if hasattr(model, "predict") and hasattr(model, "layers"):
            return save_keras(model, folder)
    raise SettingsError(
        f"{type(model).__name__} is no model that is known: pass a Keras model, a scikit-learn "
        "estimator or a path (PyTorch: save it with torch.export.save and pass the .pt2 file)"
    )


def _pickled(model: Any, path: Path) -> Path:
    try:
        path.write_bytes(pickle.dumps(model))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise SettingsError(f"{type(model).__name__} cannot be handed to another process: {error}") from error
    return path


def _held(data: Any, options: DataOptions) -> Dataset | None:
    return None if data is None else from_python(data, options)


def _row_shape(model: Any) -> tuple[int, ...] | None:
    """Return the one input's shape without the batch: it tells rows from batches in a stream."""
    inputs = getattr(model, "inputs", None)
    shape = tuple(inputs[0].shape[1:]) if isinstance(inputs, list) and len(inputs) == 1 else ()
    return shape if shape and None not in shape else None
