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

from converter.adapters.datasets import DataOptions, read_dataset
from converter.adapters.in_memory import from_python
from converter.adapters.keras_source import save_keras
from converter.adapters.outputs import Outputs
from converter.app import AUTO, ConvertRequest, ConvertResult, convert
from converter.board import board_factor
from converter.budget import parse_budget
from converter.dataset import Dataset
from converter.recipes import parse_rule
from converter.source import SourceOptions
from wire.errors import SettingsError


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
    board: str = "1",
    allow_miss: bool = False,
    base: str | Path | None = None,
    report: str | Path | None = None,
    code: tuple[str | Path, ...] = (),
) -> ConvertResult:
    """Convert `model` with `data` and write the bundle (default: NAME-VERSION.bundle).

    The options are those of `edgeflock convert`, as text. Raises an EdgeflockError with one line that
    says what to do; nothing is left behind then.
    """
    with tempfile.TemporaryDirectory(prefix="edgeflock-") as folder:
        request = ConvertRequest(
            source=_source(model, Path(folder)),
            outputs=Outputs(
                Path(out) if out else Path(f"{name}-{version}.bundle"), page=Path(report) if report else None
            ),
            model=name,
            version=version,
            data=_data(data),
            recipe=recipe,
            compression=compress,
            rules=tuple(parse_rule(rule) for rule in rules),
            budget=parse_budget(budget, board_factor(board)) if budget is not None else None,
            allow_miss=allow_miss,
            base=Path(base) if base else None,
            source_options=SourceOptions(tuple(Path(file) for file in code)),
        )
        return convert(request, lambda _stage, _done=None: None)


def _source(model: Any, folder: Path) -> Path:
    if isinstance(model, str | Path):
        return Path(model)
    if hasattr(model, "get_params") and hasattr(model, "predict"):  # scikit-learn's own definition
        path = folder / "model.pkl"
        path.write_bytes(pickle.dumps(model))
        return path
    if hasattr(model, "predict") and hasattr(model, "layers"):
        return save_keras(model, folder)
    raise SettingsError(
        f"a {type(model).__name__} is not a model that is known: pass a Keras model, a scikit-learn "
        "estimator or a path (PyTorch: save it with torch.export.save and pass the .pt2 file)"
    )


def _data(data: Any) -> Dataset | Path | None:
    if data is None:
        return None
    if isinstance(data, str | Path):
        return read_dataset(Path(data), DataOptions())
    return from_python(data)
