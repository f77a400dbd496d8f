"""Takes samples in the order they come and tells up to which plant time all inputs are known (`watermark.py`).

Everything is decided sample by sample, so the result does not depend on how a sequence was cut into batches:
- per tag time only goes forward; a sample not newer than what was decided is late: counted, not used. Where values are
  held until the next one, a sample that is newer than the last of its tag counts from the next instant on, if it is no
  later than its usual interval or `wait_s`: that is nearer to the plant than what would be held without it;
- when samples only come from more than `restart_s` before or more than `gap_s` ahead, the plant was started anew or was
  away for long: the intake begins anew. A single one with a wrong clock is counted and not used.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from uem.twin_core.estimation.timeline import Reading, Timeline
from uem.twin_core.estimation.watermark import LONG_AGO_NS, NEVER_NS, Watermark
from uem.twin_core.measurements import (
    BAD_WAITING_FOR_INITIAL_DATA,
    NS_PER_S,
    Samples,
    is_bad,
)

MEAN_POINTS = 49
POINTS_BEFORE_START = 10_000  # kept per tag while another tag has not come


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a twin goes without news, in seconds of plant time."""

    wait_s: float  # a silent tag holds the twin back no longer than this
    stale_s: float  # a value older than this is Uncertain
    restart_s: float  # samples that only come from further back mean that the plant was started anew
    gap_s: float  # what only comes from further ahead is a new beginning: nobody knows what was in between
    memory_s: float  # past that is kept to take means of
    warm_up_s: float  # past that a started process reads again from the history
    holds: bool = False  # values count until the next sample instead of lying on a line between two


Row = tuple[int, int, float, int]  # tag index, source time in ns, SI value, quality


