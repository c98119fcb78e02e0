"""Decision trees as a few dense tensors, for a runtime that has no branches. Pure numpy.

After Nakandala et al. 2020, "A Tensor Compiler for Unified Machine Learning Prediction Serving", the
GEMM strategy: all tests of all trees are made at once (1 for left, 0 for right); the matrix `paths` has,
for each leaf, 1 where its path goes left and -1 where it goes right; the one leaf whose product with the
tests equals its number of left turns is the one that the tree ends in. Small whole numbers in float32:
the same leaf, always.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from converter.source import Array
from wire.errors import ModelError

#: What the tensors of all trees may take; a board has to hold them, and to multiply through them.
LIMIT_BYTES: Final = 32_000_000

#: A number of left turns that no path has: leaves that only fill up a tensor are never reached.
_NEVER: Final = -1e6


@dataclass(frozen=True)
class Tree:
    """One tree by its nodes; the first is the root, a leaf has no children (-1).

    `columns`, `left` and `right` are int [nodes], `thresholds` float32 [nodes]: a row goes left where
    its column is not above. `values` is [nodes, outputs], of which only the leaves' count.
    """

    columns: Array
    thresholds: Array
    left: Array
    right: Array
    values: Array


@dataclass(frozen=True)
class Forest:
    """The tensors: `columns` int32 and `thresholds` float32 [trees, tests], `paths` [trees, tests, leaves],
    `turns` [trees, leaves], `values` [trees, leaves, outputs], float32.
    """

    columns: Array
    thresholds: Array
    paths: Array
    turns: Array
    values: Array


def plant(trees: Sequence[Tree]) -> Forest:
    """Return the tensors of `trees`; raise ModelError when they are too large for a board."""
    tests = max(1, *(int((tree.left >= 0).sum()) for tree in trees))
    leaves = max(int((tree.left < 0).sum()) for tree in trees)
    outputs = trees[0].values.shape[1]
    needed_bytes = 4 * len(trees) * (tests * (leaves + 2) + leaves * (outputs + 1))
    if needed_bytes > LIMIT_BYTES:
        raise ModelError(
            f"its {len(trees)} trees of up to {leaves} leaves would take {needed_bytes / 1e6:.0f} MB, "
            f"more than {LIMIT_BYTES / 1e6:.0f}: train it with a lower max_depth "
            "or max_leaf_nodes, or with fewer trees"
        )
    forest = Forest(
        columns=np.zeros((len(trees), tests), np.int32),
        thresholds=np.zeros((len(trees), tests), np.float32),
        paths=np.zeros((len(trees), tests, leaves), np.float32),
        turns=np.full((len(trees), leaves), _NEVER, np.float32),
        values=np.zeros((len(trees), leaves, outputs), np.float32),
    )
    for position, tree in enumerate(trees):
        _plant_one(forest, position, tree)
    return forest


def answers(forest: Forest, rows: Array) -> Array:
    """Return the sum of the trees' answers to `rows` [n, columns], [n, outputs], as a device computes it."""
    few = max(1, LIMIT_BYTES // max(1, forest.turns.nbytes))
    parts = [_few_answers(forest, rows[start : start + few]) for start in range(0, len(rows), few)]
    return np.concatenate(parts)


def _few_answers(forest: Forest, rows: Array) -> Array:
    went_left = (rows[:, forest.columns] <= forest.thresholds).astype(np.float32)
    reached = np.einsum("nti,til->ntl", went_left, forest.paths, optimize=True) == forest.turns
    return np.asarray(np.einsum("ntl,tlo->no", reached.astype(np.float64), forest.values))


def _plant_one(forest: Forest, position: int, tree: Tree) -> None:
    tests, leaves = np.flatnonzero(tree.left >= 0), np.flatnonzero(tree.left < 0)
    place = {int(node): i for i, node in enumerate(tests)} | {int(node): i for i, node in enumerate(leaves)}
    forest.columns[position, : len(tests)] = tree.columns[tests]
    forest.thresholds[position, : len(tests)] = tree.thresholds[tests]
    forest.values[position, : len(leaves)] = tree.values[leaves]
    for leaf, path in _paths(tree):
        forest.turns[position, place[leaf]] = sum(turn > 0 for _, turn in path)
        for node, turn in path:
            forest.paths[position, place[node], place[leaf]] = turn


def _paths(tree: Tree) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield each leaf with the nodes on its path, and 1 for a left turn there, -1 for a right one."""
    waiting: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]
    while waiting:
        node, path = waiting.pop()
        if tree.left[node] < 0:
            yield node, path
        else:
            waiting.append((int(tree.left[node]), [*path, (node, 1)]))
            waiting.append((int(tree.right[node]), [*path, (node, -1)]))
