"""Few samples that show the shape of many: of each interval the least and the greatest that is good."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from uem.services.history.store import Store
from uem.twin_core.measurements import BAD, Samples

PAGE_ROWS = 65_536


class Overview(NamedTuple):
    """Samples as they are stored, the length of the intervals (0: all samples are there), and how many there are."""

    samples: Samples
    resolution_ns: int
    sample_count: int


def overview(store: Store, tag: str, start_ns: int, end_ns: int, most: int) -> Overview:
    """At most `most` samples of a tag with start <= time < end; memory does not grow with the range."""
    stats = store.tags([tag]).get(tag)
    if stats is None:
        return Overview(Samples.from_rows(()), 0, 0)
    begin, end = max(start_ns, stats.first_ns), min(end_ns, stats.last_ns + 1)
    first = store.page(tag, begin, end, most + 1)
    if len(first) <= most:
        return Overview(first, 0, len(first))
    intervals = most // 2
    length_ns = -(-(end - begin) // intervals)
    kept, count = [], 0
    open_rows = first.take(slice(0))  # of the last interval, which may go on in the next page
    for page in _pages(store, tag, begin, end):
        count += len(page)
        rows = Samples.concatenate([open_rows, page])
        number = (rows.source_time_ns - begin) // length_ns
        whole = int(np.searchsorted(number, number[-1]))
        kept.append(_extremes(rows.take(slice(whole)), number[:whole]))
        open_rows = _extremes(rows.take(slice(whole, None)), number[whole:])
    return Overview(Samples.concatenate([*kept, open_rows]), int(length_ns), count)


def _pages(store: Store, tag: str, start_ns: int, end_ns: int) -> Iterator[Samples]:
    while True:
        page = store.page(tag, start_ns, end_ns, PAGE_ROWS)
        if len(page):
            yield page
        if len(page) < PAGE_ROWS:
            return
        start_ns = int(page.source_time_ns[-1]) + 1


def _extremes(rows: Samples, number: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Samples:
    """Of each interval the least and the greatest good sample, or its first one when none is good."""
    if not len(rows):
        return rows
    bad = (rows.quality & BAD != 0) | np.isnan(rows.value)
    # By interval, the bad ones behind; among equal values the earlier one.
    least = np.lexsort((rows.value, bad, number))
    greatest = np.lexsort((-rows.value, bad, number))
    begins = np.flatnonzero(np.diff(number, prepend=number[0] - 1))
    chosen = np.where(bad[least[begins]], begins, least[begins])
    other = np.where(bad[least[begins]], begins, greatest[begins])
    return rows.take(np.unique(np.concatenate([chosen, other])))
