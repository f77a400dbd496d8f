"""Which rows of a batch are believed: known tag, sane time, a number, within the limits of the tag.

Rows of bad quality are stored with their quality and without a look at their value, which means nothing.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uem.services.ingestion.convert import Reason
from uem.twin_core.alarms import Alarm
from uem.twin_core.measurements import BAD, NS_PER_S, Gap, Samples, Tag
from uem.v1.ingestion_pb2 import (
    REJECTION_REASON_BAD_TIME,
    REJECTION_REASON_NOT_FINITE,
    REJECTION_REASON_OUT_OF_RANGE,
    REJECTION_REASON_UNKNOWN_TAG,
)

EARLIEST_NS = 315_532_800 * NS_PER_S  # 1980-01-01: a device that says less has no clock
AHEAD_NS = 86_400 * NS_PER_S
_EXAMPLES = 10


class Refused(NamedTuple):
    """Rows of a batch that were refused for one reason, with names of up to ten of their tags."""

    reason: Reason
    row_count: int
    tags: tuple[str, ...]


class Checker:
    """Knows the tags of the territory."""

    def __init__(self, tags: Iterable[Tag]) -> None:
        known = list(tags)
        self._index = {tag.name: number for number, tag in enumerate(known)}
        # One more row at the end, for unknown tags: index -1.
        self._low = np.array([tag.low for tag in known] + [-np.inf])
        self._high = np.array([tag.high for tag in known] + [np.inf])

    def sift(self, samples: Samples, now_ns: int) -> tuple[Samples, list[Refused]]:
        """The rows to store, and what was refused; each refused row counts under the first reason that applies."""
        if not len(samples):
            return samples, []
        tag = np.array([self._index.get(name, -1) for name in samples.names], np.intp)[samples.tag]
        time, value = samples.source_time_ns, samples.value
        means_something = samples.quality & BAD == 0
        wrong = {
            REJECTION_REASON_UNKNOWN_TAG: tag < 0,
            REJECTION_REASON_BAD_TIME: (time < EARLIEST_NS) | (time > now_ns + AHEAD_NS),
            REJECTION_REASON_NOT_FINITE: means_something & ~np.isfinite(value),
            REJECTION_REASON_OUT_OF_RANGE: means_something & ((value < self._low[tag]) | (value > self._high[tag])),
        }
        keep = np.ones(len(samples), np.bool_)
        refused = []
        for reason, rows in wrong.items():
            rows = rows & keep
            if rows.any():
                refused.append(Refused(reason, int(rows.sum()), _examples(samples, rows)))
                keep &= ~rows
        return (samples.take(keep), refused) if refused else (samples, refused)

    def sift_gaps(self, gaps: Iterable[Gap | None], now_ns: int) -> list[Gap]:
        """The gaps to store: of a known tag, with an end that can be."""
        latest = now_ns + AHEAD_NS
        return [gap for gap in gaps if gap and gap.tag in self._index and EARLIEST_NS <= gap.end_ns <= latest]

    def sift_alarms(self, alarms: Iterable[Alarm | None], now_ns: int) -> list[Alarm]:
        """The alarms to store: those of a time that can be."""
        latest = now_ns + AHEAD_NS
        return [alarm for alarm in alarms if alarm and EARLIEST_NS <= alarm.time_ns <= latest]


def _examples(samples: Samples, rows: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(samples.names[int(tag)] for tag in np.unique(samples.tag[rows])[:_EXAMPLES])
