"""Where the names of points go in a picture, so that none covers another. Pure.

Each label tries places around its point, the nearest first, and takes the first free one. Who comes
first chooses first: hand in the most important first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

#: Distances from the point, as multiples of a mark's radius.
_FAR: Final = (1.6, 3.0, 5.0, 8.0, 11.0, 15.0, 20.0, 26.0)
_SIDES: Final = ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1), (-1, 1), (-1, -1), (-1, 0))


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, upwards."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Box) -> bool:
        """Tell whether the two share more than an edge."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def within(self, other: Box) -> bool:
        """Tell whether all of it lies in `other`."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.bottom >= other.bottom
            and self.top <= other.top
        )


@dataclass(frozen=True)
class Place:
    """Where a label's box stands. `led`: not straight beside its point, so that a line has to lead there."""

    box: Box
    led: bool


def place_labels(
    points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], frame: Box, radius: float
) -> list[Place | None]:
    """Return for each point the place of its label; None where all are taken.

    `points` are (x, y) and `sizes` (width, height) in pixels; a label stays within `frame` and off
    every point's mark, which has this `radius`.
    """
    marks = [Box(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    taken: list[Box] = []
    found: list[Place | None] = []
    for point, size in zip(points, sizes, strict=True):
        free = (
            place
            for place in _places(point, size, radius)
            if place.box.within(frame) and not any(place.box.overlaps(other) for other in (*marks, *taken))
        )
        place = next(free, None)
        found.append(place)
        if place is not None:
            taken.append(place.box)
    return found


def _places(point: tuple[float, float], size: tuple[float, float], radius: float) -> Iterator[Place]:
    (x, y), (width, height) = point, size
    for times in _FAR:
        far = times * radius
        for across, up in _SIDES:
            left = x + across * far + (across - 1) * width / 2
            bottom = y + up * far + (up - 1) * height / 2
            yield Place(
                Box(left, bottom, left + width, bottom + height), times > _FAR[0] or bool(across and up)
            )