class Intake:
    """Timelines of the tags of one asset.

    `required` tags must have come before the asset's twin can start; without any, it can from the first sample on.
    """

    def __init__(
        self,
        required: Sequence[str],
        optional: Sequence[str],
        patience: Patience,
        before_restart: Callable[[], object] = lambda: None,
        witnesses: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        """`before_restart` is called when the plant was started anew, while what came before can still be read.

        `witnesses`: tags by those that they tell of (`witnesses.py`).
        """
        self.tags = (*dict.fromkeys(required), *(tag for tag in dict.fromkeys(optional) if tag not in required))
        self._required_count = len(dict.fromkeys(required))
        self._index = {tag: i for i, tag in enumerate(self.tags)}
        self._wait_ns, self._holds = round(patience.wait_s * NS_PER_S), patience.holds
        self._stale_ns = round(patience.stale_s * NS_PER_S)
        self._restart_ns = round(patience.restart_s * NS_PER_S)
        self._gap_ns = round(patience.gap_s * NS_PER_S)
        self._memory_ns = round(patience.memory_s * NS_PER_S)
        self._before_restart = before_restart
        self._witnesses = {
            self._index[tag]: [self._index[witness] for witness in those] for tag, those in witnesses.items()
        }
        self.late_count = 0
        self.unusable_count = 0
        self.restart_count = 0
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._lines = [Timeline(self._stale_ns) for _ in self.tags]
        for tag, those in self._witnesses.items():
            self._lines[tag].witnesses = [self._lines[witness] for witness in those]
        self._watermark = Watermark(len(self.tags), self._wait_ns, holds=self._holds)
        self._unknown_count = self._required_count  # required tags without a usable value
        self._silent = set(range(len(self.tags)))  # tags that said nothing so far, not even that they are Bad
        self._displaced: list[Row] = []  # one after the other, with none in place between them
        self.start_ns: int | None = None  # when the last required tag was first known
        self._late_ns: int | None = None

    @property
    def missing(self) -> list[str]:
        """Required tags without a usable value so far."""
        return [tag for tag, line in zip(self.tags[: self._required_count], self._lines, strict=False) if not line]

    @property
    def newest_ns(self) -> int | None:
        """The newest source time of any sample."""
        newest_ns = self._watermark.newest_ns
        return newest_ns if newest_ns > LONG_AGO_NS else None

    @property
    def watermark_ns(self) -> int | None:
        """Up to when all tags are known; None before the start."""
        return self._watermark.time_ns

    def pop_late_ns(self) -> int | None:
        """The newest time of the samples that were late since this was asked for last; None: there was none."""
        late_ns, self._late_ns = self._late_ns, None
        return late_ns

    def take(self, samples: Samples) -> None:
        """Take the samples of this asset's tags in; others are not looked at."""
        mine = np.array([self._index.get(name, -1) for name in samples.names], np.int64)[samples.tag]
        ours = mine >= 0
        columns = (mine, samples.source_time_ns, samples.value, samples.quality)
        for row in zip(*(column[ours].tolist() for column in columns), strict=True):
            self._take_row(row)

    def _take_row(self, row: Row) -> None:
        tag, time_ns, value, quality = row
        line = self._lines[tag]
        self._silent.discard(tag)
        held_ns = self._held_until(line)
        decided_ns = line.newest_ns if line and held_ns is None else self.watermark_ns
        if self.newest_ns is not None and time_ns > self.newest_ns + self._gap_ns:
            self._take_displaced(row)
        elif decided_ns is not None and time_ns <= decided_ns:
            if time_ns < decided_ns - self._restart_ns:
                self._take_displaced(row)
            elif line.told_ns is None:  # an optional tag joins: it is known from the next instant on
                self._append((tag, decided_ns + 1, value, quality), decided_ns + 1)
            elif self._still_counts(tag, line.told_ns, time_ns, decided_ns):
                self._append(row, decided_ns + 1)
            elif time_ns != line.told_ns:
                self._late_ns = time_ns if self._late_ns is None else max(self._late_ns, time_ns)
                self.late_count += 1
        else:
            self._displaced.clear()
            self._append(row, time_ns)

    def _still_counts(self, tag: int, told_ns: int, time_ns: int, decided_ns: int) -> bool:
        return time_ns > told_ns and decided_ns - time_ns <= self._watermark.most_late_ns(tag, time_ns - told_ns)

    def _held_until(self, line: Timeline) -> int | None:
        """The watermark if the last value of a tag is held up to it because no sample came, else None."""
        known_ns, watermark_ns = line.newest_ns, self.watermark_ns
        return None if known_ns is None or watermark_ns is None or known_ns >= watermark_ns else watermark_ns

    def _append(self, row: Row, from_ns: int) -> None:
        """Take a sample that counts from `from_ns` on."""
        tag, time_ns, value, quality = row
        line, watermark = self._lines[tag], self._watermark
        if is_bad(quality) or not math.isfinite(value):
            self.unusable_count += 1
        was_known = bool(line)
        held_ns = self._held_until(line)
        if held_ns is not None:
            line.hold_until(held_ns)
        line.append(from_ns, value, quality, time_ns)
        if line:
            watermark.know(tag, time_ns, line.usual_interval_ns)
        watermark.see(time_ns)
        if self.start_ns is None:
            if line and not was_known and tag < self._required_count:
                self._unknown_count -= 1
            self._try_to_start(line, time_ns)
        if self.start_ns is not None:
            may_complete = self._silent and watermark.newest_ns - self.start_ns < watermark.longest_patience_ns
            watermark.move(self.start_ns - 1 if may_complete else NEVER_NS)  # the first row may become complete

    def _take_displaced(self, row: Row) -> None:
        self.late_count += 1
        self._displaced.append(row)
        if len(self._displaced) >= 2 * len(self.tags):
            rows = self._displaced
            self._before_restart()
            self._begin_anew()
            self.restart_count += 1
            self.late_count -= len(rows)
            for again in rows:
                self._take_row(again)

    def _try_to_start(self, line: Timeline, time_ns: int) -> None:
        if self._required_count == 0:
            self._start_with_most(time_ns)
        elif self._unknown_count == 0:
            firsts = [other.first_ns for other in self._lines[: self._required_count]]
            self.start_ns = max(first for first in firsts if first is not None)
        if self.start_ns is None and len(line) > POINTS_BEFORE_START:
            line.keep_newest(POINTS_BEFORE_START)

    def _start_with_most(self, time_ns: int) -> None:
        """With the row that most tags tell in: steps end when rows do, not when some meter happens to be polled."""
        firsts = [line.first_ns for line in self._lines if line.first_ns is not None]
        if 2 * len(firsts) >= len(self._lines):
            self.start_ns = time_ns
        elif firsts and self._watermark.newest_ns - min(firsts) > self._wait_ns:
            self.start_ns = self._watermark.newest_ns

    def at(self, tag: str, time_ns: int) -> Reading:
        """The tag at a time up to the watermark, linear between samples."""
        line = self._lines[self._index[tag]]
        return line.at(time_ns) if _reaches(line, time_ns) else _unknown(time_ns)

    def before(self, tag: str, time_ns: int) -> Reading:
        """The tag at a time up to the watermark, as the newest sample said."""
        line = self._lines[self._index[tag]]
        return line.before(time_ns) if _reaches(line, time_ns) else _unknown(time_ns)

    def mean(self, tag: str, end_ns: int) -> float:
        """Mean of the tag over the remembered past of a time, or as much of it as there is."""
        line = self._lines[self._index[tag]]
        first_ns = end_ns if line.first_ns is None else line.first_ns
        begin_ns = max(end_ns - self._memory_ns, first_ns)
        step_ns = (end_ns - begin_ns) // (MEAN_POINTS - 1)
        return sum(line.at(end_ns - k * step_ns).value for k in range(MEAN_POINTS)) / MEAN_POINTS

    def samples(self, tag: str, begin_ns: int, end_ns: int) -> list[Reading]:
        """The usable samples of a tag with begin < time <= end, in order."""
        return self._lines[self._index[tag]].samples(begin_ns, end_ns)

    def measured_between(self, tag: str, begin_ns: int, end_ns: int) -> bool:
        """Whether a usable sample of the tag has begin < time <= end."""
        return self._lines[self._index[tag]].measured_between(begin_ns, end_ns)

    def next_ns(self, time_ns: int) -> int | None:
        """The first time after this one that has a usable sample of any tag; None as long as there is none."""
        return min((found for line in self._lines if (found := line.next_ns(time_ns)) is not None), default=None)

    def forget_before(self, time_ns: int) -> None:
        """Nothing will be asked for before the remembered past of this time."""
        for line in self._lines:
            line.forget_before(time_ns - self._memory_ns)


def _reaches(line: Timeline, time_ns: int) -> bool:
    return line.first_ns is not None and line.first_ns <= time_ns


def _unknown(time_ns: int) -> Reading:
    return Reading(math.nan, BAD_WAITING_FOR_INITIAL_DATA, time_ns)
