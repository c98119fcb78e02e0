"""Which operators a delegate (XNNPACK, nearly always) really runs. Pure.

An interpreter lists the operators of the file and, behind them, one DELEGATE for each part that a
delegate took over, with the tensors at its border. What lies between its outputs and its inputs is
what it runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

DELEGATE: Final = "DELEGATE"


@dataclass(frozen=True)
class Node:
    """One operator as the interpreter lists it; inputs and outputs are tensor numbers, -1 for none."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def delegated(nodes: Sequence[Node]) -> Counter[str]:
    """Return how many operators of each name run inside a delegate."""
    maker = {tensor: node for node in nodes if node.name != DELEGATE for tensor in node.outputs}
    taken: dict[tuple[int, ...], str] = {}
    for part in (node for node in nodes if node.name == DELEGATE):
        border, left = set(part.inputs), list(part.outputs)
        while left:
            node = maker.get(left.pop())
            if node is not None and node.outputs not in taken:
                taken[node.outputs] = node.name
                left += [tensor for tensor in node.inputs if tensor not in border]
    return Counter(taken.values())
