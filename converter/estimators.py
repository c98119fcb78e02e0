"""A trained estimator as arithmetic: what a device computes instead of its Python object. Pure numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from converter import forest
from converter.forest import Forest
from converter.scaling import Step, scaled
from converter.source import Array

Activation = Literal["identity", "relu", "tanh", "logistic"]
#: What becomes of the last numbers: as they are, shares that sum to 1, one share each, shares of
#: each class against the rest (then made to sum to 1), or an exponential.
Head = Literal["identity", "softmax", "logistic", "one-vs-rest", "exp"]

_CLOSE: Final = 1e-5


@dataclass(frozen=True)
class Dense:
    """Layers of `weights` [in, out] and `biases` [out], float64, behind a scaler's steps."""

    steps: tuple[Step, ...]
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    activation: Activation
    head: Head


@dataclass(frozen=True)
class Trees:
    """Trees whose answers are summed, onto `start` [outputs]. A scaler in front is in their thresholds."""

    forest: Forest
    start: Array
    head: Head


def answers(plan: Dense | Trees, rows: Array) -> Array:
    """Return what `plan` answers to `rows` [n, columns], [n, outputs] float64."""
    if isinstance(plan, Trees):
        return _HEADS[plan.head](forest.answers(plan.forest, rows.astype(np.float32)) + plan.start)
    numbers = scaled(plan.steps, rows.astype(np.float64), np.arange(rows.shape[1]))
    for position, (weights, biases) in enumerate(zip(plan.weights, plan.biases, strict=True)):
        numbers = numbers @ weights + biases
        if position < len(plan.weights) - 1:
            numbers = _ACTIVATIONS[plan.activation](numbers)
    return _HEADS[plan.head](numbers)


def first_alike(plans: Sequence[Dense | Trees], rows: Array, wanted: Array) -> Dense | Trees | None:
    """Return the first of `plans` that answers `rows` as `wanted` [n, outputs]; None when none does."""
    allowed = _CLOSE * max(1.0, float(np.abs(wanted).max()))
    for plan in plans:
        given = answers(plan, rows)
        if given.shape == wanted.shape and np.abs(given - wanted).max() <= allowed:
            return plan
    return None


def two_columns(weights: Array, biases: Array) -> tuple[Array, Array]:
    """Give a binary classifier's last layer a column for the other class; softmax then gives both shares."""
    return np.hstack([np.zeros_like(weights), weights]), np.concatenate([np.zeros_like(biases), biases])


def _softmax(numbers: Array) -> Array:
    stretched = np.exp(numbers - numbers.max(axis=1, keepdims=True))
    return np.asarray(stretched / stretched.sum(axis=1, keepdims=True))


def _logistic(numbers: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(numbers, -500.0, 500.0))))


def _one_vs_rest(numbers: Array) -> Array:
    shares = _logistic(numbers)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


_ACTIVATIONS: Final[Mapping[Activation, Callable[[Array], Array]]] = {
    "identity": lambda numbers: numbers,
    "relu": lambda numbers: np.maximum(numbers, 0.0),
    "tanh": np.tanh,
    "logistic": _logistic,
}
_HEADS: Final[Mapping[Head, Callable[[Array], Array]]] = {
    "identity": lambda numbers: numbers,
    "softmax": _softmax,
    "logistic": _logistic,
    "one-vs-rest": _one_vs_rest,
    "exp": np.exp,
}
