"""Samples: which answers are sent, how often that is, and that no interval costs more than its budget."""

from __future__ import annotations

import base64
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.backend import Tensor
from edge.prediction import Prediction, Reading
from edge.results import Result, Sample
from edge.sampled_inputs import SampledInputs
from edge.sampling import CLASS, LOW, UNIFORM, Sampler, SamplingRules
from edge.scored import Scored, Scorer
from tests.support.fakes import prediction
from wire.codec import encode
from wire.messages import Samples

OUTPUT = Tensor(0, "y", np.dtype(np.float32), (1, 3))
READING = Reading("digits/1", (OUTPUT,))


def answer(identity: str, values: list[float], inputs: object = None, tags: tuple[str, ...] = ()) -> Result:
    raw = np.array([values], np.float32)
    return Result(
        Sample(identity, inputs, tags=tags), Prediction((READING, raw, 1000)), 1.7e9 + len(identity)
    )


def scored(count: int, seed: int = 1) -> list[Scored]:
    shares = np.random.default_rng(seed).dirichlet((3.0, 1.0, 1.0), count).tolist()
    return Scorer().score([answer(f"{n}", row) for n, row in enumerate(shares)])


def sampler(budget_bytes: int = 10**9, **rules: float) -> Sampler:
    return Sampler(SamplingRules(**rules), random.Random(7).random, budget_bytes)  # type: ignore[arg-type]


def policies(cuts: list[Samples]) -> Counter[str]:
    return Counter(policy for cut in cuts for policy in cut.policies)


def ids(cuts: list[Samples], policy: str) -> set[str]:
    return {i for cut in cuts for i, taken in zip(cut.ids, cut.policies, strict=True) if taken == policy}


def test_an_answer_is_read_with_its_class_confidence_and_margin() -> None:
    (one,) = Scorer().score([answer("a", [0.2, 0.7, 0.1])])
    assert (one.said, one.classes) == (1, 3)
    assert (one.confidence, one.margin) == pytest.approx((0.7, 0.5), rel=1e-6)


def test_a_sample_says_when_what_how_sure_and_under_which_tags() -> None:
    taken = sampler(rate=1.0)
    taken.offer(Scorer().score([answer("a", [0.2, 0.7, 0.1], tags=("light=dark",))]))
    (cut,) = taken.cut()
    assert (cut.release, cut.rate, cut.ids, cut.predicted, cut.confidence) == (
        *("digits/1", 1.0, ("a",), (1,), (0.7,)),
    )
    assert (cut.outputs, cut.slices, cut.times_s) == (((0.7, 0.2, 0.1),), (("light=dark",),), (1700000001.0,))
    assert cut.inputs == ()
    assert list(taken.cut()) == []


def test_the_uniform_share_is_taken_at_its_rate() -> None:
    taken = sampler(rate=0.25)
    taken.offer(scored(2000))
    cuts = list(taken.cut())
    assert 400 < policies(cuts)[UNIFORM] < 600
    assert {cut.rate for cut in cuts} == {0.25}


def test_the_rate_is_of_all_answers_also_of_those_that_were_not_handed_over() -> None:
    taken = sampler(rate=1.0)
    taken.offer(scored(30))
    taken.missed(90)
    assert {cut.rate for cut in taken.cut()} == {0.25}


def test_more_than_can_be_held_or_sent_is_thinned_and_counted_and_the_rate_tells() -> None:
    taken = sampler(rate=1.0)
    taken.offer(scored(3000))
    cuts = list(taken.cut())
    assert (policies(cuts)[UNIFORM], taken.thinned) == (1000, 2000)
    assert cuts[0].rate == pytest.approx(1 / 3, rel=1e-3)


def test_what_is_left_of_a_thinned_share_is_as_fair_a_draw() -> None:
    first = 0
    for seed in range(60):
        taken = Sampler(SamplingRules(rate=1.0), random.Random(seed).random, 3000)
        taken.offer(scored(100))
        first += sum(int(i) < 50 for i in ids(list(taken.cut()), UNIFORM))
        total = 100 - taken.thinned
    assert 0.42 < first / (60 * total) < 0.58


def test_the_least_certain_of_an_interval_are_taken() -> None:
    answers, taken = scored(500), sampler(lowest=10, below=0.9)
    taken.offer(answers)
    least = sorted(answers, key=lambda one: one.margin)[:10]
    assert ids(list(taken.cut()), LOW) == {one.result.sample.id for one in least}


