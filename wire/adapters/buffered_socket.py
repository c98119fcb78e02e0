"""A socket that reads ahead: paho asks for one byte, then for another, then for the rest of each message.

Each of those is a system call that lets go of the interpreter's lock and must get it back from a busy main
thread. Read in pieces of 64 KiB, a message costs a fraction of one.
"""

from __future__ import annotations

from typing import Any, Final

_PIECE: Final = 64 * 1024


class BufferedSocket:
    """What paho's client does with a socket, plain or TLS; the rest goes to the socket itself."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._piece = b""
        self._at = 0

    @property
    def ahead(self) -> int:
        """How many bytes were read and not asked for yet."""
        return len(self._piece) - self._at

    def recv(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end; raise BlockingIOError when there are none now."""
        if self._at == len(self._piece):
            self._piece, self._at = self._sock.recv(_PIECE), 0
        found: bytes = self._piece[self._at : self._at + size]
        self._at += len(found)
        return found

    def pending(self) -> int:
        """How much can be read without waiting for the network: paho asks before it waits."""
        inside = self._sock.pending() if hasattr(self._sock, "pending") else 0
        return self.ahead + int(inside)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)
