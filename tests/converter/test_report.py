"""What people and programs read after a conversion."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import pytest

from converter.budget import Budget
from converter.report import Form, Report, guess_warning, report_warnings, to_json
from converter.report_facts import delegate_line, facts, highlights, update_line
from converter.report_forms import forms_table
from converter.report_tables import classes_table, entries_table, entry_reasons, layers_table, recall_table
from tests.support.reports import CLASSES, REGRESSION, SEARCHED, classified, regressed


def shipping(report: Report, **changes) -> Report:  # type: ignore[no-untyped-def]
    """Return `report` with its shipped form changed."""
    return replace(report, forms=(*report.forms[:-1], replace(report.forms[-1], **changes)))


def rows_of(report: Report) -> dict[str, tuple[str, ...]]:
    return {name.strip(): tuple(cells) for name, *cells in forms_table(report, full=True).rows}


def test_sizes_and_times_are_compared_with_float32() -> None:
    rows = rows_of(CLASSES)
    assert rows["model, bytes"] == ("300,000", "100,000", "25,000")
    assert rows["smaller than float32 TFLite"] == ("", "1.0x", "4.0x")
    assert rows["smaller than float32 weights"] == ("", "1.1x", "4.8x")
    assert rows["as fast as float32 TFLite"] == ("", "1.0x", "2.0x")


def test_a_lost_answer_is_half_a_point_of_two_hundred() -> None:
    rows = rows_of(CLASSES)
    assert rows["accuracy points lost"] == ("", "0.00", "0.50 ± 0.50")
    assert rows["newly wrong, newly right"] == ("", "0, 0", "1, 0")
    assert rows["worst class recall"][-1] == "98.0% (one)"


def test_a_regression_has_errors_and_no_classes() -> None:
    rows = rows_of(REGRESSION)
    assert rows["mean absolute error"] == ("0.1", "0.1", "0.15")
    assert "accuracy" not in rows
    assert classes_table(REGRESSION) is None
    assert recall_table(REGRESSION) is None
    assert [figure.name for figure in highlights(REGRESSION)] == ["on the wire", "R²", "a call here"]


def test_without_truth_only_the_answers_are_compared() -> None:
    unlabelled = replace(regressed(), values=None, agreement=0.97)
    report = replace(
        shipping(CLASSES, evaluation=unlabelled),
        task="unlabelled",
        forms=tuple(replace(form, evaluation=unlabelled) for form in CLASSES.forms),
    )
    rows = rows_of(report)
    assert rows["same answer"] == ("", "97.0%", "97.0%")
    assert not {"R²", "accuracy", "newly wrong, newly right"} & rows.keys()


def test_every_class_has_the_figures_of_every_form() -> None:
    table = classes_table(CLASSES)
    assert table is not None
    assert [name for name, _ in table.groups] == ["", "recall", "precision", "F1"]
    one = table.rows[1]
    assert one[:6] == ("one", "50", "100.0%", "100.0%", "98.0%", "-2.0")
    assert all(len(row) == len(table.header) == sum(count for _, count in table.groups) for row in table.rows)


def test_a_class_without_samples_has_no_recall() -> None:
    marks = classified().classes
    assert marks is not None
    lacking = replace(marks, recalls=(*marks.recalls[:3], None), members=(*marks.members[:3], 0))
    forms = tuple(replace(f, evaluation=replace(f.evaluation, classes=lacking)) for f in CLASSES.forms)
    table = recall_table(replace(CLASSES, forms=forms))
    assert table is not None
    assert table.rows[3] == ("three", "0", "", "", "", "")


def test_of_many_classes_a_terminal_gets_the_ten_that_lost_most() -> None:
    report = shipping(
        replace(CLASSES, forms=tuple(replace(f, evaluation=classified(classes=25)) for f in CLASSES.forms)),
        evaluation=classified(3, classes=25),
    )
    table = recall_table(report)
    assert table is not None
    assert len(table.rows) == 10
    assert table.rows[0][0] == "one"


def test_what_was_tried_says_what_became_of_it() -> None:
    table = entries_table(SEARCHED)
    assert table is not None
    budget = {row[0]: row[-1] for row in table.rows}
    assert budget == {
        "float32": "inside",
        "int8": "inside",
        "weight-int8": "inside",
        "int8 prune80+4bit": "shipped",
        "int8 prune90+4bit": "outside",
        "int8 prune95+4bit": "outside",
        "int16": "not made",
    }
    assert table.marked == {3}
    assert entry_reasons(SEARCHED) == (
        "int8 prune90+4bit: held where it was chosen, and not on the report's samples",
        "int8 prune95+4bit: loses 3.0 points, 1.0 allowed; class 1 loses 12.0 points of recall",
        "int16: quantizing to int16: no such kernel",
    )


def test_losses_are_told_for_both_splits_and_times_for_the_board() -> None:
    table = entries_table(SEARCHED)
    assert table is not None
    row = dict(zip(table.header, table.rows[5], strict=True))
    assert row["points lost"] == "3.00 ± 1.21"
    assert row["where chosen"] == "2.50"
    assert row["worst class"] == "-12.0 (one)"
    assert row["on the board"] == "80"


def test_columns_that_say_nothing_are_left_out() -> None:
    same = tuple(replace(entry, choose=entry.test) for entry in SEARCHED.entries)
    table = entries_table(replace(SEARCHED, entries=same, budget=None, front=()))
    assert table is not None
    assert not {"where chosen", "on the board", "front"} & set(table.header)


def test_a_lost_point_and_a_class_that_pays_are_each_a_warning() -> None:
    lost, paid = report_warnings(shipping(CLASSES, evaluation=classified(4)))
    assert (
        lost == "int8 costs 2.0 points of accuracy, which may be chance (p = 0.12): try --recipe weight-int8"
    )
    assert paid == "int8 costs class 'one' 8.0 points of recall (50 samples): try --recipe weight-int8"
    assert report_warnings(shipping(CLASSES, evaluation=classified())) == ()


def test_what_the_budget_allows_is_no_warning() -> None:
    allowed = replace(CLASSES, budget=Budget(loss_points=2.0, class_points=8.0))
    assert report_warnings(shipping(allowed, evaluation=classified(4))) == ()


def test_one_sample_of_a_small_class_is_no_warning() -> None:
    report = replace(
        CLASSES,
        budget=Budget(loss_points=5.0),
        forms=tuple(replace(f, evaluation=classified(classes=25)) for f in CLASSES.forms),
    )
    assert report_warnings(shipping(report, evaluation=classified(1, classes=25))) == ()


def test_confidences_that_went_off_are_a_warning() -> None:
    known = classified().classes
    assert known is not None
    off = replace(classified(), classes=replace(known, calibration_error=0.35))
    (line,) = report_warnings(shipping(CLASSES, evaluation=off))
    assert line.startswith("confidences of int8 are off by 0.35 on average, the original's by 0.00")


@pytest.mark.parametrize(
    ("unscaled", "hint"), [(True, "was the model trained on 0..1?"), (False, "ordered as in training?")]
)
def test_a_model_that_guesses_is_a_hint_at_the_scale_of_the_data(unscaled: bool, hint: str) -> None:
    marks = classified().classes
    assert marks is not None
    guessing = replace(marks, accuracy=0.3, recalls=(1.0, 0.2, 0.0, 0.0))
    source = Form("Keras", 1, replace(classified(), classes=guessing))
    assert guess_warning(source, unscaled=unscaled).endswith(hint)
    assert guess_warning(CLASSES.forms[0], unscaled=unscaled) == ""
    off = Form("Keras", 1, regressed(50.0))
    values = off.evaluation.values
    assert values is not None
    worse = Form("Keras", 1, replace(off.evaluation, values=replace(values, r2=-3.5)))
    assert "worse than a constant on the test data (R² -3.50)" in guess_warning(worse, unscaled=unscaled)


def test_json_holds_every_field_in_its_order() -> None:
    said = json.loads(to_json(SEARCHED))
    assert list(said) == [part.name for part in fields(Report)]
    assert said["entries"][6]["error"] == "quantizing to int16: no such kernel"
    assert said["forms"][2]["latency"]["p99_us"] == 20.0
    assert to_json(SEARCHED) == to_json(SEARCHED)


def test_json_has_null_where_a_figure_is_no_number() -> None:
    broken = shipping(CLASSES, evaluation=replace(classified(), mean_difference=math.nan))
    assert json.loads(to_json(broken))["forms"][2]["evaluation"]["mean_difference"] is None


def test_update_and_delegate_take_a_line_each() -> None:
    assert delegate_line(CLASSES) == "XNNPACK runs 2 of 3 operators, not 1 RESHAPE"
    assert update_line(SEARCHED).startswith("from digits-1.bundle 2,000 bytes instead of 8,000, 4.0x less")
    assert update_line(CLASSES) == ""
    assert dict(facts(SEARCHED))["Budget"].endswith("on a board that takes 8 times as long as this machine")


def test_layers_are_drawn_against_the_worst() -> None:
    table = layers_table(CLASSES)
    assert table is not None
    assert table.rows[0] == ("conv2d/Conv2D", "CONV_2D", "8.0%")
    assert table.bars == (1.0, 0.25)


def test_an_update_is_not_called_compression() -> None:
    rows = rows_of(SEARCHED)
    assert "as an update, bytes" in rows
    assert "smaller than float32 weights" not in rows


def test_a_label_cannot_move_the_cursor() -> None:
    table = classes_table(replace(CLASSES, labels=("\x1b[2J", "new\nline", "\u202eback", "größer")))
    assert table is not None
    assert [row[0] for row in table.rows] == ["\\x1b[2J", "new\\nline", "\\u202eback", "größer"]
