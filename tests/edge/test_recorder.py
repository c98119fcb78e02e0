"""Counters: nothing twice, nothing lost, also between two threads."""

from __future__ import annotations

import threading

from edge.recorder import Recorder
from edge.results import Result, ResultQueue, Sample
from edge.runtime import Prediction
from wire.histogram import count, merge


def test_a_report_holds_what_happened_since_the_last_one() -> None:
    recorder = Recorder()
    recorder.answered("digits/1", 150e-6, best=3, truth=3)
    recorder.answered("digits/1", 150e-6, best=3, truth=4)
    recorder.failed("digits/1")
    (first,) = recorder.cut()
    assert (first.inferences, first.errors, first.labelled, first.correct, first.total) == (2, 1, 2, 1, 2)
    assert recorder.cut() == ()
    recorder.answered("digits/1", 150e-6, best=3, truth=None)
    (second,) = recorder.cut()
    assert (second.inferences, second.labelled, second.total) == (1, 0, 3)


def test_releases_are_counted_apart() -> None:
    recorder = Recorder()
    recorder.answered("digits/1", 1e-4, best=0, truth=0)
    recorder.answered("digits/2", 1e-4, best=0, truth=0)
    assert [c.release for c in recorder.cut()] == ["digits/1", "digits/2"]


def test_cuts_beside_a_running_stream_add_up_to_its_total() -> None:
    recorder, n = Recorder(), 50_000
    stream = threading.Thread(
        target=lambda: [recorder.answered("r", 1e-4, best=i % 2, truth=0) for i in range(n)]  # type: ignore[func-returns-value]
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


def result(number: int) -> Result:
    return Result(Sample(str(number), None), Prediction("r", {}, 0, 1.0, None, 0.0), 0.0)


def test_a_full_queue_drops_the_oldest_and_counts_it() -> None:
    queue = ResultQueue(3)
    for number in range(5):
        queue.put(result(number))
    assert [r.sample.id for r in queue.take_all()] == ["2", "3", "4"]
    assert queue.dropped == 2
    assert queue.take_all() == []
