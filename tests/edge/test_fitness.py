"""What cannot run here is told from its manifest, before the first byte."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.fitness import Board, unfit
from tests.support.examples import MANIFEST
from wire.manifest import Software

PI = Board("aarch64", "tflite-runtime 2.14.0", 256 << 20)


SOFTWARE = replace(MANIFEST, software=Software("3.11", 1, 1, python_below="3.12"), machines=("aarch64",))


@pytest.mark.parametrize(
    ("board", "why"),
    [
        (Board("aarch64", python="3.11.2"), None),
        (Board("aarch64"), None),
        (Board("aarch64", python="3.9.18"), "is for Python 3.11 and below 3.12, this is 3.9.18"),
        (Board("aarch64", python="3.12.0"), "is for Python 3.11 and below 3.12, this is 3.12.0"),
        (Board("armv7l", python="3.11.2"), "is for aarch64, this is armv7l"),
    ],
)
def test_software_is_for_some_boards_and_pythons(board: Board, why: str | None) -> None:
    assert unfit(SOFTWARE, board) == why


def test_what_says_nothing_is_fit() -> None:
    assert unfit(MANIFEST, PI) is None
    assert unfit(MANIFEST, Board()) is None


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ({"machines": ("x86_64", "armv7l")}, "is for x86_64, armv7l, this is aarch64"),
        ({"operators": ("CONV_2D 3", "MyOwn 1")}, "needs operators that no interpreter here has: MyOwn"),
        ({"operators": ("#213 1",)}, "needs operators that no interpreter here has: #213"),
        ({"min_runtime": "2.17.0"}, "needs TensorFlow Lite 2.17.0, the interpreter here is tflite-runtime 2.14.0"),  # noqa: E501  # one row
        ({"memory_bytes": 300 << 20}, "needs 300 MiB of memory, a model may take 256 here"),
        ({"tflite_bytes": 257 << 20}, "needs 258 MiB of memory, a model may take 256 here"),
    ],
)  # fmt: skip
def test_what_cannot_run_here_is_told_with_its_reason(says: dict[str, object], why: str) -> None:
    assert unfit(replace(MANIFEST, **says), PI) == why  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "says",
    [
        {"machines": ("aarch64",)},
        {"operators": ("CONV_2D 3", "TFLite_Detection_PostProcess 1")},
        {"min_runtime": "2.14.0"},
        {"min_runtime": "unknown"},
        {"memory_bytes": 256 << 20},
    ],
)
def test_what_may_run_here_is_let_through(says: dict[str, object]) -> None:
    assert unfit(replace(MANIFEST, **says), PI) is None  # type: ignore[arg-type]


def test_a_board_of_which_nothing_is_known_refuses_only_what_nobody_could_run() -> None:
    asks = replace(MANIFEST, machines=("x86_64",), min_runtime="9.0.0", memory_bytes=1 << 60)
    assert unfit(asks, Board()) is None
    assert unfit(asks, Board(backend="ai-edge-litert 2.3.0")) is None  # refuses by itself, and cleanly
