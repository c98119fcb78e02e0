"""The trained model, converted once a recipe, and loaded by Keras once for all that only looks behind it."""

from __future__ import annotations

import pytest

from converter import app
from converter.adapters import sources
from converter.adapters.datasets import DataOptions, read_dataset
from converter.app import ConvertResult, convert
from converter.bench import evaluated_rows
from converter.source import Converted, SourceOptions
from tests.support.conversion import quiet, request_for
from tests.support.training import Trained

RECIPES = ("float32", "int8")


@pytest.fixture(scope="session")
def conversions(trained: Trained) -> dict[str, ConvertResult]:
    return {
        recipe: convert(request_for(trained, trained.folder / f"{recipe}.bundle", recipe), quiet)
        for recipe in RECIPES
    }


@pytest.fixture(params=RECIPES)
def converted(request: pytest.FixtureRequest, conversions: dict[str, ConvertResult]) -> ConvertResult:
    return conversions[request.param]


@pytest.fixture
def int8(conversions: dict[str, ConvertResult]) -> ConvertResult:
    return conversions["int8"]


@pytest.fixture(scope="session")
def loaded(trained: Trained) -> Converted:
    data = read_dataset(trained.data, DataOptions())
    return sources.convert(trained.v2, evaluated_rows(data), SourceOptions())


@pytest.fixture
def no_keras(loaded: Converted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare a test the seven seconds of TensorFlow when it is about what follows."""
    monkeypatch.setattr(app, "convert_source", lambda *_: loaded)
