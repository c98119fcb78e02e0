"""The classic small problems, converted with nothing said but where the data is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge import open_bundle
from edgeflock import main
from tests.support.local_fleet import ROOT
from wire.bundle import unpack
from wire.manifest import Manifest


@pytest.fixture(scope="module")
def classics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classics")
    script = ROOT / "tests" / "support" / "classic_models.py"
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    return folder


def converted(source: Path, *options: str | Path) -> Manifest:
    out = source.with_suffix(".bundle")
    assert main(["convert", str(source), "--out", str(out), *map(str, options)]) == 0
    return unpack(out.read_bytes()).manifest


@pytest.mark.parametrize("name", ["wine", "cancer"])
def test_a_classification_keeps_its_accuracy_to_half_a_point(classics: Path, name: str) -> None:
    manifest = converted(classics / f"{name}.keras", "--data", classics / f"{name}.npz")
    assert manifest.metrics["float_accuracy"] > 0.9
    assert manifest.metrics["float_accuracy"] - manifest.metrics["accuracy"] <= 0.005
    assert manifest.task == ("binary" if name == "cancer" else "classes")


def test_a_regression_keeps_its_error(classics: Path) -> None:
    manifest = converted(classics / "diabetes.keras", "--data", classics / "diabetes.npz")
    assert manifest.task == "values"
    assert manifest.metrics["float_r2"] - manifest.metrics["r2"] <= 0.005


def test_scaling_in_front_of_a_model_stays_in_floats(classics: Path) -> None:
    manifest = converted(
        classics / "wine.keras", "--data", classics / "wine.npz", "--recipe", "int8", "--name", "wine8"
    )
    assert manifest.inputs[0].dtype == "float32"
    assert manifest.metrics["float_accuracy"] - manifest.metrics["accuracy"] <= 0.005


@pytest.mark.parametrize("with_data", [True, False])
def test_the_tutorials_house_prices_need_no_extra_word(classics: Path, with_data: bool) -> None:
    options = ("--data", classics / "houses.csv") if with_data else ()
    manifest = converted(classics / "house_price_model.h5", *options)
    assert manifest.task == "values"
    with open_bundle(classics / "house_price_model.bundle") as runtime:
        (price,) = runtime.predict(np.array([[120.0]], np.float32)).outputs.values()
    assert price.item() == pytest.approx(1500 * 120 + 20000, rel=0.1)
