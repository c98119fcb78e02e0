"""Models of every shape behind one `predict`: inputs by name, state, signatures, batches, pools."""

from __future__ import annotations

import importlib
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge.adapters import tflite as backends
from edge.adapters.loaders import choose_loader
from edge.adapters.tflite import installed_backends, make_loader
from edge.loading import load
from edge.runtime import Runtime
from edge.scoring import scoring_for
from tests.support import odd_models
from tests.support.bad_models import Graph, tflite
from wire.errors import BusyError, InputError, ModelError


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return odd_models.make(tmp_path_factory.mktemp("odd"))


@pytest.fixture(params=installed_backends())
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def serve(path: Path, backend: str = "auto", *, pool: int = 1) -> Runtime:
    runtime = Runtime()
    runtime.swap(load(f"{path.stem}/1", path, make_loader(backend), pool=pool))
    return runtime


def floats(*values: float) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(values, np.float32)


# --- loading ----------------------------------------------------------------------------------


def test_a_model_that_does_not_take_zeros_serves_all_the_same(tmp_path: Path, backend: str) -> None:
    tensors = dict.fromkeys("aby", ("int32", (1, 4)))
    step = ("FLOOR_DIV", ["a", "b"], ["y"], schema.FloorDivOptionsT())
    path = tmp_path / "divide.tflite"
    path.write_bytes(tflite(Graph(["a", "b"], ["y"], tensors, steps=[step])))
    with serve(path, backend) as runtime:
        with pytest.raises(ModelError, match="failed while running"):
            runtime.predict([np.ones(4, np.int32), np.zeros(4, np.int32)])
        answer = runtime.predict([np.array([4, 6, 8, 10], np.int32), np.array([2, 3, 4, 5], np.int32)])
        assert answer.raw[0].tolist() == [[2, 2, 2, 2]]


def test_a_model_without_inputs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.tflite"
    constant = {"c": np.ones((1, 4), np.float32)}
    graph = Graph([], ["y"], {"y": ("float32", (1, 4))}, constant, [("ABS", ["c"], ["y"], None)])
    path.write_bytes(tflite(graph))
    with pytest.raises(ModelError, match="has no input or no output"):
        serve(path)


def test_the_last_reference_to_a_model_goes_before_memory_is_given_back(
    odd: dict[str, Path], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []
    runtime = serve(odd["dense"], backend, pool=2)
    assert runtime.model is not None
    wrappers = [weakref.ref(one._interpreter._interpreter) for one in runtime.model._interpreters]  # type: ignore[attr-defined]  # the real one

    def give_back() -> None:
        held.append(any(wrapper() is not None for wrapper in wrappers))

    monkeypatch.setattr(backends, "_release_memory", give_back)
    runtime.close()
    assert held == [True, False]  # one after the other


# --- several inputs and outputs ----------------------------------------------------------------


def test_several_inputs_go_in_by_name_or_position_and_outputs_come_by_name(odd, backend) -> None:  # type: ignore[no-untyped-def]
    with serve(odd["two"], backend) as runtime:
        assert runtime.model is not None
        assert {t.key: t.shape for t in runtime.model.inputs} == {"left": (1, 3), "right": (1, 2)}
        by_name = runtime.predict({"right": floats(4, 5), "left": floats(1, 2, 3)})
        assert by_name.outputs["total"].tolist() == [[15.0]]
        assert by_name.outputs["both"].tolist() == [[1, 2, 3, 4, 5]]
        order = [t.key for t in runtime.model.inputs]
        values = {"left": floats(1, 2, 3), "right": floats(4, 5)}
        by_position = runtime.predict([values[name] for name in order])
        assert by_position.outputs["both"].tolist() == [[1, 2, 3, 4, 5]]
        by_tensor = runtime.predict({t.name: values[t.key] for t in runtime.model.inputs})
        assert by_tensor.outputs["total"].tolist() == [[15.0]]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"left": [1, 2, 3]}, "the model takes \\['left', 'right'\\]"),
        ({"left": [1, 2, 3], "wrong": [1, 2]}, "inputs \\['left', 'wrong'\\] given"),
        ({"left": [1, 2, 3], "right": [1]}, "input 'right' has shape \\[1, 2\\], got \\[1\\]"),
        (np.zeros((1, 3), np.float32), "takes 2 inputs"),
        ([[1, 2, 3]], "takes 2 inputs"),
    ],
)
def test_inputs_that_do_not_fit_are_told_by_name(odd, inputs: object, reason: str) -> None:  # type: ignore[no-untyped-def]
    with serve(odd["two"]) as runtime, pytest.raises(InputError, match=reason):
        runtime.predict(inputs)


