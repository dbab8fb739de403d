"""Where panels stand in Kibana's grid of 48 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

COLUMNS = 48


@dataclass(frozen=True, slots=True)
class Box:
    """A place in the grid: columns from the left, rows (about 20 px each) from the top."""

    x: int
    y: int
    w: int
    h: int

    def overlaps(self, other: Box) -> bool:
        """Some cell belongs to both."""
        across = self.x < other.x + other.w and other.x < self.x + self.w
        return across and self.y < other.y + other.h and other.y < self.y + self.h

    def down(self, rows: int) -> Box:
        """The same, further down."""
        return replace(self, y=self.y + rows)


def flow(sizes: Iterable[tuple[int, int]]) -> Iterator[Box]:
    """Places for boxes of (width, height), left to right; a line is as high as its highest box."""
    x = y = height = 0
    for w, h in sizes:
        if x + w > COLUMNS:
            x, y, height = 0, y + height, 0
        yield Box(x, y, w, h)
        x, height = x + w, max(height, h)
