"""Results posted to a URL: `{"batch": …, "results": [row, …]}` as JSON.

- At most 100 rows a request; while one is under way the next ones gather.
- What may pass is tried again (no answer, 408, 425, 429, 5xx), as the same batch with the same number:
  a receiver that took it and could not say so can tell. Other answers refuse the batch for good.
- A redirect is a refusal: urllib would turn the POST into a GET.
- The variable EDGEFLOCK_WEBHOOK_TOKEN, where it is set, goes along as a bearer token.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from edge.online.answer_rows import Row, to_json
from edge.online.delivery import RowsRefusedError
from wire.errors import SettingsError, UnavailableError

_MAX_ROWS: Final = 100
_TIMEOUT_S: Final = 10.0
_MAY_PASS: Final = (408, 425, 429)


class WebhookSink:
    """Posts rows; `boot` makes the numbers of its batches unlike those of another start."""

    def __init__(self, url: str, boot: str, token: str = "") -> None:
        self._url = url
        self._boot = boot
        self._headers = {"Content-Type": "application/json", "User-Agent": "edgeflock"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._batch = 0
        self._body: tuple[int, bytes] | None = None  # of the batch that is under way: rows and bytes
        self.safe = 0

    def open(self) -> None:
        """Nothing is connected yet; raise SettingsError for a URL that cannot be one."""
        try:
            parts = urlsplit(self._url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError as error:
            raise SettingsError(f"{self._url!r}: {error}") from error
        if not good:
            raise SettingsError(f"{self._url!r} is no http:// or https:// address")
        if not _is_plain(self._url) or " " in self._url:
            raise SettingsError(f"{self._url!r}: write what is no plain letter as %XX, a blank as %20")
        if not _is_plain(self._headers.get("Authorization", "")):
            raise SettingsError("EDGEFLOCK_WEBHOOK_TOKEN holds what no header can: plain letters only")

    def write(self, rows: Sequence[Row]) -> int:
        """Post the first rows; raise UnavailableError for what may pass, RowsRefusedError for a refusal."""
        if self._body is None:
            self._batch += 1
            taken = rows[:_MAX_ROWS]
            body = {"batch": f"{self._boot}-{self._batch}", "results": [to_json(row) for row in taken]}
            self._body = (len(taken), json.dumps(body).encode())
        count, data = self._body
        status = self._post(data)
        if status in _MAY_PASS or status >= 500:
            raise UnavailableError(f"{self._url} answers {status}")
        self._body = None
        if not 200 <= status < 300:
            raise RowsRefusedError(count, f"{self._url} answers {status}")
        self.safe += count
        return count

    def tick(self) -> None:
        """Nothing is due: every batch is posted at once."""

    def close(self) -> None:
        """Nothing is held."""

    def _post(self, data: bytes) -> int:
        """Return the status of the answer; raise UnavailableError when there is none."""
        request = urllib.request.Request(self._url, data, self._headers, method="POST")  # noqa: S310  # checked in open
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                answer.read(1024)
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise UnavailableError(f"{self._url}: {reason}") from error


def _is_plain(text: str) -> bool:
    return text.isascii() and (not text or text.isprintable())


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None
