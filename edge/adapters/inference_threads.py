"""Threads that run slow models for an event loop.

Smaller than concurrent.futures: a job that was given up lets go of its inputs at once, and what waits
can be counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from wire.errors import EdgeflockError

log = logging.getLogger(__name__)

T = TypeVar("T")


class _Ticket(Generic[T]):
    """A job and where its result goes."""

    __slots__ = ("future", "job")

    def __init__(self, job: Callable[[], T], future: asyncio.Future[T]) -> None:
        self.job: Callable[[], T] | None = job
        self.future = future


class InferenceThreads(Generic[T]):
    """Runs jobs in `count` threads, which start with the first job."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._waiting: queue.SimpleQueue[_Ticket[T] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._unfinished = 0

    @property
    def idle(self) -> bool:
        return not self._unfinished

    @property
    def backlog(self) -> int:
        return self._waiting.qsize()

    def submit(self, job: Callable[[], T]) -> asyncio.Future[T]:
        ticket = _Ticket(job, asyncio.get_running_loop().create_future())
        ticket.future.add_done_callback(lambda _: _let_go(ticket))
        if not self._threads:
            self._start()
        with self._lock:
            self._unfinished += 1
        self._waiting.put(ticket)
        return ticket.future

    def close(self) -> None:
        """End the threads, each after the job it is in."""
        for _ in self._threads:
            self._waiting.put(None)
        self._threads.clear()

    def _start(self) -> None:
        for number in range(self._count):
            thread = threading.Thread(target=self._work, name=f"inference-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while (ticket := self._waiting.get()) is not None:
            job, ticket.job = ticket.job, None
            if job is not None:  # else it was given up before its turn
                outcome = _run(job, ticket.future)
                del job
                with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
                    ticket.future.get_loop().call_soon_threadsafe(outcome)
            with self._lock:
                self._unfinished -= 1


def _run(job: Callable[[], T], future: asyncio.Future[T]) -> Callable[[], None]:
    """Run `job` and return what tells its outcome on the loop."""
    try:
        result = job()
    except BaseException as error:
        return functools.partial(_fail, future, error)
    return functools.partial(_succeed, future, result)


def _let_go(ticket: _Ticket[T]) -> None:
    ticket.job = None


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
    elif not isinstance(error, EdgeflockError):  # those are counted where they are raised
        log.error("a job failed that nobody waits for any more", exc_info=error)