def test_the_quick_path_refuses_what_the_slow_one_refuses(odd) -> None:  # type: ignore[no-untyped-def]
    with serve(odd["dense"]) as runtime:
        expected = runtime.predict([1, 2, 3, 4]).raw[0]
        assert np.array_equal(runtime.predict(floats(1, 2, 3, 4)).raw[0], expected)
        assert np.array_equal(runtime.predict(floats(1, 2, 3, 4)[None]).raw[0], expected)
        assert np.array_equal(runtime.predict(np.array([1, 2, 3, 4], ">f4")).raw[0], expected)
        for wrong in (np.zeros((2, 2), np.float32), np.zeros((4, 1), np.float32), np.zeros(1, np.float32)):
            with pytest.raises(InputError, match="has shape"):
                runtime.predict(wrong)
        assert np.array_equal(runtime.predict(floats(1, 2, 3, 4)).raw[0], expected)


def test_a_number_without_a_shape_is_an_input_too(odd, backend) -> None:  # type: ignore[no-untyped-def]
    with serve(odd["scalar"], backend) as runtime:
        assert runtime.predict(1.5).confidence == 3.0
        assert runtime.predict(np.array(2.5, np.float32)).confidence == 5.0
        with pytest.raises(InputError, match=r"has shape \[\], got \[2\]"):
            runtime.predict(floats(1, 2))


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_model_whose_shapes_follow_its_values_answers_to_each_input(odd, backend, isolation) -> None:  # type: ignore[no-untyped-def]
    rows = np.random.default_rng(5).normal(size=(300, 6)).astype(np.float32)
    with Runtime() as runtime:
        runtime.swap(load("selected/1", odd["selected"], choose_loader(backend, isolation=isolation)))
        for row in rows:
            assert runtime.predict(row).raw[0].tolist() == row[row > 0].tolist()
        with pytest.raises(InputError, match="ask one by one"):
            runtime.predict_batch(rows[:5])


def test_a_model_that_constants_steer_is_written_in_place_and_answers_as_the_bare_one(odd, backend) -> None:  # type: ignore[no-untyped-def]
    rows = np.random.default_rng(6).normal(size=(300, 1, 4, 6)).astype(np.float32)
    bare = importlib.import_module(f"{backend.replace('-', '_')}.interpreter").Interpreter(str(odd["shaped"]))
    bare.allocate_tensors()
    (given,), (got,) = bare.get_input_details(), bare.get_output_details()
    with serve(odd["shaped"], backend) as runtime:
        assert runtime.model is not None
        assert isinstance(runtime.model._interpreters[0].input_view(0), np.ndarray)
        for row in rows:
            bare.set_tensor(given["index"], row)
            bare.invoke()
            assert np.array_equal(runtime.predict(row).raw[0], bare.get_tensor(got["index"]))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("dense", [1, 2, np.nan, 4], None),
        ("dense", np.zeros((1, 1, 4), np.float32), "has shape"),
        ("two", {"left": [1, 2, 3], "right": [1, 2], "middle": [1]}, "inputs"),
    ],
)
def test_both_paths_refuse_the_same(odd, name: str, value: object, reason: str | None) -> None:  # type: ignore[no-untyped-def]
    with serve(odd[name]) as runtime:
        for timeout_s in (None, 1.0):
            if reason is None:
                assert np.isnan(runtime.predict(value, timeout_s=timeout_s).confidence)
            else:
                with pytest.raises(InputError, match=reason):
                    runtime.predict(value, timeout_s=timeout_s)


class Unreadable:
    def __array__(self, *_: object) -> None:
        raise RuntimeError("on another device")


def test_what_cannot_become_an_array_is_the_callers_fault(odd) -> None:  # type: ignore[no-untyped-def]
    with serve(odd["dense"]) as runtime:
        for ask in (runtime.predict, runtime.predict_batch):
            with pytest.raises(InputError, match="on another device"):
                ask(Unreadable())
        assert runtime.model is not None
        assert runtime.model.meter.errors == 0


def test_a_closed_model_is_told_and_not_waited_for(odd) -> None:  # type: ignore[no-untyped-def]
    runtime = serve(odd["dense"])
    assert runtime.model is not None
    runtime.model.close()
    for ask in (runtime.predict, runtime.predict_batch):
        with pytest.raises(ModelError, match="dense/1 is closed"):
            ask(floats(1, 2, 3, 4))


