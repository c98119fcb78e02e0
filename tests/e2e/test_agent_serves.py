"""An agent that answers over HTTP while its model changes, in each way that a model can be run."""

from __future__ import annotations

import http.client
import json
import re
import threading

import pytest

from fleet.adapters.broker import free_port
from tests.support.local_fleet import BROKERS, LocalFleet
from tests.support.training import Bundles

#: What happens here does not depend on the broker: the one that is preferred will do.
pytestmark = pytest.mark.parametrize("broker_kind", BROKERS[:1])

ZEROS = [[[[0.0]] * 8] * 8]


class Caller(threading.Thread):
    """Asks one question after the other over one connection, and keeps the answers."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self.stopped = threading.Event()
        self.versions: list[str] = []
        self.refused: list[tuple[int, str]] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        question = json.dumps(
            {"inputs": [{"name": self._input(), "datatype": "FP32", "shape": [1, 8, 8, 1], "data": ZEROS}]}
        )
        while not self.stopped.is_set():
            connection.request("POST", "/v2/models/digits/infer", question)
            answer = connection.getresponse()
            body = answer.read().decode()
            if answer.status == 200:
                self.versions.append(json.loads(body)["model_version"])
            else:
                self.refused.append((answer.status, body))
        connection.close()

    def _input(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request("GET", "/v2/models/digits")
        name = json.loads(connection.getresponse().read())["inputs"][0]["name"]
        connection.close()
        return str(name)


@pytest.mark.parametrize(
    "model", ["", 'isolation = "process"', "pool = 2\nshadow_share = 1.0\nshadow_pairs = 20"]
)
def test_no_http_request_is_lost_in_a_swap(fleet: LocalFleet, bundles: Bundles, model: str) -> None:
    port = free_port()
    fleet.start_device(model=model, more=f"[http]\nport = {port}\n")
    fleet.push(bundles.one)
    fleet.wait_for_release("digits/1")
    caller = Caller(port)
    caller.start()
    try:
        fleet.wait("answers over HTTP", lambda: len(caller.versions) >= 20 or caller.refused)
        assert caller.refused == []
        fleet.push(bundles.two)
        fleet.wait_for_release("digits/2")
        seen = len(caller.versions)
        fleet.wait("answers by the new model", lambda: len(caller.versions) >= seen + 20)
    finally:
        caller.stopped.set()
        caller.join()
    assert caller.refused == []
    assert set(caller.versions) == {"1", "2"}
    assert caller.versions == sorted(caller.versions)
    shadowed = [e.detail for _, e in fleet.reader.events("pi-1") if e.cause == "shadowed"]
    assert len(shadowed) == ("shadow" in model)
    assert all(re.search(r"pairs=2[0-7] ", str(detail)) for detail in shadowed)  # up to eight at a time
    assert fleet.end("pi-1") == 0


def test_a_board_with_little_memory_swaps_without_losing_a_sample(
    fleet: LocalFleet, bundles: Bundles
) -> None:
    fleet.start_device(model='swap = "memory"')
    fleet.push(bundles.one)
    fleet.wait_for_release("digits/1")
    fleet.push(bundles.two)
    fleet.wait_for_release("digits/2")
    assert fleet.end("pi-1") == 0
    fleet.wait("the device is offline", lambda: fleet.row().presence == "offline")
    ledger = fleet.reader.ledger()
    assert ledger.problems == ()
    assert ledger.inferences == len(fleet.answered())


def test_an_address_that_others_can_reach_is_refused_without_a_token(fleet: LocalFleet) -> None:
    fleet.start_device(more='[http]\nport = 8080\nhost = "0.0.0.0"\n')
    assert fleet.processes.pop("pi-1").wait(30) == 2
    assert "it needs token_file" in fleet.log("pi-1")
