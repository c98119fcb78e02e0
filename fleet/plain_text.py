"""What devices wrote, as text that may be shown: in logs, where a second line would pass for ours, and in a
terminal, which obeys some characters."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return `text` as one line, without what would steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
