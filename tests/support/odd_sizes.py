"""Real bundles whose inputs or answers are large, or which fail on some inputs."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.support.bad_models import Graph, bundle_of, tflite

#: A picture's shape; its model answers with the mean colour.
PICTURE = (1, 224, 224, 3)

#: How many numbers the answer to four numbers has.
LONG_ANSWER = 100_000


def mean_colour() -> bytes:
    """A model that takes a picture of 150,528 floats and gives three numbers."""
    tensors = {"x": ("float32", PICTURE), "y": ("float32", (1, 3))}
    axes = {"axes": np.array([1, 2], np.int32)}
    graph = Graph(["x"], ["y"], tensors, axes, [("MEAN", ["x", "axes"], ["y"], schema.ReducerOptionsT())])
    return bundle_of(tflite(graph), {"x": np.zeros(PICTURE, np.float32)}, {"y": np.zeros((1, 3), np.float32)})


def long_answer() -> bytes:
    """A model that repeats its four numbers 25,000 times."""
    tensors = {"x": ("float32", (1, 4)), "y": ("float32", (1, LONG_ANSWER))}
    times = {"times": np.array([1, LONG_ANSWER // 4], np.int32)}
    graph = Graph(["x"], ["y"], tensors, times, [("TILE", ["x", "times"], ["y"], schema.TileOptionsT())])
    given = np.ones((1, 4), np.float32)
    return bundle_of(tflite(graph), {"x": given}, {"y": np.ones((1, LONG_ANSWER), np.float32)})


def table() -> bytes:
    """A model that looks up three numbers, and fails for a place that its table does not have."""
    tensors = {"x": ("int32", (1, 4)), "y": ("float32", (1, 4))}
    constants = {"table": np.arange(3, dtype=np.float32)}
    steps = [("GATHER", ["table", "x"], ["y"], schema.GatherOptionsT())]
    asked = np.array([[0, 1, 2, 0]], np.int32)
    return bundle_of(
        tflite(Graph(["x"], ["y"], tensors, constants, steps)), {"x": asked}, {"y": asked.astype(np.float32)}
    )
