"""The durable outbox: on disk until the server has it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from edge.adapters.outbox import MAX_OUTSTANDING, Outbox
from tests.conftest import Counts
from tests.support.examples import counters, telemetry
from tests.support.fakes import TurnedClock
from wire.codec import decode
from wire.errors import MessageError
from wire.memory_link import MemoryBroker, MemoryLink
from wire.messages import Ack, Event, EventReport, Mark, Samples, TelemetryReport
from wire.topics import Topics

TOPICS = Topics()
ROOT = Path(__file__).parents[2]


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


# --- events come last, and never for telemetry ---------------------------------------------------


def event(n: int = 0) -> Event:
    return Event("digits", "idle", "check", "plan-changed", f"digits/{n}")


def sequences(outbox: Outbox, stream: str) -> list[int]:
    assert outbox._db is not None
    rows = outbox._db.execute("select sequence from message where stream = ? order by sequence", (stream,))
    return [sequence for (sequence,) in rows]


@pytest.mark.parametrize("bound", [{"max_rows": 60}, {"max_bytes": 12_000}])
def test_telemetry_never_costs_an_event(tmp_path: Path, bound: dict[str, int]) -> None:
    outbox = open_outbox(tmp_path, **bound)
    for n in range(50):
        outbox.add("event", event(n))
        for _ in range(10):
            outbox.add("telemetry", telemetry())
    assert sequences(outbox, "event") == list(range(1, 51))
    assert outbox.dropped == 500 - len(sequences(outbox, "telemetry"))
    assert sequences(outbox, "telemetry")[-1:] in ([500], [])


def test_events_of_earlier_boots_are_kept_too(tmp_path: Path) -> None:
    for boot in ("b1", "b2"):
        outbox = open_outbox(tmp_path, boot, max_rows=20)
        for n in range(9):
            outbox.add("event", event(n))
        for _ in range(50):
            outbox.add("telemetry", telemetry())
        outbox.close()
    assert len(sequences(open_outbox(tmp_path, "b3"), "event")) == 18


def test_when_events_alone_fill_it_the_oldest_of_them_go_and_are_counted(
    tmp_path: Path, link: MemoryLink
) -> None:
    outbox = open_outbox(tmp_path, max_rows=20)
    for n in range(50):
        outbox.add("event", event(n))
    outbox.add("telemetry", telemetry())
    kept = sequences(outbox, "event")
    assert kept == list(range(kept[0], 51))
    assert 18 <= len(kept) <= 20
    assert outbox.dropped == 50 - len(kept) + 1 - len(sequences(outbox, "telemetry"))
    outbox.pump(link, TOPICS, "pi-1")
    heads = [decode(EventReport, p).head for t, p in link.broker.published if t.endswith("/event")]
    assert {head.first for head in heads} == {kept[0]}


def test_an_event_that_a_full_disk_does_not_take_waits_and_keeps_its_place(
    tmp_path: Path, link: MemoryLink
) -> None:
    outbox = open_outbox(tmp_path)
    outbox.add("event", event(0))
    assert outbox._db is not None
    (pages,) = outbox._db.execute("pragma page_count").fetchone()
    outbox._db.execute(f"pragma max_page_count = {pages}")
    for n in range(1, 200):
        outbox.add("event", event(n))
    assert len(sequences(outbox, "event")) < 200
    assert (outbox.dropped, outbox.settled) == (0, False)
    outbox._db.execute("pragma max_page_count = 1000000")
    outbox.pump(link, TOPICS, "pi-1")
    assert sequences(outbox, "event") == list(range(1, 201))
    bodies = [decode(EventReport, p).body for _, p in link.broker.published]
    assert [b.release for b in bodies] == [f"digits/{n}" for n in range(200)]


def test_at_most_two_hundred_are_outstanding_and_the_rest_follows(tmp_path: Path, link: MemoryLink) -> None:
    for n in range(5):
        old = open_outbox(tmp_path, f"old{n}")
        for _ in range(120):
            old.add("telemetry", telemetry())
        old.close()
    outbox = open_outbox(tmp_path, "new")
    outbox.add("event", event())
    outstanding: dict[str, int] = {}
    arrived = 0
    for _ in range(60):
        before = len(link.broker.published)
        outbox.pump(link, TOPICS, "pi-1")
        for topic, payload in link.broker.published[before:]:
            head = decode(EventReport if topic.endswith("/event") else TelemetryReport, payload).head
            arrived += 1
            outstanding[head.boot] = head.sequence
        assert sum(w.open for w in outbox._windows.values()) <= MAX_OUTSTANDING
        marks = tuple(Mark(boot, sequence) for boot, sequence in outstanding.items())
        outbox.acknowledge(Ack({"telemetry": marks, "event": marks}))
    assert (arrived, outbox.settled) == (601, True)


def test_a_lost_acknowledgement_does_not_hold_the_others_for_ever(tmp_path: Path, link: MemoryLink) -> None:
    for n in range(3):
        old = open_outbox(tmp_path, f"old{n}")
        for _ in range(100):
            old.add("telemetry", telemetry())
        old.close()
    clock = TurnedClock()
    outbox = Outbox(tmp_path / "outbox.db", "new", clock=clock)
    outbox.open()
    outbox.pump(link, TOPICS, "pi-1")
    outbox.add("event", event())
    outbox.pump(link, TOPICS, "pi-1")
    assert not any(t.endswith("/event") for t, _ in link.broker.published)
    clock.turn(11.0)
    for _ in range(2):
        outbox.pump(link, TOPICS, "pi-1")
    assert any(t.endswith("/event") for t, _ in link.broker.published)


_WRITER = """\
import sys
from pathlib import Path
from edge.adapters.outbox import Outbox
from wire.messages import Event
outbox = Outbox(Path(sys.argv[1]), "b1")
outbox.open()
for n in range(100_000):
    outbox.add("event", Event("digits", "idle", "check", "plan-changed", f"digits/{n}"))
    print(n + 1, flush=True)
"""


def test_what_was_added_survives_a_sigkill_at_any_moment(tmp_path: Path, counts: Counts) -> None:
    random = Random(5)
    for n in range(counts.kills):
        path = tmp_path / f"outbox{n}.db"
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(random.randrange(1, 100)):
                told = int(writer.stdout.readline())
            writer.kill()
            told = max([told, *map(int, writer.stdout.read().split("\n")[:-1])])
        outbox = Outbox(path, "b2")
        outbox.open()
        found = sequences(outbox, "event")
        assert found == list(range(1, len(found) + 1))
        assert told <= len(found) <= told + 1
        outbox.close()
