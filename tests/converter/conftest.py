"""The trained model, converted once a recipe, and loaded by Keras once for all that only looks behind it."""

from __future__ import annotations

import numpy as np
import pytest

from converter.adapters import keras_source
from converter.adapters.keras_source import Converted
from converter.app import RECIPES, ConvertResult, convert
from tests.support.conversion import quiet, request_for
from tests.support.training import Trained


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
    with np.load(trained.data) as data:
        return keras_source.convert(trained.v2, data["x_test"])


@pytest.fixture
def no_keras(loaded: Converted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare a test the seven seconds of TensorFlow when it is about what follows."""
    monkeypatch.setattr(keras_source, "convert", lambda *_: loaded)
