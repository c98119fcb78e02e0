"""The pure rules behind the server: limits, pace, batches, feedback, compression and metrics."""

from __future__ import annotations

import gzip
import zlib

import numpy as np
import pytest

from edge.remembered import Judgement, Remembered
from edge.web.admission import Admission, Holding, Limits
from edge.web.batching import Gathering, kind_of, stack
from edge.web.compression import inflate
from edge.web.counts import Counts, Level
from edge.web.feedback import Feedback
from edge.web.pace import INLINE_NS, Pace
from edge.web.prometheus import Family, render
from edge.web.reply import HttpError


def status_of(refused: pytest.ExceptionInfo[HttpError]) -> int:
    return refused.value.status


def test_requests_and_bytes_beyond_the_limits_are_refused_and_leave_no_trace() -> None:
    admission = Admission(Limits(in_flight=1, held_bytes=100, body_bytes=60))
    admission.enter()
    with pytest.raises(HttpError) as refused:
        admission.enter()
    assert status_of(refused) == 429
    assert (b"retry-after", b"1") in refused.value.headers
    admission.leave()
    admission.enter()
    admission.hold(90)
    with pytest.raises(HttpError) as refused:
        admission.hold(11)
    assert status_of(refused) == 503
    with pytest.raises(HttpError) as refused:
        admission.check_length(61, 1000)
    assert status_of(refused) == 413
    assert (admission.in_flight, admission.held_bytes) == (1, 90)


def test_a_request_holds_what_it_becomes_and_alone_it_can_hold_no_more_than_all() -> None:
    admission = Admission(Limits(held_bytes=100))
    other, holding = Holding(admission), Holding(admission)
    other.grow(30)
    holding.grow(40)
    holding.become(70)
    with pytest.raises(HttpError) as refused:
        holding.grow(20)
    assert status_of(refused) == 503
    with pytest.raises(HttpError) as refused:
        holding.become(101)
    assert status_of(refused) == 413
    holding.become(10)
    assert admission.held_bytes == 40
    holding.become(0)
    other.become(0)
    assert admission.held_bytes == 0


def test_the_first_of_two_predictions_with_an_id_is_judged() -> None:
    remembered = Remembered()
    for said in (1, 2):
        remembered.remember("p", ("m/1", (said,), (0.5,), (), 3, ()))
    assert Feedback(remembered).judge({"id": "p", "truth": 1}).correct == 1


def test_a_model_is_called_on_the_loop_once_it_was_measured_to_be_fast() -> None:
    pace, model = Pace(), object()
    assert not pace.is_short(model, 1)
    pace.observe(model, INLINE_NS // 10, 1)
    assert pace.is_short(model, 1)
    assert pace.is_short(model, 10)
    assert not pace.is_short(model, 11)
    assert not pace.is_short(object(), 1)  # another model was not measured


def test_a_model_that_gets_slow_leaves_the_loop_and_one_slow_call_does_not() -> None:
    pace, model = Pace(), object()
    pace.observe(model, 1000, 1)
    pace.observe(model, 10 * INLINE_NS, 1)
    assert pace.is_short(model, 1)
    for _ in range(20):
        pace.observe(model, 10 * INLINE_NS, 1)
    assert not pace.is_short(model, 1)


def test_rows_go_together_when_the_batch_is_full_and_only_with_their_kind() -> None:
    gathering: Gathering[int] = Gathering(2)
    floats, codes = (kind_of({"x": np.zeros((1, 2), dtype)}) for dtype in (np.float32, np.int8))
    assert gathering.add(floats, 1) == (1, None)
    assert gathering.add(codes, 2) == (1, None)
    assert gathering.add(floats, 3) == (2, [1, 3])
    assert gathering.take(floats) == []
    assert gathering.take(codes) == [2]


def test_a_batch_is_filled_up_with_zeros() -> None:
    rows = [{"x": np.full((1, 2), n, np.int8)} for n in (1, 2)]
    whole = stack(rows, 4)["x"]
    assert whole.dtype == np.int8
    assert whole.tolist() == [[1, 1], [2, 2], [0, 0], [0, 0]]


def test_a_truth_counts_once_for_the_release_that_answered() -> None:
    remembered = Remembered()
    feedback = Feedback(remembered)
    remembered.remember("p1", ("m/1", (2, 0), (0.9, 0.5), ("a", "b", "c"), 3, ()))
    judgement = feedback.judge({"id": "p1", "truth": ["c", 1]})
    assert judgement == Judgement("m/1", ((2, 2, 0.9), (0, 1, 0.5)))
    assert (judgement.correct, judgement.wrong) == (1, 1)
    with pytest.raises(HttpError) as refused:
        feedback.judge({"id": "p1", "truth": ["c", 1]})
    assert status_of(refused) == 404


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"id": 1, "truth": 1}, {"id": "p"}, {"id": "p", "truth": "z"}, {"id": "p", "truth": [1,
    2]},
     {"id": "p", "truth": None}, {"id": "p", "truth": {"a": 1}}, {"id": "p", "truth": 1},
     {"id": "p", "truth": -1}],
)  # fmt: skip
def test_feedback_that_makes_no_sense_is_refused_and_the_prediction_still_waits(document: object) -> None:
    remembered = Remembered()
    remembered.remember("p", ("m/1", (0,), (0.9,), ("a",), 1, ()))
    with pytest.raises(HttpError) as refused:
        Feedback(remembered).judge(document)
    assert status_of(refused) == 400
    assert len(remembered) == 1


