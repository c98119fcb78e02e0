"""What a conversion shows while it runs and when it is done."""

from __future__ import annotations

import io

from rich.console import Console

from converter.adapters.terminal import Stages, show
from converter.report import Report
from tests.support.reports import CLASSES, SEARCHED


def printed(report: Report) -> str:
    out = io.StringIO()
    show(Console(file=out, width=110, highlight=False, markup=False, emoji=False, soft_wrap=True), report)
    return out.getvalue()


def test_a_log_file_gets_plain_text_within_110_columns() -> None:
    text = printed(SEARCHED)
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 110


def test_a_conversion_without_a_search_is_one_comparison_and_the_recalls() -> None:
    text = printed(CLASSES)
    assert "Forms, on 200 samples" in text
    assert "Recall by class" in text
    assert "Forms that were tried" not in text
    assert "Golden outputs reproduced on: ai-edge-litert 2.3.0" in text
    assert "Operators: XNNPACK runs 2 of 3 operators, not 1 RESHAPE" in text


def test_a_search_shows_what_was_tried_and_why_not() -> None:
    text = printed(SEARCHED)
    assert "Forms that were tried" in text
    assert " int16: quantizing to int16: no such kernel" in text
    assert "Update: from digits-1.bundle 2,000 bytes" in text


def test_a_log_file_gets_no_stages() -> None:
    out = io.StringIO()
    stages = Stages(Console(file=out))
    with stages.shown():
        stages("fine-tuning", 0.5)
    assert out.getvalue() == ""


def test_a_terminal_gets_a_bar_where_the_share_is_known_and_seconds_else() -> None:
    out, now = io.StringIO(), [0.0]
    able = {"TERM": "xterm"}  # whatever the terminal is in which the tests run
    console = Console(file=out, force_terminal=True, width=100, get_time=lambda: now[0], _environ=able)
    stages = Stages(console)
    with stages.shown():
        stages("loading [/model]")
        now[0] = 7.0
        stages("loading [/model]")
        stages("fine-tuning", 0.0)
        for step in range(1, 4):
            now[0] += 10.0
            stages("fine-tuning", step / 4)
    text = out.getvalue()
    assert "loading [/model]" in text
    assert "75%" in text
    assert "10 s left" in text
