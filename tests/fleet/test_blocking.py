"""Which devices have blocked a release, from what they told of it."""

from __future__ import annotations

import pytest

from fleet.blocking import blocking
from wire.messages import Event


def event(after: str, cause: str = "done", release: str = "digits/1") -> Event:
    return Event("digits", "check", after, cause, release)


FAILED, BEFORE = event("blocked", "trial-failed"), event("blocked", "blocked-before")


@pytest.mark.parametrize(
    ("events", "blocked"),
    [
        ([], set()),
        ([("a", FAILED), ("b", event("swap")), ("c", event("blocked"))], {"a", "c"}),
        ([("a", FAILED), ("a", event("idle")), ("a", BEFORE)], {"a"}),
        ([("a", FAILED), ("a", event("commit"))], set()),  # another try went well
        ([("a", event("commit")), ("a", event("blocked"))], {"a"}),
        ([("a", event("blocked", "unfit"))], set()),  # another try would not help
        ([("a", FAILED), ("a", event("blocked", "unfit"))], {"a"}),
        ([("a", event("blocked", release="digits/12")), ("a", event("commit", release="digits/2"))], set()),
    ],
)
def test_the_last_word_about_the_release_counts(events: list[tuple[str, Event]], blocked: set[str]) -> None:
    assert blocking("digits/1", events) == blocked
