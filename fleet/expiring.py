"""What people have signed or made expires some day: when to say so, and how loud. Pure.

Root and targets are signed by people's keys, which are not on the server, and certificates of the broker
are made by `fleet init`: neither is renewed by itself, and each stops a fleet when it ends. What the
server signs by itself is not told here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

#: Time enough to fetch a stick from a safe, and to find out where it is.
WARN_BEFORE: Final = timedelta(days=60)

#: How often the server says the same again.
SAY_EVERY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Lasting:
    """Something that expires: what it is, what happens `then`, and what to do against it."""

    name: str
    expires: datetime
    then: str
    renew: str


@dataclass(frozen=True)
class Notice:
    """One line for a person."""

    text: str
    expired: bool


def notices(things: Iterable[Lasting], now: datetime) -> list[Notice]:
    """Return what is to be said now: of what has expired or soon will, the most urgent first."""
    due = sorted((t for t in things if t.expires - now <= WARN_BEFORE), key=lambda t: t.expires)
    return [_notice(thing, now) for thing in due]


def _notice(thing: Lasting, now: datetime) -> Notice:
    left = thing.expires - now
    day = thing.expires.strftime("%Y-%m-%d")
    if left <= timedelta(0):
        return Notice(f"{thing.name} expired on {day}: {thing.then} until you {thing.renew}", expired=True)
    days = "1 day" if left.days == 1 else f"{left.days} days" if left.days else "less than a day"
    return Notice(
        f"{thing.name} expires in {days}, on {day}: {thing.then} then; {thing.renew}", expired=False
    )
