"""scikit-learn objects read as arithmetic: pipelines, linear models, MLPs, trees and their ensembles.

Several readings of one object are offered where attributes alone do not tell (how a linear model makes
probabilities); its own answers decide between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from converter.estimators import Dense, Head, Trees, two_columns
from converter.forest import Tree, plant
from converter.scaling import Step, thresholds_before
from converter.source import Array
from wire.errors import ModelError

_AVERAGED: Final = ("RandomForest", "ExtraTrees")
_SUPPORTED: Final = (
    "supported are linear models, MLPs, decision trees, random forests, extra trees and gradient boosting, "
    "behind StandardScaler, MinMaxScaler, MaxAbsScaler or RobustScaler"
)


def split_pipeline(model: Any) -> tuple[tuple[Step, ...], Any]:
    """Return the steps of the scalers in front, and the estimator behind them.

    Raises ModelError that names a step which is no scaler.
    """
    if hasattr(model, "best_estimator_"):  # a search over settings: the best is what predicts
        model = model.best_estimator_
    if not hasattr(model, "steps"):
        return (), model
    steps: list[Step] = []
    for name, part in model.steps[:-1]:
        if part is not None and part != "passthrough":
            steps += _scaler_steps(name, part)
    if any(step.kind == "clip" for step in steps[:-1]):
        raise ModelError("a scaler that clips has another scaler behind it: that is not supported")
    inner, estimator = split_pipeline(model.steps[-1][1])
    return (*steps, *inner), estimator


def readings(estimator: Any, steps: tuple[Step, ...], *, classifies: bool) -> Sequence[Dense | Trees]:
    """Return what `estimator` may compute, the likeliest first.

    Raises ModelError for one of a kind that is not supported, and for trees that are too large.
    """
    kind = type(estimator).__name__
    if hasattr(estimator, "tree_"):
        return [_averaged([estimator], steps, classifies=classifies)]
    if kind.startswith(_AVERAGED) and hasattr(estimator, "estimators_"):
        return [_averaged(estimator.estimators_, steps, classifies=classifies)]
    if kind.startswith("GradientBoosting") and hasattr(estimator, "estimators_"):
        return _boosted(estimator, steps, classifies=classifies)
    if hasattr(estimator, "_predictors") and hasattr(estimator, "_baseline_prediction"):
        return _histogram_boosted(estimator, steps, classifies=classifies)
    if hasattr(estimator, "coefs_") and hasattr(estimator, "intercepts_"):
        return [_perceptron(estimator, steps, classifies=classifies)]
    if hasattr(estimator, "coef_") and hasattr(estimator, "intercept_"):
        return list(_linear(estimator, steps, classifies=classifies))
    raise ModelError(f"{kind} is not supported: {_SUPPORTED}")


def _scaler_steps(name: str, part: Any) -> Iterator[Step]:
    kind = type(part).__name__
    if kind == "StandardScaler":
        yield from _step("subtract", part.mean_ if part.with_mean else None)
        yield from _step("divide", part.scale_)
    elif kind == "MinMaxScaler":
        yield from _step("multiply", part.scale_)
        yield from _step("add", part.min_)
        yield from _step("clip", part.feature_range if part.clip else None)
    elif kind == "MaxAbsScaler":
        yield from _step("divide", part.scale_)
    elif kind == "RobustScaler":
        yield from _step("subtract", part.center_)
        yield from _step("divide", part.scale_)
    elif kind == "Normalizer":
        raise ModelError(
            f"step {name} (Normalizer) divides a row by its own length, which int8 cannot hold: "
            "use StandardScaler, or normalize the data before"
        )
    else:
        raise ModelError(f"step {name} ({kind}) of the pipeline is not supported: {_SUPPORTED}")


def _step(kind: Any, values: Any) -> Iterator[Step]:
    if values is not None:
        yield Step(kind, np.asarray(values, np.float64))


def _linear(estimator: Any, steps: tuple[Step, ...], *, classifies: bool) -> Iterator[Dense]:
    coefficients = estimator.coef_.toarray() if hasattr(estimator.coef_, "toarray") else estimator.coef_
    weights = np.atleast_2d(np.asarray(coefficients, np.float64)).T
    biases = np.broadcast_to(np.atleast_1d(np.asarray(estimator.intercept_, np.float64)), weights.shape[1:])
    heads: tuple[Head, ...] = ("identity", "exp")
    if classifies:
        heads = ("softmax", "one-vs-rest", "identity")
        if weights.shape[1] == 1:
            weights, biases = two_columns(weights, biases)
    for head in heads:
        yield Dense(steps, (weights,), (biases,), "identity", head)


def _perceptron(estimator: Any, steps: tuple[Step, ...], *, classifies: bool) -> Dense:
    weights = [np.asarray(layer, np.float64) for layer in estimator.coefs_]
    biases = [np.asarray(layer, np.float64) for layer in estimator.intercepts_]
    head: Head = {"softmax": "softmax", "logistic": "logistic"}.get(estimator.out_activation_, "identity")  # type: ignore[assignment]  # dict.get forgets the literals
    if classifies and weights[-1].shape[1] == 1:
        weights[-1], biases[-1] = two_columns(weights[-1], biases[-1])
        head = "softmax"
    return Dense(steps, tuple(weights), tuple(biases), estimator.activation, head)


def _averaged(estimators: Sequence[Any], steps: tuple[Step, ...], *, classifies: bool) -> Trees:
    trees = []
    for estimator in estimators:
        values = estimator.tree_.value
        if classifies and values.shape[1] > 1:
            raise ModelError("it predicts several targets: train one model for each")
        values = values[:, 0, :] if classifies else values[:, :, 0]
        if classifies:  # counts in older versions, shares since 1.3
            values = values / np.maximum(values.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        trees.append(_tree(estimator.tree_, steps, values / len(estimators)))
    return Trees(plant(trees), np.zeros(trees[0].values.shape[1]), "identity")


def _boosted(estimator: Any, steps: tuple[Step, ...], *, classifies: bool) -> list[Trees]:
    stages, outputs = estimator.estimators_, estimator.estimators_.shape[1]
    if not isinstance(estimator.init_, str) and type(estimator.init_).__name__ not in (
        "DummyClassifier",
        "DummyRegressor",
    ):
        raise ModelError(f"its init={type(estimator.init_).__name__} is not supported: leave init out")
    row = np.zeros((1, estimator.n_features_in_), np.float32)
    start = np.asarray(estimator._raw_predict_init(row), np.float64).ravel()
    trees = [
        _tree(
            tree.tree_,
            steps,
            _in_column(estimator.learning_rate * tree.tree_.value[:, 0, 0], column, outputs),
        )
        for stage in stages
        for column, tree in enumerate(stage)
    ]
    return _stacked(trees, start, classifies=classifies)


def _histogram_boosted(estimator: Any, steps: tuple[Step, ...], *, classifies: bool) -> list[Trees]:
    outputs, trees = len(estimator._predictors[0]), []
    for stage in estimator._predictors:
        for column, predictor in enumerate(stage):
            nodes = predictor.nodes
            if nodes["is_categorical"].any():
                raise ModelError("it splits by categories, which is not supported: encode them as numbers")
            leaf = nodes["is_leaf"].astype(bool)
            columns = nodes["feature_idx"].astype(np.int64)
            trees.append(
                Tree(
                    columns=columns,
                    thresholds=_moved(steps, nodes["num_threshold"], columns, leaf, in_float32=False),
                    left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
                    right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
                    values=_in_column(nodes["value"], column, outputs),
                )
            )
    start = np.asarray(estimator._baseline_prediction, np.float64).ravel()
    return _stacked(trees, start, classifies=classifies)


def _stacked(trees: Sequence[Tree], start: Array, *, classifies: bool) -> list[Trees]:
    """Return the readings of summed trees: what the sum means depends on the loss."""
    if not classifies:
        forest = plant(trees)
        return [Trees(forest, start, "identity"), Trees(forest, start, "exp")]
    if len(start) > 1:
        return [Trees(plant(trees), start, "softmax")]
    found = []
    for factor in (1.0, 2.0):  # log loss; exponential loss, whose sum is half of the logit
        doubled = [
            Tree(
                tree.columns,
                tree.thresholds,
                tree.left,
                tree.right,
                np.hstack([0 * tree.values, factor * tree.values]),
            )
            for tree in trees
        ]
        found.append(Trees(plant(doubled), np.array([0.0, factor * start[0]]), "softmax"))
    return found


def _tree(tree: Any, steps: tuple[Step, ...], values: Array) -> Tree:
    leaf = tree.children_left < 0
    columns = np.where(leaf, 0, tree.feature).astype(np.int64)
    thresholds = _moved(steps, tree.threshold, columns, leaf, in_float32=True)
    return Tree(columns, thresholds, tree.children_left, tree.children_right, values)


def _moved(
    steps: tuple[Step, ...], thresholds: Array, columns: Array, leaf: Array, *, in_float32: bool
) -> Array:
    tests = np.flatnonzero(~leaf)
    moved = np.zeros(len(leaf), np.float32)
    moved[tests] = thresholds_before(steps, thresholds[tests], columns[tests], in_float32=in_float32)
    return moved


def _in_column(values: Array, column: int, outputs: int) -> Array:
    spread = np.zeros((len(values), outputs))
    spread[:, column] = values
    return spread
