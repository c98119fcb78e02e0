"""A label reaches the device that gave the answer, once it is connected."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.adapters.database import Database
from fleet.adapters.labels import Labels
from fleet.adapters.report_store import ReportStore
from fleet.ingest import Presence
from fleet.truth_post import TruthPost
from tests.support.fakes import TurnedClock
from wire.codec import decode
from wire.memory_link import MemoryBroker, MemoryLink
from wire.messages import Online, Truths
from wire.topics import Topics

TOPICS = Topics()


class Desk:
    """Labels, a store and the post, on a broker in memory."""

    def __init__(self, state: Path) -> None:
        self.database, self.clock, self.broker = Database(state).open(), TurnedClock(), MemoryBroker()
        self.link = self.broker.link()
        self.link.start()
        self.store = ReportStore(self.database).open()
        self.labels = Labels(self.database)
        self.post = TruthPost(self.labels, TOPICS, self.clock)

    def online(self, device: str, *, online: bool) -> None:
        self.store.take([Presence(device, Online("b1", online))])

    def turn(self) -> list[tuple[str, Truths]]:
        """Return what was sent by one turn, a second later."""
        self.clock.turn(1.1)
        before = len(self.broker.published)
        self.post.turn(self.link)
        return [(topic, decode(Truths, payload)) for topic, payload in self.broker.published[before:]]


def test_it_waits_for_the_device_and_goes_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.online("pi-1", online=False)
    desk.online("pi-2", online=True)
    for device, sample, truth in (("pi-1", "a", 1), ("pi-2", "b", 2), ("pi-2", "c", 3)):
        desk.labels.put(device, sample, "digits/1", truth, "ann")
    assert desk.turn() == [(TOPICS.device("pi-2", "truth"), Truths(("b", "c"), (2, 3)))]
    assert desk.turn() == []
    desk.online("pi-1", online=True)
    assert desk.turn() == [(TOPICS.device("pi-1", "truth"), Truths(("a",), (1,)))]
    desk.database.close()


def test_a_label_that_is_changed_goes_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.online("pi-1", online=True)
    desk.labels.put("pi-1", "a", "digits/1", 1, "ann")
    assert len(desk.turn()) == 1
    desk.labels.put("pi-1", "a", "digits/1", 7, "bob")
    assert desk.turn() == [(TOPICS.device("pi-1", "truth"), Truths(("a",), (7,)))]
    desk.database.close()


def test_what_the_link_does_not_take_waits_on(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.online("pi-1", online=True)
    desk.labels.put("pi-1", "a", "digits/1", 1, "ann")
    desk.link.close()
    assert desk.turn() == []
    desk.link.start()
    assert len(desk.turn()) == 1
    desk.database.close()


def test_what_the_broker_did_not_acknowledge_is_sent_again_by_the_next_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = Desk(tmp_path)
    killed.online("pi-1", online=True)
    killed.labels.put("pi-1", "a", "digits/1", 1, "ann")
    with monkeypatch.context() as silent:
        silent.setattr(MemoryLink, "unacknowledged", 1)
        assert len(killed.turn()) == 1
        assert killed.turn() == [], "it is under way"
    killed.database.close()
    again = Desk(tmp_path)
    assert again.turn() == [(TOPICS.device("pi-1", "truth"), Truths(("a",), (1,)))]
    assert again.turn() == []
    again.database.close()
    assert Desk(tmp_path).turn() == []


def test_ids_as_long_as_a_device_may_make_them_fit_their_messages(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.online("pi-1", online=True)
    ids = [f"{i:03}" + "\x01" * 125 for i in range(120)]
    for name in ids:
        desk.labels.put("pi-1", name, "digits/1", 1, "ann")
    sent = desk.turn()
    assert sorted(name for _, truths in sent for name in truths.ids) == ids
    assert desk.turn() == []
    desk.database.close()
