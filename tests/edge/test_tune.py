"""The choice of threads and interpreters from measurements."""

from __future__ import annotations

from edge.checkup.tune import Measured, Tuning, as_table, kernels_line, settings_lines, time_text, tune


class Machine:
    """A machine with known times: p99 by threads, and calls a second and p99 by interpreters."""

    def __init__(
        self, threads: dict[int, float], pool: dict[int, tuple[float, float]], most: int = 99
    ) -> None:
        self._threads, self._pool, self._most = threads, pool, most
        self.asked: list[tuple[int, int]] = []

    def measure(self, threads: int, pool: int) -> Measured | None:
        if len(self.asked) >= self._most:
            return None
        self.asked.append((threads, pool))
        rate, p99 = (
            self._pool[pool] if threads == 1 else (1e6 / self._threads[threads], self._threads[threads])
        )
        return Measured(threads, pool, 1000, p99 * 0.9, p99, rate)


def test_more_threads_are_taken_while_they_are_clearly_faster() -> None:
    machine = Machine({2: 60.0, 3: 50.0, 4: 48.0}, {1: (10, 100.0), 2: (10, 100.0)})
    found = tune(4, machine.measure)
    assert (found.threads, found.pool, found.in_time) == (3, 1, True)
    assert machine.asked == [(1, 1), (2, 1), (3, 1), (4, 1), (1, 2)]


def test_a_series_ends_with_the_first_that_is_worse() -> None:
    machine = Machine({2: 75_000.0}, {1: (10, 100.0), 2: (19, 110.0), 3: (28, 120.0), 4: (29, 400.0)})
    found = tune(4, machine.measure)
    assert (found.threads, found.pool) == (1, 3)
    assert (3, 1) not in machine.asked


def test_more_answers_do_not_excuse_late_ones() -> None:
    machine = Machine({2: 100.0}, {1: (10, 100.0), 2: (30, 151.0)})
    assert tune(2, machine.measure).pool == 1


def test_one_core_leaves_nothing_to_choose() -> None:
    found = tune(1, Machine({}, {1: (10, 100.0)}).measure)
    assert (len(found.rows), found.threads, found.pool) == (1, 1, 1)


def test_when_time_is_up_what_was_measured_counts() -> None:
    machine = Machine({2: 50.0, 3: 30.0}, {1: (10, 100.0), 2: (20, 100.0)}, most=2)
    found = tune(4, machine.measure)
    assert (found.threads, found.pool, found.in_time) == (2, 1, False)
    assert tune(4, Machine({}, {}, most=0).measure).in_time is False


def test_the_result_is_a_table_and_lines_for_the_settings_file() -> None:
    found = tune(2, Machine({2: 50.0}, {1: (10_000, 100.0), 2: (19_000, 104.0)}).measure)
    assert as_table(found)[1].split() == ["1", "1", "1000", "90", "us", "0.1", "ms", "10000"]
    lines = settings_lines(found)
    assert lines[2:4] == ["    [model]", "    threads = 2"]
    assert lines[-3:] == ["    [model]", "    threads = 1", "    pool = 2"]
    assert settings_lines(Tuning((), 1, 1))[-1] == "    threads = 1"


def test_whether_the_fast_kernels_took_the_model_is_told() -> None:
    def told(operators: int, delegated: int) -> str:
        row = Measured(1, 1, 9, 1.0, 2.0, 3.0, operators, delegated)
        return kernels_line(Tuning((row,), 1, 1))

    assert told(12, 1) == "the model has 12 operators; XNNPACK runs them in 1 partition"
    assert told(12, 2).endswith("in 2 partitions")
    assert told(12, 0).endswith("XNNPACK runs none of them")
    assert kernels_line(Tuning((), 1, 1)) == ""


def test_times_are_written_as_people_read_them() -> None:
    assert [time_text(t) for t in (1.23456, 99.0, 240.0, 61_160.0, 2e6)] == [
        "1.23 us", "99 us", "0.24 ms", "61.2 ms", "2 s",
    ]  # fmt: skip
