"""What became of every input and every result: each is answered, or counted with the reason why not.

    refused   an input that is no sample, or does not fit the model: the sender's fault
    failed    the model broke on it
    dropped   passed over on purpose: a newer frame, a full queue
    lost      answered, but a sink could not take the answer

The first of each kind is told at once, with its name; the rest are only counted. Any thread may call.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sized
from typing import Final

from wire.histogram import BUCKETS, bucket_of, pack, quantile

_ONLY_COUNTED: Final = " (further ones are only counted)"


class Tally:
    """Counts, and tells `say` the first of each kind."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._refused: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._dropped_rows: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._told: set[str] = set()
        self._latency_us = [0] * BUCKETS
        self._answered = 0
        self._failed = 0
        self._queues: list[Sized] = []

    def watch(self, queue: Sized) -> None:
        """Let what waits in a source's queue be seen."""
        self._queues.append(queue)

    @property
    def waiting(self) -> int:
        """How many inputs wait for the model now."""
        return sum(map(len, self._queues))

    def answered(self, latency_s: float) -> None:
        bucket = bucket_of(latency_s * 1e6)
        with self._lock:
            self._answered += 1
            self._latency_us[bucket] += 1

    def refuse(self, kind: str, detail: str) -> None:
        """Count an input of no use; `kind` is one of few (`line`, `file`), `detail` the whole sentence."""
        self._count(self._refused, kind, detail)

    def fail(self, detail: str) -> None:
        """Count an input on which the model broke."""
        with self._lock:
            self._failed += 1
        self.tell("failed", detail + _ONLY_COUNTED)

    def drop(self, cause: str, count: int = 1) -> None:
        """Count inputs that were passed over for newer ones."""
        with self._lock:
            self._dropped[cause] += count

    def drop_row(self, cause: str, count: int = 1) -> None:
        """Count answers that were passed over for newer ones."""
        with self._lock:
            self._dropped_rows[cause] += count

    def lose(self, sink: str, count: int, detail: str) -> None:
        """Count answers that a sink will never hold."""
        self._count(self._lost, sink, detail, count)

    def tell(self, kind: str, detail: str) -> None:
        """Say `detail` unless something of this kind was said before."""
        with self._lock:
            new = kind not in self._told
            self._told.add(kind)
        if new:
            self._say(detail)

    def _count(self, counter: Counter[str], kind: str, detail: str, count: int = 1) -> None:
        with self._lock:
            counter[kind] += count
        self.tell(kind, detail + _ONLY_COUNTED)

    @property
    def answers(self) -> int:
        return self._answered

    @property
    def refused(self) -> int:
        with self._lock:
            return self._refused.total()

    @property
    def failed(self) -> int:
        return self._failed

    @property
    def dropped(self) -> int:
        """Inputs that were never answered, since newer ones came."""
        with self._lock:
            return self._dropped.total()

    @property
    def dropped_rows(self) -> int:
        """Answers that a slow sink was never given, since newer ones came."""
        with self._lock:
            return self._dropped_rows.total()

    @property
    def lost(self) -> int:
        """Answers that a sink was given and could not take."""
        with self._lock:
            return self._lost.total()

    def quantile_ms(self, q: float) -> float | None:
        """Return the q-quantile of the latency in the model, or None without an answer."""
        with self._lock:
            found = quantile(pack(self._latency_us), q)
        return None if found is None else found / 1000

    def standing(self, rate: float) -> str:
        """Return one short line for while it runs: answers, how many a second, and what went wrong."""
        with self._lock:
            counts = {
                "refused": self._refused.total(),
                "failed": self._failed,
                "lost": self._lost.total(),
            }
            dropped = self._dropped.total() + self._dropped_rows.total()
            parts = [f"answered {self._answered:,}", f"{rate:,.0f}/s", f"dropped {dropped:,}"]
        return "  ".join(parts + [f"{name} {count:,}" for name, count in counts.items() if count])

    def summary(self) -> str:
        """Return one line: answered, refused, failed, dropped and lost with their reasons, p50 and p99."""
        with self._lock:
            parts = [
                f"answered {self._answered}",
                _named("refused", self._refused),
                f"failed {self._failed}",
                _named("dropped", self._dropped + self._dropped_rows),
            ]
            if self._lost:
                parts.append(_named("lost", self._lost))
        p50, p99 = self.quantile_ms(0.5), self.quantile_ms(0.99)
        latency = "" if p50 is None or p99 is None else f"; latency p50 {p50:.3g} ms, p99 {p99:.3g} ms"
        return ", ".join(parts) + latency


def _named(what: str, counter: Counter[str]) -> str:
    reasons = ", ".join(f"{kind} {n}" for kind, n in sorted(counter.items()))
    return f"{what} {counter.total()}" + (f" ({reasons})" if reasons else "")
