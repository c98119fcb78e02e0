"""What people and programs read after a conversion."""

from __future__ import annotations

import io
import json

from rich.console import Console

from converter.adapters.terminal import show
from converter.evaluation import Evaluation, Latency
from converter.report import Report, Row, chance_warning, loss_warnings, recall_table, table, to_json


def row(name: str, size: int, accuracy: float, *recalls: float | None) -> Row:
    return Row(name, size, Evaluation(200, accuracy, recalls, 0.98, 3, 1, 0.1), Latency(12.34, 56.78))


KERAS = row("Keras", 3000, 0.95, 0.9, 1.0, None)
FLOAT = row("float32", 1000, 0.95, 0.9, 1.0, None)
INT8 = row("int8", 250, 0.93, 0.96, 0.9, None)
REPORT = Report("digits", "2", "int8", (KERAS, FLOAT, INT8), ("zero", "one"), ("x 1.0",), ("look out",))


def test_sizes_are_compared_with_float32() -> None:
    assert [line[2] for line in table(REPORT)] == ["-", "1.0x", "4.0x"]
    assert table(REPORT)[2][3:] == ("93.0%", "90.0%", "98.0%", "3", "1", "12.3", "56.8")


def test_a_class_without_test_samples_has_no_recall() -> None:
    assert recall_table(REPORT) == [
        ("zero", "90.0%", "90.0%", "96.0%"),
        ("one", "100.0%", "100.0%", "90.0%"),
        ("2", "-", "-", "-"),
    ]


def test_a_lost_point_and_a_class_that_pays_are_each_a_warning() -> None:
    first, second = loss_warnings(KERAS, INT8, REPORT.labels)
    assert first.startswith("int8 costs 2.0 points of accuracy")
    assert second.startswith("int8 costs class 'one' 10.0 points of recall")
    assert loss_warnings(KERAS, FLOAT, REPORT.labels) == []


def test_a_model_that_guesses_is_a_hint_at_the_scale_of_the_data() -> None:
    guessing = row("Keras", 1, 0.4, 0.5, 0.3, 0.4)
    assert "its values reach 255: was the model trained on 0..1?" in str(chance_warning(guessing, 255.0))
    assert chance_warning(KERAS, 255.0) is None


def test_json_holds_the_whole_report() -> None:
    said = json.loads(to_json(REPORT))
    assert said["rows"][2]["evaluation"]["recalls"] == [0.96, 0.9, None]
    assert said["rows"][2]["latency"]["p99_us"] == 56.78


def test_a_log_file_gets_plain_text_within_110_columns() -> None:
    out = io.StringIO()
    show(Console(file=out, width=110), REPORT)
    text = out.getvalue()
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 110
    assert "warning: look out" in text
