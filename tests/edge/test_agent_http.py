"""The agent's HTTP side with the limits of its settings, over a real socket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.adapters.tflite import make_loader
from edge.agent_http import AgentHttp
from edge.loading import load
from edge.recorder import Recorder
from edge.results import ResultQueue
from edge.serving import HowToServe, Serving
from edge.settings import AgentSettings, DeviceSettings, HttpSettings, ModelSettings
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
    settings = AgentSettings(DeviceSettings("pi-1"), ModelSettings("tiny"), http=http)
    agent = AgentHttp(settings, serving, recorder, "0")
    agent.open()
    agent.start()
    try:
        for rows, padding, status in ((2, 0, 200), (1, 0, 200), (3, 0, 400), (1, 1000, 413)):
            body = json.dumps({"instances": [[0.0] * 4] * rows}).encode() + b" " * padding
            assert ask(port, "POST", "/v1/models/tiny:predict", body)[0] == status
    finally:
        agent.stop()
