"""The look through a model file: what it tells, what it refuses, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import Builder
from hypothesis import given
from hypothesis import strategies as st

from edge.preflight import check, check_contract, peek, runtime_level
from tests.support.bad_models import Graph, tflite
from tests.support.examples import MANIFEST
from tests.support.mutants import mutants
from tests.support.quantizable import NAMES, quantizable
from tests.support.tiny_model import tiny_tflite
from tests.support.training import Bundles
from wire.bundle import unpack
from wire.errors import BundleError, ModelError
from wire.manifest import Manifest, Postprocessing, TensorSpec

X = {"x": ("float32", (1, 4)), "y": ("float32", (1, 4))}
KEPT = np.ones((1, 4), np.float32)


def assert_told_as_by_an_interpreter(model: bytes) -> None:
    found, interpreter = peek(model), Interpreter(model_content=model)
    for specs, details in (
        (found.inputs, interpreter.get_input_details()),
        (found.outputs, interpreter.get_output_details()),
    ):
        assert [(s.name, np.dtype(s.dtype), s.shape) for s in specs] == [
            (d["name"], d["dtype"], tuple(d["shape"])) for d in details
        ]
        assert [(s.scale or 0.0, s.zero_point or 0) for s in specs] == [d["quantization"] for d in details]
    assert [s.key for s in found.signatures] == list(interpreter.get_signature_list())


@pytest.mark.parametrize("name", NAMES)
def test_it_tells_what_an_interpreter_tells(name: str) -> None:
    assert_told_as_by_an_interpreter(quantizable()[name].tflite)


@pytest.mark.parametrize("name", ["one", "two", "float_two"])
def test_a_bundle_of_the_converter_is_as_its_manifest_says(bundles: Bundles, name: str) -> None:
    bundle = unpack(getattr(bundles, name).read_bytes())
    assert_told_as_by_an_interpreter(bundle.tflite)
    found = peek(bundle.tflite)
    check(found, bundle.manifest, runtime_level("tflite-runtime 2.14.0"), memory_bytes=1 << 20)
    assert sorted(map(str, found.operators)) == sorted(bundle.manifest.operators)
    assert found.min_runtime == bundle.manifest.min_runtime
    assert not found.stateful


def test_a_zip_behind_the_model_does_no_harm(bundles: Bundles) -> None:
    data = bundles.two.read_bytes()
    assert peek(memoryview(data)) == peek(unpack(data).tflite)


def test_a_file_that_is_cut_off_is_refused_wherever_it_is_cut() -> None:
    model = tiny_tflite()
    for end in range(len(model)):
        with pytest.raises(ModelError):
            peek(model[:end])


@given(at=st.integers(0, len(tiny_tflite()) - 1), value=st.integers(0, 255))
def test_a_wrong_byte_is_refused_with_a_reason_or_harmless(at: int, value: int) -> None:
    data = bytearray(tiny_tflite())
    data[at] = value
    assert reason_against(bytes(data)).isprintable()


def test_whatever_happens_to_a_file_it_raises_nothing_else(bundles: Bundles) -> None:
    for mutant in islice(mutants([bundles.two.read_bytes()], seed=3), 200):
        try:
            model = unpack(mutant.data).tflite
        except BundleError:
            continue
        assert reason_against(model).isprintable()


def reason_against(model: bytes) -> str:
    try:
        peek(model)
    except ModelError as error:
        return str(error)
    return ""


def step(operator: str, reads: str, writes: str) -> tuple[str, list[str], list[str], None]:
    return operator, reads.split(), writes.split(), None


@pytest.mark.parametrize(
    ("graphs", "reason"),
    [
        ([Graph(["x"], ["y"], X, {}, [])], "graph 0: nothing writes its output 'y'"),
        ([Graph([], ["y"], X, {}, [step("ABS", "x", "y")])], r"operator 0: \(ABS\) reads tensor 'x', which"),
        ([Graph(["k"], ["y"], X, {"k": KEPT}, [step("ABS", "k", "y")])], "its input 'k' is a constant"),
        ([Graph(["x"], ["k"], X, {"k": KEPT}, [step("ABS", "x", "k")])], "writes to the constant 'k'"),
    ],
)
def test_a_graph_that_cannot_be_run_in_its_order_is_refused(graphs: list[Graph], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        peek(tflite(*graphs))


def test_a_graph_that_runs_itself_is_refused() -> None:
    loop = schema.WhileOptionsT()
    loop.condSubgraphIndex = loop.bodySubgraphIndex = 0
    with pytest.raises(ModelError, match="graph 0 runs itself"):
        peek(tflite(Graph(["x"], ["y"], X, {}, [("WHILE", ["x"], ["y"], loop)])))


def test_a_small_file_that_describes_an_endless_one_is_refused() -> None:
    """A list of 30,000 graphs which are one, whose 30,000 tensors are one."""
    count = 30_000
    with pytest.raises(ModelError, match="more tables than any real model has"):
        peek(bomb(count))


def bomb(count: int) -> bytes:
    builder = Builder(1 << 20)

    def table(**fields: int) -> int:
        """Write a table; `_2=vector` puts that into its field 2."""
        builder.StartObject(10)
        for name, offset in fields.items():
            builder.PrependUOffsetTRelativeSlot(int(name[1:]), offset, 0)
        return int(builder.EndObject())

    def many(offset: int, times: int) -> int:
        builder.StartVector(4, times, 4)
        for _ in range(times):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    buffers = many(table(), 1)
    graph = table(_0=many(table(), count))
    graphs = many(graph, count)
    builder.StartObject(10)
    builder.PrependUint32Slot(0, 3, 0)
    builder.PrependUOffsetTRelativeSlot(2, graphs, 0)
    builder.PrependUOffsetTRelativeSlot(4, buffers, 0)
    builder.Finish(builder.EndObject(), b"TFL3")
    return bytes(builder.Output())


def test_a_custom_operator_is_named_and_refused() -> None:
    found = replace(peek(tiny_tflite()), operators=peek(custom_tflite("Mfcc")).operators)
    assert found.custom == ("Mfcc",)
    check(found, TINY)  # interpreters bring it along
    found = replace(found, operators=peek(custom_tflite("FlexSvd")).operators)
    with pytest.raises(ModelError, match="custom operators that no interpreter here has: FlexSvd"):
        check(found, TINY)


def custom_tflite(name: str) -> bytes:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_tflite(), 0))
    model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = 32
    model.operatorCodes[0].customCode = name
    builder = Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


TINY = replace(
    MANIFEST,
    inputs=(TensorSpec("x", "int8", (1, 4), 0.5, -3),),
    outputs=(TensorSpec("y", "int8", (1, 4), 0.5, -3),),
)


def test_a_model_that_is_newer_than_the_interpreter_is_refused() -> None:
    found = replace(peek(tiny_tflite()), min_runtime="2.17.0")
    check(found, TINY, runtime_level("ai-edge-litert 2.3.0"))
    with pytest.raises(ModelError, match=r"needs TensorFlow Lite 2.17.0, the interpreter here is 2.14"):
        check(found, TINY, runtime_level("tflite-runtime 2.14.0"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "z"), ("dtype", "uint8"), ("shape", (1, 5)), ("shape", (4,)), ("scale", 0.25)],
)
def test_a_signature_that_is_not_the_manifests_is_refused(field: str, value: object) -> None:
    check(peek(tiny_tflite()), TINY)
    lying = replace(TINY, outputs=(replace(TINY.outputs[0], **{field: value}),))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"its outputs are y int8 \[1, 4\].*, the manifest says"):
        check(peek(tiny_tflite()), lying)


def test_a_manifest_may_use_the_names_of_the_signature(bundles: Bundles) -> None:
    bundle = unpack(bundles.two.read_bytes())
    found = peek(bundle.tflite)
    (signature,) = found.signatures
    named = replace(bundle.manifest, inputs=signature.inputs, outputs=signature.outputs)
    assert named.inputs[0].name != found.inputs[0].name
    check(found, named)


def test_a_tensor_above_the_memory_limit_is_refused_before_it_is_allocated() -> None:
    with pytest.raises(
        ModelError, match="needs more than 1 MiB of memory: its tensor 'big' alone has 381 MiB"
    ):
        check(replace(peek(tiny_tflite()), largest=("big", 400_000_000)), TINY, memory_bytes=1 << 20)


REAL = (TensorSpec("input_1", "float32", (1, 8, 8, 1)),)
CODED = (TensorSpec("input_7", "int8", (1, 8, 8, 1), 0.1, 0),)
SERVING: Manifest = replace(MANIFEST, inputs=REAL)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"inputs": CODED}, ""),
        ({"labels": 12, "outputs": (TensorSpec("y", "float32", (1, 12)),)}, ""),
        ({"inputs": (TensorSpec("x", "float32", (1, 9, 9, 1)),)}, r"callers send input_1 float32 \[1, 8, 8"),
        ({"inputs": (TensorSpec("x", "int32", (1, 8, 8, 1)),)}, "its inputs are x int32"),
        ({"outputs": ()}, "its outputs are none; callers expect y float32"),
        ({"outputs": (TensorSpec("y", "float32", (1, 9)),)}, r"its outputs are y float32 \[1, 9\]"),
        ({"outputs": (TensorSpec("y", "float32", (1, 4, 10)),)}, r"its outputs are y float32 \[1, 4, 10\]"),
        ({"task": "values"}, "it answers with values; callers expect classes"),
    ],
)
def test_a_model_whose_callers_would_fail_is_refused(changed: dict[str, object], reason: str) -> None:
    new = replace(SERVING, **changed)  # type: ignore[arg-type]
    if not reason:
        check_contract(new, SERVING)
        return
    with pytest.raises(ModelError, match=reason):
        check_contract(new, SERVING)


def test_named_inputs_in_another_order_are_refused() -> None:
    age, height = (TensorSpec(name, "float32", (1, 1)) for name in ("age", "height"))
    with pytest.raises(ModelError, match="its inputs are in another order: height, age, not age, height"):
        check_contract(replace(SERVING, inputs=(height, age)), replace(SERVING, inputs=(age, height)))


def test_values_keep_their_shape_and_boxes_are_read_as_declared() -> None:
    short, long = (TensorSpec("y", "float32", shape) for shape in ((1, 2), (7, 50)))
    with pytest.raises(
        ModelError, match=r"its outputs are y float32 \[7, 50\]; callers expect y float32 \[1, 2\]"
    ):
        check_contract(
            replace(SERVING, task="values", outputs=(long,)),
            replace(SERVING, task="values", outputs=(short,)),
        )
    detector = replace(SERVING, postprocessing=Postprocessing(kind="boxes"))
    check_contract(replace(detector, outputs=(long,)), replace(detector, outputs=(short,)))


def test_a_model_that_keeps_variables_says_so() -> None:
    steps = [step("VAR_HANDLE", "", "h"), step("ASSIGN_VARIABLE", "h x", ""), step("ABS", "x", "y")]
    assert peek(tflite(Graph(["x"], ["y"], {**X, "h": ("resource", ())}, {}, steps))).stateful


def test_files_that_are_none_are_one_line() -> None:
    for data in (b"", b"TFL3", b"<html>404 Not Found</html>", bytes(100)):
        with pytest.raises(ModelError, match="no TFLite model"):
            peek(data)
    with pytest.raises(ModelError, match="the model file is damaged"):
        peek(b"\x1c\0\0\0TFL3" + bytes(200))
