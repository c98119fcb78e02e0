"""scikit-learn estimators: read as arithmetic that answers alike, and written as TFLite."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, RobustScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from converter import estimators
from converter.adapters.sklearn_estimators import readings, split_pipeline
from converter.source import SCALER_MARK
from tests.support.source_attempts import Attempt, Outcome, outcomes
from wire.errors import ModelError

_WINE, _CANCER, _SUGAR = (load(return_X_y=True) for load in (load_wine, load_breast_cancer, load_diabetes))
#: Classifiers of three classes, of two, and regressors, each with the data it is trained on.
_KINDS: Mapping[str, tuple[Any, tuple[Any, Any]]] = {
    "logistic": (make_pipeline(StandardScaler(), LogisticRegression()), _WINE),
    "logistic of two": (make_pipeline(RobustScaler(), LogisticRegression()), _CANCER),
    "one against the rest": (make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss")), _WINE),
    "discriminant": (LinearDiscriminantAnalysis(), _WINE),
    "support vectors": (make_pipeline(MinMaxScaler(clip=True), LinearSVC()), _WINE),
    "support vectors of two": (make_pipeline(MinMaxScaler(), LinearSVC()), _CANCER),
    "perceptron": (make_pipeline(StandardScaler(), MLPClassifier((8, 4), max_iter=20)), _WINE),
    "perceptron of two": (make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=20)), _CANCER),
    "tree": (DecisionTreeClassifier(), _CANCER),
    "forest behind a scaler": (make_pipeline(StandardScaler(), RandomForestClassifier(10)), _WINE),
    "boosting": (GradientBoostingClassifier(n_estimators=5), _WINE),
    "boosting of two": (make_pipeline(MinMaxScaler(), GradientBoostingClassifier(n_estimators=5)), _CANCER),
    "exponential": (GradientBoostingClassifier(n_estimators=5, loss="exponential"), _CANCER),
    "histograms": (make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=5)), _WINE),
    "histograms of two": (HistGradientBoostingClassifier(max_iter=5), _CANCER),
    "linear": (LinearRegression(), _SUGAR),
    "linear of two values": (LinearRegression(), (_SUGAR[0], np.c_[_SUGAR[1], -_SUGAR[1]])),
    "counts": (PoissonRegressor(), _SUGAR),
    "perceptron of values": (MLPRegressor(hidden_layer_sizes=(6,), activation="tanh", max_iter=20), _SUGAR),
    "tree of values": (DecisionTreeRegressor(max_depth=5), (_SUGAR[0], np.c_[_SUGAR[1], -_SUGAR[1]])),
    "extra trees": (ExtraTreesRegressor(8, max_depth=6), _SUGAR),
    "boosting of values": (GradientBoostingRegressor(n_estimators=10), _SUGAR),
    "histograms of counts": (HistGradientBoostingRegressor(loss="poisson", max_iter=5), _SUGAR),
    "searched": (GridSearchCV(LogisticRegression(max_iter=5), {"C": [1.0]}, cv=2), _CANCER),
}


def _fitted(model: Any, data: tuple[Any, Any]) -> Any:
    with warnings.catch_warnings():
        np.random.seed(7)
        warnings.simplefilter("ignore")  # too few iterations: the answers count, not how good they are
        return model.fit(*data)


def _answers(model: Any, rows: Any) -> Any:
    if hasattr(model, "predict_proba"):
        return model.predict_proba(rows)
    given = model.decision_function(rows) if hasattr(model, "decision_function") else model.predict(rows)
    if given.ndim == 1:
        given = given[:, np.newaxis]
        return np.hstack([0 * given, given]) if hasattr(model, "decision_function") else given
    return given


@pytest.mark.parametrize("name", _KINDS)
def test_what_is_read_answers_as_the_estimator(name: str) -> None:
    model = _fitted(*_KINDS[name])
    rows = _KINDS[name][1][0].astype(np.float32).astype(np.float64)
    wanted = _answers(model, rows)
    steps, estimator = split_pipeline(model)
    plans = readings(estimator, steps, classifies=hasattr(estimator, "classes_"))
    plan = estimators.first_alike(plans, rows, wanted)
    assert plan is not None
    assert np.abs(estimators.answers(plan, rows) - wanted).max() <= 1e-6 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize(
    ("model", "data", "line"),
    [
        (SVC(), _WINE, "SVC is not supported: supported are linear models"),
        (AdaBoostClassifier(n_estimators=3), _WINE, "AdaBoostClassifier is not supported"),
        (make_pipeline(Normalizer(), LogisticRegression()), _WINE, r"step normalizer \(Normalizer\) divides"),
        (make_pipeline(PCA(3), LogisticRegression()), _WINE, r"step pca \(PCA\) of the pipeline is not"),
        (
            RandomForestClassifier(120),
            (np.random.default_rng(0).random((1500, 9)), np.arange(1500) % 2),
            r"its 120 trees of up to \d+ leaves would take \d+ MB, more than 32: train it with a lower",
        ),
    ],
)
def test_what_cannot_be_read_is_named(model: Any, data: tuple[Any, Any], line: str) -> None:
    with pytest.raises(ModelError, match=line):
        steps, estimator = split_pipeline(_fitted(model, data))
        readings(estimator, steps, classifies=hasattr(estimator, "classes_"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Outcome]:
    folder: Path = tmp_path_factory.mktemp("estimators")
    attempts = {}
    for name in ("perceptron", "support vectors", "forest behind a scaler", "boosting of two", "linear"):
        model, data = _KINDS[name]
        joblib.dump(_fitted(model, data), folder / f"{name}.joblib")
        attempts[name] = Attempt(f"{name}.joblib", "sklearn_child", {"": data[0][:40]})
    (folder / "dict.pkl").write_bytes(pickle.dumps({"weights": [1, 2]}))
    (folder / "text.pkl").write_text("hello, world")
    joblib.dump(LogisticRegression(), folder / "unfitted.joblib")
    colours = np.array(["red", "rosé", "white"])[_WINE[1]]
    named = _fitted(LogisticRegression(max_iter=5), (_WINE[0], colours))
    joblib.dump(named, folder / "named.joblib")
    for file in ("dict.pkl", "text.pkl", "unfitted.joblib", "named.joblib"):
        attempts[file] = Attempt(file, "sklearn_child")
    return outcomes(folder, attempts)


@pytest.mark.parametrize(
    "name", ["perceptron", "support vectors", "forest behind a scaler", "boosting of two", "linear"]
)
def test_the_file_answers_as_the_estimator(found: Mapping[str, Outcome], name: str) -> None:
    made = found[name].made
    largest = max(1.0, float(np.abs(made.answers[0]).max()))
    assert max(found[name].differences) <= 2e-6 * largest
    assert made.inputs[0].shape == (_KINDS[name][1][0].shape[1],)
    assert set(made.versions) == {"scikit-learn", "tensorflow"}


def test_a_scaler_stays_apart_from_the_weights_and_has_its_name(found: Mapping[str, Outcome]) -> None:
    for name in ("perceptron", "support vectors"):
        made = found[name].made
        assert made.traits == {"normalizes"}
        for part in ("subtract", "multiply", "highest"):
            assert f"{SCALER_MARK}/{part}".encode() in made.tflite
        assert b"multiply;layer_0" not in made.tflite  # folded, its tensor would have both names
    assert found["forest behind a scaler"].made.traits == {"trees"}


def test_what_the_outputs_are_is_said(found: Mapping[str, Outcome]) -> None:
    assert found["perceptron"].made.outputs == ("probabilities",)
    assert "LinearSVC has no probabilities" in found["support vectors"].made.notes[0]
    assert found["linear"].made.outputs == ("prediction",)
    assert found["named.joblib"].made.notes == (
        "its outputs are the classes red, rosé, white, in this order",
    )


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("dict.pkl", "it holds a dict, not a scikit-learn estimator"),
        ("text.pkl", "it is no pickle, or one that cannot be read here"),
        ("unfitted.joblib", "LogisticRegression is not fitted"),
    ],
)
def test_another_pickle_is_one_line(found: Mapping[str, Outcome], file: str, line: str) -> None:
    with pytest.raises(ModelError, match=line) as caught:
        _ = found[file].made
    assert "\n" not in str(caught.value)
