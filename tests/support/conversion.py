"""What the converter's tests ask for."""

from __future__ import annotations

from pathlib import Path

from converter.app import ConvertRequest, Recipe
from tests.support.training import Trained


def request_for(trained: Trained, out: Path, recipe: Recipe = "int8", **other: Path) -> ConvertRequest:
    """Return a request for the second model; `other` replaces its source or data."""
    files = {"source": trained.v2, "data": trained.data} | other
    return ConvertRequest(out=out, model="digits", version="2", recipe=recipe, **files)


def quiet(stage: str) -> None:
    """Progress that nobody watches."""
