"""Counters: nothing twice, nothing lost, also between two threads."""

from __future__ import annotations

import threading
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from edge.backend import Tensor
from edge.meter import LIMIT, Meter
from edge.recorder import Recorder
from edge.results import Result, ResultQueue, Sample
from edge.scoring import scoring_for
from tests.support.fakes import prediction
from wire.codec import encode
from wire.histogram import bucket_of, count, merge

OUTPUT = prediction().raw[0]


def answer(recorder: Recorder, release: str, *, correct: bool | None = None) -> None:
    meter = recorder.meter(release)
    if meter.outputs is None:
        meter.count_answers(scoring_for((Tensor(0, "y", OUTPUT.dtype, OUTPUT.shape),), None))
    meter.pending.append(150_000)
    if len(meter.pending) > LIMIT:
        meter.fold()
    if correct is not None:
        meter.judged(1 if correct else 0, OUTPUT)


def test_a_report_holds_what_happened_since_the_last_one() -> None:
    recorder = Recorder()
    answer(recorder, "digits/1", correct=True)
    answer(recorder, "digits/1", correct=False)
    recorder.meter("digits/1").failed()
    (first,) = recorder.cut()
    assert (first.inferences, first.errors, first.labelled, first.correct, first.total) == (2, 1, 2, 1, 2)
    assert recorder.cut() == ()
    answer(recorder, "digits/1")
    (second,) = recorder.cut()
    assert (second.inferences, second.labelled, second.total) == (1, 0, 3)
    assert recorder.since_boot("digits/1") == (3, 1)


def test_releases_without_room_in_a_report_are_in_the_next_ones_and_nothing_is_lost() -> None:
    recorder, releases = Recorder(), [f"model-{n}/1" for n in range(7)]
    seen: Counter[str] = Counter()
    given: Counter[str] = Counter()
    reports = 0
    while recorder.late or reports < 20:
        for release in releases if reports < 20 else ():
            answer(recorder, release, correct=True)
            given[release] += 1
        cut = recorder.cut(most_bytes=700)
        assert len(encode(cut)) <= 700 + 2
        assert len({c.release for c in cut}) == len(cut) < 7
        seen.update({c.release: c.inferences for c in cut})
        reports += 1
    assert seen == given
    assert all(c.total == given[c.release] for c in cut)


def test_one_release_alone_is_reported_whatever_its_size() -> None:
    recorder = Recorder()
    answer(recorder, "digits/1")
    assert [c.inferences for c in recorder.cut(most_bytes=1)] == [1]
    assert not recorder.late


def test_releases_are_counted_apart() -> None:
    recorder = Recorder()
    answer(recorder, "digits/1")
    answer(recorder, "digits/2")
    assert [c.release for c in recorder.cut()] == ["digits/1", "digits/2"]


def test_cuts_beside_a_running_stream_add_up_to_its_total() -> None:
    recorder, n = Recorder(), 50_000
    stream = threading.Thread(
        target=lambda: [answer(recorder, "r", correct=i % 2 == 0) for i in range(n)]  # type: ignore[func-returns-value]
    )
    stream.start()
    cuts = []
    while stream.is_alive():
        cuts += recorder.cut()
    stream.join()
    cuts += recorder.cut()
    assert sum(c.inferences for c in cuts) == sum(c.labelled for c in cuts) == cuts[-1].total == n
    assert sum(c.correct for c in cuts) == n // 2
    assert count(merge(c.latency_us for c in cuts)) == n


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=200))
def test_a_meter_puts_each_latency_where_the_histogram_would(latencies_ns: list[int]) -> None:
    meter = Meter()
    meter.pending.extend(latencies_ns)
    counts = meter.latency_counts()
    expected = Counter(bucket_of(ns * 1e-3) for ns in latencies_ns)
    assert {int(i): int(counts[i]) for i in counts.nonzero()[0]} == expected


def result(number: int) -> Result:
    return Result(Sample(str(number), None), prediction("r"), 0.0)


def test_a_full_queue_drops_the_oldest_and_counts_it() -> None:
    queue = ResultQueue(3)
    for number in range(5):
        queue.put(result(number))
    assert [r.sample.id for r in queue.take_all()] == ["2", "3", "4"]
    assert queue.dropped == 2
    assert queue.take_all() == []
