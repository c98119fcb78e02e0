"""The reference: what the inputs and answers of a model were on the data that it was evaluated on.

It travels in the bundle (`reference.json`), so that devices count the same features in the same bins and a
server can tell whether what they see is still what the model was made for. Pure.

Rules:
- edges ascend, and bin i holds values from edge i - 1 (included) to edge i: what lies outside of all is in
  the end bins, so that every value is in one;
- at most 64 features of at most 32 bins, and 256 KiB: a bundle may come from anyone (ValueError otherwise).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from wire.counters import CONFIDENCE_BINS, MAX_COUNT, Classes

MAX_FEATURES: Final = 64
MAX_BINS: Final = 32
_MAX_NAME: Final = 64

#: What a feature measures of one input: a number of it (by its position in the row), or what sums it up.
COLUMN: Final = "column"
SUMMARIES: Final = ("mean", "deviation", "smallest", "largest")
#: Of a picture: mean and deviation of its luminance, the variance of its Laplacian (little of it is blur),
#: and the share of its pixels within a hundredth of the darkest and brightest value that pictures have.
PICTURES: Final = ("luminance", "contrast", "sharpness", "saturated")
MEASURES: Final = (COLUMN, *SUMMARIES, *PICTURES)


@dataclass(frozen=True)
class Feature:
    """One number of each input, and how often it fell between which `edges` in the reference.

    `input` is the position among the model's inputs, `column` that of the number in its row. `low` and
    `high` are the darkest and the brightest value of the pictures.
    """

    name: str
    measure: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    input: int = 0
    column: int = 0
    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        _check(0 < len(self.name) <= _MAX_NAME, "a feature without a name, or with a long one")
        _check(self.name.isprintable(), "a feature whose name cannot be printed")
        _check(self.measure in MEASURES, f"measure {self.measure[:40]!r}")
        _check(len(self.counts) == len(self.edges) + 1 <= MAX_BINS, f"{len(self.counts)} bins of {self.name}")
        numbers = (*self.edges, self.low, self.high)
        _check(all(math.isfinite(number) for number in numbers), f"{self.name} has edges that are no numbers")
        _check(
            all(a < b for a, b in zip(self.edges, self.edges[1:], strict=False)),
            f"edges of {self.name} do not ascend",
        )
        _check(all(0 <= count <= MAX_COUNT for count in self.counts), f"counts of {self.name}")
        _check(0 <= self.input < 2**16 and 0 <= self.column < 2**31, f"position of {self.name}")


@dataclass(frozen=True)
class Reference:
    """What was seen of `rows` inputs. `predicted` and `confidence` are of the bundle's own answers to them,
    empty where it answers no classes, or no shares."""

    rows: int
    features: tuple[Feature, ...] = ()
    predicted: Classes = field(default_factory=Classes)
    confidence: tuple[int, ...] = ()
    v: int = 1

    def __post_init__(self) -> None:
        _check(0 <= self.rows <= MAX_COUNT, f"{self.rows} rows")
        _check(len(self.features) <= MAX_FEATURES, f"{len(self.features)} features")
        _check(len({f.name for f in self.features}) == len(self.features), "two features of one name")
        _check(len(self.confidence) in (0, CONFIDENCE_BINS), f"{len(self.confidence)} bins of confidence")
        _check(all(0 <= count <= MAX_COUNT for count in self.confidence), "counts of confidence")


def _check(holds: bool, problem: str) -> None:
    if not holds:
        raise ValueError(problem)
