"""Who may do what on the page, and how often a password may be guessed. Pure: time is an argument.

Rules:
- a viewer sees, an operator also acts; nobody else gets anything but the log-in;
- a request that changes something must come from a page of ours: from our origin, with the session's token;
- wrong passwords make an address wait, longer each time; and all addresses together may guess only so
  often, because an attacker has many. What is remembered for this is bounded.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Literal, get_args

Role = Literal["viewer", "operator"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

#: A session ends after a working day, however busy it is.
SESSION_S: Final = 12 * 3600.0

#: Guesses of one address before it has to wait, and the first and the longest wait.
FREE_GUESSES: Final = 5
FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 900.0

#: Guesses of all addresses together: a bucket that refills.
ALL_GUESSES: Final = 60.0
ALL_GUESSES_PER_S: Final = 0.5

_REMEMBERED: Final = 10_000


@dataclass(frozen=True)
class Session:
    """Somebody who is logged in. `token` is what forms carry, so that no other site can send them."""

    id: str
    who: str
    role: Role
    token: str
    started_s: float

    def ended(self, now_s: float) -> bool:
        return not 0 <= now_s - self.started_s < SESSION_S

    @property
    def acts(self) -> bool:
        return self.role == "operator"


def same_origin(origin: str | None, fetch_site: str | None, scheme: str, host: str) -> bool:
    """Return whether a browser sent a request from our own page.

    `origin` and `fetch_site` are its headers Origin and Sec-Fetch-Site. A browser sends at least one with
    every form; what sends neither is none, and has no session to lend.
    """
    if origin is not None:
        return hmac.compare_digest(origin.encode(), f"{scheme}://{host}".encode())
    return fetch_site == "same-origin"


def token_fits(session: Session, given: str | None) -> bool:
    """Return whether a form carries the session's token."""
    return given is not None and hmac.compare_digest(given.encode(), session.token.encode())


@dataclass
class _Guesses:
    wrong: int = 0
    wait_until_s: float = 0.0


class Throttle:
    """How long an address must wait before it may try a password again; `now_s` is monotonic."""

    def __init__(self) -> None:
        self._by_address: OrderedDict[str, _Guesses] = OrderedDict()
        self._left = ALL_GUESSES
        self._filled_s: float | None = None

    def wait_s(self, address: str, now_s: float) -> float:
        """Return for how many seconds a guess is refused; 0: it may be made."""
        self._refill(now_s)
        guesses = self._by_address.get(address)
        own_s = guesses.wait_until_s - now_s if guesses else 0.0
        all_s = 0.0 if self._left >= 1 else (1 - self._left) / ALL_GUESSES_PER_S
        return max(0.0, own_s, all_s)

    def wrong(self, address: str, now_s: float) -> None:
        """Take note of a wrong guess."""
        self._refill(now_s)
        self._left = max(0.0, self._left - 1)
        guesses = self._by_address.setdefault(address, _Guesses())
        self._by_address.move_to_end(address)
        guesses.wrong += 1
        if guesses.wrong >= FREE_GUESSES:
            wait_s = FIRST_WAIT_S * 2.0 ** min(guesses.wrong - FREE_GUESSES, 20)
            guesses.wait_until_s = now_s + min(LONGEST_WAIT_S, wait_s)
        while len(self._by_address) > _REMEMBERED:
            self._by_address.popitem(last=False)

    def right(self, address: str) -> None:
        """Forget the wrong guesses of an address whose user knows the password."""
        self._by_address.pop(address, None)
        self._left = min(ALL_GUESSES, self._left + 1)

    def _refill(self, now_s: float) -> None:
        if self._filled_s is not None:
            refilled = max(0.0, now_s - self._filled_s) * ALL_GUESSES_PER_S
            self._left = min(ALL_GUESSES, self._left + refilled)
        self._filled_s = now_s
