"""What is told of connections that cannot be accepted, and of jobs that nobody waits for."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable

import pytest

from edge.adapters.accepting import Acceptor, Welcome
from edge.adapters.inference_threads import InferenceThreads
from wire.errors import ModelError


def accept(make_protocol: Callable[[], asyncio.Protocol], *errors: OSError) -> None:
    """Accept where that fails so, and then one connection; until all of it was tried."""

    async def run() -> None:
        loop, raised, tried = asyncio.get_running_loop(), list(errors), asyncio.Event()

        async def sock_accept(_listening: socket.socket) -> tuple[socket.socket, str]:
            if raised:
                raise raised.pop(0)
            if tried.is_set():
                await asyncio.sleep(60)
            tried.set()
            return ours, ""

        loop.sock_accept = sock_accept  # type: ignore[assignment,method-assign]  # a system that lacks something
        acceptor = Acceptor(Welcome(make_protocol, None, 1.0, 10, set()))
        acceptor.start([listening])
        await asyncio.wait_for(tried.wait(), 30)
        await asyncio.sleep(0.01)
        await acceptor.stop()

    ours, theirs = socket.socketpair()
    with socket.socket() as listening, ours, theirs:
        asyncio.run(run())


def test_that_no_file_is_left_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    numbers = [errno.EMFILE, errno.ECONNABORTED, errno.EMFILE]
    accept(asyncio.Protocol, *(OSError(number, os.strerror(number)) for number in numbers))
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == ["connections have to wait: Too many open files (told once)"]


def test_what_ends_the_accepting_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> asyncio.Protocol:
        raise RuntimeError("broken")

    accept(broken)
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.getMessage() == "no connection is accepted any more"
    assert record.exc_info is not None


@pytest.mark.parametrize(("error", "told"), [(RuntimeError("broken"), True), (ModelError("wrong"), False)])
def test_a_job_that_fails_when_nobody_waits_is_told_unless_it_is_counted(
    caplog: pytest.LogCaptureFixture, error: Exception, *, told: bool
) -> None:
    async def run() -> None:
        threads: InferenceThreads[None] = InferenceThreads(1)
        began, goes_on = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def job() -> None:
            loop.call_soon_threadsafe(began.set)
            asyncio.run_coroutine_threadsafe(goes_on.wait(), loop).result(30)
            raise error

        future = threads.submit(job)
        await asyncio.wait_for(began.wait(), 30)
        future.cancel()
        goes_on.set()
        while not threads.idle:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        threads.close()

    asyncio.run(run())
    assert [record.levelno for record in caplog.records if record.levelno >= logging.ERROR] == (
        [logging.ERROR] if told else []
    )
