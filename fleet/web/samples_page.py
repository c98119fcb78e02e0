"""Sampled answers, each with what was seen and what it may be called. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fleet.web.drawing import Drawn, drawn
from fleet.web.reading import Meaning, SampleLine

#: Classes that a form lists by name; of more the number must do.
_MOST_LISTED: Final = 1000


@dataclass(frozen=True)
class SampleRow:
    """One sample; `list_id` names the list of its release's classes, "" without one."""

    line: SampleLine
    inputs: Sequence[Drawn]
    list_id: str
    entry: str


@dataclass(frozen=True)
class SamplesPage:
    """All that the page shows. `lists` are the classes by list; `draws` is whether any input was sent."""

    rows: Sequence[SampleRow]
    lists: Sequence[tuple[str, Sequence[str]]]
    draws: bool


def samples_page(lines: Iterable[SampleLine], meaning: Callable[[str], Meaning]) -> SamplesPage:
    """Return what the page shows of `lines`; `meaning` is of a release."""
    lines = list(lines)
    meanings = {release: meaning(release) for release in dict.fromkeys(line.release for line in lines)}
    lists = {
        release: f"classes-{i}"
        for i, (release, said) in enumerate(meanings.items())
        if 0 < len(said.classes) <= _MOST_LISTED
    }
    rows = []
    for line in lines:
        classes = meanings[line.release].classes
        entry = "" if line.known is None else classes.entry(line.known)
        inputs = drawn(line.input_base64, meanings[line.release])
        rows.append(SampleRow(line, inputs, lists.get(line.release, ""), entry))
    entries = [
        (list_id, [meanings[release].classes.entry(n) for n in range(len(meanings[release].classes))])
        for release, list_id in lists.items()
    ]
    return SamplesPage(rows, entries, any(line.input_base64 is not None for line in lines))
