"""Which number of threads and of interpreters suits a model on this machine. Pure.

Rules:
- the choice is by p99, not by the mean: threads that wait for each other show there first (one more
  thread than free cores made 0.2 ms a call into 75);
- fewer win unless more are clearly better: threads cost the rest of the board;
- a series ends with the first that is worse, since what follows is worse still and takes longer;
- threads make one call shorter; a pool of interpreters with one thread each answers several callers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: What a step must gain to be worth its cores.
_WORTH = 0.9
#: How much longer a call may take among others for the sake of their number.
_BEARABLE = 1.5


@dataclass(frozen=True)
class Measured:
    """Calls of `pool` callers at once, each with its own interpreter of `threads` threads.

    Of the model's `operators` XNNPACK runs so many partitions as `delegated` says.
    """

    threads: int
    pool: int
    calls: int
    p50_us: float
    p99_us: float
    calls_per_s: float
    operators: int = 0
    delegated: int = 0


@dataclass(frozen=True)
class Tuning:
    """What was measured, in order, and what it says: `threads` for one caller, `pool` for several."""

    rows: tuple[Measured, ...]
    threads: int
    pool: int
    in_time: bool = True


#: Measures with so many threads and interpreters; None when the time is up.
Measure = Callable[[int, int], Measured | None]


def tune(usable: int, measure: Measure) -> Tuning:
    """Measure from one thread and one interpreter up to `usable` cores, and choose."""
    alone = measure(1, 1)
    if alone is None:
        return Tuning((), 1, 1, in_time=False)
    threaded, threads_in_time = _series(alone, usable, lambda n: measure(n, 1), _is_faster)
    pooled, pool_in_time = _series(alone, usable, lambda n: measure(1, n), _serves_more)
    return Tuning(
        rows=(alone, *threaded, *pooled),
        threads=_best(alone, threaded, _is_faster).threads,
        pool=_best(alone, pooled, _serves_more).pool,
        in_time=threads_in_time and pool_in_time,
    )


_Better = Callable[[Measured, Measured, Measured], bool]


def _series(
    alone: Measured, usable: int, measure: Callable[[int], Measured | None], better: _Better
) -> tuple[tuple[Measured, ...], bool]:
    """Measure 2, 3, … until one is no better than the best before; tell whether time allowed it."""
    rows: list[Measured] = []
    for number in range(2, usable + 1):
        row = measure(number)
        if row is None:
            return tuple(rows), False
        best = _best(alone, tuple(rows), better)
        rows.append(row)
        if not better(row, best, alone):
            break
    return tuple(rows), True


def _best(alone: Measured, rows: tuple[Measured, ...], better: _Better) -> Measured:
    best = alone
    for row in rows:
        if better(row, best, alone):
            best = row
    return best


def _is_faster(row: Measured, best: Measured, alone: Measured) -> bool:
    del alone
    return row.p99_us < best.p99_us * _WORTH


def _serves_more(row: Measured, best: Measured, alone: Measured) -> bool:
    more = row.calls_per_s * _WORTH > best.calls_per_s
    return more and row.p99_us <= alone.p99_us * _BEARABLE


def as_table(tuning: Tuning) -> list[str]:
    """Return the lines of a table of what was measured."""
    lines = [f"{'threads':>7} {'pool':>5} {'calls':>8} {'p50':>10} {'p99':>10} {'calls/s':>9}"]
    for row in tuning.rows:
        p50, p99 = time_text(row.p50_us), time_text(row.p99_us)
        lines.append(
            f"{row.threads:>7} {row.pool:>5} {row.calls:>8} {p50:>10} {p99:>10} {row.calls_per_s:>9.0f}"
        )
    return lines


def kernels_line(tuning: Tuning) -> str:
    """Return whether the fast kernels took this model; empty when nothing was measured."""
    if not tuning.rows:
        return ""
    first = tuning.rows[0]
    noun = "partition" if first.delegated == 1 else "partitions"
    runs = f"runs them in {first.delegated} {noun}" if first.delegated else "runs none of them"
    return f"the model has {first.operators} operators; XNNPACK {runs}"


def settings_lines(tuning: Tuning) -> list[str]:
    """Return what to write into device.toml: for one source, and for several callers over HTTP."""
    lines = ["in device.toml, for one source:", "", "    [model]", f"    threads = {tuning.threads}"]
    if (tuning.threads, tuning.pool) != (1, 1):
        lines += ["", "and for several callers over HTTP:", "", "    [model]", "    threads = 1"]
        lines.append(f"    pool = {tuning.pool}")
    return lines


def time_text(time_us: float) -> str:
    """Return a time as people write it: 1.5 us, 0.24 ms, 1.2 s."""
    if time_us < 100:
        return f"{time_us:.3g} us"
    return f"{time_us / 1e3:.3g} ms" if time_us < 1e6 else f"{time_us / 1e6:.3g} s"