def test_only_the_newest_predictions_are_remembered_by_their_rows() -> None:
    remembered = Remembered(limit=4)
    for n in range(10):
        remembered.remember(f"p{n}", ("m/1", (0, 0), (0.5, 0.5), (), 2, ()))
    assert len(remembered) == 2
    assert Feedback(remembered).judge({"id": "p9", "truth": [0, 0]}).correct == 2


@pytest.mark.parametrize(("encoding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
def test_a_compressed_body_is_unpacked_up_to_its_limit(encoding: bytes, pack) -> None:  # type: ignore[no-untyped-def]
    assert inflate(pack(b"a" * 100), encoding, 100) == b"a" * 100
    with pytest.raises(HttpError) as refused:
        inflate(pack(b"a" * 50_000_000), encoding, 1000)
    assert status_of(refused) == 413
    for broken in (b"nonsense", pack(b"abc")[:-3], pack(b"abc") + b"more"):
        with pytest.raises(HttpError) as refused:
            inflate(broken, encoding, 100)
        assert status_of(refused) == 400
    with pytest.raises(HttpError) as refused:
        inflate(b"", b"br", 100)
    assert status_of(refused) == 415


def test_the_metrics_page_counts_what_happened_and_escapes_names() -> None:
    counts = Counts()
    counts.answered('a"b/1', 3, 12_000)
    counts.failed('a"b/1')
    counts.judged(Judgement('a"b/1', ((0, 0, 0.9), (1, 1, 0.9), (0, 1, 0.9))))
    page = render(counts.families(Level(1, 0, 2, 3, 4, draining=False))).decode()
    labels = 'model="a\\"b",version="1"'
    assert f"edgeflock_predictions_total{{{labels}}} 3\n" in page
    assert f'edgeflock_inference_seconds_bucket{{{labels},le="+Inf"}} 1\n' in page
    assert f'edgeflock_feedback_total{{{labels},correct="true"}} 2\n' in page
    assert "edgeflock_http_connections 3\n" in page
    assert render([Family("x", "gauge", "a\nb")]) == b"# HELP x a\\nb\n# TYPE x gauge\n"


def test_the_buckets_of_the_histogram_only_grow() -> None:
    counts = Counts()
    for n in range(60):
        counts.answered("m/1", 1, 2**n)
    page = render(counts.families(Level(0, 0, 0, 0, 0, draining=True))).decode()
    buckets = [int(line.split()[-1]) for line in page.splitlines() if "seconds_bucket" in line]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 60


def test_counters_of_old_releases_are_let_go() -> None:
    counts = Counts()
    for n in range(100):
        counts.answered(f"m/{n}", 1, 1000)
    page = render(counts.families(Level(0, 0, 0, 0, 0, draining=False))).decode()
    assert page.count("edgeflock_predictions_total{") == 32
    assert 'version="99"' in page
