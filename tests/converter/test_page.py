"""The report as a page: everything is in it, and nothing of it is anybody else's code."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from converter.adapters.front_plot import front_png
from converter.adapters.page import page_html
from converter.report import Report
from tests.support.reports import CLASSES, LABELS, REGRESSION, SEARCHED

_VOID = {"meta", "img"}


class Page(HTMLParser):
    """Reads a page strictly: each tag is closed in its turn. Collects rows, attributes and text."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.source = page_html(report).decode()
        self.feed(self.source)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs] or [(tag, "", None)]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data
        if self._open[-1:] != ["style"]:
            self.text += data

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _, _ in self.attributes}


def test_every_class_and_every_entry_has_its_row() -> None:
    rows = Page(SEARCHED).rows
    names = [row[0] for row in rows]
    for label in LABELS:
        assert names.count(label) == 1
    assert [row[:2] for row in rows if row[0] == "one"] == [["one", "50"]]
    for entry in SEARCHED.entries:
        assert entry.variant.name in names
    assert ["CONV_2D", "3", "2", "2"] in rows
    assert ["dense/MatMul", "FULLY_CONNECTED", "2.0%", ""] in rows


def test_it_says_what_a_terminal_leaves_out() -> None:
    page = Page(SEARCHED)
    names = {row[0] for row in page.rows}
    assert {"macro F1", "calibration error", "McNemar's p", "mean difference", "memory for it, MB"} <= names
    for text in ("where chosen", "x_test is halved", "3.15.1", "int16: quantizing to int16: no such kernel"):
        assert text in page.text


def test_a_hostile_name_is_text() -> None:
    hostile = "<script>alert(1)</script>"
    report = replace(
        SEARCHED,
        labels=(hostile, '"><img src=x onerror=1>', *LABELS[2:]),
        warnings=(hostile,),
        notes=(hostile,),
        provenance={hostile: hostile},
        misses={"int8": (hostile,)},
        runtimes=(hostile,),
    )
    page = Page(report)
    assert "script" not in page.tags
    assert page.text.count(hostile) >= 6
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_it_needs_no_other_file_and_no_script() -> None:
    page = Page(SEARCHED)
    assert not page.tags & {"script", "link", "iframe", "object", "base", "form"}
    for _, name, value in page.attributes:
        assert name not in ("href", "srcset", "action")
        assert name != "src" or str(value).startswith("data:image/png;base64,")
    assert not re.search(r"url\(|@import|https?:", page.source)


def test_the_picture_is_in_it() -> None:
    (picture,) = [value for tag, name, value in Page(SEARCHED).attributes if (tag, name) == ("img", "src")]
    assert base64.b64decode(str(picture).partition(",")[2]) == front_png(SEARCHED)
    assert "img" not in Page(CLASSES).tags


def test_it_suits_dark_screens_phones_and_paper() -> None:
    source = Page(CLASSES).source
    for query in ("prefers-color-scheme: dark", "max-width: 34rem", "@media print", 'name="viewport"'):
        assert query in source


def test_a_regression_has_no_class_in_it() -> None:
    page = Page(REGRESSION)
    assert "R²" in [row[0] for row in page.rows]
    assert not re.search(r"recall|accuracy|worst class", page.text)


@pytest.mark.parametrize("report", [CLASSES, SEARCHED, REGRESSION], ids=["classes", "searched", "regression"])
def test_equal_reports_make_equal_pages(report: Report) -> None:
    assert page_html(report) == page_html(report)
    assert "nan" not in Page(report).text.lower().replace("provenance", "")
