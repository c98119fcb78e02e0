"""Turns what happened since the last report into messages for the outbox."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

from edge.results import Result
from wire.messages import Samples

#: Samples of one release in one message: at most about 350 bytes each, so a message stays under 64 KiB.
MAX_SAMPLES: Final = 128

_MAX_ID: Final = 64


class Sampler:
    """Picks predictions uniformly at a stated rate and packs them into columns."""

    def __init__(self, rate: float, random: Callable[[], float]) -> None:
        self._rate = rate
        self._random = random
        self._picked: dict[str, list[Result]] = defaultdict(list)

    def offer(self, results: list[Result]) -> None:
        for result in results:
            if self._rate > 0 and self._random() < self._rate:
                self._picked[result.prediction.release].append(result)

    def cut(self) -> Iterator[Samples]:
        """Yield what was picked since the last cut."""
        picked, self._picked = self._picked, defaultdict(list)
        for release, results in picked.items():
            for start in range(0, len(results), MAX_SAMPLES):
                yield self._pack(release, results[start : start + MAX_SAMPLES])

    def _pack(self, release: str, results: list[Result]) -> Samples:
        return Samples(
            release=release,
            rate=self._rate,
            ids=tuple(r.sample.id[:_MAX_ID] for r in results),
            predicted=tuple(r.prediction.best for r in results),
            confidence=tuple(_finite(r.prediction.confidence) for r in results),
            truth=tuple(r.sample.truth for r in results),
        )


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
