"""The agent's HTTP side with the limits of its settings, over a real socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge.adapters.tflite import make_loader
from edge.agent_http import AgentHttp
from edge.loading import load
from edge.recorder import Recorder
from edge.remembered import Remembered
from edge.results import ResultQueue
from edge.scoring import scoring_for
from edge.serving import HowToServe, Serving
from edge.settings import HttpSettings
from fleet.adapters.broker import free_port
from tests.support.served import ask
from tests.support.tiny_model import tiny_tflite

pytest.importorskip("uvicorn")


def test_the_settings_limits_and_batching_hold(tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite())
    recorder = Recorder()
    serving = Serving(HowToServe(make_loader()), recorder, ResultQueue(10))
    serving.runtime.swap(load("tiny/1", path, make_loader()))
    port = free_port()
    http = HttpSettings(port=port, max_rows=2, max_body_mb=0.001, batch_rows=4, batch_wait_ms=1.0)
    agent = AgentHttp(http, {"tiny": serving}, recorder, Remembered(), "0")
    agent.open()
    agent.start()
    try:
        for rows, padding, status in ((2, 0, 200), (1, 0, 200), (3, 0, 400), (1, 1000, 413)):
            body = json.dumps({"instances": [[0.0] * 4] * rows}).encode() + b" " * padding
            assert ask(port, "POST", "/v1/models/tiny:predict", body)[0] == status
    finally:
        agent.stop()


def test_each_model_answers_under_its_name_and_observes_its_own_callers(tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite())
    recorder = Recorder()
    servings = {
        name: Serving(HowToServe(make_loader()), recorder, ResultQueue(10)) for name in ("ants", "bees")
    }
    for name, serving in servings.items():
        serving.runtime.swap(load(f"{name}/1", path, make_loader(), meter=recorder.meter(f"{name}/1")))
    port = free_port()
    agent = AgentHttp(HttpSettings(port=port), servings, recorder, Remembered(), "0")
    agent.open()
    agent.start()
    try:
        for name, count in (("ants", 1), ("bees", 2)):
            for n in range(count):
                identity = f"{name}-{n}"
                question = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0.0] * 4}
                body = json.dumps({"id": identity, "inputs": [question]}).encode()
                assert ask(port, "POST", f"/v2/models/{name}/infer", body)[0] == 200
                truth = json.dumps({"id": identity, "truth": 0}).encode()
                assert ask(port, "POST", "/feedback", truth)[0] == 200
    finally:
        agent.stop()
    observed = {
        name: [result.prediction.release for result in serving.take_observed()]
        for name, serving in servings.items()
    }
    assert observed == {"ants": ["ants/1"], "bees": ["bees/1", "bees/1"]}
    counted = {counters.release: (counters.inferences, counters.labelled) for counters in recorder.cut()}
    assert counted == {"ants/1": (1, 1), "bees/1": (2, 2)}


def test_a_request_is_counted_under_its_tags_and_so_is_its_truth(tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite())
    recorder = Recorder()
    serving = Serving(HowToServe(make_loader()), recorder, ResultQueue(10))
    meter = recorder.meter("ants/1")
    model = load("ants/1", path, make_loader(), meter=meter)
    meter.count_answers(scoring_for(model.outputs, model.manifest))
    serving.runtime.swap(model)
    port = free_port()
    agent = AgentHttp(HttpSettings(port=port), {"ants": serving}, recorder, Remembered(), "0")
    agent.open()
    agent.start()
    in_header = {"x_edgeflock_tags": "site=lab, shift=night"}
    row = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0.0] * 4}
    v2: dict[str, Any] = {"id": "one", "inputs": [row], "parameters": {"tags": ["shift=day"]}}
    try:
        for rows in (1, 2):
            body = json.dumps({"instances": [[0.0] * 4] * rows}).encode()
            assert ask(port, "POST", "/v1/models/ants:predict", body, **in_header)[0] == 200
        assert ask(port, "POST", "/v2/models/ants/infer", json.dumps(v2).encode())[0] == 200
        assert ask(port, "POST", "/feedback", b'{"id": "one", "truth": 0}')[0] == 200
        for bad in (list("abcdefg"), [""], [1], "x" * 65, {"": 1}, [[]]):
            body = json.dumps(v2 | {"parameters": {"tags": bad}}).encode()
            status, text = ask(port, "POST", "/v2/models/ants/infer", body, **in_header)
            assert (status, "tags such as" in str(text)) == (400, True)
    finally:
        agent.stop()
    (counters,) = recorder.cut()
    slices = {one.tag: (one.inferences, one.labelled) for one in counters.slices}
    assert slices == {"site=lab": (3, 0), "shift=night": (3, 0), "shift=day": (1, 1)}
    assert {result.sample.tags for result in serving.take_observed()} == {
        ("site=lab", "shift=night"),
        ("shift=day",),
    }
