"""A model in a process of its own: the same answers, and nothing that happens to it happens to us."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from edge import open_bundle
from edge.adapters.shared_tensors import NonsenseError, describe, read_description, unpack_values
from edge.adapters.tflite import installed_backends
from edge.adapters.worker_process import ProcessInterpreter, make_process_loader
from edge.backend import Array
from tests.conftest import Counts
from tests.support import odd_models
from tests.support.bad_models import Graph, tflite
from tests.support.tiny_model import tiny_tflite
from tests.support.training import Bundles, Trained
from wire.adapters.processes import python_environment
from wire.deadline import Deadline, wait_until
from wire.errors import InputError, ModelError, SettingsError

Open = Callable[..., ProcessInterpreter]
_TEN_S = 10.0


_KEYS = st.sampled_from(["inputs", "outputs", "facts", "dtype", "shape", "name", "index", "x", ""])
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | _KEYS
    | st.sampled_from(["<f4", "|i1", "(", "O"])
)


def _branches(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=5)


def _framed(told: Any) -> bytes:
    head = json.dumps(told).encode()
    return len(head).to_bytes(4, "little") + head + bytes(40)


@pytest.fixture(params=installed_backends())
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Open]:
    """Load model bytes into a process; closed at the end."""
    opened = []

    def open_model(model: bytes, backend: str = "auto", timeout_s: float = _TEN_S) -> ProcessInterpreter:
        path = tmp_path / f"{len(opened)}.tflite"
        path.write_bytes(model)
        opened.append(make_process_loader(backend, timeout_s=timeout_s)(path))
        return opened[-1]

    yield open_model
    for interpreter in opened:
        interpreter.close()


@pytest.fixture(scope="session")
def odd_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of several signatures."""
    return odd_models.make(tmp_path_factory.mktemp("odd"))["functions"]


def endless_tflite() -> bytes:
    """Return a model that never returns once its input `x` (bool [1]) is true; else it returns it."""
    loop = schema.WhileOptionsT()
    loop.condSubgraphIndex, loop.bodySubgraphIndex = 1, 2
    bits = {"x": ("bool", (1,)), "y": ("bool", (1,))}
    both = [Graph(["x"], ["y"], bits, steps=[("LOGICAL_AND", ["x", "x"], ["y"], None)]) for _ in range(2)]
    return tflite(Graph(["x"], ["y"], bits, steps=[("WHILE", ["x"], ["y"], loop)]), *both)


def counting_tflite() -> bytes:
    """Return a model that answers with -1, 0, … below its input `x` (int32 [1])."""
    tensors = {"x": ("int32", (1,)), "count": ("int32", ()), "y": ("int32", (-1,))}
    ends = {"first": np.full((), -1, np.int32), "step": np.ones((), np.int32)}
    steps = [("SQUEEZE", ["x"], ["count"], None), ("RANGE", ["first", "count", "step"], ["y"], None)]
    return tflite(Graph(["x"], ["y"], tensors, ends, steps))


def run(interpreter: ProcessInterpreter, value: object) -> Array:
    interpreter.input_view(0)[...] = value
    interpreter.invoke()
    return interpreter.reader(0)()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone_soon(pid: int) -> bool:
    return wait_until(lambda: not alive(pid), Deadline.after(_TEN_S))


@pytest.mark.parametrize("name", ["two", "float_two"])
def test_answers_facts_and_batches_are_those_of_a_thread(
    bundles: Bundles, trained: Trained, backend: str, name: str
) -> None:
    path = getattr(bundles, name)
    with np.load(trained.data) as data:
        images = data["x_test"][:50].astype(np.float32)
    with (
        open_bundle(path, backend=backend) as thread,
        open_bundle(path, backend=backend, isolation="process", pool=2) as process,
    ):
        for image in images:
            (expected,), (got,) = (
                thread.predict(image).outputs.values(),
                process.predict(image).outputs.values(),
            )
            assert np.array_equal(expected, got)
        assert np.array_equal(thread.predict_batch(images).best, process.predict_batch(images).best)
        assert thread.model
        assert process.model
        assert (thread.model.inputs, thread.model.outputs) == (process.model.inputs, process.model.outputs)
        assert thread.model.facts.operators == process.model.facts.operators
        assert thread.model.facts.delegated == process.model.facts.delegated


def test_another_signature_runs_in_the_process_too(bundles: Bundles) -> None:
    with open_bundle(bundles.two) as thread, open_bundle(bundles.two, isolation="process") as process:
        assert thread.model
        (signature, *_), name = thread.model.facts.signatures, thread.model.inputs[0].key
        inputs = {name: np.random.default_rng(1).random((1, 8, 8, 1), np.float32)}
        expected, got = (r.predict(inputs, signature=signature).outputs for r in (thread, process))
    assert expected.keys() == got.keys()
    assert all(np.array_equal(expected[key], got[key]) for key in expected)


