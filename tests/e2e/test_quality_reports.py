"""What a real agent says of its answers over a real broker: by class, truth and feature, and of its board."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fleet.adapters.broker import free_port
from tests.support.local_fleet import BROKERS, LocalFleet
from tests.support.served import ask
from tests.support.training import Bundles
from wire.adapters.paho_link import PahoLink
from wire.codec import decode, encode
from wire.counters import ModelCounters
from wire.link import Incoming
from wire.messages import Event, EventReport, Samples, SamplesReport, TelemetryReport, Truths
from wire.topics import Topics

#: What happens here does not depend on the broker: the one that is preferred will do.
pytestmark = pytest.mark.parametrize("broker_kind", BROKERS[:1])

TOPICS = Topics()
ZEROS = [[[[0.0]] * 8] * 8]
MORE = """
golden_every_s = 1
input_rate = 1.0
[samples]
lowest = 2
[http]
port = {port}
"""


class Listener:
    """Hears what a device reports, each message once."""

    def __init__(self, fleet: LocalFleet) -> None:
        self._link = PahoLink(fleet.address, "listener")
        self._link.subscribe([TOPICS.device("pi-1", leaf) for leaf in ("telemetry", "samples", "event")])
        self._link.start()
        self._heard: dict[tuple[str, str, int], TelemetryReport | SamplesReport | EventReport] = {}

    def close(self) -> None:
        self._link.close()

    def tell(self, truths: dict[str, int]) -> None:
        payload = encode(Truths(tuple(truths), tuple(truths.values())))
        self._link.publish(TOPICS.device("pi-1", "truth"), payload)

    def listen(self) -> None:
        while (event := self._link.receive(0)) is not None:
            if isinstance(event, Incoming):
                kind = {"samples": SamplesReport, "telemetry": TelemetryReport}.get(
                    event.topic.rpartition("/")[2], EventReport
                )
                said = decode(kind, event.payload)
                self._heard[kind.__name__, said.head.boot, said.head.sequence] = said

    @property
    def telemetry(self) -> list[TelemetryReport]:
        self.listen()
        return [said for said in self._heard.values() if isinstance(said, TelemetryReport)]

    @property
    def counters(self) -> list[ModelCounters]:
        return [model for said in self.telemetry for model in said.body.models]

    @property
    def samples(self) -> list[Samples]:
        self.listen()
        return [said.body for said in self._heard.values() if isinstance(said, SamplesReport)]

    @property
    def events(self) -> list[Event]:
        self.listen()
        return [said.body for said in self._heard.values() if isinstance(said, EventReport)]


@pytest.fixture
def device(fleet: LocalFleet):  # type: ignore[no-untyped-def]
    """A fleet whose broker is listened to."""
    fleet.trust = "[trust]\nunsigned = true"
    listener = Listener(fleet)
    yield fleet, listener
    listener.close()


def start(fleet: LocalFleet, bundle: Path) -> int:
    port = free_port()
    fleet.start_device(model=f'bundle = "{bundle}"', more=MORE.format(port=port))
    return port


def infer(port: int, identity: str) -> int:
    """Ask the device over HTTP; return the class that it says."""
    name = ask(port, "GET", "/v2/models/digits")[1]["inputs"][0]["name"]
    question = {"name": name, "datatype": "FP32", "shape": [1, 8, 8, 1], "data": ZEROS}
    body = json.dumps({"id": identity, "inputs": [question]}).encode()
    status, answer = ask(port, "POST", "/v2/models/digits/infer", body)
    assert status == 200
    scores = answer["outputs"][0]["data"]
    return int(max(range(len(scores)), key=scores.__getitem__))


def test_each_answer_is_counted_once_whatever_way_it_went(device, bundles: Bundles) -> None:  # type: ignore[no-untyped-def]
    fleet, heard = device
    port = start(fleet, bundles.two)
    fleet.wait("a report", lambda: heard.counters)
    said = infer(port, "by-http")
    truth = json.dumps({"id": "by-http", "truth": said}).encode()
    assert ask(port, "POST", "/feedback", truth)[0] == 200
    said = infer(port, "by-mqtt")
    heard.tell({"by-mqtt": said, "never-given": 0})
    fleet.wait("the truths", lambda: any(t.body.loss.truths_unknown for t in heard.telemetry))
    fleet.wait("a run of the golden set", lambda: sum(c.golden_runs for c in heard.counters))
    counters = heard.counters
    answers = sum(c.inferences for c in counters)
    # A report may be cut between an answer's latency and its output: the next one has it.
    assert abs(sum(sum(c.predicted.counts) for c in counters) - answers) <= 2
    assert sum(sum(c.confidence) for c in counters) == sum(sum(c.predicted.counts) for c in counters)
    labelled = sum(c.labelled for c in counters)
    assert labelled == sum(sum(c.confusion.counts) for c in counters)
    assert labelled == sum(sum(c.reliability.labelled) for c in counters)
    # The source knows the truth of each of its answers; of the two over HTTP it was told.
    assert abs(labelled - answers) <= 2
    assert sum(c.correct for c in counters) > labelled * 0.9
    assert sum(c.golden_failed for c in counters) == 0
    assert {f.name.rpartition(" ")[2] for c in counters for f in c.features} == {
        *("luminance", "contrast", "sharpness", "saturated"),
    }
    assert {p for s in heard.samples for p in s.policies} == {"uniform", "low-confidence"}
    vitals = heard.telemetry[-1].body.vitals
    assert vitals.uptime_s
    assert vitals.network_received_bytes


def test_a_model_that_fails_its_golden_set_is_journalled(device, bundles: Bundles) -> None:  # type: ignore[no-untyped-def]
    """The trial refuses such a bundle, so it is put in the place of a good one, as a disk might do it."""
    fleet, heard = device
    start(fleet, bundles.two)
    fleet.wait("a report", lambda: heard.counters)
    (stored,) = (fleet.folder / "pi-1" / "models").glob("*.tflite")
    aside = stored.with_suffix(".new")
    aside.write_bytes(bundles.wrong.read_bytes())
    aside.rename(stored)
    fleet.wait("the event", lambda: any(e.cause == "golden-failed" for e in heard.events))
    (event, *_) = [e for e in heard.events if e.cause == "golden-failed"]
    assert (event.model, event.release) == ("digits", "digits/2")
    assert "golden outputs differ" in (event.detail or "")
    fleet.wait("the count", lambda: sum(c.golden_failed for c in heard.counters))


def test_what_is_known_later_of_samples_is_counted_too(device, bundles: Bundles, tmp_path) -> None:  # type: ignore[no-untyped-def]
    fleet, heard = device
    fleet.data = _without_truth(fleet.data, tmp_path)
    start(fleet, bundles.two)
    fleet.wait("samples", lambda: sum(len(s.ids) for s in heard.samples) >= 5)
    assert sum(c.labelled for c in heard.counters) == 0
    answers = {i: c for s in heard.samples for i, c in zip(s.ids, s.predicted, strict=True)}
    heard.tell(answers)
    fleet.wait("the truths", lambda: sum(c.labelled for c in heard.counters) >= len(answers))
    cells = Counter(
        (t, p) for c in heard.counters for t, p in zip(c.confusion.truth, c.confusion.predicted, strict=True)
    )
    assert all(truth == predicted for truth, predicted in cells)


def _without_truth(data: Path, folder: Path) -> Path:
    path = folder / "unlabelled.npz"
    with np.load(data) as archive:
        np.savez(path, x=archive["x_test"])
    return path
