"""What a bundle says in words of its numbers: kept with its release, as blobs are not kept for ever. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from wire.bundle import Bundle
from wire.reference import COLUMN


@dataclass(frozen=True)
class ReleaseWords:
    """The labels of the classes in their order, and the names of columns of the first input, by number."""

    labels: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)


def words_of(bundle: Bundle) -> ReleaseWords:
    """Return the words of a bundle."""
    features = bundle.reference.features if bundle.reference else ()
    columns = {str(f.column): f.name for f in features if f.measure == COLUMN and f.input == 0}
    return ReleaseWords(bundle.labels, columns)
