"""The least memory of a model: by hand for small graphs, and never above what an interpreter takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.adapters import interpreter
from converter.adapters.flatbuffer import read_graphs
from converter.adapters.sources import convert
from converter.graph import Call, Graph, Tensor
from converter.memory import least_bytes
from converter.source import SourceOptions


def _graph(calls: list[tuple[tuple[int, ...], tuple[int, ...]]], sizes: list[int], last: int) -> Graph:
    tensors = tuple(Tensor(str(i), "int8", (1, size)) for i, size in enumerate(sizes))
    return Graph(tensors, tuple(Call("ADD", takes, gives) for takes, gives in calls), (0,), (last,))


@pytest.mark.parametrize(
    ("calls", "sizes", "last", "expected"),
    [
        ([], [10], 0, 10),
        ([((0,), (1,))], [10, 30], 1, 30),  # one may write over the other
        ([((0,), (1,)), ((1,), (2,))], [10, 30, 5], 2, 30),
        ([((0,), (1,)), ((0, 1), (2,))], [10, 30, 5], 2, 40),  # the input is needed once more
        ([((0,), (1,)), ((0,), (2,)), ((1, 2), (3,))], [10, 20, 20, 1], 3, 40),
        ([((0,), (1,)), ((1,), (2,))], [10, 7, 5], 0, 17),  # what is handed out stays
        ([((0, -1), (1, 2))], [10, 30, 30], 1, 60),  # an output that nobody takes is made all the same
    ],
)
def test_activations_count_from_their_making_to_their_last_use(
    calls: list[tuple[tuple[int, ...], tuple[int, ...]]], sizes: list[int], last: int, expected: int
) -> None:
    assert least_bytes([_graph(calls, sizes, last)], 1000) == 1000 + expected


def test_constants_are_in_the_file_and_count_once() -> None:
    weights = Tensor("w", "int8", (1, 500), constant=True)
    tensors = (Tensor("x", "int8", (1, 10)), weights, Tensor("y", "int8", (1, 4)))
    assert least_bytes([Graph(tensors, (Call("ADD", (0, 1), (2,)),), (0,), (2,))], 1000) == 1010


def test_sizes_follow_the_dtype_and_of_several_graphs_the_largest_counts() -> None:
    graphs = [Graph((Tensor("x", dtype, (3,)),), (), (0,), (0,)) for dtype in ("float32", "int4", "int64")]
    assert [least_bytes([graph], 0) for graph in graphs] == [12, 2, 24]
    assert least_bytes(graphs, 0) == 24


def test_an_interpreter_takes_no_less(tmp_path: Path) -> None:
    """A wide picture through a few convolutions: activations of megabytes, weights of kilobytes."""
    import keras

    of = keras.layers
    picture = keras.Input((256, 256, 3))
    found = of.GlobalAveragePooling2D()(of.Conv2D(16, 3, padding="same")(of.Conv2D(16, 3)(picture)))
    keras.Model(picture, of.Dense(2)(found)).save(tmp_path / "wide.keras")
    tflite = convert(tmp_path / "wide.keras", None, SourceOptions()).tflite
    least = least_bytes(read_graphs(tflite), len(tflite))
    assert least > 254 * 254 * 16 * 4
    parent = bytearray(64_000_000)  # what the process that starts it takes does not count
    for backend in interpreter.installed():
        ran = interpreter.run(tflite, [np.zeros((2, 256, 256, 3), np.float32)], backend, timed_calls=0)
        assert least <= ran.peak_bytes < 20 * least
    del parent
