"""Latency by kind of board, whatever devices call theirs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.boards import MOST_KINDS, OTHERS, UNTOLD, board_kind, by_board
from tests.support.examples import counters
from wire.counters import Buckets
from wire.messages import Reported


def said(board: str | None, machine: str | None) -> Reported:
    return Reported("b1", 1, 0.0, (), board=board, machine=machine)


@pytest.mark.parametrize(
    ("board", "machine", "kind"),
    [
        ("Raspberry Pi 4 Model B Rev 1.4", "aarch64", "Raspberry Pi 4 Model B, aarch64"),
        ("Raspberry Pi 4 Model B Rev 1.1", "armv7l", "Raspberry Pi 4 Model B, armv7l"),
        (None, "x86_64", "x86_64"), (None, None, ""), ("\x1b[2J\u202e", None, "[2J"),
    ],
)  # fmt: skip
def test_a_kind_is_a_board_without_its_revision_and_its_userland(
    board: str | None, machine: str | None, kind: str
) -> None:
    assert board_kind(said(board, machine)) == kind
    assert board_kind(None) == ""


def test_each_kind_has_the_true_quantiles_of_its_devices() -> None:
    slow = replace(counters(inferences=100), latency_us=Buckets(400, (100,)))
    by_device = {"a": slow, "b": counters(inferences=99), "c": replace(slow, latency_us=Buckets(400, (1,)))}
    lines = by_board(by_device, {"a": "pi3", "b": "pi4", "c": "pi4"})
    assert [(line.board, line.devices, line.answers) for line in lines] == [("pi3", 1, 100), ("pi4", 2, 100)]
    assert lines[0].p99_us == lines[0].p50_us
    assert (lines[1].p50_us or 0) < 200, "one slow answer of a hundred moves no median"


def test_names_without_an_end_make_no_table_without_one() -> None:
    by_device = {f"d{i}": counters() for i in range(100)}
    boards = {f"d{i}": f"made-up-{i}" for i in range(90)}
    lines = by_board(by_device, boards)
    assert len(lines) == MOST_KINDS + 1
    assert sum(line.devices for line in lines) == 100
    told = {line.board: line.devices for line in lines}
    assert (told[UNTOLD], told[OTHERS]) == (10, 100 - 10 - (MOST_KINDS - 1))
