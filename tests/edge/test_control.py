"""The control thread over a broker in memory: what it says, and what it does with anything it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.backend import Tensor
from edge.prediction import Prediction, Reading
from edge.results import Result, Sample
from fleet.releasing import seal
from tests.support.examples import RELEASE_1
from tests.support.fakes import prediction
from tests.support.memory_agent import OWN, TOPICS, Agent
from tests.support.shelf import make_goods, put_on_broker
from tests.support.strategies import values_of
from wire.codec import decode, encode
from wire.messages import Ack, Desired, Online, Plan, Release, Reported, Targets


def words(*texts: bytes) -> Prediction:
    """An answer of a model whose output is text."""
    output = np.array([texts], object)
    tensor = Tensor(0, "y", output.dtype, output.shape)
    return Prediction((Reading("digits/1", (tensor,)), output, 1_000))


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path)
    yield agent
    agent.outbox.close()


def test_it_says_that_it_is_there_and_what_it_does(agent: Agent) -> None:
    agent.step()
    assert decode(Online, agent.broker.retained[OWN["online"]]).online
    assert decode(Reported, agent.broker.retained[OWN["reported"]]).models[0].state == "idle"


def test_it_says_so_again_after_a_broker_lost_everything(agent: Agent) -> None:
    agent.step()
    agent.broker.stop()
    agent.step()
    agent.link.start()
    agent.step()
    assert {OWN["online"], OWN["reported"]} <= agent.broker.retained.keys()


def test_it_follows_its_groups_to_a_plan_and_fetches_the_release(agent: Agent) -> None:
    goods = make_goods(1)
    put_on_broker(agent.broker, [goods], [goods.plan], ["pi-1"])
    agent.step(100)
    assert decode(Reported, agent.broker.retained[OWN["reported"]]).models[0].current == "digits/1"
    assert agent.serving.serves is not None


def test_a_report_is_due_every_interval_and_holds_what_was_counted(agent: Agent) -> None:
    agent.recorder.meter("digits/1").pending.append(100_000)
    agent.results.put(Result(Sample("7", None, 1), prediction("digits/1"), 1.7e9))
    agent.clock.turn(10.0)
    agent.step()
    (report,) = agent.telemetry()
    assert [c.inferences for c in report.body.models] == [1]
    assert any(topic.endswith("/samples") for topic, _ in agent.broker.published)


def test_a_report_that_cannot_be_made_does_not_end_the_agent(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*room: int) -> None:
        raise ValueError("a count that nobody thought of")

    with monkeypatch.context() as broken:
        broken.setattr(agent.recorder, "cut", fail)
        agent.clock.turn(10.0)
        agent.step()
    agent.clock.turn(10.0)
    agent.step()
    (report,) = agent.telemetry()
    assert report.body.loss.bad_messages == 1


def test_its_goodbye_is_a_final_report_and_no_will(agent: Agent) -> None:
    agent.step()
    stop = threading.Event()
    stop.set()
    acker = agent.broker.link()
    acker.start()
    agent.tell(OWN["ack"], encode(Ack({"telemetry": ()})))
    agent.control._up = False  # nobody acknowledges here: it must not wait
    agent.control.run(stop)
    assert agent.telemetry()[-1].body.final
    assert not decode(Online, agent.broker.retained[OWN["online"]]).online


TOLD = [OWN["desired"], OWN["truth"], OWN["ack"], OWN["cmd"], TOPICS.plan("all", "digits"),
        TOPICS.meta("targets.json"), TOPICS.blob("a" * 64, 0), "edgeflock/d/pi-2/ack",
        "edgeflock/nonsense"]  # fmt: skip


@pytest.mark.parametrize("payload", ["é", "\ud800", "=", "AAAA", "bnVsbA=="])
def test_an_envelope_with_a_strange_payload_is_counted(agent: Agent, payload: str) -> None:
    agent.tell(OWN["desired"], json.dumps({"payloadType": "x", "payload": payload}).encode())
    assert agent.control._bad.total() == 1


def test_answers_that_no_message_can_carry_do_not_end_the_agent(agent: Agent) -> None:
    bad = prediction("digits/1", confidence=float("nan"))
    agent.results.put(Result(Sample("x" * 100_000, None, 1), bad, 1.7e9))
    agent.clock.turn(10.0)
    agent.step()
    assert len(agent.telemetry()) == 1


def test_answers_that_cannot_be_looked_at_are_handed_on_all_the_same(agent: Agent) -> None:
    given: list[Result] = []
    agent.control._parts = replace(agent.control._parts, sinks=(given.extend,))
    agent.results.put(Result(Sample("7", None), words(b"seven", b"eight"), 1.7e9))
    agent.step()
    assert [result.sample.id for result in given] == ["7"]
    assert agent.control._bad["results"] == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.sampled_from(TOLD), st.binary(max_size=300))
def test_no_bytes_on_any_topic_raise_through(agent: Agent, topic: str, payload: bytes) -> None:
    agent.link.subscribe(TOLD)
    agent.tell(topic, payload)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_no_legal_message_raises_through_and_no_plan_leaves_the_state_folder(
    agent: Agent, tmp_path: Path, data: st.DataObject
) -> None:
    agent.link.subscribe(TOLD)
    agent.tell(OWN["ack"], encode(data.draw(values_of(Ack))))
    release = data.draw(values_of(Release))
    manifest = replace(release.manifest, model="digits")
    release = replace(release, name=f"digits/{manifest.version}", manifest=manifest)
    agent.tell(OWN["desired"], seal(Desired(1, ("all",), device="pi-1")))
    agent.tell(TOPICS.meta("targets.json"), encode(Targets(2**40, (release,))))
    plan = replace(
        data.draw(values_of(Plan)), sequence=2**40, group="all", model="digits", release=release.name
    )
    agent.tell(TOPICS.plan("all", "digits"), seal(replace(plan, bundle_sha256=release.bundle_sha256)))
    agent.step()
    assert {p.name for p in tmp_path.iterdir()} <= {
        "models", "parts", "pointer.json", "outbox.db", "outbox.db-wal", "outbox.db-shm",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"' + b"1" * 64 + b'"', b'"../../../etc/passwd"'),
        (b'"' + b"1" * 64 + b'"', b'"x"'),
        (b'"bundle_bytes":50000', b'"bundle_bytes":-1'),
        (b'"size_bytes":40000', b'"size_bytes":0'),
        (b'"size_bytes":40000', b'"size_bytes":1152921504606846976'),
        (b'"blobs":[', b'"blobs":[],"x":['),
        (b'"size_bytes":40000', b'"size_bytes":40000,"base_sha256":"' + b"1" * 64 + b'"'),
        (b'"digits/1"', b'"digits/../1"'),
    ],
)
def test_a_release_that_is_not_what_it_must_be_is_refused(agent: Agent, before: bytes, after: bytes) -> None:
    payload = encode(Targets(1, (RELEASE_1,)))
    assert before in payload
    agent.tell(TOPICS.meta("targets.json"), payload.replace(before, after))
    assert agent.control._bad["Targets"] == 1


def test_every_message_of_a_burst_is_taken(agent: Agent) -> None:
    for _ in range(200):
        agent.voice.publish(OWN["ack"], b"nonsense", retain=False)
    agent.step(8)
    assert agent.control._bad["Ack"] == 200


def test_bad_messages_are_counted_in_the_next_report(agent: Agent) -> None:
    for _ in range(3):
        agent.tell(OWN["ack"], b"nonsense")
    agent.clock.turn(10.0)
    agent.step()
    assert agent.telemetry()[-1].body.loss.bad_messages == 3
