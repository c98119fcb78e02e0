"""Names of a release's classes, as its bundle's labels have them, and the numbers that people write for them.

Rules:
- a label may be anything that somebody put into a bundle: what cannot be printed (controls, marks that turn
  the direction of a line) is left out, and what is long is cut;
- a number always means the class of this number. Where it is also the name of another class it is refused:
  somebody who reads names would mean that one;
- where no name is known the number stands for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wire.errors import SettingsError
from wire.manifest import Manifest

#: Characters of a name that are kept: of more nobody sees the end.
LONGEST: Final = 60

_BINARY: Final = 2


def cleaned(text: str, longest: int = LONGEST) -> str:
    """Return what can be shown of a text in one line."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


@dataclass(frozen=True)
class ClassNames:
    """The labels in the order of the classes, of which the first is number `first`; "" is none."""

    labels: tuple[str, ...] = ()
    first: int = 0

    @classmethod
    def of(cls, labels: Sequence[str], manifest: Manifest) -> ClassNames:
        """Return the names of the classes that a device counts (edge/postprocessing.py has the same rule)."""
        if manifest.task == "binary" and len(labels) != _BINARY:
            return cls(("", *labels[:1]))  # the only label is that of "yes"
        return cls(tuple(labels), manifest.postprocessing.first_class if manifest.task != "binary" else 0)

    def __len__(self) -> int:
        """Return how many classes there are, 0 where that is not known."""
        return self.first + len(self.labels) if self.labels else 0

    def name(self, number: int | None) -> str | None:
        """Return the name of a class, None where it has none."""
        if number is None or not 0 <= number - self.first < len(self.labels):
            return None
        return cleaned(self.labels[number - self.first]) or None

    def entry(self, number: int) -> str:
        """Return a class as it stands in a list to choose from: `7 seven`."""
        name = self.name(number)
        return str(number) if name in (None, str(number)) else f"{number} {name}"

    def number(self, text: str) -> int:
        """Return the class that somebody wrote: its number, its name, or both as in a list.

        Raises SettingsError for what is no class, or may be two.
        """
        text = " ".join(text.split())
        named = [n for n in range(len(self)) if self.name(n) == text]
        if text.isascii() and text.isdigit() and len(text) < 19:
            number = int(text)
            if self.labels and number >= len(self):
                raise SettingsError(f"class {number}: there are 0 to {len(self) - 1}")
            if any(n != number for n in named):
                raise SettingsError(f"{text} is a class and the name of another: choose it from the list")
            return number
        head = text.partition(" ")[0]
        if head.isascii() and head.isdigit() and len(head) < 19 and self.entry(int(head)) == text:
            named = [int(head)]
        if len(named) != 1:
            why = "the name of several classes: write its number" if named else "no class: write its number"
            raise SettingsError(f"{cleaned(text) or 'nothing'!r} is {why}")
        return named[0]
