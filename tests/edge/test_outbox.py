"""The durable outbox: on disk until the server has it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from edge.adapters.outbox import Outbox
from tests.support.examples import counters, telemetry
from tests.support.fakes import TurnedClock
from wire.codec import decode
from wire.errors import MessageError
from wire.memory_link import MemoryBroker, MemoryLink
from wire.messages import Ack, Mark, Samples, TelemetryReport
from wire.topics import Topics

TOPICS = Topics()


def open_outbox(folder: Path, boot: str = "b1", **options: int) -> Outbox:
    outbox = Outbox(folder / "outbox.db", boot, clock=TurnedClock(), wall_clock=lambda: 1.7e9, **options)
    outbox.open()
    return outbox


def sent(outbox: Outbox, link: MemoryLink) -> list[TelemetryReport]:
    before = len(link.broker.published)
    outbox.pump(link, TOPICS, "pi-1")
    return [decode(TelemetryReport, payload) for _, payload in link.broker.published[before:]]


@pytest.fixture
def link() -> MemoryLink:
    link = MemoryBroker().link()
    link.start()
    return link


def test_what_is_added_is_sent_with_its_place_and_stays_until_acknowledged(
    tmp_path: Path, link: MemoryLink
) -> None:
    outbox = open_outbox(tmp_path)
    outbox.add("telemetry", telemetry())
    outbox.add("telemetry", telemetry(final=True))
    heads = [report.head for report in sent(outbox, link)]
    assert [(h.boot, h.sequence, h.first) for h in heads] == [("b1", 1, 1), ("b1", 2, 1)]
    assert not outbox.settled
    outbox.acknowledge(Ack({"telemetry": (Mark("b1", 2),)}))
    assert outbox.settled


def test_a_new_boot_sends_what_the_old_one_left_behind_its_own(tmp_path: Path, link: MemoryLink) -> None:
    open_outbox(tmp_path, "b1").add("telemetry", telemetry())
    outbox = open_outbox(tmp_path, "b2")
    outbox.add("telemetry", telemetry())
    assert [report.head.boot for report in sent(outbox, link)] == ["b2", "b1"]
    outbox.acknowledge(Ack({"telemetry": (Mark("b1", 1), Mark("b2", 1))}))
    assert outbox.settled


def test_a_full_outbox_drops_the_oldest_counts_it_and_says_so(tmp_path: Path, link: MemoryLink) -> None:
    outbox = open_outbox(tmp_path, max_rows=10)
    for _ in range(11):
        outbox.add("telemetry", telemetry())
    reports = sent(outbox, link)
    assert outbox.dropped == 1
    assert {r.head.first for r in reports} == {2}
    assert [r.head.sequence for r in reports] == list(range(2, 12))


def test_it_is_bounded_in_bytes_too(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, max_bytes=10_000)
    for _ in range(200):
        outbox.add("telemetry", telemetry())
    assert outbox._db is not None
    (size, rows) = outbox._db.execute("select sum(length(body)), count(*) from message").fetchone()
    assert size <= 10_000
    assert rows + outbox.dropped == 200


def test_a_message_that_no_broker_takes_is_refused_at_once(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    n = 5000
    huge = Samples("r", 1.0, ("x" * 10,) * n, (1,) * n, (0.5,) * n, (None,) * n)
    with pytest.raises(MessageError, match="at most"):
        outbox.add("samples", huge)
    assert (outbox.dropped, outbox.settled) == (1, True)


def test_while_the_link_is_down_nothing_counts_as_sent(tmp_path: Path) -> None:
    outbox, link = open_outbox(tmp_path), MemoryBroker().link()
    outbox.add("telemetry", telemetry())
    assert sent(outbox, link) == []
    link.start()
    assert len(sent(outbox, link)) == 1


def test_an_ack_of_something_unknown_changes_nothing(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.add("telemetry", telemetry())
    outbox.acknowledge(Ack({"telemetry": (Mark("other", 9),), "nonsense": (Mark("b1", 9),)}))
    assert not outbox.settled


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"this is no database" * 100)
    outbox = open_outbox(tmp_path)
    outbox.add("telemetry", telemetry())
    assert [p.name for p in tmp_path.glob("*damaged*")] == ["outbox.db.damaged-1700000000-b1"]


def test_a_full_disk_costs_messages_that_are_counted_and_nothing_else(
    tmp_path: Path, link: MemoryLink
) -> None:
    outbox = open_outbox(tmp_path)
    outbox.add("telemetry", telemetry())
    assert outbox._db is not None
    (pages,) = outbox._db.execute("pragma page_count").fetchone()
    outbox._db.execute(f"pragma max_page_count = {pages}")  # SQLite's own "disk is full"
    for _ in range(50):
        outbox.add("telemetry", telemetry())
    assert outbox.dropped > 0
    outbox._db.execute("pragma max_page_count = 1000000")
    outbox.add("telemetry", telemetry())
    sequences = [report.head.sequence for report in sent(outbox, link)]
    assert sequences == list(range(1, len(sequences) + 1))


def test_a_message_is_plain_json(tmp_path: Path, link: MemoryLink) -> None:
    outbox = open_outbox(tmp_path)
    outbox.add("telemetry", telemetry(counters("digits/1", 3, total=3)))
    outbox.pump(link, TOPICS, "pi-1")
    topic, payload = link.broker.published[-1]
    assert topic == "edgeflock/d/pi-1/telemetry"
    assert json.loads(payload)["body"]["models"][0]["inferences"] == 3


def test_an_older_boot_that_lost_rows_is_sent_to_its_end(tmp_path: Path, link: MemoryLink) -> None:
    old = open_outbox(tmp_path, "b1", max_rows=10_000)
    for _ in range(250):
        old.add("telemetry", telemetry())
    old.close()
    outbox = open_outbox(tmp_path, "b2", max_rows=200)
    outbox.add("telemetry", telemetry())
    arrived: dict[str, list[int]] = {"b1": [], "b2": []}
    for _ in range(50):
        for report in sent(outbox, link):
            arrived[report.head.boot].append(report.head.sequence)
            outbox.acknowledge(Ack({"telemetry": (Mark(report.head.boot, report.head.sequence),)}))
    assert outbox.settled
    assert arrived["b1"] == list(range(outbox.dropped + 1, 251))


def test_a_locked_file_is_not_taken_for_a_damaged_one(tmp_path: Path, link: MemoryLink) -> None:
    first = open_outbox(tmp_path, "b1")
    first.add("telemetry", telemetry())
    first.close()
    other = sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)
    other.execute("pragma locking_mode = exclusive")
    other.execute("begin exclusive")
    outbox = open_outbox(tmp_path, "b2")
    outbox.add("telemetry", telemetry())
    assert len(sent(outbox, link)) == 1
    other.execute("rollback")
    other.close()
    assert list(tmp_path.glob("*damaged*")) == []
    assert len(sent(open_outbox(tmp_path, "b3"), link)) == 1


def test_what_the_server_would_refuse_is_not_stored(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    with pytest.raises(MessageError):
        outbox.add("samples", Samples("r", 1.0, ("\ud800",), (1,), (0.5,), (None,)))
    with pytest.raises(MessageError):
        outbox.add("samples", Samples("r", 1.0, ("a",), (1,), (0.5,), (10**30,)))
    assert outbox.settled
