"""What is sent back: replies, and the error that becomes one.

An error's body is `{"error": "…"}`, as both protocols say.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from wire.errors import EdgeflockError

Headers = tuple[tuple[bytes, bytes], ...]

JSON: Final = b"application/json"
TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"  # what Prometheus asks for
BINARY: Final = b"application/octet-stream"


class Reply(NamedTuple):
    """A response: its body is whole, so its length is known before the first byte leaves."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Headers = ()


class HttpError(EdgeflockError):
    """A request that is answered with an error.

    `reason` is one word for the metrics. `retry_after_s` tells the client when to come back, and
    `hang_up` ends the connection, where the rest of the request was not read.
    """

    def __init__(
        self,
        status: int,
        text: str,
        *,
        reason: str = "refused",
        retry_after_s: int | None = None,
        hang_up: bool = False,
        headers: Headers = (),
    ) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.headers = headers
        if retry_after_s is not None:
            self.headers += ((b"retry-after", str(retry_after_s).encode()),)
        if hang_up:
            self.headers += ((b"connection", b"close"),)


def bad_request(text: str) -> HttpError:
    """Return the error for a request that the client must change."""
    return HttpError(400, text, reason="bad")


def not_found(text: str) -> HttpError:
    """Return the error for something that is not here."""
    return HttpError(404, text, reason="not-found")
