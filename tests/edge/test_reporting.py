"""Reports: when they are due, what they say, and what they cost; truths that come later are counted once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.backend import Tensor
from edge.observing import Observing
from edge.recorder import Recorder
from edge.remembered import Remembered
from edge.report_pace import ReportPace
from edge.reporting import Reporting, ReportParts
from edge.results import Result, Sample
from edge.sampling import Sampler, SamplingRules
from edge.scoring import scoring_for
from tests.support.fakes import FixedVitals, TurnedClock, prediction
from tests.support.memory_agent import OWN, Agent
from wire.codec import encode
from wire.messages import Loss, Truths


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path)
    yield agent
    agent.outbox.close()


# pace


def paced(reports: list[tuple[float, float]], interval_s: float = 60.0) -> list[float]:
    pace, intervals = ReportPace(interval_s), []
    for late_s, cpu_percent in reports:
        pace.reported(pace.interval_s + late_s, cpu_percent)
        intervals.append(pace.interval_s)
    return intervals


def test_an_interval_stays_as_it_is_set_while_there_is_no_load() -> None:
    assert set(paced([(0.1, 50.0), (0.1, 99.0), (0.1, 99.0), (0.1, 50.0)] * 5)) == {60.0}


def test_load_makes_it_up_to_four_times_as_long_and_its_end_shorter_again() -> None:
    busy = paced([(0.1, 95.0)] * 12)
    assert (busy[1], busy[2], busy[5], busy[-1]) == (60.0, 120.0, 240.0, 240.0)
    assert paced([(0.1, 95.0)] * 6 + [(0.1, 20.0)] * 9)[-1] == 60.0


def test_a_control_thread_that_has_no_turn_is_load_too() -> None:
    assert paced([(40.0, 10.0)] * 3)[-1] == 120.0


def test_a_moment_of_load_is_none() -> None:
    assert set(paced([(0.1, 99.0)] * 8, interval_s=1.0)) == {1.0}


# what a report says


def test_a_report_says_the_most_that_waited_for_a_model(agent: Agent) -> None:
    for waiting in (0, 7, 3):
        agent.waiting = waiting
        agent.step(1)
    agent.clock.turn(10.0)
    agent.step()
    agent.clock.turn(10.0)
    agent.step()
    said = {report.head.sequence: report.body.queue_depth for report in agent.telemetry()}
    assert said == {1: 7, 2: 3}


def test_a_report_and_its_samples_stay_inside_the_budget_and_counters_go_first() -> None:
    recorder, clock, budget = Recorder(("site=lab",)), TurnedClock(), 4_000
    meter = recorder.meter("digits/1")
    meter.count_answers(scoring_for((Tensor(0, "y", np.dtype(np.float32), (1, 300)),), None))
    meter.judged_later([0] * 300, [0.5] * 300, list(range(300)))
    observing = Observing(recorder, Sampler(SamplingRules(1.0), lambda: 0.0, budget), Remembered())
    reporting = Reporting(ReportParts(recorder, observing, FixedVitals(), clock), 10.0, budget)
    reporting.look("digits", [Result(Sample(f"{n}", None), prediction(), 1.0) for n in range(500)], [], 0)
    cells, sent, thinned, reports = 0, 0, 0, 0
    while True:
        clock.turn(10.0)
        telemetry, samples = reporting.cut(Loss())
        assert len(encode(telemetry)) + sum(len(encode(each)) for each in samples) <= budget
        if not telemetry.models:
            break
        cells += sum(
            model.confusion.counts[i]
            for model in telemetry.models
            for i in range(len(model.confusion.counts))
        )
        sent += sum(len(each.ids) for each in samples)
        thinned, reports = telemetry.loss.samples_thinned, reports + 1
    assert (cells, reports) == (300, 3)
    assert sent + thinned == 500
    assert sent > 0


# truth that comes by a message


def answered(agent: Agent, *identities: str, truth: int | None = None) -> None:
    for identity in identities:
        agent.results.put(Result(Sample(identity, None, truth), prediction("digits/1", best=1), 1.7e9))
    agent.step(1)


def told(agent: Agent, *truths: tuple[str, int]) -> None:
    agent.tell(OWN["truth"], encode(Truths(tuple(i for i, _ in truths), tuple(t for _, t in truths))))


def report(agent: Agent):  # type: ignore[no-untyped-def]
    agent.clock.turn(10.0)
    agent.step()
    return agent.telemetry()[-1].body


def test_a_truth_by_a_message_counts_for_the_answer_with_its_id(agent: Agent) -> None:
    answered(agent, "a", "b")
    told(agent, ("a", 1), ("b", 2))
    (model,) = report(agent).models
    assert (model.labelled, model.correct) == (2, 1)
    assert set(zip(model.confusion.truth, model.confusion.predicted, strict=True)) == {(1, 1), (2, 1)}
    assert sum(model.reliability.labelled) == 2


def test_a_truth_counts_once_and_others_are_counted_by_cause(agent: Agent) -> None:
    answered(agent, "a", "b")
    told(agent, ("a", 1))
    told(agent, ("a", 1), ("never", 0), ("b", 3), ("b", -1))
    body = report(agent)
    assert [model.labelled for model in body.models] == [1]
    assert (body.loss.truths_unknown, body.loss.truths_unfit) == (2, 2)
    told(agent, ("b", 0))  # a wrong class does not use it up
    assert [model.labelled for model in report(agent).models] == [1]


def test_an_answer_whose_truth_its_source_knows_is_not_counted_again(agent: Agent) -> None:
    answered(agent, "a", truth=1)
    told(agent, ("a", 1))
    assert report(agent).loss.truths_unknown == 1


def test_a_sample_waits_for_its_truth_longer_than_other_answers() -> None:
    remembered = Remembered(limit=3)
    for n in range(3):
        remembered.remember(f"sample-{n}", ("m/1", (0,), (0.9,), (), 3, ()))
        remembered.sampled(f"sample-{n}")
    for n in range(10):
        remembered.remember(f"{n}", ("m/1", (0,), (0.9,), (), 3, ()))
    assert remembered.find("sample-0")
    assert not remembered.find("6")
    assert remembered.judge("sample-0", [0]).correct == 1
    assert not remembered.find("sample-0")
