"""Files as the quantizer writes them, and as they leave here."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converter.adapters import interpreter
from converter.adapters.flatbuffer import (
    activation_ranges,
    min_runtime,
    operators,
    parameter_bytes,
    read_graphs,
    with_true_versions,
)
from converter.calibration import Array
from converter.graph import Tensor
from converter.operators import first_runtime, later, needed_version
from tests.support.quantizable import Quantizable, quantizable
from tests.support.tiny_model import tiny_tflite
from wire.errors import ModelError

#: What litert-quantizer makes of a model when nobody looks after it.
_RAW = """
import sys
from pathlib import Path
from litert_quantizer import calibrator, quantizer, recipe
model = bytearray(Path(sys.argv[1]).read_bytes())
for name in ("dynamic_wi8_afp32", "weight_only_wi8_afp32"):
    made = quantizer.Quantizer(model, getattr(recipe, name)()).quantize(enable_progress_report=False)
    Path(sys.argv[2], name).write_bytes(made.quantized_model)
"""

old_runtime = pytest.mark.skipif("tflite-runtime" not in interpreter.installed(), reason="it is not here")


@pytest.fixture(scope="module")
def digits() -> Quantizable:
    return quantizable()["digits"]


@pytest.fixture(scope="module")
def raw(digits: Quantizable, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("raw")
    (folder / "model.tflite").write_bytes(digits.tflite)
    command = [sys.executable, "-c", _RAW, str(folder / "model.tflite"), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return {path.name: path.read_bytes() for path in folder.glob("*_afp32")}


def _answers(tflite: bytes, model: Quantizable, backend: str = interpreter.REFERENCE) -> Array:
    return interpreter.run(tflite, model.rows, backend, timed_calls=0).answers[0]


@old_runtime
def test_an_old_runtime_refuses_what_it_answered_wrongly(digits: Quantizable, raw: dict[str, bytes]) -> None:
    dynamic = raw["dynamic_wi8_afp32"]
    garbage = _answers(dynamic, digits, "tflite-runtime")
    assert np.mean(np.argmax(garbage, 1) == digits.classes) < 0.3
    with pytest.raises(ModelError, match=r"FULLY_CONNECTED|old TFLite binary"):
        _answers(with_true_versions(dynamic), digits, "tflite-runtime")


def test_a_runtime_that_knows_the_versions_answers_as_before(
    digits: Quantizable, raw: dict[str, bytes]
) -> None:
    for tflite in raw.values():
        assert np.array_equal(_answers(with_true_versions(tflite), digits), _answers(tflite, digits))


@old_runtime
def test_an_old_runtime_goes_on_with_what_it_knows(digits: Quantizable, raw: dict[str, bytes]) -> None:
    kept = with_true_versions(raw["weight_only_wi8_afp32"])
    new, old = _answers(kept, digits), _answers(kept, digits, "tflite-runtime")
    assert np.array_equal(np.argmax(new, 1), np.argmax(old, 1))


def test_versions_and_the_first_runtime_are_written_into_the_file(raw: dict[str, bytes]) -> None:
    before, after = raw["dynamic_wi8_afp32"], with_true_versions(raw["dynamic_wi8_afp32"])
    assert ("FULLY_CONNECTED", 1) in [(one.name, one.version) for one in operators(before)]
    assert [(one.name, one.version, one.count) for one in operators(after)] == [
        ("CONV_2D", 5, 2),
        ("MAX_POOL_2D", 1, 1),
        ("RESHAPE", 1, 1),
        ("FULLY_CONNECTED", 12, 2),
        ("SOFTMAX", 1, 1),
    ]
    assert (min_runtime(before), min_runtime(after)) == ("1.5.0", "2.17.0")
    assert b"2.17.0\0" in after


def test_constants_are_inside_the_file_at_multiples_of_sixteen(digits: Quantizable) -> None:
    outside = _with_constants_outside(digits.tflite)
    inside = with_true_versions(outside)
    assert np.array_equal(_answers(inside, digits), _answers(digits.tflite, digits))
    model, start = schema.Model.GetRootAs(inside, 0), np.frombuffer(inside, np.uint8).ctypes.data
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    assert not any(buffer.Size() for buffer in buffers)
    places = [buffer.DataAsNumpy().ctypes.data - start for buffer in buffers if buffer.DataLength()]
    assert len(places) > 8
    assert all(place % 16 == 0 for place in places)


def _with_constants_outside(tflite: bytes) -> bytes:
    """Return the model as litert-quantizer writes large ones: constants behind the flatbuffer."""
    import flatbuffers

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tflite, 0))
    large = {
        n: bytes(b.data) for n, b in enumerate(model.buffers) if b.data is not None and len(b.data) > 999
    }

    def packed() -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    for number, data in large.items():
        model.buffers[number] = schema.BufferT(offset=2, size=len(data))
    place = len(packed())
    for number, data in large.items():
        model.buffers[number].offset = place
        place += len(data)
    return packed() + b"".join(large.values())


def test_the_same_model_is_always_the_same_bytes(raw: dict[str, bytes]) -> None:
    once = with_true_versions(raw["dynamic_wi8_afp32"])
    assert with_true_versions(once) == once


def test_weights_are_counted_wherever_they_are(digits: Quantizable) -> None:
    weights = 4 * (3 * 3 * 16 + 16 + 3 * 3 * 16 * 32 + 32 + 512 * 64 + 64 + 64 * 10 + 10)
    assert parameter_bytes(digits.tflite) == weights
    assert parameter_bytes(_with_constants_outside(digits.tflite)) == weights


def test_ranges_are_read_from_the_codes_of_a_model() -> None:
    assert activation_ranges(tiny_tflite(0.5, -3)) == {"x": (-62.5, 65.0), "y": (-62.5, 65.0)}


def test_a_graph_knows_its_tensors_and_calls(digits: Quantizable) -> None:
    (graph,) = read_graphs(digits.tflite)
    assert [call.operator for call in graph.calls][:3] == ["CONV_2D", "CONV_2D", "MAX_POOL_2D"]
    assert [graph.tensors[place].shape for place in graph.inputs] == [(1, 8, 8, 1)]
    weights = graph.taken(graph.calls[0])[1]
    assert weights.values is not None
    assert weights.values.shape == weights.shape == (16, 3, 3, 1)


@pytest.mark.parametrize("data", [b"", b"PK\3\4 a zip", b"\xff\xff\xff\x7fTFL3rubbish", b"\x1c\0\0\0TFL3"])
def test_what_is_no_tflite_file_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="TFLite file"):
        operators(data)


def _tensor(dtype: str, scales: int = 0, *, blocks: bool = False) -> Tensor:
    return Tensor("t", dtype, (4, 4), scales=(0.1,) * scales, blocks=blocks)


@pytest.mark.parametrize(
    ("operator", "activations", "weights", "version", "runtime"),
    [
        ("FULLY_CONNECTED", _tensor("float32"), _tensor("float32"), 1, "1.5.0"),
        ("FULLY_CONNECTED", _tensor("float32"), _tensor("int8", 4), 12, "2.17.0"),
        ("FULLY_CONNECTED", _tensor("float32"), _tensor("int8", 1), 3, "1.14.0"),
        ("FULLY_CONNECTED", _tensor("float32"), _tensor("int4", blocks=True), 14, "2.21.0"),
        ("FULLY_CONNECTED", _tensor("int8", 1), _tensor("int8", 4), 10, "2.13.0"),
        ("FULLY_CONNECTED", _tensor("int16", 1), _tensor("int8", 1), 7, "2.3.0"),
        ("CONV_2D", _tensor("int8", 1), _tensor("int8", 4), 3, "1.14.0"),
        ("CONV_2D", _tensor("float32"), _tensor("int8", 4), 5, "2.4.0"),
        ("SOFTMAX", _tensor("int16", 1), _tensor("int16", 1), 3, "2.3.0"),
        ("RSQRT", _tensor("int16", 1), _tensor("int16", 1), 3, "2.15.0"),
    ],
)
def test_types_need_versions_and_versions_need_runtimes(
    operator: str, activations: Tensor, weights: Tensor, version: int, runtime: str
) -> None:
    assert needed_version(operator, [activations, weights], [activations]) == version
    assert first_runtime(operator, version) == runtime


@pytest.mark.parametrize(("dtype", "scales", "version"), [("int4", 4, 6), ("int8", 4, 5), ("float16", 0, 3)])
def test_what_turns_weights_back_needs_a_version_too(dtype: str, scales: int, version: int) -> None:
    assert needed_version("DEQUANTIZE", [_tensor(dtype, scales)], [_tensor("float32")]) == version


def test_runtimes_are_compared_by_their_numbers() -> None:
    assert later("2.9.0", "2.17.0") == "2.17.0"
    assert later("", "1.5.0") == "1.5.0"
    assert (first_runtime("SOFTMAX", 9), first_runtime("EINSTEIN", 1)) == ("", "")
