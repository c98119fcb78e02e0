"""Models of values on the server: figures of all devices together, and where they are shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.plausibility import check_telemetry
from fleet.rollup import Sums
from fleet.values import ValueFigures, value_figures
from fleet.web.api_answers import model_answer
from fleet.web.lookback import SPANS
from fleet.web.metrics import exposition
from fleet.web.model_page import ModelReadings, model_page
from tests.support.examples import RELEASE_1, counters, telemetry
from wire.counters import MAX_COUNT, MAX_VALUE, ModelCounters, Moments, ValueCounters
from wire.errors import MessageError


def heat(*answers: float, errors: tuple[float, ...] = ()) -> ModelCounters:
    off = sum(map(abs, errors))
    values = (ValueCounters(0, moments(*answers), moments(*errors), off),)
    return replace(counters(inferences=10), labelled=0, correct=0, values=values)


def moments(*numbers: float) -> Moments:
    if not numbers:
        return Moments()
    squares = sum(number * number for number in numbers)
    return Moments(len(numbers), sum(numbers), squares, min(numbers), max(numbers))


TWO = {"pi-1": heat(20.0, 22.0, errors=(1.0,)), "pi-2": heat(18.0, errors=(-3.0, 2.0))}


def test_figures_are_of_the_numbers_of_all_devices_together() -> None:
    (found,) = value_figures(TWO.values())
    assert (found.answers, found.mean, found.low, found.high) == (3, 20.0, 18.0, 22.0)
    assert found.deviation == pytest.approx((8 / 3) ** 0.5)
    assert (found.judged, found.bias, found.mean_absolute_error) == (3, 0.0, 2.0)
    assert found.root_mean_square_error == pytest.approx((14 / 3) ** 0.5)


def test_without_a_truth_there_are_no_errors() -> None:
    (found,) = value_figures([heat(1.0)])
    assert found == ValueFigures(0, 1, 1.0, 0.0, 1.0, 1.0, 0, None, None, None)


def test_they_are_on_the_page_in_the_api_and_in_the_metrics() -> None:
    read = ModelReadings((), TWO, None, 2)
    page = model_page(RELEASE_1, read, SPANS[0])
    assert page.values == [["0", "3", "20", "1.633", "18", "22", "3", "0", "2", "2.16"]]
    (answer,) = model_answer(RELEASE_1, read).values
    assert (answer.answers, answer.mean_absolute_error) == (3, 2.0)
    whole = Sums().add(TWO["pi-1"]).add(TWO["pi-2"]).counters("digits/1")
    text = exposition(
        (), releases=["digits/1"], total_of=lambda _: whole, rollouts=(), alerts=(), refusals={}
    ).decode()
    assert 'edgeflock_values_judged_total{column="0",release="digits/1"} 3.0' in text
    assert 'edgeflock_values_off_total{column="0",release="digits/1"} 6.0' in text


def test_more_values_than_answers_are_refused() -> None:
    lie = heat(*[1.0] * 11)
    with pytest.raises(MessageError, match="contradict"):
        check_telemetry(telemetry(lie))


def test_the_largest_that_devices_may_say_can_be_summed() -> None:
    most = Moments(MAX_COUNT, MAX_COUNT * MAX_VALUE, MAX_COUNT * MAX_VALUE * MAX_VALUE, MAX_VALUE, MAX_VALUE)
    sums, said = Sums(), (ValueCounters(0, most, most, MAX_COUNT * MAX_VALUE),)
    for _ in range(3):
        sums.add(replace(counters(), values=said))
    (found,) = Sums().add_plain(sums.plain("heat/1")).counters("heat/1").values
    assert found.answers.count == 3 * MAX_COUNT
    (figures,) = value_figures([sums.counters("heat/1")])
    assert figures.root_mean_square_error == pytest.approx(MAX_VALUE)
