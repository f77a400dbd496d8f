"""Few samples that show the shape of many, in one of two ways, and where the line through them breaks.

MIN_MAX: of each interval the least and the greatest sample that is good. LARGEST_TRIANGLE: of each interval the one
that bends the line most (twin_core/decimation.pyx); the first and the last sample stay. A line breaks at a bad sample
and at a gap of the ledger.
"""

from collections.abc import Iterator
from enum import Enum
from threading import Event
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uem.services.history.store import Store
from uem.twin_core.decimation import LargestTriangles
from uem.twin_core.measurements import BAD, Samples

PAGE_ROWS = 65_536
GAPS_AT_ONCE = 10_000
Numbers = NDArray[np.int64]


class Method(Enum):
    """How samples are chosen."""

    MIN_MAX = "min-max"
    LARGEST_TRIANGLE = "largest triangle"


class Overview(NamedTuple):
    """Samples as they are stored, the length of the intervals (0: all samples are there), and how many there are.

    `line_start` has the index of each sample that the line does not reach from the one before.
    """

    samples: Samples
    resolution_ns: int
    sample_count: int
    line_start: Numbers


def overview(
    store: Store,
    tag: str,
    start_ns: int,
    end_ns: int,
    most: int,
    method: Method = Method.MIN_MAX,
    given_up: Event | None = None,
) -> Overview:
    """At most `most` samples of a tag with start <= time < end; memory does not grow with their number.

    `most` is at least 2 for MIN_MAX and 3 for LARGEST_TRIANGLE. Another thread may set `given_up`, then it ends with
    a TimeoutError soon.
    """
    stats = store.tags([tag]).get(tag)
    if stats is None:
        return Overview(Samples.from_rows(()), 0, 0, np.empty(0, np.int64))
    begin, end = max(start_ns, stats.first_ns), min(end_ns, stats.last_ns + 1)
    first = store.page(tag, begin, end, most + 1)
    source = _Source(store, tag, int(first.source_time_ns[0]) if len(first) else begin, end, given_up or Event())
    if len(first) <= most:
        return Overview(first, 0, len(first), _starts(_Lines(source.gaps).of(first)))
    reduce = _extremes if method is Method.MIN_MAX else _triangles
    return reduce(source, most)


class _Source:
    """The samples of a tag in a range, as often as they are asked for, with the number of the line of each."""

    def __init__(self, store: Store, tag: str, begin: int, end: int, given_up: Event) -> None:
        self.begin, self.end = begin, end
        self._store, self._tag, self._given_up = store, tag, given_up
        self.gaps = _merged(store, tag, begin, end)

    def last_ns(self) -> int:
        """The time of the last sample."""
        return int(self._store.read([self._tag], self.begin, self.end, 1).source_time_ns[-1])

    def pages(self) -> Iterator[tuple[Samples, Numbers]]:
        """Pages of samples and of numbers of lines."""
        lines, start_ns = _Lines(self.gaps), self.begin
        while True:
            if self._given_up.is_set():
                raise TimeoutError
            page = self._store.page(self._tag, start_ns, self.end, PAGE_ROWS)
            if len(page):
                yield page, lines.of(page)
            if len(page) < PAGE_ROWS:
                return
            start_ns = int(page.source_time_ns[-1]) + 1


class _Lines:
    """Numbers the lines of samples that come page by page; a bad sample is a line of its own."""

    def __init__(self, gaps: tuple[Numbers, Numbers]) -> None:
        self._starts, self._ends = gaps
        self._time, self._line, self._is_bad = -(2**63), 0, False

    def of(self, rows: Samples) -> Numbers:
        if not len(rows):
            return np.empty(0, np.int64)
        before = np.concatenate([[self._time], rows.source_time_ns[:-1]])
        bad = _is_bad(rows)
        breaks = bad | np.concatenate([[self._is_bad], bad[:-1]])
        if len(self._starts):
            # The first gap with room behind the sample before: it lies between when there is room before this one too.
            number = np.searchsorted(self._ends, before + 1, "right")
            reached = np.append(self._starts, 2**63 - 1)[number]
            breaks |= np.maximum(reached, before) < rows.source_time_ns - 1
        line = self._line + np.cumsum(breaks)
        self._time, self._line, self._is_bad = int(rows.source_time_ns[-1]), int(line[-1]), bool(bad[-1])
        return line


