"""The search: which forms of a model to try, which of them is worth having, and which one to ship. Pure.

Rules:
- cheapest first: a form that is only quantized costs a second, a fine-tuned one ten;
- no dynamic-range, 16-bit or 4-bit form is handed out unless a budget asks for a search: they are
  slower on some networks, and not every interpreter runs them;
- recurrent and attention models are not quantized statically (batch-1 static int8 of an LSTM ends
  the process; attention lost 6 % of its answers and was 2.6 times slower);
- the smallest inside the budget wins. Sizes within a tenth are a tie: float32 wins it, for there is
  nothing to gain then, else the order of the plan decides and not the clock: equal inputs have to
  make equal bundles;
- chosen on one split, reported on another. What is chosen must hold on the other one too; how many
  had to be passed over for that is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from converter.budget import Budget, Cost, cost_misses, loss_points, misses
from converter.evaluation import Evaluation

#: Chosen among many, a loss is underestimated. A whole standard error refused forms that then gained on
#: the other split; with half of one, what luck remains is found there.
_MARGIN_ERRORS: Final = 0.5
_TIE: Final = 1.1


@dataclass(frozen=True, order=True)
class Variant:
    """One form to try: a recipe, and the compression that is trained in before it ("" for none).

    `fresh` is set where the activation ranges of a previous bundle are known and are not to be kept.
    """

    recipe: str
    compression: str = ""
    fresh: bool = False

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.recipe, self.compression, "fresh" if self.fresh else "")))


@dataclass(frozen=True)
class Entry:
    """One form that was tried. Without `cost` and evaluations, `error` says why it could not be made."""

    variant: Variant
    choose: Evaluation | None = None
    test: Evaluation | None = None
    cost: Cost | None = None
    error: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether an entry may be shipped: the limits that it breaks, on either split; none, and it may."""

    entry: Entry
    misses: tuple[str, ...]

    @property
    def inside(self) -> bool:
        return not self.misses


@dataclass(frozen=True)
class Baseline:
    """What candidates are compared with: the source's answers on both splits, its float32 form's cost."""

    choose: Evaluation
    test: Evaluation
    cost: Cost


@dataclass(frozen=True)
class Choice:
    """The entry to ship (None: none is inside), and those that held on one split but not on the other."""

    entry: Entry | None
    passed_over: tuple[Entry, ...] = ()


def default_plan(traits: frozenset[str], *, calibrates: bool) -> tuple[Variant, ...]:
    """Return what is tried when nothing was asked for, the preferred first."""
    static = calibrates and not traits & {"recurrent", "attention", "trees"}
    recipes = (*(("int8",) if static else ()), "weight-int8", "float16", "float32")
    return tuple(Variant(recipe) for recipe in recipes)


def search_plan(
    traits: frozenset[str], levels: Sequence[str], *, calibrates: bool, trains: bool
) -> tuple[Variant, ...]:
    """Return what a search tries, cheapest first. `levels` are the compressions, mildest first.

    Compression shrinks what travels through int8 codes that repeat, so it goes with static int8, or
    with weight-only int8 where that cannot be.
    """
    plain = default_plan(traits, calibrates=calibrates)
    static = plain[0].recipe == "int8"
    more = (*(("int8-float-io",) if static else ()), "dynamic-int8", "weight-int4")
    quantized = [*plain, *(Variant(recipe) for recipe in more)]
    tuned = [Variant(plain[0].recipe, level) for level in levels] if trains else []
    return (*quantized, *tuned)


def is_out_of_reach(entries: Sequence[Entry], variant: Variant, budget: Budget) -> bool:
    """Return whether compressing cannot bring `variant` inside: its file stays as large as before."""
    if not variant.compression or budget.file_bytes is None:
        return False
    plain = [
        e.cost.file_bytes for e in entries if e.cost is not None and e.variant == Variant(variant.recipe)
    ]
    return bool(plain) and min(plain) > budget.file_bytes


def judge(entry: Entry, baseline: Baseline, budget: Budget, *, margin: bool) -> Verdict:
    """Return whether `entry` keeps inside the budget on the choosing split."""
    if entry.cost is None or entry.choose is None:
        return Verdict(entry, (entry.error or "was not measured",))
    answers = misses(budget, baseline.choose, entry.choose, margin_errors=_MARGIN_ERRORS if margin else 0.0)
    return Verdict(entry, answers + cost_misses(budget, baseline.cost, entry.cost))


def choose(entries: Sequence[Entry], baseline: Baseline, budget: Budget, *, margin: bool) -> Choice:
    """Return the smallest entry that is inside the budget on both splits."""
    fit = [entry for entry in entries if judge(entry, baseline, budget, margin=margin).inside]
    passed_over: list[Entry] = []
    while fit:
        found = _smallest(fit)
        assert found.test is not None
        if not misses(budget, baseline.test, found.test):
            return Choice(found, tuple(passed_over))
        passed_over.append(found)
        fit.remove(found)
    return Choice(None, tuple(passed_over))


def closest(entries: Sequence[Entry], baseline: Baseline, budget: Budget) -> Entry | None:
    """Return the entry that goes least beyond the limits, all shares added up."""
    made = [entry for entry in entries if entry.cost is not None and entry.test is not None]
    return min(made, key=lambda entry: _beyond(entry, baseline, budget), default=None)


def _beyond(entry: Entry, baseline: Baseline, budget: Budget) -> tuple[float, float]:
    """Return by which share of them `entry` goes beyond the limits, and what it loses."""
    assert entry.cost is not None
    assert entry.test is not None
    lost = loss_points(baseline.test, entry.test)
    taken = [
        (lost, max(budget.loss_points, 0.1)),
        (entry.cost.file_bytes, budget.file_bytes),
        (entry.cost.sent_bytes, budget.wire_bytes),
        (entry.cost.latency.median_us * budget.board_factor, budget.latency_us),
    ]
    return sum(max(0.0, value / limit - 1) for value, limit in taken if limit), lost


def front(entries: Sequence[Entry], baseline: Baseline) -> tuple[Entry, ...]:
    """Return the Pareto front, smallest first: no other entry is better in one thing and worse in none.

    The things are what travels, what is lost on the choosing split, and the time of a call.
    """
    marks = {}
    for entry in entries:
        if entry.cost is not None and entry.choose is not None:
            lost = max(0.0, loss_points(baseline.choose, entry.choose))
            marks[entry] = (entry.cost.wire_bytes, lost, entry.cost.latency.median_us)
    best = [
        entry for entry, mine in marks.items() if not any(_dominates(other, mine) for other in marks.values())
    ]
    return tuple(sorted(best, key=lambda entry: marks[entry]))


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _smallest(entries: Sequence[Entry]) -> Entry:
    """Return of those whose size is within a tie of the smallest float32, or else the first."""
    limit = _TIE * min(entry.cost.wire_bytes for entry in entries if entry.cost is not None)
    tied = [entry for entry in entries if entry.cost is not None and entry.cost.wire_bytes <= limit]
    return next((entry for entry in tied if entry.variant.recipe == "float32"), tied[0])
