"""Samples that wait for their label over a restart, on a disk that may be damaged or full."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path

import pytest

from edge.adapters.answer_store import AnswerStore
from edge.observing import Observing
from edge.recorder import Recorder
from edge.remembered import Answered, Remembered
from edge.results import Result, Sample
from edge.sampling import Sampler, SamplingRules
from tests.support.fakes import prediction
from wire.messages import Truths


def answered(said: int = 1, confidence: float = 0.9) -> Answered:
    return ("digits/1", (said,), (confidence,), (), 3, ())


class Boot:
    """One start of an agent on the file of the boot before."""

    def __init__(self, path: Path) -> None:
        self.recorder, self.remembered, self.store = Recorder(), Remembered(), AnswerStore(path)
        for identity, found in self.store.open():
            self.remembered.sampled(identity, found)
        sampler = Sampler(SamplingRules(1.0), lambda: 0.0)
        self.observing = Observing(self.recorder, sampler, self.remembered, store=self.store)

    def answer(self, *identities: str) -> None:
        results = [Result(Sample(i, None), prediction("digits/1", best=1), 1.0) for i in identities]
        self.observing.look(results, [], 0)

    def report(self) -> int:
        """Cut a report; return how many labelled answers are in it."""
        list(self.observing.cut(10**6))
        return sum(counters.labelled for counters in self.recorder.cut())

    def label(self, *identities: str) -> None:
        self.observing.judge(Truths(identities, (1,) * len(identities)))


def test_a_sample_is_labelled_after_a_restart_and_counts_once(tmp_path: Path) -> None:
    first = Boot(tmp_path / "answers.db")
    first.answer("a", "b", "c")
    first.report()
    first.label("a")
    assert first.report() == 1
    second = Boot(tmp_path / "answers.db")
    second.label("a", "b")
    assert second.report() == 1
    assert second.observing.refused("unknown") == 1
    third = Boot(tmp_path / "answers.db")
    third.label("a", "b", "c")
    assert third.report() == 1


def test_a_sample_with_a_long_id_is_found_by_the_id_that_it_was_sent_with(tmp_path: Path) -> None:
    boot = Boot(tmp_path / "answers.db")
    boot.answer("x" * 128)
    (samples,) = boot.observing.cut(10**6)
    boot.label(*samples.ids)
    assert boot.report() == 1


def test_the_newest_are_kept(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "answers.db", limit=3)
    store.open()
    for number in range(10):
        store.save([(f"{number}", answered())], [])
    store.close()
    assert [identity for identity, _ in store.open()] == ["7", "8", "9"]


def test_an_answer_comes_back_as_it_was(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "answers.db")
    store.open()
    store.save([("known", answered(2, 0.25)), ("not", answered(0, math.nan))], [])
    store.close()
    (known, (_, said)) = store.open()
    assert known == ("known", answered(2, 0.25))
    assert math.isnan(said[2][0])


@pytest.mark.parametrize("damage", [b"nonsense" * 500, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "answers.db"
    path.write_bytes(damage)
    store = AnswerStore(path)
    assert store.open() == []
    store.save([("a", answered())], [])
    store.close()
    assert [identity for identity, _ in store.open()] == ["a"]


@pytest.mark.parametrize("bad", ["cast(x'ff41' as text), 'd/1', 1, 0.5, 3", "'b', 'd/1', 'one', 0.5, 3"])
def test_a_file_with_a_row_of_nonsense_is_begun_anew(tmp_path: Path, bad: str) -> None:
    store = AnswerStore(tmp_path / "answers.db")
    store.open()
    store.close()
    with sqlite3.connect(tmp_path / "answers.db") as db:
        db.execute(f"insert into answered (id, release, said, confidence, classes) values ({bad})")
    assert store.open() == []
    store.save([("a", answered())], [])
    store.close()


def test_a_file_that_cannot_be_opened_now_is_there_at_the_next_start(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "answers.db")
    store.open()
    store.save([("a", answered())], [])
    store.close()
    in_the_way = tmp_path / "answers.db-wal"
    in_the_way.mkdir()  # a full disk has no room for it either
    assert store.open() == []
    store.save([("b", answered())], [])
    in_the_way.rmdir()
    assert [identity for identity, _ in store.open()] == ["a"]
    store.close()


def full_at_once(store: AnswerStore) -> None:
    """Let the disk have no room for another page."""
    assert store._db is not None
    store._db.execute("pragma max_page_count=1")


def with_room(store: AnswerStore) -> None:
    assert store._db is not None
    store._db.execute("pragma max_page_count=1000000")


def test_a_label_that_counted_while_the_disk_was_full_counts_once(tmp_path: Path) -> None:
    boot = Boot(tmp_path / "answers.db")
    boot.answer("a", "b")
    boot.report()
    boot.label("a")
    full_at_once(boot.store)
    boot.answer(*(f"{number:0128}" for number in range(100)))
    assert boot.report() == 1
    assert boot.store.unsaved == 100
    with_room(boot.store)
    assert boot.report() == 0
    again = Boot(tmp_path / "answers.db")
    again.label("a", "b")
    assert again.report() == 1


def test_what_a_full_disk_did_not_remove_is_not_kept_without_end(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "answers.db", limit=3)
    store.open()
    full_at_once(store)
    large = [(f"{number:05000}", answered()) for number in range(3)]
    for number in range(10):
        store.save(large, [f"gone-{number}"])
    assert store._left_over == ["gone-7", "gone-8", "gone-9"]
    assert store.unsaved == 30


def test_a_disk_that_cannot_be_written_costs_the_rows_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "answers.db").mkdir()
    store = AnswerStore(tmp_path / "answers.db")
    assert store.open() == []
    store.save([("a", answered())], ["b"])
    store.close()
