"""Two models on one device, side by side: real processes over a real broker."""

from __future__ import annotations

import http.client
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleet.adapters.broker import free_port
from tests.support.local_fleet import BROKERS, LocalFleet, run
from tests.support.training import Bundles, rewrite

#: What happens here does not depend on the broker: the one that is preferred will do.
pytestmark = pytest.mark.parametrize("broker_kind", BROKERS[:1])

BOTH = '[[model]]\nname = "digits"\n[[model]]\nname = "ants"\n'
ANTS_FIRST = '[[model]]\nname = "ants"\n[[model]]\nname = "digits"\n'


@dataclass(frozen=True)
class Ants:
    """The bundles of the second model: the digits under another name. `wrong` fails its golden set."""

    one: Path
    two: Path
    wrong: Path


@pytest.fixture(scope="session")
def ants(bundles: Bundles) -> Ants:
    ballast = np.random.default_rng(3).bytes(3_000_000)
    return Ants(
        rewrite(bundles.one, "1", model="ants"),
        rewrite(bundles.two, "2", model="ants", ballast=ballast),
        rewrite(bundles.two, "3", model="ants", shift=0.5),
    )


def ask(port: int, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
    """Return the status and the document of an answer; 0 while nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()


def get(port: int, path: str) -> tuple[int, Any]:
    return ask(port, "GET", path)


class Caller(threading.Thread):
    """Asks one model over HTTP for as long as the block runs: what nobody asks is on probation for a minute.

    `refused` holds what it was told besides answers, from the first answer on.
    """

    def __init__(self, port: int, model: str) -> None:
        super().__init__()
        self._port, self._model, self._ended = port, model, threading.Event()
        self.versions: list[str] = []
        self.refused: list[Any] = []

    def __enter__(self) -> Caller:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        name = ""
        while not self._ended.wait(0.005):
            if not name:
                status, said = get(self._port, f"/v2/models/{self._model}")
                name = said["inputs"][0]["name"] if status == 200 else ""
                continue
            given = {"name": name, "datatype": "FP32", "shape": [1, 8, 8, 1], "data": [0.0] * 64}
            status, said = ask(
                self._port, "POST", f"/v2/models/{self._model}/infer", json.dumps({"inputs": [given]})
            )
            if status == 200:
                self.versions.append(said["model_version"])
            else:
                self.refused.append((status, said))


def version(port: int, model: str) -> str:
    status, said = get(port, f"/v2/models/{model}")
    return str(said["versions"][0]) if status == 200 else ""


def push_both(fleet: LocalFleet, one: Path, other: Path) -> None:
    pushes = [threading.Thread(target=fleet.push, args=(path,)) for path in (one, other)]
    for push in pushes:
        push.start()
    for push in pushes:
        push.join()


def on_their_way(fleet: LocalFleet, before: str, after: str) -> list[set[str]]:
    """Return which models were between two states, after each event that is in the log."""
    there: set[str] = set()
    seen = []
    for _, event in fleet.reader.events("pi-1"):
        if event.after == after:
            there = there | {event.model}
        elif event.before == before:
            there = there - {event.model}
        seen.append(there)
    return seen


def test_two_models_are_updated_beside_each_other_and_found_again_after_a_kill(
    fleet: LocalFleet, bundles: Bundles, ants: Ants
) -> None:
    port = free_port()
    more = f"[http]\nport = {port}\n"
    fleet.start_device(models=BOTH, more=more)
    with Caller(port, "ants") as caller:
        push_both(fleet, bundles.one, ants.one)
        fleet.wait_for_release("digits/1")
        fleet.wait_for_release("ants/1")
        assert (version(port, "digits"), version(port, "ants")) == ("1", "1")
        assert get(port, "/v2/health/ready")[0] == 200
        push_both(fleet, bundles.large, ants.two)
        fleet.wait_for_release("digits/3")
        fleet.wait_for_release("ants/2")
        push_both(fleet, bundles.two, ants.wrong)
        fleet.wait_for_release("digits/2")
        fleet.wait("it is blocked", lambda: fleet.row(model="ants").state == "blocked")
    assert caller.refused == []
    assert set(caller.versions) == {"1", "2"}
    row = fleet.row(model="ants")
    assert (row.current, row.target) == ("ants/2", "ants/3")
    assert "golden outputs differ" in str(row.error)
    assert fleet.row().error is None
    assert max(map(len, on_their_way(fleet, "download", "download"))) == 1
    assert max(map(len, on_their_way(fleet, "stage", "stage"))) == 1

    fleet.kill("pi-1")
    fleet.start_device(models=ANTS_FIRST, more=more)
    fleet.wait("both serve again", lambda: get(port, "/v2/health/ready")[0] == 200)
    assert (version(port, "digits"), version(port, "ants")) == ("2", "2")
    assert fleet.end("pi-1") == 0


def test_the_commands_show_and_wait_for_the_model_that_is_meant(
    fleet: LocalFleet, bundles: Bundles, ants: Ants
) -> None:
    port = free_port()
    fleet.start_device(models=BOTH, more=f"[http]\nport = {port}\n")
    fleet.wait("the device is known", lambda: fleet.row().state == "idle")
    with Caller(port, "ants"):
        for path in (bundles.one, ants.one):
            done = run("fleet", "push", path, "--wait", "60", "--state", fleet.state)
            assert done.returncode == 0, done.stderr
    done = run("fleet", "push", ants.wrong, "--wait", "60", "--state", fleet.state)
    assert done.returncode == 1
    assert "pi-1 refuses ants/3: golden outputs differ" in done.stdout
    rows = json.loads(run("fleet", "devices", "--json", "--state", fleet.state).stdout)
    assert [(row["device"], row["model"], row["current"], row["state"]) for row in rows] == [
        ("pi-1", "digits", "digits/1", "idle"),
        ("pi-1", "ants", "ants/1", "blocked"),
    ]
    assert all(row["inferences"] >= 50 for row in rows)


def test_the_source_feeds_the_model_that_the_settings_name(
    fleet: LocalFleet, bundles: Bundles, ants: Ants
) -> None:
    fleet.source = 'model = "ants"'
    fleet.start_device(models=BOTH)
    fleet.push(bundles.one)
    fleet.push(ants.one)
    fleet.wait_for_release("ants/1")
    fleet.wait("answers", lambda: len(fleet.answered()) >= 20)
    assert set(fleet.answered()) == {"ants/1"}
    fleet.wait("they are counted", lambda: fleet.row(model="ants").inferences >= 20)
    fleet.wait("it serves", lambda: fleet.row(model="digits").current == "digits/1")
    assert fleet.row(model="digits").inferences == 0


def test_a_device_with_one_model_goes_on_when_it_gets_a_second_in_front(
    fleet: LocalFleet, bundles: Bundles, ants: Ants
) -> None:
    port = free_port()
    fleet.start_device()
    fleet.push(bundles.one)
    fleet.wait_for_release("digits/1")
    assert fleet.end("pi-1") == 0
    state = fleet.folder / "pi-1"
    before = {path: path.stat().st_ino for path in (state / "models").iterdir()}
    fleet.source = 'model = "digits"'
    fleet.start_device(models=ANTS_FIRST, more=f"[http]\nport = {port}\n")
    fleet.wait("the first one serves on", lambda: version(port, "digits") == "1")
    assert get(port, "/v2/models/ants/ready")[0] == 503
    assert get(port, "/v2/health/ready")[0] == 503
    fleet.push(ants.one)
    fleet.wait("the second one serves", lambda: get(port, "/v2/health/ready")[0] == 200)
    assert {path: path.stat().st_ino for path in (state / "models").iterdir()} == before
    assert [e.model for _, e in fleet.reader.events("pi-1") if e.cause == "complete"] == ["digits", "ants"]
    assert (state / "further" / "ants" / "pointer.json").exists()
    fleet.push(bundles.two)
    fleet.wait_for_release("digits/2")