def test_sure_answers_are_no_low_confidence_samples() -> None:
    taken = sampler(lowest=10, below=0.5)
    taken.offer(Scorer().score([answer("sure", [0.0, 0.9, 0.1]), answer("not", [0.4, 0.3, 0.3])]))
    assert ids(list(taken.cut()), LOW) == {"not"}


def test_some_of_each_class_are_taken_however_rare_it_is() -> None:
    rare = answer("rare", [0.0, 0.0, 1.0])
    answers = Scorer().score([answer(f"{n}", [1.0, 0.0, 0.0]) for n in range(300)] + [rare])
    taken = sampler(per_class=3)
    taken.offer(answers)
    (cut,) = taken.cut()
    assert Counter(cut.predicted) == {0: 3, 2: 1}
    assert set(cut.policies) == {CLASS}


def test_an_answer_that_several_policies_take_is_sent_once_and_as_uniform() -> None:
    taken = sampler(rate=1.0, lowest=5, per_class=5)
    taken.offer(scored(20))
    assert policies(list(taken.cut())) == {UNIFORM: 20}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), max_size=60),
    st.integers(0, 6000),
    st.booleans(),
)
def test_an_interval_never_takes_more_than_its_budget(
    names: list[str], budget_bytes: int, with_inputs: bool
) -> None:
    rules = SamplingRules(0.7, 5, 1.0, 2)
    encoder = SampledInputs(lambda release: (Tensor(0, "x", np.dtype(np.int8), (1, 90)),), 1000)
    taken = Sampler(rules, random.Random(3).random, budget_bytes, encoder if with_inputs else None)
    rows = np.random.default_rng(5).dirichlet((1.0, 1.0, 1.0), len(names)).tolist()
    given_ = np.zeros((1, 90), np.int8)
    answers = [answer(n, row, given_, (n[:40], "site=lab")) for n, row in zip(names, rows, strict=True)]
    taken.offer(Scorer().score(answers))
    assert sum(len(encode(cut)) for cut in taken.cut()) <= budget_bytes


def test_answers_without_classes_are_sampled_too_and_by_rate_alone() -> None:
    outputs = (Tensor(0, "y", np.dtype(np.float32), (1, 4, 4, 2)),)
    reading = Reading("depth/1", outputs)
    raw = np.full((1, 4, 4, 2), np.nan, np.float32)
    taken = sampler(rate=1.0, lowest=3, per_class=3)
    taken.offer(Scorer().score([Result(Sample("a", None), Prediction((reading, raw, 1)), 1.0)]))
    (cut,) = taken.cut()
    assert (cut.policies, cut.confidence, cut.outputs) == ((UNIFORM,), (None,), ())


def test_releases_share_the_budget_and_are_sent_apart() -> None:
    taken = sampler(3000, rate=1.0)
    results = [Result(Sample(f"{n}", None), prediction(f"m/{n % 2}"), 1.0) for n in range(100)]
    taken.offer(Scorer().score(results))
    sizes = Counter({cut.release: len(cut.ids) for cut in taken.cut()})
    assert set(sizes) == {"m/0", "m/1"}
    assert max(sizes.values()) - min(sizes.values()) <= 1


# inputs

X = Tensor(0, "x", np.dtype(np.int8), (1, 2), 0.5, -3)
Z = Tensor(1, "z", np.dtype(np.float32), (1, 1))


def test_an_input_travels_as_the_model_takes_it() -> None:
    (one,) = Scorer().score([answer("a", [1.0, 0.0, 0.0], np.array([1.0, -1.0], np.float32))])
    assert (
        SampledInputs(lambda release: (X,), 100)(one)
        == base64.b64encode(np.array([-1, -5], np.int8)).decode()
    )
    (named,) = Scorer().score([answer("a", [1.0, 0.0, 0.0], {"z": [7.0], "x": [0.0, 0.0]})])
    both = SampledInputs(lambda release: (X, Z), 100)(named)
    assert base64.b64decode(both or "") == b"\xfd\xfd" + np.float32(7).tobytes()


@pytest.mark.parametrize("inputs", [None, [1.0], {"y": [1.0, 2.0]}, [[1.0, 2.0], [3.0]], "text"])
def test_an_input_that_does_not_fit_the_model_any_more_is_left_out(inputs: object) -> None:
    (one,) = Scorer().score([answer("a", [1.0, 0.0, 0.0], inputs)])
    assert SampledInputs(lambda release: (X,), 100)(one) is None
    assert SampledInputs(lambda release: None, 100)(one) is None


def test_an_input_that_is_too_large_is_left_out() -> None:
    (one,) = Scorer().score([answer("a", [1.0, 0.0, 0.0], [0.0, 0.0])])
    assert SampledInputs(lambda release: (X,), 1)(one) is None
