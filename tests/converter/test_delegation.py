"""Which operators a delegate runs, told from the interpreter's list."""

from __future__ import annotations

from converter.delegation import Node, delegated


def test_what_lies_between_the_borders_of_a_delegate_is_its() -> None:
    nodes = [
        Node("CONV_2D", (0, 1, 2), (5,)),
        Node("RESHAPE", (5, 3), (6,)),
        Node("FULLY_CONNECTED", (6, 4, -1), (7,)),
        Node("SOFTMAX", (7,), (8,)),
        Node("DELEGATE", (0, 1, 2, 3, 4), (7,)),
    ]
    assert delegated(nodes) == {"CONV_2D": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1}


def test_a_list_without_delegates_shows_none() -> None:
    assert delegated([Node("SOFTMAX", (0,), (1,))]) == {}
