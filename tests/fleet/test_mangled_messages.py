"""Whatever arrives on a topic that the server listens to: counted, dropped, and the server lives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.server import CLIENT_ID
from tests.fleet.test_server import TOPICS, Fleet
from tests.support.examples import counters, report, telemetry
from tests.support.mangled import mangled
from tests.support.shelf import make_goods
from wire.codec import encode
from wire.memory_link import matches
from wire.messages import (
    Event,
    EventReport,
    Head,
    ModelState,
    Online,
    Reported,
    Samples,
    SamplesReport,
)

GOODS = make_goods(1, 300)
ECHO = TOPICS.device(CLIENT_ID, "echo")
HEAD = Head("b1", 1, 1, 1.7e9)

#: One message for each topic that the server listens to, as a device means it.
SOUND = {
    TOPICS.device("pi-1", "online"): encode(Online("b1", True)),
    TOPICS.device("pi-1", "reported"): encode(
        Reported("b1", 1, 0.0, (ModelState("digits", "idle", "digits/1", None, None, 0, 0),))
    ),
    TOPICS.device("pi-1", "event"): encode(EventReport(HEAD, Event("digits", "idle", "check", "wanted"))),
    TOPICS.device("pi-1", "telemetry"): encode(report(1, telemetry(counters(inferences=7)))),
    TOPICS.device("pi-1", "samples"): encode(
        SamplesReport(HEAD, Samples("digits/1", 0.1, ("1",), (3,), (0.9,), (3,)))
    ),
    # The server asks for these when it looks at what the broker holds.
    ECHO: b"1",
    TOPICS.blob(GOODS.release.blobs[0].sha256, 0): GOODS.blob,
}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path / "fleet")
    yield fleet
    fleet.database.close()


def test_every_topic_that_it_listens_to_is_tried_here(fleet: Fleet) -> None:
    fleet.push(GOODS)
    assert all(any(matches(f, topic) for topic in SOUND) for f in fleet.link.filters)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(SOUND)).flatmap(lambda t: st.tuples(st.just(t), mangled(SOUND[t]))),
    st.integers(1, 10**9),
)
def test_damaged_messages_are_dropped_and_bad_ones_counted_and_the_server_lives(
    fleet: Fleet, message: tuple[str, bytes], boot: int
) -> None:
    topic, payload = message
    fleet.link.subscribe(SOUND)
    fleet.voice.publish(topic, payload)
    fleet.server.turn()
    counted = sum(fleet.reader.refusals().values())
    fleet.voice.publish(topic, b"\xff no message of ours")
    fleet.server.turn()
    if topic != ECHO:  # that one is its own, and any other answer is none
        assert sum(fleet.reader.refusals().values()) == counted + 1
    good = report(1, telemetry(counters(inferences=7)), boot=f"again-{boot}")
    fleet.voice.publish(TOPICS.device("pi-1", "telemetry"), encode(good))
    fleet.server.turn()
    acked = fleet.acked()
    assert acked is not None
    assert f"again-{boot}" in {mark.boot for mark in acked.streams["telemetry"]}
    fleet.reader.ledger()
