"""What the pages show, as pure functions of what was read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fleet.adapters.templates import Templates
from fleet.agreeing import Against, Agreement, PolicyAgreement
from fleet.class_names import ClassNames
from fleet.estimating import Estimate
from fleet.findings import ReleaseFacts
from fleet.health_rules import Reason, Verdict
from fleet.progress import Part, Rollout
from fleet.spans import Slot
from fleet.view import DeviceRow
from fleet.web import wording
from fleet.web.charts import MOST_POINTS, Chart, Curve, thinned
from fleet.web.confusion import confusion_matrix
from fleet.web.lookback import SPANS, span
from fleet.web.model_page import ModelReadings, drifts, model_page
from fleet.web.overview import Choice, overview, version_bar
from fleet.web.reading import DeviceNow
from fleet.web.rollout_page import rollout_view
from tests.support.examples import RELEASE_1, counters
from wire.counters import Cells, FeatureCounts, ModelCounters, SliceCounters

NOW_S = 1_800_000_000.0


def device(name: str, current: str | None = "digits/1", verdict: Verdict | None = None) -> DeviceNow:
    row = DeviceRow(name, "online", "digits", "idle", current, rate_hz=10.0, labelled=10, accuracy=0.9)
    return DeviceNow((row,), verdict or Verdict("healthy"), NOW_S - 5)


def labelled(release: str, cells: Cells, **more: object) -> ModelCounters:
    right = sum(n for t, p, n in zip(cells.truth, cells.predicted, cells.counts, strict=True) if t == p)
    whole = counters(release, sum(cells.counts))
    return replace(whole, labelled=sum(cells.counts), correct=right, confusion=cells, **more)


@pytest.mark.parametrize(
    ("confidence", "text"),
    [
        (None, wording.UNKNOWN),
        (0.994, "99.4\u202f%"),
        (1.004, "100.4\u202f%"),
        (12.3, "12.3"),
        (-7.0, "-7"),
        (1e300, "1e+300"),
    ],
)
def test_a_confidence_that_is_no_share_is_not_told_as_one(confidence: float | None, text: str) -> None:
    shown = Templates()._environment.from_string("{{ c|sureness }}").render(c=confidence)
    assert shown == wording.sureness(confidence) == text


def test_the_bar_of_versions_is_full_and_ten_stands_behind_nine() -> None:
    bar = version_bar(["d/9", "d/10", "d/10", None])
    assert [(s.release, s.count) for s in bar] == [("no model yet", 1), ("d/9", 1), ("d/10", 2)]
    assert sum(s.width for s in bar) == pytest.approx(100)
    assert [s.x for s in bar] == [0, 25, 50]
    assert [s.colour for s in bar] == [0, 2, 1], "the newest has the first colour"


def test_a_query_of_garbage_is_the_whole_fleet() -> None:
    assert Choice.parse({"page": "x", "sort": "colour", "condition": "fine"}) == Choice()
    choice = Choice.parse({"q": "a b&c", "sort": "p99", "page": "3", "condition": "silent"})
    assert Choice.parse({"q": "a b&c"}).link() == "/?q=a+b%26c"
    assert choice.link(page=1) == "/?q=a+b%26c&condition=silent&sort=p99"


def test_the_overview_filters_sorts_and_has_pages() -> None:
    unwell = Verdict("degraded", (Reason("hot", "86 °C"),))
    devices = [device(f"d{i:03}", "digits/2" if i % 2 else "digits/1") for i in range(250)]
    devices[7] = device("d007", "digits/2", unwell)
    view = overview(devices, [], {}, Choice(page=99), NOW_S)
    assert (view.pages, view.choice.page, len(view.lines), view.found) == (3, 3, 50, 250)
    first = overview(devices, [], {}, Choice(sort="condition"), NOW_S).lines[0]
    assert (first.name, first.condition.reason, first.seen) == ("d007", "86 °C", "5\u202fs ago")
    assert overview(devices, [], {}, Choice(release="digits/2", text="D00"), NOW_S).found == 5
    assert overview(devices, [], {}, Choice(condition="degraded"), NOW_S).found == 1
    assert [name for name, _ in view.attention] == ["d007"]


def test_an_empty_fleet_has_a_page() -> None:
    view = overview([], [], {}, Choice(), NOW_S)
    assert (view.pages, view.found, view.lines, view.segments) == (1, 0, [], [])
    assert {tile.name: tile.value for tile in view.tiles}["latency p99"] == wording.UNKNOWN


def test_a_device_with_two_models_has_two_lines_and_counts_once() -> None:
    one = device("d1")
    two = replace(one, rows=(*one.rows, replace(one.rows[0], model="birds", current="birds/1")))
    view = overview([two], [], {}, Choice(), NOW_S)
    assert ([line.release for line in view.lines], view.found) == (["birds/1", "digits/1"], 1)


def test_a_chart_has_few_points_and_its_table_the_same_numbers() -> None:
    kept = thinned(10_000)
    assert len(kept) <= MOST_POINTS + 1
    assert (kept[0], kept[-1]) == (0, 9999)
    assert thinned(0) == []
    chart = Chart("x", "X", "ms", (1.4, 2.0), (Curve("p50", (1.234, None)),), 2)
    assert json.loads(chart.data)["columns"] == [[1, 2], [1.234, None]]
    assert chart.rows == [(2.0, [wording.UNKNOWN]), (1.4, ["1.23"])]


@pytest.mark.parametrize("chosen", SPANS, ids=lambda s: s.key)
def test_a_window_ends_with_now_and_its_borders_stand_still(chosen: object) -> None:
    window = chosen.window(NOW_S)  # type: ignore[attr-defined]
    assert window.until_s - window.resolution_s <= NOW_S < window.until_s
    assert (window.until_s - window.since_s) / window.resolution_s <= MOST_POINTS
    assert span("nonsense").key == "6h"


def test_a_matrix_shows_the_classes_that_occur_most() -> None:
    cells = Cells(tuple(range(30)), tuple(range(30)), tuple(range(100, 130)))
    matrix = confusion_matrix(cells, ClassNames())
    assert matrix is not None
    assert ([c.text for c in matrix.classes], matrix.left_out) == ([str(n) for n in range(10, 30)], 10)
    assert matrix.rows[0][1][0].right
    assert confusion_matrix(Cells(), ClassNames()) is None


def test_a_page_of_a_release_knows_that_devices_differ() -> None:
    good, bad = Cells((0, 1), (0, 1), (50, 50)), Cells((0, 1), (1, 1), (50, 50))
    slices = (SliceCounters("light=night", 100, 100, 50),)
    by_device = {f"d{i}": labelled("digits/1", good) for i in range(8)}
    by_device["dark"] = labelled("digits/1", bad, slices=slices)
    slots = [Slot(0, 60, 9, labelled("digits/1", good))]
    page = model_page(RELEASE_1, ModelReadings(slots, by_device, None, 9), SPANS[0])
    tiles = {tile.name: tile for tile in page.tiles}
    low, high = (float(x) for x in tiles["accuracy"].note.removesuffix("\u202f%").split("\u2013"))
    assert high - low > 15, "one dark corner in nine makes it wide"
    assert [(s.tag, s.clear) for s in page.slices] == [("light=night", True)]
    assert [chart.id for chart in page.charts] == ["accuracy", "latency", "traffic"]
    assert page.difference == ""


def test_classes_boards_and_agreements_of_a_release_are_called_by_name() -> None:
    by_device = {"d1": labelled("digits/1", Cells((0, 1, 2), (0, 1, 1), (5, 4, 1)))}
    share_ = Estimate(0.99, 0.98, 0.995, "devices", 100, 9)
    agreement = Agreement(
        "digits/1", Against("f.bundle", "a" * 64, "digits/1 (float32)"), NOW_S,
        (PolicyAgreement("uniform", 100, 99, share_), PolicyAgreement("class", 10, 9)), (),
        truths={"neither": 1},
    )  # fmt: skip
    names = ClassNames(("cat", "<b>dog</b> " * 9))
    read = ModelReadings([], by_device, None, 1, names, {"d1": "pi4"}, [agreement])
    page = model_page(RELEASE_1, read, SPANS[0])
    assert page.matrix
    assert [(c.text[:9], len(c.short), c.note) for c in page.matrix.classes] == [
        ("cat", 3, "0"), ("<b>dog</b", 14, "1"), ("2", 1, ""),
    ]  # fmt: skip
    assert [line.shown.text[:3] for line in page.classes] == ["cat", "<b>", "2"]
    assert [(line.board, line.devices) for line in page.boards] == [("pi4", "1")]
    assert [(a.policy, a.counts, a.share.value, a.truths) for a in page.agreements] == [
        ("uniform", "99 of 100", 0.99, "neither 1"), ("class", "9 of 10", None, ""),
    ]  # fmt: skip


def test_drift_is_told_against_the_first_days() -> None:
    def day(shares: tuple[int, ...]) -> dict[str, ModelCounters]:
        feature = (FeatureCounts("brightness", shares),)
        return {f"d{i}": replace(counters("digits/1", 1000), features=feature) for i in range(10)}

    facts = ReleaseFacts("digits/1", {}, day((700, 200, 100)), reference=[day((100, 200, 700))])
    (found,) = [d for d in drifts(facts) if d.kind == "feature"]
    assert (found.name, found.alarm) == ("brightness", True)
    assert drifts(replace(facts, reference=None)) == ()


def test_a_rollout_says_what_may_be_done_and_refusals_first() -> None:
    parts = (Part("a", "done"), Part("b", "downloading", None, 3, 4), Part("c", "refused", "no"))
    view = rollout_view(Rollout("all", "digits", "digits/2", "pause", 50.0, ("a",), 7, parts))
    assert [act for act, _ in view.acts] == ["resume", "abort", "undo"]
    assert [(p.device, share) for p, share in view.parts] == [("c", ""), ("b", "75 %")]
    assert sum(step.width for step in view.steps) == pytest.approx(100, abs=0.01)
    assert view.wave == "50 % and 1 named"


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (wording.micros(None), wording.UNKNOWN), (wording.micros(999), "999 µs"),
        (wording.micros(12_340), "12.3 ms"),
        (wording.micros(2_500_000), "2.5 s"), (wording.size(1_234_567), "1.2 MB"), (wording.size(0), "0 B"),
        (wording.count(1234567), "1 234 567"), (wording.short_count(12_345_678), "12.3 M"),
        (wording.percent(0.98765), "98.8 %"), (wording.percent_range(None, 1), ""), (wording.ago(0.2), "now"),
        (wording.ago(7200), "2 h ago"), (wording.iso(0), "1970-01-01T00:00:00Z"),
        (wording.iso(1e300), "1e+300"),
    ],
)  # fmt: skip
def test_numbers_have_units_and_the_unknown_is_no_zero(said: str, text: str) -> None:
    assert said.replace("\u202f", " ") == text
