"""Child processes started without the lock of the interpreter.

`subprocess` holds it until the child has become another program, and every thread of ours waits with
it: on two busy cores up to 2.3 ms in 300 starts, where `posix_spawn` called through ctypes, which
lets the others go on, made it 1.3 (and 0.4 is what no start at all shows). A board is slower.
Descriptors of this process go to no child unless named, as Python opens all of its own that way.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from wire.deadline import Deadline, wait_until

_ACTIONS_BYTES: Final = 512  # an opaque structure: 80 bytes of glibc's, 80 of musl's
_STANDARD: Final = (0, 1, 2)


class Child:
    """A process of ours, to be waited for once."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._parent = os.getpid()
        self._code: int | None = None

    def kill(self) -> None:
        """End it, if it has not ended. In a fork of this process do nothing: there it is not a child."""
        if self._code is None and os.getpid() == self._parent:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end; return its exit code, or the number of the signal that ended it, negative."""
        return self._poll(0) or 0

    def wait_at_most(self, timeout_s: float) -> int | None:
        """Wait for its end, but no longer than that; return None if it goes on."""
        wait_until(lambda: self._poll(os.WNOHANG) is not None, Deadline.after(timeout_s), every_s=0.002)
        return self._code

    def _poll(self, flags: int) -> int | None:
        if self._code is None:
            try:
                ended, status = os.waitpid(self.pid, flags)
            except ChildProcessError:  # somebody else waits for all children of this process
                ended, status = self.pid, 0
            if ended:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code


def spawn(command: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int]) -> Child:
    """Start `command`, a path with arguments, with `descriptors` and silent; raise OSError."""
    libc = _libc()
    actions = ctypes.create_string_buffer(_ACTIONS_BYTES)
    _check(libc.posix_spawn_file_actions_init(actions))
    try:
        for descriptor in _STANDARD:
            _check(libc.posix_spawn_file_actions_addopen(actions, descriptor, b"/dev/null", os.O_RDWR, 0))
        for descriptor in descriptors:  # onto itself: that makes it survive the exec
            _check(libc.posix_spawn_file_actions_adddup2(actions, descriptor, descriptor))
        pid = ctypes.c_int()
        words = [os.fsencode(word) for word in command]
        settings = [os.fsencode(f"{key}={value}") for key, value in environment.items()]
        _check(libc.posix_spawn(ctypes.byref(pid), words[0], actions, None, _array(words), _array(settings)))
    finally:
        libc.posix_spawn_file_actions_destroy(actions)
    return Child(pid.value)


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None)  # and not PyDLL, whose calls keep the lock


def _array(words: Sequence[bytes]) -> Any:
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)


def _check(number: int) -> None:
    if number:
        raise OSError(number, os.strerror(number) if number in errno.errorcode else "cannot be started")
