"""The picture of a search, and where the names in it go."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import matplotlib as mpl
import pytest

from converter.adapters.front_plot import front_png
from converter.label_placing import Box, place_labels
from converter.report_entries import tried
from tests.support.reports import CLASSES, SEARCHED, entry

_FRAME = Box(0.0, 0.0, 800.0, 500.0)


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and content of each chunk, its checksum verified."""
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + content)
        yield kind, content
        at += 12 + length


def test_it_is_a_png_without_date_or_version() -> None:
    parts = list(chunks(front_png(SEARCHED)))
    assert struct.unpack(">II", parts[0][1][:8]) == (1152, 720)
    assert not {kind for kind, _ in parts} & {b"tEXt", b"iTXt", b"tIME"}


def test_equal_reports_make_equal_pictures_whatever_the_user_likes() -> None:
    first, settings = front_png(SEARCHED), dict(mpl.rcParams)
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 20.0, "savefig.dpi": 30.0}):
        assert front_png(SEARCHED) == first
        assert mpl.rcParams["font.size"] == 20.0
    assert dict(mpl.rcParams) == settings


def test_what_was_shipped_and_what_is_outside_can_be_seen() -> None:
    shipped = front_png(SEARCHED)
    assert shipped != front_png(replace(SEARCHED, shipped="int8"))
    assert shipped != front_png(replace(SEARCHED, misses={}, passed_over=()))
    assert shipped != front_png(replace(SEARCHED, front=()))


@pytest.mark.parametrize(
    "entries",
    [
        (),
        (entry("int8", 20_000, 0, 10.0),),
        tuple(entry("int8", 20_000, 1, 10.0, f"prune{n}") for n in range(30)),
        (entry("int8", 20_000, 0, 10.0), entry("int16", 900_000, 50, 10.0)),
    ],
    ids=["none", "one", "many in one place", "far apart"],
)
def test_any_search_makes_a_picture(entries) -> None:  # type: ignore[no-untyped-def]
    assert front_png(replace(CLASSES, entries=entries)).startswith(b"\x89PNG")


def test_what_could_not_be_made_is_no_point() -> None:
    assert [line.name for line in tried(SEARCHED)] == [e.variant.name for e in SEARCHED.entries[:-1]]


def test_no_label_covers_another_or_a_mark() -> None:
    points = [(400.0 + 3 * n, 250.0 + (n % 3)) for n in range(12)]
    boxes = [place.box for place in place_labels(points, [(90.0, 12.0)] * 12, _FRAME, 8.0) if place]
    assert len(boxes) >= 8
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    marks = [Box(x - 8, y - 8, x + 8, y + 8) for x, y in points]
    assert not any(box.overlaps(mark) for box in boxes for mark in marks)
    assert all(box.within(_FRAME) for box in boxes)


def test_a_label_stands_beside_its_point_or_a_line_leads_there() -> None:
    size = (60.0, 12.0)
    (alone,) = place_labels([(100.0, 100.0)], [size], _FRAME, 5.0)
    assert alone is not None
    assert (alone.led, alone.box.left) == (False, 108.0)
    (at_the_edge,) = place_labels([(795.0, 100.0)], [size], _FRAME, 5.0)
    assert at_the_edge is not None
    assert at_the_edge.box.right < 795.0
    first, _ = place_labels([(100.0, 100.0), (112.0, 100.0)], [size] * 2, _FRAME, 5.0)
    assert first is not None
    assert first.led


def test_a_label_without_a_place_is_left_out() -> None:
    assert place_labels([(5.0, 5.0)], [(60.0, 12.0)], Box(0.0, 0.0, 10.0, 10.0), 5.0) == [None]
