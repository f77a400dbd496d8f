"""The newest rows in memory: committed to disk as batches, not yet part of the chunks of their tags.

A `Tail` never changes; adding gives a new one. So a reader in another thread holds a consistent picture without a lock.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uem.services.history.chunks import Columns, joined


class Segment(NamedTuple):
    """Rows sorted by number of tag; rows of one tag in the order in which they came."""

    tag: NDArray[np.uint32]
    columns: Columns


def segment(tag: NDArray[np.uint32], columns: Columns) -> Segment:
    """A segment of rows in any order."""
    order = np.argsort(tag, kind="stable")
    return Segment(tag[order], columns.take(order))


@dataclass(frozen=True, slots=True)
class Tail:
    """Rows in the order of their commits, as few sorted segments, each at most half as long as the one before."""

    segments: tuple[Segment, ...] = ()
    rows: int = 0
    commits: int = 0
    frozen: "Tail | None" = None  # older rows, on their way into chunks

    def add(self, newest: Segment) -> "Tail":
        """This tail and one more commit; segments of like size are merged, so that reading looks into few."""
        segments = [*self.segments, newest]
        while len(segments) > 1 and len(segments[-2].tag) <= 2 * len(segments[-1].tag):
            later, earlier = segments.pop(), segments.pop()
            segments.append(segment(np.concatenate([earlier.tag, later.tag]), joined([earlier.columns, later.columns])))
        return Tail(tuple(segments), self.rows + len(newest.tag), self.commits + 1, self.frozen)

    def freeze(self) -> "Tail":
        """An empty tail in front of this one."""
        return Tail(frozen=self)

    def thawed(self) -> "Tail":
        """This tail without its frozen part."""
        return Tail(self.segments, self.rows, self.commits)

    @property
    def all_rows(self) -> int:
        """How many rows, with those of the frozen part."""
        return self.rows + (self.frozen.rows if self.frozen else 0)

    def of(self, tag: int) -> Columns:
        """The rows of one tag, in the order in which they came."""
        parts = [self.frozen.of(tag)] if self.frozen else []
        for part in self.segments:
            low, high = np.searchsorted(part.tag, np.array((tag, tag + 1), np.uint32))
            if low < high:
                parts.append(part.columns.take(slice(int(low), int(high))))
        return joined(parts)

    def tags(self) -> list[int]:
        """Numbers of the tags that have rows here."""
        return [int(tag) for tag in np.unique(np.concatenate([s.tag for s in self.segments]))] if self.segments else []