def test_what_no_process_can_share_is_refused_and_the_worker_lives(load: Open) -> None:
    interpreter = load(tiny_tflite())
    pid = interpreter.pid
    with pytest.raises(InputError, match="input 'x' is of <U3"):
        interpreter.call("serving_default", {"x": "abc"})
    with pytest.raises(ModelError):  # the file has no signature at all
        interpreter.call("serving_default", {"x": np.zeros((1, 4), np.int8)})
    run(interpreter, 1)
    assert interpreter.pid == pid


def test_outputs_may_change_their_shape_from_call_to_call(load: Open, backend: str) -> None:
    interpreter = load(counting_tflite(), backend)
    for count in (3, 0, 100_000, 1):
        assert run(interpreter, count).tolist() == list(range(-1, count))


def test_another_batch_size_is_another_process(load: Open, backend: str) -> None:
    interpreter = load(tiny_tflite(), backend)
    four = interpreter.resized(4)
    assert four.pid != interpreter.pid
    assert run(four, 5).shape == (4, 4)
    assert run(interpreter, 5).shape == (1, 4)
    four.close()


def test_a_killed_worker_is_one_failed_call(load: Open, backend: str) -> None:
    interpreter = load(tiny_tflite(), backend)
    before = run(interpreter, 5)
    assert interpreter.pid
    os.kill(interpreter.pid, signal.SIGKILL)
    with pytest.raises(ModelError, match=r"ended by SIGKILL, as the kernel does when memory runs out"):
        run(interpreter, 5)
    assert np.array_equal(run(interpreter, 5), before)


def test_a_worker_that_dies_in_the_middle_of_a_call_is_named_by_its_signal(load: Open) -> None:
    interpreter = load(endless_tflite())
    pid = interpreter.pid
    assert pid
    busy = _cpu_ticks(pid)

    def crash_when_it_computes() -> None:
        wait_until(lambda: _cpu_ticks(pid) > busy + 5, Deadline.after(_TEN_S))
        os.kill(pid, signal.SIGSEGV)

    killer = threading.Thread(target=crash_when_it_computes)
    killer.start()
    with pytest.raises(ModelError, match="the model's process was ended by SIGSEGV"):
        run(interpreter, True)
    killer.join()
    assert not run(interpreter, False)


def test_a_model_that_never_returns_is_stopped_and_stays_down_for_a_while_after_the_third_time(
    load: Open,
) -> None:
    interpreter = load(endless_tflite(), timeout_s=0.2)
    for _ in range(2):
        with pytest.raises(ModelError, match=r"gave no answer in 0\.2 s"):
            run(interpreter, True)
    assert not run(interpreter, False)  # an answer in between: it is not down
    for _ in range(3):
        with pytest.raises(ModelError, match=r"gave no answer in 0\.2 s"):
            run(interpreter, True)
    with pytest.raises(ModelError, match="3 times in a row and stays down for a while"):
        run(interpreter, False)

    def answers() -> bool:
        try:
            return not run(interpreter, False)
        except ModelError:
            return False

    assert wait_until(answers, Deadline.after(20))


def test_a_new_worker_takes_the_same_model_though_another_has_its_name(tmp_path: Path) -> None:
    path, other = tmp_path / "model.tflite", tmp_path / "other.tflite"
    path.write_bytes(tiny_tflite())
    other.write_bytes(tiny_tflite(scale=0.25))
    interpreter = make_process_loader()(path)
    before = run(interpreter, 7)
    other.rename(path)
    assert interpreter.pid
    os.kill(interpreter.pid, signal.SIGKILL)
    with pytest.raises(ModelError):
        run(interpreter, 7)
    assert np.array_equal(run(interpreter, 7), before)
    interpreter.close()


def test_an_answer_that_was_not_waited_for_is_not_given_to_the_next_call(load: Open) -> None:
    interpreter = load(endless_tflite())

    class EnoughError(Exception):
        pass

    def enough(*_: object) -> None:
        raise EnoughError

    before = signal.signal(signal.SIGALRM, enough)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(EnoughError):
            run(interpreter, True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interpreter.pid is None
    assert not run(interpreter, False)


def test_no_worker_outlives_a_killed_parent(load: Open, tmp_path: Path) -> None:
    """Neither one that waits for work nor one that is inside a model that never returns."""
    (tmp_path / "endless.tflite").write_bytes(endless_tflite())
    script = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from edge.adapters.worker_process import make_process_loader\n"
        "load = make_process_loader(timeout_s=100)\n"
        "idle, busy = (load(Path(sys.argv[1])) for _ in range(2))\n"
        "busy.input_view(0)[...] = True\n"
        "print(idle.pid, busy.pid, flush=True)\n"
        "busy.invoke()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "endless.tflite")]
    with subprocess.Popen(command, env=python_environment(), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        idle, busy = map(int, parent.stdout.readline().split())
        start = _cpu_ticks(busy)
        assert wait_until(lambda: _cpu_ticks(busy) > start + 5, Deadline.after(_TEN_S))
        parent.kill()
    assert gone_soon(idle)
    assert gone_soon(busy)


def test_a_waiting_call_leaves_the_interpreter_lock_to_others(load: Open) -> None:
    busy, other = load(endless_tflite(), timeout_s=1.0), load(tiny_tflite())
    failed: list[ModelError] = []

    def wait_for_nothing() -> None:
        try:
            run(busy, True)
        except ModelError as error:
            failed.append(error)

    waiting = threading.Thread(target=wait_for_nothing)
    waiting.start()
    answered = 0
    while waiting.is_alive():
        run(other, 1)
        answered += 1
    waiting.join()
    assert len(failed) == 1
    assert answered > 100  # of tens of thousands


def test_loading_and_closing_leaks_neither_descriptors_nor_processes_nor_memory(
    tmp_path: Path, counts: Counts
) -> None:
    def held() -> tuple[int, int]:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return len(os.listdir("/proc/self/fd")), len(children)

    loader = make_process_loader()
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite())
    before, mapped_before = held(), _shared_mappings()
    for _ in range(counts.kills):
        interpreter = loader(path)
        run(interpreter, 1)
        interpreter.close()
        interpreter.close()
    assert held() == before
    assert _shared_mappings() == mapped_before


def test_an_interpreter_that_nobody_closed_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "tiny.tflite").write_bytes(tiny_tflite())
    pid = make_process_loader()(tmp_path / "tiny.tflite").pid
    assert pid
    assert gone_soon(pid)