def test_batches_are_counted_by_row_and_leave_nothing_waiting(odd) -> None:  # type: ignore[no-untyped-def]
    with serve(odd["dense"]) as runtime:
        runtime.predict_batch(np.zeros((500, 4), np.float32))
        assert runtime.model is not None
        assert runtime.model.meter.pending == []
        assert runtime.model.meter.inferences == 500


# --- state -------------------------------------------------------------------------------------


def test_a_stateful_model_has_one_stream_each_and_starts_clean(odd, backend) -> None:  # type: ignore[no-untyped-def]
    with serve(odd["counter"], backend, pool=4) as runtime:
        assert runtime.model is not None
        assert (runtime.model.stateful, runtime.model.pool) == (True, 1)
        assert [runtime.predict(floats(1)).confidence for _ in range(3)] == [2.0, 4.0, 6.0]
        with runtime.stream() as first, runtime.stream() as second:
            assert [first.predict(floats(5)).confidence for _ in range(2)] == [6.0, 12.0]
            assert second.predict(floats(7)).confidence == 8.0
        with pytest.raises(ModelError, match="stream is closed"):
            first.predict(floats(1))
        assert runtime.predict(floats(1)).confidence == 8.0
        assert runtime.model.meter.inferences == 7


# --- signatures --------------------------------------------------------------------------------


def test_each_signature_of_a_file_can_be_called(odd, backend) -> None:  # type: ignore[no-untyped-def]
    with serve(odd["functions"], backend) as runtime:
        assert runtime.model is not None
        assert set(runtime.model.facts.signatures) == {"double", "negate"}
        for name, expected in (("double", [[2, 4]]), ("negate", [[-1, -2]])):
            found = runtime.predict({"x": [1, 2]}, signature=name)
            assert found.outputs["y"].tolist() == expected
        with pytest.raises(InputError, match="no signature 'halve' in functions/1: it has"):
            runtime.predict({"x": [1, 2]}, signature="halve")
        with pytest.raises(InputError, match=r"signature 'double' takes \['x'\]"):
            runtime.predict({"y": [1, 2]}, signature="double")


# --- batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("resize", [False, True])
def test_a_batch_answers_as_its_rows_do(odd, backend: str, resize: bool) -> None:  # type: ignore[no-untyped-def]
    rows = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    with serve(odd["dense"], backend) as runtime:
        alone = [runtime.predict(row) for row in rows]
        batch = runtime.predict_batch(rows, resize=resize)
        assert len(batch) == 7
        assert batch.best.tolist() == [one.best for one in alone]
        (name,) = batch.outputs
        np.testing.assert_allclose(batch.outputs[name], [one.outputs[name][0] for one in alone], rtol=1e-5)
        assert batch[-1].best == alone[-1].best
        assert [one.best for one in batch] == batch.best.tolist()
        assert runtime.predict_batch(rows[:3], resize=resize).best.tolist() == batch.best[:3].tolist()


@pytest.mark.parametrize("resize", [False, True])
def test_rows_that_only_fill_a_batch_are_not_counted(odd, resize: bool) -> None:  # type: ignore[no-untyped-def]
    with serve(odd["dense"]) as runtime:
        model = runtime.model
        assert model
        model.meter.count_answers(scoring_for(model.outputs, None))
        batch = runtime.predict_batch(np.zeros((8, 4), np.float32), resize=resize, asked=3)
        assert len(batch) == 8
        assert model.meter.inferences == 3
        assert sum(model.meter.take_quality(100).predicted.counts) == 3


def test_a_batch_of_several_inputs_is_split_by_row(odd) -> None:  # type: ignore[no-untyped-def]
    with serve(odd["two"]) as runtime:
        batch = runtime.predict_batch({"left": np.ones((4, 3)), "right": np.arange(8).reshape(4, 2)})
        assert batch.outputs["total"].tolist() == [[4.0], [8.0], [12.0], [16.0]]
        with pytest.raises(InputError, match=r"different numbers of rows: \[3, 4\]"):
            runtime.predict_batch({"left": np.ones((4, 3)), "right": np.ones((3, 2))})
        assert len(runtime.predict_batch({"left": np.ones((0, 3)), "right": np.ones((0, 2))})) == 0


