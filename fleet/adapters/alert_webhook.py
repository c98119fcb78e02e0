"""Changes of alerts posted to a URL, one a request, on a thread of its own: `told` never waits.

- For each alert only the newest change waits, of at most `_MAX_WAITING` alerts; what is put out is counted.
- What may pass is tried again after longer and longer pauses (no answer, 408, 425, 429, 5xx), behind what
  waits by then: an alert that the receiver chokes on holds up no other. Other answers
  refuse it for good. A redirect is a refusal: urllib would turn the POST into a GET.
- A certificate that cannot be verified is no answer: there is no switch for that.
- With a secret each request is signed (fleet/alert_messages.py), anew at each try, so that a receiver can
  refuse what is old.
- What waits when the server ends is lost; the next start tells what stands.
"""

from __future__ import annotations

import http.client
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from fleet.alert_messages import SIGNATURE, posted, signature
from fleet.alerts import Change
from wire.errors import SettingsError

log = logging.getLogger(__name__)

_MAX_WAITING: Final = 1000
_TIMEOUT_S: Final = 10.0
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 300.0
_MAY_PASS: Final = (408, 425, 429)
_LEAST_SECRET_BYTES: Final = 16


def read_secret(path: Path) -> bytes:
    """Return the secret in a file, without blanks around; raise SettingsError for a short one or none."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    if len(secret) < _LEAST_SECRET_BYTES:
        raise SettingsError(f"{path}: a secret has at least {_LEAST_SECRET_BYTES} bytes")
    return secret


def check_url(url: str) -> str:
    """Return a URL that can be posted to; raise SettingsError for another.

    A password in it is refused, and not repeated: urllib takes it for a part of the host, and logs tell it.
    """
    try:
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise SettingsError("the webhook's address has a name or password in it: sign the posts instead")
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise SettingsError(f"{url!r}: {error}") from error
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise SettingsError(f"{url!r} is no http:// or https:// address")
    return url


@dataclass(frozen=True)
class WebhookSettings:
    """Where posts go, and the secret that signs them; empty: nothing does."""

    url: str
    secret: bytes = b""


class AlertWebhook:
    """Posts from `start` until `close`. `dropped` counts what was put out or refused."""

    def __init__(
        self,
        settings: WebhookSettings,
        *,
        fleet: str = "edgeflock",
        first_pause_s: float = _FIRST_PAUSE_S,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = settings.url
        self._secret = settings.secret
        self._fleet = fleet
        self._first_pause_s = first_pause_s
        self._wall_clock = wall_clock
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._waiting: dict[str, Change] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alert webhook", daemon=True)
        self.dropped = 0
        self.delivered = 0

    def start(self) -> AlertWebhook:
        self._thread.start()
        return self

    def close(self) -> None:
        """End without waiting for an answer that may never come."""
        self._ended.set()
        self._wake.set()
        self._thread.join(timeout=1.0)

    def told(self, change: Change) -> None:
        """Take in a change to be posted; it takes the place of an earlier one of the same alert."""
        with self._lock:
            self._waiting.pop(change.alert.key, None)
            if len(self._waiting) >= _MAX_WAITING:
                self._waiting.pop(next(iter(self._waiting)))
                self._drop("too many alerts wait for the webhook")
            self._waiting[change.alert.key] = change
        self._wake.set()

    def _run(self) -> None:
        pause_s = self._first_pause_s
        while not self._ended.is_set():
            with self._lock:
                key = next(iter(self._waiting), None)
                change = self._waiting[key] if key is not None else None
                if change is None:
                    self._wake.clear()
            if change is None:
                self._wake.wait()
                continue
            done = self._deliver(change)
            with self._lock:
                if self._waiting.get(change.alert.key) is change:
                    del self._waiting[change.alert.key]
                    if not done:
                        self._waiting[change.alert.key] = change
            if done:
                pause_s = self._first_pause_s
            else:
                self._ended.wait(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    def _deliver(self, change: Change) -> bool:
        """Return whether it need not be tried again: taken, or refused for good."""
        try:
            status = self._post(posted(change, self._fleet, self._wall_clock()))
        except (OSError, http.client.HTTPException) as error:
            log.warning("no answer from the alert webhook: %s", getattr(error, "reason", None) or error)
            return False
        if status in _MAY_PASS or status >= 500:
            log.warning("the alert webhook answers %d", status)
            return False
        if 200 <= status < 300:
            self.delivered += 1
        else:
            self._drop(f"the alert webhook refuses {change.alert.key}: {status}")
        return True

    def _post(self, body: bytes) -> int:
        headers = {"Content-Type": "application/json", "User-Agent": "edgeflock"}
        if self._secret:
            headers[SIGNATURE] = signature(body, self._secret, self._wall_clock())
        request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310  # see check_url
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                answer.read(1024)
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    def _drop(self, why: str) -> None:
        self.dropped += 1
        log.error("%s (%d so far)", why, self.dropped)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None