@pytest.mark.parametrize("model", [b"", b"no model", tiny_tflite()[:200]])
def test_a_file_that_cannot_be_loaded_is_one_line_with_its_name(tmp_path: Path, model: bytes) -> None:
    path = tmp_path / "bad.tflite"
    path.write_bytes(model)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ModelError, match=r"bad\.tflite") as caught:
        make_process_loader()(path)
    assert "\n" not in str(caught.value)
    assert "/proc/" not in str(caught.value)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_missing_file_and_an_unknown_backend_are_told_as_by_the_other_loader(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.tflite cannot be read: No such file"):
        make_process_loader()(tmp_path / "nothing.tflite")
    (tmp_path / "tiny.tflite").write_bytes(tiny_tflite())
    with pytest.raises(SettingsError, match="choose auto"):
        make_process_loader("onnx")(tmp_path / "tiny.tflite")


@given(st.binary(max_size=200) | st.recursive(_LEAVES, _branches, max_leaves=20).map(_framed))
def test_words_of_a_worker_that_make_no_sense_are_refused_and_do_nothing_else(body: bytes) -> None:
    for read in (read_description, unpack_values):
        with suppress(NonsenseError):
            read(body)


@pytest.mark.parametrize(
    ("side", "field", "value"),
    [("inputs", "scale", "x"), ("inputs", "index", "0"), ("outputs", "name", 3), ("outputs", "shape", [1.5])],
)
def test_a_description_with_wrong_types_is_nonsense(load: Open, side: str, field: str, value: object) -> None:
    told = json.loads(describe(load(tiny_tflite())))
    read_description(json.dumps(told).encode())
    told[side][0][field] = value
    with pytest.raises(NonsenseError):
        read_description(json.dumps(told).encode())


def test_a_worker_that_stops_reading_is_one_failed_call(odd_path: Path) -> None:
    interpreter = make_process_loader(timeout_s=1.0)(odd_path)
    pid = interpreter.pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ModelError, match="gave no answer in 1 s"):
        interpreter.call("double", {"x": np.zeros(4_000_000, np.float32)})
    assert gone_soon(pid)
    interpreter.close()


def test_the_callers_faults_are_the_callers_in_a_process_too(odd_path: Path) -> None:
    interpreter = make_process_loader()(odd_path)
    pid = interpreter.pid

    class Unreadable:
        def __array__(self, *_: object, **__: object) -> None:
            raise RuntimeError("no")

    for inputs in ({"x": Unreadable()}, {b"x": [1]}):
        with pytest.raises(InputError):
            interpreter.call("double", inputs)  # type: ignore[arg-type]  # as callers do
    assert interpreter.pid == pid
    interpreter.close()


def test_the_worker_goes_before_its_runtime_when_memory_runs_out(load: Open) -> None:
    def score(pid: int | str) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    pid = load(tiny_tflite()).pid
    assert pid
    assert score(pid) > score("self")


@pytest.mark.parametrize("threads", [1, 2])
def test_the_model_runs_at_our_priority_though_it_was_loaded_at_the_lowest(
    tmp_path: Path, threads: int
) -> None:
    (tmp_path / "tiny.tflite").write_bytes(tiny_tflite())
    interpreter = make_process_loader(threads=threads)(tmp_path / "tiny.tflite")
    run(interpreter, 1)
    ours = os.getpriority(os.PRIO_PROCESS, 0)

    def at_ours() -> bool:
        threads = os.listdir(f"/proc/{interpreter.pid}/task")
        return all(os.getpriority(os.PRIO_PROCESS, int(thread)) == ours for thread in threads)

    assert wait_until(at_ours, Deadline.after(_TEN_S))  # who loaded it may take its time to be gone
    interpreter.close()


def _cpu_ticks(pid: int) -> int:
    with suppress(FileNotFoundError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    return 0


def _shared_mappings() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:edgeflock")