def test_a_model_that_cannot_be_resized_says_so_and_is_not_at_fault(odd) -> None:  # type: ignore[no-untyped-def]
    with serve(odd["scalar"]) as runtime:
        with pytest.raises(InputError, match="no batch dimension"):
            runtime.predict_batch(floats(1, 2, 3), resize=True)
        assert runtime.predict_batch(floats(1, 2, 3)).outputs["y"].tolist() == [2.0, 4.0, 6.0]
        assert runtime.model is not None
        assert runtime.model.meter.errors == 0


def test_a_model_that_keeps_state_is_never_run_as_a_batch(odd) -> None:  # type: ignore[no-untyped-def]
    with serve(odd["counter"]) as runtime:
        batch = runtime.predict_batch(np.ones((3, 1), np.float32), resize=True)
        assert batch.outputs["total"].ravel().tolist() == [2.0, 4.0, 6.0]


# --- many callers ------------------------------------------------------------------------------


def test_a_pool_lets_as_many_callers_in_as_it_has_interpreters(odd, backend) -> None:  # type: ignore[no-untyped-def]
    rows = np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)
    with serve(odd["dense"], backend, pool=3) as runtime:
        assert runtime.model is not None
        assert runtime.model.pool == 3
        expected = [runtime.predict(row).raw[0].tolist() for row in rows]
        wrong: list[int] = []

        def call() -> None:
            for _ in range(20):
                for i, row in enumerate(rows):
                    if runtime.predict(row).raw[0].tolist() != expected[i]:
                        wrong.append(i)

        callers = [threading.Thread(target=call) for _ in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert wrong == []
        assert runtime.model.meter.inferences == 50 + 6 * 20 * 50


def test_batches_of_many_callers_do_not_meet_in_one_interpreter(odd) -> None:  # type: ignore[no-untyped-def]
    rows = np.random.default_rng(3).normal(size=(9, 4)).astype(np.float32)
    with serve(odd["dense"], pool=3) as runtime:
        expected = {n: runtime.predict_batch(rows[:n]).raw[0] for n in (3, 5, 9)}
        wrong: list[int] = []

        def call(n: int) -> None:
            for _ in range(100):
                if not np.allclose(
                    runtime.predict_batch(rows[:n], resize=True).raw[0], expected[n], rtol=1e-4
                ):
                    wrong.append(n)

        callers = [threading.Thread(target=call, args=(n,)) for n in (3, 5, 9)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert wrong == []


def test_a_caller_with_a_time_limit_is_told_when_all_are_busy(odd) -> None:  # type: ignore[no-untyped-def]
    with serve(odd["dense"]) as runtime:
        assert runtime.model is not None
        held = runtime.model._take(None)  # as a call that does not return holds it
        with pytest.raises(BusyError, match="all 1 interpreters of dense/1 are busy"):
            runtime.predict(floats(1, 2, 3, 4), timeout_s=0.01)
        runtime.model._idle.put(held)
        assert runtime.predict(floats(1, 2, 3, 4), timeout_s=0.01).release == "dense/1"


def test_a_bound_predict_outlives_the_model_it_came_from(odd) -> None:  # type: ignore[no-untyped-def]
    runtime = serve(odd["dense"])
    predict = runtime.predict
    runtime.swap(load("dense/2", odd["dense"], make_loader()))
    assert predict(floats(1, 2, 3, 4)).release == "dense/2"
    runtime.close()
    with pytest.raises(ModelError, match="no model is loaded"):
        predict(floats(1, 2, 3, 4))


def test_an_exchanged_model_can_come_back_without_a_load(odd) -> None:  # type: ignore[no-untyped-def]
    runtime = serve(odd["dense"])
    first = runtime.exchange(load("dense/2", odd["dense"], make_loader()))
    assert runtime.predict(floats(1, 2, 3, 4)).release == "dense/2"
    second = runtime.exchange(first)
    assert runtime.predict(floats(1, 2, 3, 4)).release == "dense/1"
    assert second is not None
    second.close()
    runtime.close()


def test_threads_of_one_model_never_wait_for_the_close_of_another(odd) -> None:  # type: ignore[no-untyped-def]
    runtime = serve(odd["dense"])
    old = runtime.model
    assert old is not None
    held = old._take(None)  # a call is inside the old model
    new = load("dense/2", odd["dense"], make_loader())
    swap = threading.Thread(target=runtime.swap, args=(new,))
    swap.start()
    while runtime.release != "dense/2":
        pass
    assert runtime.predict(floats(1, 2, 3, 4)).release == "dense/2"
    assert swap.is_alive()
    old._idle.put(held)
    swap.join()
    runtime.close()
