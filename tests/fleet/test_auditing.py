"""What the broker holds is found out by asking, and only what it lacks is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.auditing import Audit, Auditor
from fleet.publishing import Publication, Publisher
from tests.fleet.test_server import Fleet
from tests.support.fakes import TurnedClock
from tests.support.shelf import make_goods
from wire.memory_link import MemoryBroker
from wire.window import MAX_OUTSTANDING


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path / "fleet")
    fleet.push(make_goods(1, 700_000))
    fleet.push(make_goods(2, 700_000))
    yield fleet
    fleet.database.close()


def reconnect(fleet: Fleet) -> list[str]:
    """Let the server's link fall and stand again; return the blob topics that were sent then."""
    sent = len(fleet.broker.published)
    fleet.link.drop("reset", send_will=False)
    fleet.link.start()
    fleet.turn()
    return [topic for topic, _ in fleet.broker.published[sent:] if "/blobs/" in topic]


def blobs(fleet: Fleet) -> dict[str, bytes]:
    return {t: p for t, p in fleet.broker.retained.items() if "/blobs/" in t}


def test_with_nothing_lost_no_chunk_is_sent_again(fleet: Fleet) -> None:
    assert len(blobs(fleet)) > 20
    assert reconnect(fleet) == []
    assert fleet.link.filters.keys() == {t for t in fleet.link.filters if "+" in t}


def test_only_what_is_missing_or_wrong_is_sent(fleet: Fleet) -> None:
    before = blobs(fleet)
    topics = sorted(before)
    gone, wrong = topics[3:6], topics[9]
    for topic in gone:
        del fleet.broker.retained[topic]
    fleet.broker.retained[wrong] = b"tampered"
    assert sorted(reconnect(fleet)) == sorted([*gone, wrong])
    assert blobs(fleet) == before


def test_a_broker_that_lost_everything_gets_everything(fleet: Fleet) -> None:
    before = blobs(fleet)
    fleet.broker.retained.clear()
    assert sorted(reconnect(fleet)) == sorted(before)
    assert blobs(fleet) == before


def test_a_server_that_starts_anew_asks_before_it_sends(fleet: Fleet) -> None:
    before = blobs(fleet)
    lost = sorted(before)[5]
    del fleet.broker.retained[lost]
    fleet.kill_server()
    sent = len(fleet.broker.published)
    fleet.start_server()
    assert [t for t, _ in fleet.broker.published[sent:] if "/blobs/" in t] == [lost]
    assert blobs(fleet) == before


def test_a_new_release_is_sent_at_once_and_not_asked_for(fleet: Fleet) -> None:
    goods = make_goods(3, 200_000)
    sent = len(fleet.broker.published)
    fleet.push(goods)
    topics = [t for t, _ in fleet.broker.published[sent:]]
    assert sum("/blobs/" in t for t in topics) == len(goods.digests) // 32 + 1
    assert not any(t.endswith("/echo") for t in topics)


class Broker:
    """A publisher with twenty chunks of two blobs on a broker in memory, and an auditor beside it."""

    def __init__(self, *, echo: bool = True) -> None:
        self.broker, self.clock = MemoryBroker(), TurnedClock()
        self.link = self.broker.link()
        self.link.start()
        self.publisher = Publisher(self.link)
        topic = "d/me/echo" if echo else "another/echo"
        self.auditor = Auditor(self.link, self.publisher, topic, self.clock)
        self.wanted = [
            Publication(f"blobs/{blob}/{i}", blob, lambda i=i: hashlib.sha256(b"%d" % i).digest(), chunk=True)
            for blob in ("a", "b")
            for i in range(10)
        ]
        self.publisher.pump(self.wanted)
        self.sent = len(self.broker.published)
        self.publisher.reconnected()
        self.auditor.reconnected()

    def turn(self, n: int = 200, *, deaf: bool = False) -> None:
        """Run the audit; `deaf`: no echo comes back."""
        self.auditor.begin(self.wanted)
        for _ in range(n):
            while (event := self.link.receive(0)) is not None:
                if hasattr(event, "topic") and not (deaf and event.topic.endswith("/echo")):
                    self.auditor.takes(event)
            self.auditor.step()
            assert len([f for f in self.link.filters if f.startswith("blobs")]) <= MAX_OUTSTANDING
            self.publisher.pump(self.wanted)
            self.clock.turn(0.1)

    def resent(self) -> list[str]:
        return [t for t, _ in self.broker.published[self.sent :] if t.startswith("blobs")]


@given(st.sets(st.integers(0, 19)), st.sets(st.integers(0, 19)))
def test_any_loss_is_made_good_and_nothing_else_is_touched(lost: set[int], wrong: set[int]) -> None:
    it = Broker()
    before = dict(it.broker.retained)
    topics = sorted(before)
    for i in wrong:
        it.broker.retained[topics[i]] = b"wrong"
    for i in lost:
        del it.broker.retained[topics[i]]
    it.turn()
    assert it.auditor.idle
    assert it.broker.retained == before
    assert sorted(it.resent()) == sorted(topics[i] for i in lost | wrong)


def test_without_an_echo_silence_says_it_and_once_is_enough_for_a_blob() -> None:
    it = Broker()
    before = dict(it.broker.retained)
    for topic in [t for t in before if t.startswith("blobs/b/")]:
        del it.broker.retained[topic]
    it.turn(deaf=True)
    assert it.auditor.idle
    assert it.broker.retained == before
    assert sorted(it.resent()) == [f"blobs/b/{i}" for i in range(10)]


def test_while_the_link_is_down_silence_says_nothing() -> None:
    it = Broker()
    it.auditor.begin(it.wanted)
    it.auditor.step()
    it.auditor.link_lost()
    it.turn(100)
    assert it.resent() == []
    it.auditor.reconnected()
    it.turn()
    assert it.auditor.idle
    assert it.resent() == []


def test_it_looks_again_now_and_then_without_a_reconnect() -> None:
    it = Broker()
    it.turn()
    del it.broker.retained["blobs/a/4"]
    it.turn()
    assert it.resent() == []
    it.clock.turn(6 * 3600)
    it.turn()
    assert it.resent() == ["blobs/a/4"]


def test_what_nobody_asked_for_is_no_answer() -> None:
    it = Broker()
    audit = Audit(it.wanted)
    assert audit.came("blobs/a/1", b"", 0.0) is None
    request, missing = audit.ask(0.0)
    assert request is not None
    assert (request.subscribe, missing) == (("blobs/a/0", "blobs/a/1"), [])
    assert audit.came("elsewhere", b"", 0.0) is None
    assert audit.came("blobs/a/1", b"bad", 0.1) == (it.wanted[1], False)
