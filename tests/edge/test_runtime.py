"""The runtime on real models: both interpreters, many callers, swaps under load."""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edge import Runtime, open_bundle
from edge.adapters.tflite import backend_version, installed_backends, make_loader
from edge.loading import load_bundle
from tests.support.training import Bundles, Trained
from wire.errors import BundleError, InputError, ModelError, SettingsError


@pytest.fixture(params=installed_backends())
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def test_split(trained: Trained) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    with np.load(trained.data) as data:
        return data["x_test"], data["y_test"]


@pytest.mark.parametrize("name", ["two", "float_two"])
def test_a_bundle_answers_as_well_as_it_was_measured(
    bundles: Bundles, backend: str, name: str, test_split
) -> None:  # type: ignore[no-untyped-def]
    x, y = test_split
    with open_bundle(getattr(bundles, name), backend=backend) as runtime:
        predictions = [runtime.predict(image) for image in x]
    assert np.mean([p.best for p in predictions] == y) > 0.97
    assert predictions[0].label == str(predictions[0].best)
    assert {p.release for p in predictions} == {runtime.release or predictions[0].release}


def test_an_answer_does_not_change_with_the_call_that_follows(
    bundles: Bundles, backend: str, test_split
) -> None:  # type: ignore[no-untyped-def]
    x, _ = test_split
    with open_bundle(bundles.float_two, backend=backend) as runtime:
        first = runtime.predict(x[0])
        before = {name: value.copy() for name, value in first.outputs.items()}
        runtime.predict(x[1])
        assert all(np.array_equal(first.outputs[name], before[name]) for name in before)


def test_inputs_may_be_named_and_wrong_ones_are_named_back(bundles: Bundles) -> None:
    with open_bundle(bundles.two) as runtime:
        with pytest.raises(InputError, match="inputs \\['nonsense'\\] given"):
            runtime.predict({"nonsense": np.zeros((8, 8, 1))})
        with pytest.raises(InputError, match=r"has shape \[1, 8, 8, 1\], got \[3\]"):
            runtime.predict(np.zeros(3))
        assert runtime.predict(np.zeros((8, 8, 1), np.float32)).confidence > 0


def test_many_callers_get_their_own_answers_through_many_swaps(
    bundles: Bundles, backend: str, test_split
) -> None:  # type: ignore[no-untyped-def]
    x, _ = test_split
    loader = make_loader(backend)
    expected = {}
    for path in (bundles.one, bundles.two):
        with open_bundle(path, backend=backend) as alone:
            answers = [alone.predict(image) for image in x[:40]]
        expected[answers[0].release] = [a.best for a in answers]
    runtime, stop, seen = Runtime(), threading.Event(), Counter[str]()
    runtime.swap(load_bundle(bundles.one, loader))
    wrong: list[str] = []

    def call() -> None:
        while not stop.is_set():
            for i, image in enumerate(x[:40]):
                prediction = runtime.predict(image)
                seen[prediction.release] += 1
                if prediction.best != expected[prediction.release][i]:
                    wrong.append(f"{prediction.release} {i}")

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for n in range(30):
        runtime.swap(load_bundle((bundles.two, bundles.one)[n % 2], loader))
    stop.set()
    for caller in callers:
        caller.join()
    assert wrong == []
    assert set(seen) == set(expected)


def test_a_file_that_is_written_over_does_not_disturb_what_was_opened(
    bundles: Bundles, backend: str, test_split, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    x, _ = test_split
    path = tmp_path / "digits.bundle"
    path.write_bytes(bundles.two.read_bytes())
    before = len(os.listdir("/proc/self/fd"))
    with open_bundle(path, backend=backend) as runtime:
        expected = runtime.predict(x[0]).raw[0].tolist()
        with path.open("r+b") as file:
            file.truncate(100)  # SIGBUS for whoever has it mapped
        assert runtime.predict(x[0]).raw[0].tolist() == expected
        with runtime.stream() as stream:  # another interpreter of the same copy
            assert stream.predict(x[0]).raw[0].tolist() == expected
    del runtime, stream
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_a_model_a_call_says_so() -> None:
    with pytest.raises(ModelError, match="no model is loaded"):
        Runtime().predict([1.0])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is empty"), (b"hello world", "not a TFLite model"), (None, "No such file")],
)
def test_a_file_that_is_no_bundle_is_one_clear_line(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "x.bundle"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=reason):
        open_bundle(path)


def test_an_unknown_backend_is_refused_and_a_known_one_named_with_its_version(backend: str) -> None:
    with pytest.raises(SettingsError, match="choose auto"):
        make_loader("onnx")
    assert backend_version(backend).startswith(f"{backend} ")


def test_importing_the_library_starts_no_thread_and_loads_no_network_code() -> None:
    import subprocess
    import sys

    code = (
        "import edge, sys, threading; assert threading.active_count() == 1;"
        "print(*sorted({'paho', 'sqlite3', 'ssl', 'psutil', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
