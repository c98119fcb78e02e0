"""What the outbox sends next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.sending import MAX_OPEN, RESEND_AFTER_S, SendWindow


def drain(window: SendWindow, now_s: float) -> list[int]:
    sent = []
    while (sequence := window.next(now_s)) is not None:
        window.sent(sequence, now_s)
        sent.append(sequence)
    return sent


def test_live_messages_go_first_and_the_backlog_behind_them() -> None:
    window = SendWindow(0, 5)
    window.added(6)
    window.added(7)
    assert drain(window, 0.0) == [6, 7, 1, 2, 3, 4, 5]


def test_a_long_backlog_is_sent_in_portions() -> None:
    window = SendWindow(0, 1000)
    assert drain(window, 0.0) == list(range(1, MAX_OPEN + 1))
    window.acknowledged(50, 1.0)
    assert drain(window, 1.0) == list(range(MAX_OPEN + 1, MAX_OPEN + 51))


def test_silence_makes_it_send_again() -> None:
    window = SendWindow(0, 2)
    assert drain(window, 0.0) == [1, 2]
    assert drain(window, RESEND_AFTER_S) == []
    assert drain(window, RESEND_AFTER_S + 0.1) == [1, 2]


def test_what_is_acknowledged_is_not_sent_again() -> None:
    window = SendWindow(0, 4)
    drain(window, 0.0)
    window.acknowledged(3, 1.0)
    window.restart(2.0)
    assert drain(window, 2.0) == [4]
    window.acknowledged(4, 3.0)
    assert window.settled


def test_an_acknowledgement_of_the_future_is_not_believed() -> None:
    window = SendWindow(0, 2)
    window.acknowledged(99, 0.0)
    window.added(3)
    assert drain(window, 0.0) == [3]


@given(
    st.integers(0, 50),
    st.lists(st.sampled_from(["add", "send", "ack", "lose", "wait"]), max_size=120),
    st.randoms(use_true_random=False),
)
def test_in_any_order_of_events_everything_reaches_the_server(
    backlog: int, moves: list[str], random: object
) -> None:
    window, newest, now_s = SendWindow(0, backlog), backlog, 0.0
    arrived: set[int] = set()
    for move in moves:
        if move == "add":
            newest += 1
            window.added(newest)
        elif move == "send" and (sequence := window.next(now_s)) is not None:
            window.sent(sequence, now_s)
            if random.random() < 0.7:  # type: ignore[attr-defined]
                arrived.add(sequence)
        elif move == "ack":
            window.acknowledged(_contiguous(arrived), now_s)
        elif move == "lose":
            window.restart(now_s)
        elif move == "wait":
            now_s += RESEND_AFTER_S + 1
        assert 0 <= window.open <= newest
    for _ in range(1000):
        if window.settled:
            break
        arrived.update(drain(window, now_s))
        window.acknowledged(_contiguous(arrived), now_s)
        now_s += RESEND_AFTER_S + 1
    assert window.settled
    assert arrived >= set(range(1, newest + 1))


def _contiguous(arrived: set[int]) -> int:
    mark = 0
    while mark + 1 in arrived:
        mark += 1
    return mark
