"""A socket under paho's client that reads ahead, and takes the messages out of the stream itself.

paho asks for one byte, then for another, then for the rest of each packet, makes a dozen objects of it, and
answers each message with a system call: 60 to 80 µs. Read in pieces of 64 KiB and cut here, a message costs
three, and its acknowledgement goes with those of its neighbours.

Rules:
- what is taken is a PUBLISH at QoS 0 or 1 that can be read; all else goes on to paho, as it came and in its
  place: whatever stands behind it waits until paho has it;
- what cannot even be cut into packets goes on to paho to the end of the connection: it knows how to end one;
- behind messages that were taken paho has a turn, though there be more to read: acknowledgements and pings go
  out in it, also under a flood of what asks for none;
- nothing here raises because of what came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from wire.link import Incoming

_PIECE: Final = 64 * 1024
_PUBLISH: Final = 0x30
#: The packet's type and the higher bit of its QoS: those of a PUBLISH at QoS 0 or 1.
_KIND: Final = 0xF4
_QOS_1: Final = 0x02
_RETAINED: Final = 0x01
_PUBACK: Final = b"\x40\x02"
_MORE: Final = 0x80
_LONGEST_LENGTH: Final = 4
#: A topic's length, and that of the properties.
_SHORTEST: Final = 3

#: Takes messages in their order, and the packets that acknowledge them.
Take = Callable[[list[Incoming], bytes], None]


class PublishTap:
    """What paho's client does with a socket, plain or TLS; the rest goes to the socket itself."""

    def __init__(self, sock: Any, take: Take) -> None:
        self._sock = sock
        self._take = take
        self._piece = b""  # what was read
        self._at = 0  # up to where it was cut
        self._until = 0  # up to where paho may have it
        self._parts: list[bytes] = []  # what was read behind it: a packet of megabytes is put together once
        self._lacking = 1  # so many bytes must be read before there is more to cut
        self._uncut = False  # what comes cannot be cut any more

    @property
    def ahead(self) -> bool:
        """Whether there is something to be had without reading."""
        return self._at < self._until or self._lacking == 0

    def recv(self, size: int) -> bytes:
        """Return at most `size` bytes for paho, none at the end; raise BlockingIOError when none came, or
        messages that were taken."""
        while self._at == self._until:
            if self._lacking > 0 and not self._read():
                return b""
            if self._cut() and self._at == self._until:
                raise BlockingIOError
        found = self._piece[self._at : min(self._at + size, self._until)]
        self._at += len(found)
        return found

    def pending(self) -> int:
        """How much can be read without waiting for the network: paho asks before it waits."""
        inside = self._sock.pending() if hasattr(self._sock, "pending") else 0
        return int(self.ahead) + int(inside)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def _read(self) -> bool:
        """Read what is lacking, and what else has come, up to a piece; return False at the end.

        TLS gives one record at a time, which mosquitto makes of each message: taken one by one they would be
        gathered one by one.
        """
        size = 0
        while self._lacking > 0 or size < _PIECE:
            try:
                more = self._sock.recv(_PIECE)
            except OSError:  # also that nothing has come yet
                if self._lacking > 0:
                    raise
                break  # what was read comes first
            if not more:
                return self._lacking <= 0
            self._parts.append(more)
            self._lacking -= len(more)
            size += len(more)
        return True

    def _cut(self) -> bool:
        """Take messages up to the first packet that is none, which paho may have, or to the end; return
        whether there were any."""
        piece, at = b"".join((self._piece[self._at :], *self._parts)), 0
        found: list[Incoming] = []
        answers: list[bytes] = []
        self._parts.clear()
        self._lacking = 0
        until = len(piece) if self._uncut else 0
        while at == until:
            start, end = _packet(piece, at)
            if start < 0 and len(piece) > at + _LONGEST_LENGTH:
                self._uncut, until = True, len(piece)
            elif start < 0 or end > len(piece):
                self._lacking = max(1, end - len(piece))
                break
            elif message := _message(piece, at, start, end, answers):
                found.append(message)
                at = until = end
            else:
                until = end
        self._piece, self._at, self._until = piece, at, until
        if found:
            self._take(found, b"".join(answers))
        return bool(found)


def _packet(piece: bytes, at: int) -> tuple[int, int]:
    """Return where the body of the packet at `at` starts and ends; a negative start where its length has not
    all come, or is none."""
    length = shift = 0
    for i in range(at + 1, min(at + 1 + _LONGEST_LENGTH, len(piece))):
        digit = piece[i]
        length |= (digit & 0x7F) << shift
        if digit < _MORE:
            return i + 1, i + 1 + length
        shift += 7
    return -1, -1


def _message(piece: bytes, at: int, start: int, end: int, answers: list[bytes]) -> Incoming | None:
    """Return the message in a packet, and add its acknowledgement to `answers`.

    None for what is left to paho: all but PUBLISH, and one whose topic is an alias or no text, with many
    properties, or cut short.
    """
    if piece[at] & _KIND != _PUBLISH or end - start < _SHORTEST:
        return None
    topic_end = start + 2 + (piece[start] << 8 | piece[start + 1])
    properties = topic_end + (piece[at] & _QOS_1)  # which is also how long the packet's number is
    if properties >= end or topic_end == start + 2:
        return None
    payload = properties + 1 + piece[properties]
    if payload > end or piece[properties] >= _MORE:
        return None
    try:
        topic = piece[start + 2 : topic_end].decode()
    except UnicodeDecodeError:
        return None
    if properties != topic_end:
        answers.append(_PUBACK + piece[topic_end:properties])
    return Incoming(topic, piece[payload:end], (piece[at] & _RETAINED) == _RETAINED)


def packet(topic: str, payload: bytes) -> bytes:
    """Return the PUBLISH of a retained message at QoS 0."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + b"\x00" + payload
    length, left = b"", len(body)
    while left >= _MORE:
        length += bytes((left & 0x7F | _MORE,))
        left >>= 7
    return bytes((_PUBLISH | _RETAINED,)) + length + bytes((left,)) + body
