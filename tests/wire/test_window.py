"""The window rule of the chunk transfer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wire.window import MAX_OUTSTANDING, MIN_OUTSTANDING, Window

CHUNK = 65536


def test_it_starts_small_and_grows_while_chunks_arrive_soon() -> None:
    window = Window(range(100))
    first = window.next(0.0)
    assert first.subscribe == (0, 1)
    for i in first.subscribe:
        window.arrived(i, 0.01)
    assert len(window.next(0.01).subscribe) == MIN_OUTSTANDING + 2


def test_it_shrinks_when_chunks_wait_behind_others() -> None:
    window = Window(range(100))
    now_s = 0.0
    for _ in range(4):
        for i in window.next(now_s).subscribe:
            window.arrived(i, now_s)
    for i in window.next(now_s).subscribe:
        window.arrived(i, now_s + 2.0)
    assert len(window.next(now_s + 2.0).subscribe) < MAX_OUTSTANDING


def test_silence_is_answered_by_asking_again_with_the_smallest_window() -> None:
    window = Window(range(10))
    window.next(0.0)
    assert window.next(4.9).again == ()
    assert window.next(5.0).again == (0, 1)
    assert window.next(5.1).again == ()


def test_a_stall_is_measured_over_all_repetitions() -> None:
    window = Window(range(2))
    window.next(0.0)
    for now_s in (5.0, 10.0, 15.0):
        window.next(now_s)
    assert window.stalled_s(15.0) == 15.0
    window.arrived(0, 15.0)
    assert window.stalled_s(16.0) == 1.0
    window.arrived(1, 15.0)
    assert window.stalled_s(99.0) == 0.0


def test_a_chunk_that_stays_wrong_ends_the_download() -> None:
    window = Window([0])
    window.next(0.0)
    assert [window.refuse(0, float(n)) for n in range(5)] == [True, True, True, True, False]


def test_a_slow_link_is_not_asked_twice_for_what_is_on_its_way() -> None:
    window, arrivals, asked, now_s = Window(range(20)), [], 0, 0.0
    busy_until_s = 0.0
    while not window.done and now_s < 600:
        ask = window.next(now_s)
        for i in (*ask.subscribe, *ask.again):
            busy_until_s = max(busy_until_s, now_s) + CHUNK / 15_000  # a link of 15 kB/s, in order
            arrivals.append((busy_until_s, i))
            asked += 1
        now_s += 0.1
        while arrivals and arrivals[0][0] <= now_s:
            window.arrived(arrivals.pop(0)[1], now_s)
        assert window.stalled_s(now_s) < 60
    assert window.done
    assert asked <= 20 + 3


def test_a_late_double_is_not_counted() -> None:
    window = Window([0, 1])
    window.next(0.0)
    assert window.arrived(0, 0.1)
    assert not window.arrived(0, 0.2)


def test_a_lost_link_asks_for_everything_open_again() -> None:
    window = Window(range(3))
    window.next(0.0)
    window.link_lost()
    assert window.outstanding == frozenset()
    assert window.next(1.0).subscribe == (0, 1)


def test_a_rate_is_kept_by_waiting_with_the_next_request() -> None:
    window = Window(range(10), rate_bytes_s=CHUNK)  # one chunk a second
    assert window.next(0.0).subscribe == (0,)
    window.arrived(0, 0.0)
    assert window.next(0.9).subscribe == ()
    assert window.next(1.0).subscribe == (1,)


@given(
    missing=st.sets(st.integers(0, 60), min_size=1),
    moves=st.lists(st.tuples(st.sampled_from(["next", "arrive", "lose"]), st.floats(0, 3)), max_size=200),
)
def test_whatever_happens_the_window_is_never_exceeded_and_everything_arrives_once(
    missing: set[int], moves: list[tuple[str, float]]
) -> None:
    window, now_s, arrived = Window(missing), 0.0, []
    for move, pause_s in moves + [("next", 0.0), ("arrive", 0.0)] * 200:
        now_s += pause_s
        if move == "next":
            window.next(now_s)
        elif move == "lose":
            window.link_lost()
        elif window.outstanding:
            index = min(window.outstanding)
            arrived.append(index)
            assert window.arrived(index, now_s)
        assert len(window.outstanding) <= MAX_OUTSTANDING
    assert window.done
    assert sorted(arrived) == sorted(missing)


@given(st.sampled_from([50_000, 500_000, 2_000_000]), st.floats(0.01, 0.1))
def test_a_cap_holds_over_seconds_whatever_the_rhythm_of_the_loop(rate_bytes_s: int, tick_s: float) -> None:
    window, now_s, asked = Window(range(2000), rate_bytes_s=rate_bytes_s), 0.0, []
    while not asked or now_s - asked[0] < 60.0:
        for i in window.next(now_s).subscribe:
            asked.append(now_s)
            window.arrived(i, now_s)
        now_s += tick_s
    count = max(20, 5 * rate_bytes_s // CHUNK)  # chunks in five seconds, or enough to tell a tenth
    for start in range(10, len(asked) - count, count):
        span_s = asked[start + count] - asked[start]
        assert abs(count * CHUNK / span_s / rate_bytes_s - 1) < 0.1


def test_a_lifted_cap_counts_from_the_next_request() -> None:
    window = Window(range(10), rate_bytes_s=1)
    assert len(window.next(0.0).subscribe) == 1
    assert window.next(1.0).subscribe == ()
    window.limit(None)
    assert len(window.next(1.0).subscribe) == 1


def test_what_is_asked_again_is_counted() -> None:
    window = Window([0, 1])
    window.next(0.0)
    window.next(5.0)
    window.refuse(0, 5.1)
    assert window.repeats == 3
