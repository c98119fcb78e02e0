"""Tags of an answer, such as `site=lab`: it is counted apart under each. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

#: Of one input; how many are counted apart at all is in edge/quality.py.
MOST_TAGS: Final = 8
LONGEST_TAG: Final = 64


def checked_tags(given: Iterable[Any]) -> tuple[str, ...]:
    """Return the tags, each once; raise ValueError for what cannot be tags."""
    tags = tuple(dict.fromkeys(given))
    if len(tags) > MOST_TAGS:
        raise ValueError(f"tags are at most {MOST_TAGS}")
    if not all(isinstance(tag, str) and 0 < len(tag) <= LONGEST_TAG and tag.isprintable() for tag in tags):
        raise ValueError(f"a tag is text of 1 to {LONGEST_TAG} characters that can be printed")
    return tuple(tag.encode(errors="replace").decode() for tag in tags)


def parse_tags(text: str) -> tuple[str, ...]:
    """Return the tags in `site=lab, shift=night`; raise ValueError for what cannot be tags."""
    return checked_tags(tag for part in text.split(",") if (tag := part.strip()))
