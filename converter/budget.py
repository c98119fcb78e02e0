"""The budget: what a smaller model may cost, and whether one stays inside it. Pure.

Rules:
- a loss is counted in points of the score (evaluation.py) against the model's own source, on the
  same samples: newly wrong minus newly right answers, not the difference of two estimates;
- no class may pay for all of it: a free search put a loss of one point on one class, which lost 16.
  A class with few samples is not refused for one of them: that is as fine as it can be measured;
- a model that is slower than its own float32 form is refused unless a latency is asked for, because
  some modes are (dynamic int8 on depthwise networks took two to three times as long);
- each thing that a budget can name is one field here, one key on the command line, one sentence in
  a refusal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from converter.evaluation import Evaluation, Latency, largest_recall_drop
from wire.errors import SettingsError

#: Differences below this are noise of the clock, whatever their ratio: small models take 1 to 10 us.
_CLOCK_NOISE_US: Final = 5.0
#: Two runs of the same float32 file differed by up to a tenth here.
_SLOWDOWN: Final = 1.1
#: Of outputs whose truth nobody gives, what they may differ from the source's, in their spread.
_OTHERS_POINTS: Final = 10


@dataclass(frozen=True)
class Budget:
    """What may be lost (points are hundredths), and limits in bytes and microseconds; None: no limit.

    `loss_points` is the score's, `class_points` the recall's of any one class. `file_bytes` is the
    bundle on disk, `wire_bytes` what a device fetches, `latency_us` one call on the board: this
    machine's time multiplied by `board_factor`.
    """

    loss_points: float = 0.5
    class_points: float = 5.0
    file_bytes: int | None = None
    wire_bytes: int | None = None
    latency_us: float | None = None
    board_factor: float = 1.0


@dataclass(frozen=True)
class Cost:
    """What one candidate takes: the bundle on disk, xz as it travels, and single calls here.

    Beside a previous bundle `wire_bytes` is the update, and `whole_bytes` the bundle.
    """

    file_bytes: int
    wire_bytes: int
    latency: Latency
    whole_bytes: int | None = None

    @property
    def sent_bytes(self) -> int:
        """What is sent to a device that holds nothing."""
        return self.wire_bytes if self.whole_bytes is None else self.whole_bytes


def parse_budget(text: str, board_factor: float = 1.0) -> Budget:
    """Read `accuracy=1.0pt,latency=20ms,size=500kB`; raise SettingsError that teaches the form."""
    budget = Budget(board_factor=board_factor)
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, _, value = part.partition("=")
        if key not in KEYS:
            raise SettingsError(f"--budget {part!r}: choose from {', '.join(KEYS)} ({EXAMPLE})")
        field, read = KEYS[key]
        try:
            budget = replace(budget, **{field: read(value.strip())})
        except ValueError as error:
            raise SettingsError(f"--budget {part!r}: {error}") from error
    return budget


def misses(
    budget: Budget, source: Evaluation, candidate: Evaluation, *, margin_errors: float = 0.0
) -> tuple[str, ...]:
    """Return a sentence for each limit on answers that `candidate` breaks; none: it is inside.

    `margin_errors` standard errors of the paired loss are added to it: whoever picks the smallest of
    many on some samples picks luck too, and the next samples will not be as kind.
    """
    found = []
    lost = loss_points(source, candidate)
    margin = margin_errors * loss_error_points(candidate)
    if lost + margin > budget.loss_points + 1e-9:
        by = f" (and {margin:.1f} of margin)" if margin >= 0.05 else ""
        found.append(f"loses {lost:.1f} points{by}, {budget.loss_points:.1f} allowed")
    if candidate.others_fit < 1 - _OTHERS_POINTS / 100:
        found.append(
            f"another output than the first differs from the source's by {(1 - candidate.others_fit):.0%} "
            f"of its spread, {_OTHERS_POINTS} % allowed"
        )
    if source.classes is not None and candidate.classes is not None:
        worst = largest_recall_drop(source.classes, candidate.classes)
        one_sample_points = 100.0 / worst.members
        if worst.drop * 100 > max(budget.class_points, one_sample_points) + 1e-9:
            found.append(
                f"class {worst.position} loses {worst.drop * 100:.1f} points of recall, "
                f"{budget.class_points:.1f} allowed"
            )
    return tuple(found)


def cost_misses(budget: Budget, float32: Cost, candidate: Cost) -> tuple[str, ...]:
    """Return a sentence for each limit on size and speed that `candidate` breaks."""
    found = []
    if budget.file_bytes is not None and candidate.file_bytes > budget.file_bytes:
        found.append(f"takes {candidate.file_bytes:,} bytes, {budget.file_bytes:,} allowed")
    if budget.wire_bytes is not None and candidate.sent_bytes > budget.wire_bytes:
        found.append(f"sends {candidate.sent_bytes:,} bytes, {budget.wire_bytes:,} allowed")
    taken_us = candidate.latency.median_us * budget.board_factor
    if budget.latency_us is not None:
        if taken_us > budget.latency_us:
            found.append(f"takes {taken_us:,.0f} us a call, {budget.latency_us:,.0f} allowed")
    elif is_slower(float32.latency, candidate.latency):
        ratio = candidate.latency.median_us / float32.latency.median_us
        found.append(f"is {ratio:.1f} times slower than float32; a latency in the budget would allow it")
    return tuple(found)


def is_slower(float32: Latency, candidate: Latency) -> bool:
    """Return whether `candidate` is slower by more than two runs of one file differ."""
    limit_us = max(float32.median_us * _SLOWDOWN, float32.median_us + _CLOCK_NOISE_US)
    return candidate.median_us > limit_us


def loss_points(source: Evaluation, candidate: Evaluation) -> float:
    """Return the points of the score that `candidate` lost; negative when it gained."""
    if source.score is None or candidate.score is None:
        return 0.0
    return (source.score - candidate.score) * 100


def loss_error_points(candidate: Evaluation) -> float:
    """Return the standard error of a paired loss, in points; 0 where there are no counts.

    Of the difference of two correlated shares: Agresti, "Categorical Data Analysis", section 11.1.
    """
    marks = candidate.classes
    if marks is None:
        return 0.0
    count = sum(marks.members)
    wrong, right = marks.newly_wrong, marks.newly_right
    return 100.0 * math.sqrt(max(0.0, wrong + right - (wrong - right) ** 2 / count)) / count


def _points(text: str) -> float:
    return _quantity(text, {"pt": 1.0, "pts": 1.0, "points": 1.0, "": 1.0, "%": 1.0})


def _bytes(text: str) -> int:
    units = {"": 1.0, "B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1024.0, "MiB": 1024.0**2}
    return int(_quantity(text, units))


def microseconds(text: str) -> float:
    """Read `310us`, `20ms` or `1s`; raise ValueError that names the units."""
    return _quantity(text, {"us": 1.0, "ms": 1e3, "s": 1e6}, needs_unit=True)


def _quantity(text: str, units: dict[str, float], *, needs_unit: bool = False) -> float:
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z%]*)", text)
    known = ", ".join(unit for unit in units if unit)
    if matched is None:
        raise ValueError(f"give a number and a unit ({known})")
    number, unit = matched.groups()
    if unit not in units or (needs_unit and not unit):
        raise ValueError(f"its unit must be one of {known}")
    return float(number) * units[unit]


EXAMPLE: Final = "such as accuracy=1.0pt,latency=20ms,size=500kB"
#: Key on the command line: (field of the budget, reader of its value).
KEYS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "accuracy": ("loss_points", _points),
    "class": ("class_points", _points),
    "size": ("file_bytes", _bytes),
    "wire": ("wire_bytes", _bytes),
    "latency": ("latency_us", microseconds),
}
