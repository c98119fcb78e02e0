"""Whatever arrives on a topic that a device listens to: counted, dropped, and the device lives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.releasing import seal
from tests.support.mangled import mangled
from tests.support.memory_agent import OWN, TOPICS, Agent
from tests.support.shelf import make_goods, put_on_broker
from wire.blob import chunks
from wire.codec import decode, encode
from wire.messages import Ack, Command, Desired, Mark, Reported, Targets, Truths

GOODS = make_goods(1, 300)
BLOB = GOODS.release.blobs[0]

#: One message for each topic that a device listens to, as its sender means it.
SOUND = {
    OWN["desired"]: seal(Desired(1, ("all",))),
    OWN["ack"]: encode(Ack({"telemetry": (Mark("b1", 1),), "event": (Mark("b1", 1),)})),
    OWN["echo"]: b"b1:1",
    OWN["cmd"]: encode(Command("check-now")),
    OWN["truth"]: encode(Truths(("7", "8"), (1, 2))),
    TOPICS.plan("all", "digits"): seal(GOODS.plan),
    TOPICS.meta("targets.json"): encode(Targets(1, (GOODS.release,))),
    TOPICS.blob(BLOB.chunks_sha256, 0): GOODS.digests,
    **{TOPICS.blob(BLOB.sha256, i): chunk for i, chunk in enumerate(chunks(GOODS.blob))},
}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """An agent that waits for the chunks of a release."""
    agent = Agent(tmp_path)
    put_on_broker(agent.broker, [GOODS], [GOODS.plan], ["pi-1"])
    for topic in [t for t in agent.broker.retained if "/blobs/" in t]:
        del agent.broker.retained[topic]
    agent.step(5)
    yield agent
    agent.outbox.close()


def test_every_topic_that_it_listens_to_is_tried_here(agent: Agent) -> None:
    heard = set(agent.link.filters)
    agent.tell(TOPICS.blob(BLOB.chunks_sha256, 0), GOODS.digests)
    assert heard | set(agent.link.filters) == SOUND.keys()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.sampled_from(sorted(SOUND)).flatmap(lambda t: st.tuples(st.just(t), mangled(SOUND[t]))))
def test_damaged_messages_are_dropped_and_bad_ones_counted_and_the_device_lives(
    agent: Agent, message: tuple[str, bytes]
) -> None:
    topic, payload = message
    agent.link.subscribe(SOUND)
    agent.tell(topic, payload)
    counted = agent.control._bad.total()
    agent.tell(topic, b"\xff no message of ours")
    if "/blobs/" not in topic:  # a damaged chunk is asked for again, and counted by its download
        assert agent.control._bad.total() == counted + 1
    assert agent.control._bad["crash"] == 0
    agent.control._told = None
    del agent.broker.retained[OWN["reported"]]
    agent.step()
    assert decode(Reported, agent.broker.retained[OWN["reported"]]).models[0].model == "digits"


def test_after_all_that_it_still_takes_a_release(agent: Agent) -> None:
    for topic in SOUND:
        for payload in (b"", b"\xff", b"[]", b"{}", b"null", b"\x00" * 1000):
            agent.tell(topic, payload)
    for topic, payload in SOUND.items():
        agent.tell(topic, payload)
    for _ in range(20):
        agent.clock.turn(20.0)
        agent.step(5)
    assert decode(Reported, agent.broker.retained[OWN["reported"]]).models[0].current == "digits/1"
