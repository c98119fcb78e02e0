"""The arithmetic of an estimator as a TensorFlow graph, and that as TFLite. Children only.

A scaler stays a subtraction and a multiplication of its own, in tensors whose name says so: folded into
the weights behind it, or quantized like them, it would ruin an int8 model.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from converter.adapters.child import one_line
from converter.adapters.tflite_file import in_order
from converter.estimators import Dense, Head, Trees
from converter.scaling import affine
from converter.source import SCALER_MARK
from wire.errors import ModelError

_LARGEST: Final = np.finfo(np.float32).max


def to_tflite(plan: Dense | Trees, columns: int, name: str, output: str) -> bytes:
    """Return `plan` as float32 TFLite of one row, [1, columns] to [1, outputs].

    `name` and `output` are those of the input and the output. Raises ModelError when it cannot be written.
    """
    import tensorflow as tf

    def call(row: Any) -> Any:
        numbers = _trees(plan, row) if isinstance(plan, Trees) else _dense(plan, row)
        return {output: _with_head(plan.head, numbers)}

    one = tf.TensorSpec((1, columns), tf.float32, name=name)
    try:
        concrete = tf.function(call, input_signature=[one], autograph=False).get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        flat: bytes = converter.convert()
    except Exception as error:  # ConverterError, and whatever MLIR's Python side raises
        raise ModelError(f"plain TFLite cannot express it: {one_line(error)}") from error
    return in_order(flat, [name], [output])


def _dense(plan: Dense, numbers: Any) -> Any:
    import tensorflow as tf

    if plan.steps:
        numbers = _scaled(plan, numbers)
    between = {
        "identity": tf.identity,
        "relu": tf.nn.relu,
        "tanh": tf.math.tanh,
        "logistic": tf.math.sigmoid,
    }[plan.activation]
    for position, (weights, biases) in enumerate(zip(plan.weights, plan.biases, strict=True)):
        with tf.name_scope(f"layer_{position}"):
            numbers = tf.matmul(numbers, weights.astype(np.float32)) + biases.astype(np.float32)
            if position < len(plan.weights) - 1:
                numbers = between(numbers)
    return numbers


def _scaled(plan: Dense, numbers: Any) -> Any:
    import tensorflow as tf

    steps = affine(plan.steps, numbers.shape[1])
    with tf.name_scope(SCALER_MARK):
        numbers = tf.subtract(numbers, steps.offset.astype(np.float32), name="subtract")
        numbers = tf.multiply(numbers, steps.factor.astype(np.float32), name="multiply")
        # An operator has to stand between, or the converter folds the factors into the weights: held
        # within the scaler's limits, or the floats' own, which change nothing.
        if steps.limits is not None:
            numbers = tf.maximum(numbers, np.float32(steps.limits[0]), name="lowest")
        highest = steps.limits[1] if steps.limits is not None else _LARGEST
        return tf.minimum(numbers, np.float32(highest), name="highest")


def _trees(plan: Trees, row: Any) -> Any:
    import tensorflow as tf

    forest = plan.forest
    trees, tests = forest.columns.shape
    leaves, outputs = forest.values.shape[1:]
    with tf.name_scope("trees"):
        tested = tf.reshape(tf.gather(row, forest.columns.ravel(), axis=1), (trees, 1, tests))
        went_left = tf.cast(tested <= forest.thresholds[:, np.newaxis, :], tf.float32)
        reached = tf.equal(tf.matmul(went_left, forest.paths), forest.turns[:, np.newaxis, :])
        chosen = tf.reshape(tf.cast(reached, tf.float32), (1, trees * leaves))
        numbers = tf.matmul(chosen, forest.values.reshape(trees * leaves, outputs))
        return numbers + plan.start.astype(np.float32) if plan.start.any() else numbers


def _with_head(head: Head, numbers: Any) -> Any:
    import tensorflow as tf

    if head == "one-vs-rest":
        shares = tf.math.sigmoid(numbers)
        return shares / tf.reduce_sum(shares, axis=1, keepdims=True)
    return {
        "identity": tf.identity,
        "softmax": tf.nn.softmax,
        "logistic": tf.math.sigmoid,
        "exp": tf.math.exp,
    }[head](numbers)
