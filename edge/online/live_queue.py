"""The bounded queue of a live source: the newest wins."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class LiveQueue(Generic[Item]):
    """Between a thread that cannot wait (a camera, a broker) and the one that infers.

    A full queue gives up its oldest item and counts it by calling `drop(cause, 1)`. At the end of the
    stream `abandon` counts what still waits.
    """

    def __init__(self, capacity: int, cause: str, drop: Callable[[str, int], None]) -> None:
        self._capacity = capacity
        self._cause = cause
        self._drop = drop
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        with self._changed:
            full = len(self._items) >= self._capacity
            if full:
                self._items.popleft()
            self._items.append(item)
            self._changed.notify()
        if full:
            self._drop(self._cause, 1)

    def get(self, timeout_s: float) -> Item | None:
        """Return the oldest item, or None when none came in time."""
        with self._changed:
            if not self._items:
                self._changed.wait(timeout_s)
            return self._items.popleft() if self._items else None

    def abandon(self, cause: str) -> None:
        """Give up what is in it, and count that too: nobody will ask for it any more."""
        with self._changed:
            left = len(self._items)
            self._items.clear()
        if left:
            self._drop(cause, left)
