"""What the converter's tests ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converter.adapters.outputs import Outputs
from converter.app import ConvertRequest
from tests.support.training import Trained


def request_for(trained: Trained, out: Path, recipe: str = "int8", **other: Any) -> ConvertRequest:
    """Return a request for the second model; `other` replaces its source, its data or anything else."""
    fields: dict[str, Any] = {"source": trained.v2, "data": trained.data, "outputs": Outputs(out)} | other
    return ConvertRequest(model="digits", version="2", recipe=recipe, **fields)


def quiet(stage: str, done: float | None = None) -> None:
    """Progress that nobody watches."""
