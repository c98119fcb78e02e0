"""A device that lies is counted and flagged, spoils its own figures at most, and stops nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.recorder import Recorder
from edge.remembered import Remembered
from fleet.adapters.history import History
from fleet.adapters.loss_reader import LossReader
from fleet.adapters.mark_table import MAX_BOOTS
from fleet.plausibility import are_possible
from fleet.tracking import MAX_SEQUENCE
from tests.fleet.test_server import TOPICS, Fleet
from tests.support.examples import VITALS, counters, report, telemetry
from tests.support.shelf import make_goods
from wire.codec import encode
from wire.counters import (
    CONFIDENCE_BINS,
    MAX_COUNT,
    MAX_EARLIER,
    Buckets,
    Cells,
    Classes,
    FeatureCounts,
    SliceCounters,
)
from wire.messages import Head, ModelState, Reported, Samples, SamplesReport, Telemetry

NOW_S = 1_796_000_000.0


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path / "fleet")
    yield fleet
    fleet.database.close()


def _say(fleet: Fleet, device: str, payload: bytes, leaf: str = "telemetry") -> None:
    fleet.voice.publish(TOPICS.device(device, leaf), payload)  # type: ignore[arg-type]
    fleet.turn()


def _with(**fields: Any) -> Callable[[], bytes]:
    return lambda: encode(report(1, telemetry(replace(counters(inferences=10, total=100), **fields))))


def _patched(old: bytes, new: bytes) -> Callable[[], bytes]:
    return lambda: encode(report(1, telemetry())).replace(old, new, 1)


REFUSED: dict[str, Callable[[], bytes]] = {
    "a wrong type": _patched(b'"inferences":10', b'"inferences":"10"'),
    "NaN": _patched(b'"interval_s":1.0', b'"interval_s":NaN'),
    "Infinity": _patched(b'"interval_s":1.0', b'"interval_s":1e999'),
    "no interval": _patched(b'"interval_s":1.0', b'"interval_s":0'),
    "an interval of years": _patched(b'"interval_s":1.0', b'"interval_s":1e12'),
    "a thousand million a second": _with(inferences=10**9, total=10**9, latency_us=Buckets(9, (10**9,))),
    "errors past all rates": _with(errors=10**9),
    "more than any device counts": _with(total=MAX_COUNT + 1),
    "labels without answers": _with(labelled=MAX_COUNT, correct=MAX_COUNT),
    "more right than labelled": _with(labelled=3, correct=4),
    "a histogram of others": _with(latency_us=Buckets(9, (7,))),
    "a histogram past its end": _with(latency_us=Buckets(937, (5, 5))),
    "a histogram before its beginning": _with(latency_us=Buckets(-1, (5, 5))),
    "less than nothing": _with(latency_us=Buckets(9, (20, -10))),
    "a million classes": _patched(
        b'"release":', b'"predicted":{"classes":[1000000],"counts":[1]},"release":'
    ),
    "a matrix of more than it answered": _with(confusion=Cells((1,), (1,), (MAX_EARLIER + 101,))),
    "classes of more than it answered": _with(predicted=Classes((1,), (101,))),
    "confidences of more than it answered": _with(confidence=(6,) * CONFIDENCE_BINS),
    "features of more than it saw": _with(features=(FeatureCounts("f", (100, 1)),)),
    "slices of more than it answered": _with(slices=(SliceCounters("a=b", 101),)),
    "more failed tests than tests": _with(golden_runs=1, golden_failed=2),
    "a release without a name": _with(release=""),
    "a name that is a page": _with(release="x" * 60_000),
    "a name with a bell": _with(release="digits/\a"),
    "a tag that is a page": _with(slices=(SliceCounters("a" * 500, 1),)),
    "a hundred models": lambda: encode(report(1, telemetry(*(counters(f"a/{n}") for n in range(100))))),
    "a sequence below one": lambda: encode(report(0, telemetry())),
    "a sequence past all others": lambda: encode(report(2**40 + 1, telemetry(), first=2**40 + 1)),
    "a sequence past 64 bits": _patched(b'"sequence":1', b'"sequence":%d' % 2**70),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused_counted_for_the_device_and_stops_nobody(fleet: Fleet, what: str) -> None:
    _say(fleet, "liar", REFUSED[what]())
    _say(fleet, "pi-1", encode(report(1, telemetry(counters(inferences=7)))))
    assert list(fleet.reader.complaints("refusal")) == ["liar"]
    assert {d: t["digits/1"].inferences for d, t in fleet.reader.totals().items()} == {"pi-1": 7}
    assert History(fleet.database).total("digits/1").counters.inferences == 7


def test_the_widest_gaps_of_all_boots_of_a_device_can_be_added_up(fleet: Fleet) -> None:
    for boot in ("b1", "b2"):
        _say(fleet, "liar", encode(report(2**63 - 1, telemetry(), boot=boot, first=2**63 - 1)))
        _say(fleet, "liar", encode(report(MAX_SEQUENCE, telemetry(), boot=boot, first=MAX_SEQUENCE)))
    losses = LossReader(fleet.database)
    assert losses.lost(NOW_S) == {}
    assert losses._before == {"liar": 2 * (MAX_SEQUENCE - 1)}
    assert MAX_BOOTS * MAX_SEQUENCE < 2**63


def test_labels_of_answers_before_a_restart_are_believed(fleet: Fleet) -> None:
    recorder, remembered = Recorder(), Remembered()
    remembered.sampled("a", ("digits/1", (3,), (0.9,), (), 10, ()))
    recorder.judged(remembered.judge("a", [3]))
    _say(fleet, "pi-1", encode(report(1, telemetry(*recorder.cut()))))
    assert fleet.reader.complaints("refusal") == {}
    said = History(fleet.database).total("digits/1").counters
    assert (said.inferences, said.labelled, said.correct) == (0, 1, 1)


def test_a_batch_that_ends_right_behind_a_report_is_believed(fleet: Fleet) -> None:
    body = replace(telemetry(counters(inferences=10_000, total=10_000)), interval_s=0.001)
    _say(fleet, "pi-1", encode(report(1, body)))
    assert fleet.reader.complaints("refusal") == {}


@pytest.mark.parametrize(
    "models",
    [
        tuple(ModelState(f"m{n}", "idle") for n in range(65)),
        (ModelState("digits", "idle", "x" * 141),),
        (ModelState("digits", "idle", None, "digits/\a"),),
        (ModelState("", "idle"),),
    ],
)
def test_a_state_that_no_device_can_be_in_is_refused_and_counted(
    fleet: Fleet, models: tuple[ModelState, ...]
) -> None:
    _say(fleet, "liar", encode(Reported("b1", 1, NOW_S, models)), "reported")
    assert fleet.reader.complaints("refusal") == {"liar": {"Reported": 1}}
    _say(fleet, "pi-1", encode(Reported("b1", 1, NOW_S, (ModelState("digits", "idle"),))), "reported")
    assert [model.model for model in fleet.reader.models()] == ["digits"]


def test_the_id_of_another_in_the_payload_means_nothing(fleet: Fleet) -> None:
    _say(fleet, "pi-1", encode(report(1, telemetry(counters(inferences=7)))))
    for place in (b'"head":{', b'"body":{'):
        payload = encode(report(2, telemetry())).replace(place, place + b'"device":"pi-1",', 1)
        _say(fleet, "liar", payload.replace(b'{"head"', b'{"device":"pi-1","head"', 1))
    assert {d: t["digits/1"].inferences for d, t in fleet.reader.totals().items()} == {"pi-1": 7, "liar": 10}


@pytest.mark.parametrize("time_s", [12.0, -1e300, 4_070_908_800.0, 1e300])
def test_a_wrong_clock_is_flagged_and_never_in_a_wrong_day(fleet: Fleet, time_s: float) -> None:
    said = report(1, telemetry())
    _say(fleet, "liar", encode(replace(said, head=replace(said.head, time_s=time_s))))
    (flags,) = fleet.reader.complaints("flag").values()
    assert flags in ({"clock-behind": 1}, {"clock-ahead": 1})
    (when,) = fleet.database.sql.execute("select at_s - received_s from report").fetchone()
    assert when == 0


def test_classes_that_a_release_does_not_have_stay_out_of_its_sums(fleet: Fleet) -> None:
    fleet.push(make_goods(1))
    honest = replace(counters(inferences=10), predicted=Classes((9,), (10,)))
    _say(fleet, "pi-1", encode(report(1, telemetry(honest))))
    for n, fields in enumerate(
        [{"predicted": Classes((10,), (10,))}, {"confusion": Cells((10,), (1,), (1,))}], start=1
    ):
        _say(fleet, "liar", encode(report(n, telemetry(replace(honest, **fields)))))  # type: ignore[arg-type]
    assert History(fleet.database).total("digits/1").counters.predicted == Classes((9,), (10,))
    assert fleet.reader.complaints("flag")["liar"]["classes"] == 2


def test_vitals_that_no_board_has_are_flagged_and_not_averaged(fleet: Fleet) -> None:
    body: Telemetry = replace(telemetry(), vitals=replace(VITALS, temperature_c=1e300))
    _say(fleet, "liar", encode(report(1, body)))
    assert fleet.reader.complaints("flag")["liar"]["vitals"] == 1
    assert fleet.database.sql.execute("select * from vitals").fetchall() == []
    assert History(fleet.database).vitals("liar", 0, 2e9) == []
    assert are_possible(VITALS)


@pytest.mark.parametrize(
    "fields", [{"rate": 2.0}, {"release": ""}, {"predicted": (2**40,)}, {"truth": (-(2**40),)}]
)
def test_samples_that_cannot_be_are_refused(fleet: Fleet, fields: dict[str, Any]) -> None:
    said = Samples("digits/1", 0.5, ("a",), (1,), (0.5,), (None,), times_s=(1e300,))
    _say(fleet, "liar", encode(SamplesReport(Head("b1", 1, 1, NOW_S), replace(said, **fields))), "samples")
    _say(fleet, "liar", encode(SamplesReport(Head("b1", 2, 1, NOW_S), said)), "samples")
    (sample,) = History(fleet.database).samples()
    assert sample.at_s < 1e12
    assert sum(fleet.reader.complaints("refusal")["liar"].values()) == 1


def test_a_device_that_makes_up_boots_is_stopped(fleet: Fleet) -> None:
    trackers = fleet.server._store._marks._trackers
    _say(fleet, "liar", encode(report(1, telemetry(), boot="b0")))
    (tracker,) = trackers["liar"].values()
    trackers["liar"].update({("telemetry", f"c{n}"): tracker for n in range(MAX_BOOTS)})
    _say(fleet, "liar", encode(report(1, telemetry(), boot="b1")))
    _say(fleet, "pi-1", encode(report(1, telemetry())))
    assert fleet.reader.complaints("refusal") == {"liar": {"Head": 1}}


def test_a_flood_of_bad_messages_is_one_commit(fleet: Fleet) -> None:
    for _ in range(400):
        fleet.voice.publish(TOPICS.device("liar", "telemetry"), b"{}")
    commits = 0

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement.lower() == "commit"

    fleet.database.sql.set_trace_callback(count)
    fleet.turn()
    fleet.database.sql.set_trace_callback(None)
    assert fleet.reader.refusals() == {"TelemetryReport": 400}
    assert commits < 20
