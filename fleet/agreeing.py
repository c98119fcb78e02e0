"""Whether a release answers as a reference model does, on inputs that devices sampled and it ran again.

Both may be wrong about the same dark picture, so this is no accuracy: it shows what quantisation, the
interpreter and the board change. Pure.

Rules:
- two answers agree where they are the same class (wire/scores.py); no class on both sides is the same too;
- only samples that were taken uniformly say how often: their share has an interval whose clusters are
  devices (fleet/estimating.py). Of those that were picked because the model was not sure, or by class, the
  bare counts are told.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from fleet.estimating import Estimate, column, share

UNIFORM: Final = "uniform"
#: Of a sample from before devices told why they took it.
UNTOLD: Final = "untold"


@dataclass(frozen=True)
class Rerun:
    """One sampled answer, and what the reference says to its input; confidences are None where not known."""

    device: str
    sample: str
    at_s: float
    policy: str
    answered: int
    confidence: float | None
    reference: int
    reference_confidence: float | None
    truth: int | None = None

    @property
    def agrees(self) -> bool:
        return self.answered == self.reference


@dataclass(frozen=True)
class PolicyAgreement:
    """The samples that were taken for one reason; `share` is None where they are not a picture of all."""

    policy: str
    answers: int
    agreeing: int
    share: Estimate | None = None


@dataclass(frozen=True)
class Against:
    """What a release was compared with: a file's name and SHA-256, and the model in it, where it tells."""

    file: str
    sha256: str
    model: str | None = None


@dataclass(frozen=True)
class Agreement:
    """The result for one release. `left_out` counts samples that could not be run, by reason; `truths` counts
    among the disagreeing ones whose label is known who was right."""

    release: str
    against: Against
    at_s: float
    policies: tuple[PolicyAgreement, ...]
    disagreeing: tuple[Rerun, ...]
    left_out: dict[str, int] = field(default_factory=dict)
    truths: dict[str, int] = field(default_factory=dict)
    v: int = 1

    @property
    def answers(self) -> int:
        return sum(part.answers for part in self.policies)


def agreement(
    release: str, against: Against, reruns: Sequence[Rerun], at_s: float, left_out: dict[str, int]
) -> Agreement:
    """Return what the reruns say, the uniform samples first."""
    groups: dict[str, list[Rerun]] = defaultdict(list)
    for one in reruns:
        groups[one.policy].append(one)
    apart = tuple(one for one in reruns if not one.agrees)
    ordered = sorted(groups.items(), key=lambda group: (group[0] != UNIFORM, group[0]))
    return Agreement(
        release=release,
        against=against,
        at_s=at_s,
        policies=tuple(_policy(name, group) for name, group in ordered),
        disagreeing=apart,
        left_out=left_out,
        truths=_truths(apart),
    )


def _policy(name: str, group: Sequence[Rerun]) -> PolicyAgreement:
    agreeing = sum(one.agrees for one in group)
    return PolicyAgreement(name, len(group), agreeing, _share(group) if name == UNIFORM else None)


def _share(group: Iterable[Rerun]) -> Estimate | None:
    whole: Counter[str] = Counter()
    part: Counter[str] = Counter()
    for one in group:
        whole[one.device] += 1
        part[one.device] += one.agrees
    return share(column(part[device] for device in whole), column(whole.values()))


def _truths(apart: Iterable[Rerun]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for one in apart:
        if one.truth is not None:
            side = {one.answered: "release", one.reference: "reference"}.get(one.truth, "neither")
            found[side] += 1
    return dict(found)
