"""Which answers are sent as samples, and in how many bytes. Pure.

Rules:
- a sample is taken by one of three policies: `uniform` (a stated share of all), `low-confidence` (those with
  the least margin of an interval) and `class` (some of each class); it is sent once, under the first of them;
- each answer draws a number from 0 to 1: the uniform share are the numbers below the rate, and those of
  a class are its smallest. So whatever has to go, the largest numbers go, and the rest is as fair a draw;
- only uniform samples say how often something is: their rate is the share that was really sent, of all
  answers that were there, also of those that a full queue dropped before they came here;
- an interval's samples stay inside a budget of bytes; what does not fit is counted, and gone.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

import numpy as np

from edge.scored import Scored
from wire.counters import MAX_CLASSES
from wire.messages import Samples

#: Samples of one release in one message, and their bytes: a message stays under 64 KiB.
MAX_SAMPLES: Final = 128
_MESSAGE_BYTES: Final = 48 * 1024

#: As long as an id of a request, and as one that can be labelled; a longer one is cut, and finds no answer.
_MAX_ID: Final = 128
_OUTPUTS: Final = 5
#: Held of one policy and release until they are sent.
_HELD: Final = 1000
#: What a sample takes in a message beside its id, outputs, tags and input.
_SAMPLE_BYTES: Final = 70
_VALUE_BYTES: Final = 12
#: What a message takes beside its samples: names of columns, the release, the head.
_MESSAGE_HEAD_BYTES: Final = 400

UNIFORM: Final = "uniform"
LOW: Final = "low-confidence"
CLASS: Final = "class"


@dataclass(frozen=True)
class SamplingRules:
    """Which answers are wanted.

    `rate` of all answers; the `lowest` of an interval by margin, as far as their confidence is below
    `below`; and `per_class` of each class.
    """

    rate: float = 0.0
    lowest: int = 0
    below: float = 1.0
    per_class: int = 0


@dataclass(frozen=True, slots=True)
class _Picked:
    """One sample, ready to be sent. `bytes` is what it takes in a message."""

    id: str
    time_s: float
    said: int
    confidence: float | None
    truth: int | None
    outputs: tuple[float, ...]
    tags: tuple[str, ...]
    input: str | None
    bytes: int


#: Ordered by what stays: (number, count to tell equal ones apart, sample). The smallest numbers stay.
_Held = tuple[float, int, _Picked]

#: Returns the input of an answer as text (Samples.inputs), or None where it is not sent.
EncodeInput = Callable[[Scored], str | None]


class Sampler:
    """Takes samples of what it is offered, and packs them into columns at each cut.

    `budget_bytes` is for the samples of one interval, of all releases together.
    """

    def __init__(
        self,
        rules: SamplingRules,
        random: Callable[[], float],
        budget_bytes: int = 2**62,
        encode_input: EncodeInput | None = None,
    ) -> None:
        self._rules = rules
        self._random = random
        self._budget_bytes = budget_bytes
        self._encode_input = encode_input
        self._releases: dict[str, _Draw] = defaultdict(_Draw)
        self._most = _HELD
        self._missed = 0
        self._offered = 0
        self._count = 0
        self.thinned = 0

    def missed(self, answers: int) -> None:
        """Take note of answers that were given and never offered."""
        self._missed += answers

    def offer(self, answers: list[Scored]) -> None:
        self._offered += len(answers)
        for one in answers:
            self._offer(one)

    def cut(self, budget_bytes: int | None = None) -> Iterator[Samples]:
        """Yield what was taken since the last cut, in messages of at most the budget together.

        `budget_bytes` is what is left of it this time.
        """
        releases, self._releases = self._releases, defaultdict(_Draw)
        share = self._offered / (self._offered + self._missed) if self._offered else 1.0
        self._offered = self._missed = 0
        self._most = _HELD
        left = self._budget_bytes if budget_bytes is None else min(budget_bytes, self._budget_bytes)
        for place, (release, draw) in enumerate(releases.items()):
            samples, dropped, used = draw.choose(left // (len(releases) - place))
            left -= used
            self.thinned += dropped
            uniform = sum(policy == UNIFORM for policy, _ in samples)
            rate = self._rules.rate * share * (uniform / draw.picked if draw.picked else 1.0)
            for part in _messages(samples):
                yield _pack(release, rate, part)

    def _offer(self, one: Scored) -> None:
        rules, draw, number = self._rules, self._releases[one.result.prediction.release], self._random()
        self._count += 1
        places: list[tuple[list[_Held], int, float]] = []
        if number < rules.rate:
            draw.picked += 1
            self.thinned += len(draw.uniform) >= self._most
            places.append((draw.uniform, _HELD, number))
        if one.classes and one.confidence < rules.below and rules.lowest:
            places.append((draw.lowest, rules.lowest, one.margin))
        if one.classes and one.said >= 0 and rules.per_class and self._has_room(draw, one.said):
            places.append((draw.classes[one.said], rules.per_class, number))
        wanted = [place for place in places if len(place[0]) < place[1] or -place[2] > place[0][0][0]]
        if wanted:
            self._hold(wanted, self._pick(one))

    def _has_room(self, draw: _Draw, said: int) -> bool:
        return said in draw.classes or len(draw.classes) * self._rules.per_class < self._most

    def _hold(self, places: list[tuple[list[_Held], int, float]], picked: _Picked) -> None:
        """Keep a sample among those with the smallest numbers: heapq's first is the smallest, so negative."""
        # Inputs may be large: no more of them are held than could be sent.
        self._most = max(1, min(self._most, self._budget_bytes // picked.bytes))
        for held, most, number in places:
            heapq.heappush(held, (-number, self._count, picked))
            while len(held) > min(most, self._most):
                heapq.heappop(held)

    def _pick(self, one: Scored) -> _Picked:
        result = one.result
        given = self._encode_input(one) if self._encode_input else None
        identity, outputs, tags = result.sample.id[:_MAX_ID], _largest(one), result.sample.tags
        return _Picked(
            id=identity,
            time_s=round(result.time_s, 3),
            said=max(0, one.said),
            confidence=round(one.confidence, 4) if math.isfinite(one.confidence) else None,
            truth=result.sample.truth,
            outputs=outputs,
            tags=tags,
            input=given,
            bytes=_SAMPLE_BYTES
            + _text_bytes((identity, *tags))
            + _VALUE_BYTES * len(outputs)
            + len(given or ""),
        )


class _Draw:
    """What was taken of one release's answers. `picked` counts the uniform ones, also those given up."""

    def __init__(self) -> None:
        self.picked = 0
        self.uniform: list[_Held] = []
        self.lowest: list[_Held] = []
        self.classes: dict[int, list[_Held]] = defaultdict(list)

    def choose(self, budget_bytes: int) -> tuple[list[tuple[str, _Picked]], int, int]:
        """Return (what is sent, with its policy, by time; how many did not fit; the bytes used).

        Once one of a policy does not fit, no further one of it is sent: small ones would be preferred.
        """
        kept: dict[int, tuple[str, _Picked]] = {}
        uniform = {number for _, number, _ in self.uniform}
        full: set[str] = set()
        dropped, left = 0, budget_bytes - _MESSAGE_HEAD_BYTES
        for policy, (_, number, picked) in self._in_turn():
            if number in kept or (policy != UNIFORM and number in uniform and UNIFORM not in full):
                continue
            if policy in full or picked.bytes > left:
                full.add(policy)
                dropped += 1
                continue
            kept[number] = policy, picked
            left -= picked.bytes + _MESSAGE_HEAD_BYTES * (len(kept) % MAX_SAMPLES == 0)
        return sorted(kept.values(), key=lambda one: one[1].time_s), dropped, budget_bytes - left

    def _in_turn(self) -> Iterator[tuple[str, _Held]]:
        """Yield one of each policy, then the next of each: what is first in its own order goes first."""
        by_class = zip_longest(*(_best_first(held) for held in self.classes.values()))
        ways = (
            [(UNIFORM, held) for held in _best_first(self.uniform)],
            [(LOW, held) for held in _best_first(self.lowest)],
            [(CLASS, held) for turn in by_class for held in turn if held is not None],
        )
        for turn in zip_longest(*ways):
            yield from (one for one in turn if one is not None)


def _largest(one: Scored) -> tuple[float, ...]:
    """Return the largest values of the first output, the best first; none of one that is no list."""
    prediction = one.result.prediction
    values = prediction[0].first(prediction.raw[0].ravel())
    if not values.size or values.size > MAX_CLASSES or not np.isfinite(values).all():
        return ()
    return tuple(_short(value) for value in np.sort(values.astype(np.float64))[::-1][:_OUTPUTS].tolist())


def _text_bytes(texts: tuple[str, ...]) -> int:
    return len(json.dumps(texts, ensure_ascii=False).encode(errors="replace"))


def _best_first(held: list[_Held]) -> list[_Held]:
    return sorted(held, reverse=True)


def _messages(samples: list[tuple[str, _Picked]]) -> Iterator[list[tuple[str, _Picked]]]:
    part: list[tuple[str, _Picked]] = []
    size = 0
    for one in samples:
        if part and (len(part) >= MAX_SAMPLES or size + one[1].bytes > _MESSAGE_BYTES):
            yield part
            part, size = [], 0
        part.append(one)
        size += one[1].bytes
    if part:
        yield part


def _pack(release: str, rate: float, samples: list[tuple[str, _Picked]]) -> Samples:
    picked = [one for _, one in samples]
    return Samples(
        release=release,
        rate=_short(rate),
        ids=tuple(one.id for one in picked),
        predicted=tuple(one.said for one in picked),
        confidence=tuple(one.confidence for one in picked),
        truth=tuple(one.truth for one in picked),
        times_s=tuple(one.time_s for one in picked),
        policies=tuple(policy for policy, _ in samples),
        outputs=tuple(one.outputs for one in picked) if any(one.outputs for one in picked) else (),
        slices=tuple(one.tags for one in picked) if any(one.tags for one in picked) else (),
        inputs=tuple(one.input for one in picked) if any(one.input for one in picked) else (),
    )


def _short(value: float) -> float:
    return float(f"{value:.4g}")