def _merged(store: Store, tag: str, begin: int, end: int) -> tuple[Numbers, Numbers]:
    """Starts and ends of the gaps that reach into the range, those that overlap as one; ends are no part of a gap."""
    starts: list[int] = []
    ends: list[int] = []
    after = None
    while page := store.gaps([tag], begin, end, GAPS_AT_ONCE, after):
        for _, gap in page:
            if ends and gap.start_ns < ends[-1]:
                ends[-1] = max(ends[-1], gap.end_ns)
            else:
                starts.append(gap.start_ns)
                ends.append(gap.end_ns)
        after = page[-1][0]
    return np.array(starts, np.int64), np.array(ends, np.int64)


def _is_bad(rows: Samples) -> NDArray[np.bool_]:
    bad: NDArray[np.bool_] = (rows.quality & BAD != 0) | np.isnan(rows.value)
    return bad


def _starts(line: Numbers) -> Numbers:
    return np.flatnonzero(np.diff(line) != 0) + 1


def _triangles(source: _Source, most: int) -> Overview:
    first_ns, last_ns = source.begin, source.last_ns()
    length_ns = -(-(last_ns - first_ns) // (most - 2))
    chosen = LargestTriangles(most)
    count = 0

    def number(time: Numbers) -> Numbers:
        """The first and the last sample have an interval each; the others share those between."""
        found = 1 + (time - first_ns) // length_ns
        found[time == first_ns] = 0
        found[time >= last_ns] = most - 1
        return found

    def x(time: Numbers) -> NDArray[np.float64]:
        return (time - first_ns) / length_ns + 1.0

    for page, line in source.pages():
        count += len(page)
        time, bad = page.source_time_ns, _is_bad(page).view(np.uint8)
        chosen.survey(number(time), x(time), page.value, bad, line)
    chosen.begin_choice()
    for page, line in source.pages():
        time, bad = page.source_time_ns, _is_bad(page).view(np.uint8)
        chosen.choose(number(time), x(time), time, page.value, page.quality, bad, line)
    kept = chosen.is_kept != 0
    tag = np.zeros(int(kept.sum()), np.uint32)
    samples = Samples(page.names, tag, chosen.time[kept], chosen.value[kept], chosen.quality[kept])
    return Overview(samples, length_ns, count, _starts(chosen.line[kept]))


def _extremes(source: _Source, most: int) -> Overview:
    begin = source.begin
    length_ns = -(-(source.end - begin) // (most // 2))
    kept: list[Samples] = []
    lines: list[Numbers] = []
    count = 0
    open_rows, open_line = Samples.from_rows(()), np.empty(0, np.int64)  # of the last interval, which may go on
    for page, page_line in source.pages():
        count += len(page)
        rows, line = Samples.concatenate([open_rows, page]), np.concatenate([open_line, page_line])
        number = (rows.source_time_ns - begin) // length_ns
        whole = int(np.searchsorted(number, number[-1]))
        chosen = _chosen(rows, number)
        done, left = chosen[chosen < whole], chosen[chosen >= whole]
        kept.append(rows.take(done))
        lines.append(line[done])
        open_rows, open_line = rows.take(left), line[left]
    line = np.concatenate([*lines, open_line])
    return Overview(Samples.concatenate([*kept, open_rows]), int(length_ns), count, _starts(line))


def _chosen(rows: Samples, number: Numbers) -> NDArray[np.intp]:
    """Indexes of the least and the greatest good sample of each interval, or of its first one when none is good."""
    bad = _is_bad(rows)
    # By interval, the bad ones behind; among equal values the earlier one.
    least = np.lexsort((rows.value, bad, number))
    greatest = np.lexsort((-rows.value, bad, number))
    begins = np.flatnonzero(np.diff(number, prepend=number[0] - 1))
    low = np.where(bad[least[begins]], begins, least[begins])
    high = np.where(bad[least[begins]], begins, greatest[begins])
    return np.unique(np.concatenate([low, high]))
