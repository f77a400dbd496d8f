"""What lies between the samples before an outage, or an overflow, and those after: read from history, else a break."""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from uem.hardware_adapters.base import Break, SampleQueue
from uem.hardware_adapters.opcua.channel import text_of
from uem.hardware_adapters.opcua.notifications import BAD_TYPE_MISMATCH
from uem.hardware_adapters.opcua.services import Services
from uem.hardware_adapters.tags import TagTable
from uem.twin_core.measurements import OVERFLOW, GapReason, Samples, is_bad, is_overflow

_log = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = np.iinfo(np.int64).min
_Row = tuple[int, float, int]  # time, raw value, quality


class Bridge:
    """Puts samples into a queue, behind what may be missing before them."""

    def __init__(self, tags: TagTable, queue: SampleQueue, services: Services, endpoint: str) -> None:
        """`services` reads the history; `endpoint` is for messages."""
        self.lost = 0  # overflows at the server that no history has filled
        self._tags = tags
        self._queue = queue
        self._services = services
        self._endpoint = endpoint
        self._nodes: Mapping[int, Any] = {}
        self._generation = 0  # of the subscription
        self._start_time: datetime | None = None  # of the server
        self._newest = np.full(len(tags), _NEVER)  # source time by tag
        # Tags whose first sample after a break has not come, and when the server began anew in it, oldest first.
        self._open: dict[int, list[int]] = {}
        self._held: list[tuple[int, Samples]] = []  # with the generation that brought them

    def begin(self, nodes: Mapping[int, Any]) -> None:
        """A subscription on these nodes was made: nobody knows what came between the one before and this."""
        start_time = self._services.start_time
        if self._generation:
            restarts = [] if start_time in (None, self._start_time) else [_microseconds(start_time) * 1000]
            known = [tag for tag in nodes if self._newest[tag] != _NEVER]
            self._open = {tag: [*self._open.get(tag, ()), *restarts] for tag in known}
        self._generation += 1
        self._nodes, self._start_time = nodes, start_time

    async def put(self, samples: Samples, *, is_lossy: bool) -> None:
        """Queue samples, behind what the history has before them; if the line breaks meanwhile they are held back.

        `is_lossy`: a row may tell that values before it were lost.
        """
        if self._open or is_lossy:
            try:
                await self._bridge(samples, is_overflow(samples.quality))
            except BaseException:
                self._held.append((self._generation, samples))
                raise
            self.lost += int(np.count_nonzero(is_overflow(samples.quality)))
        self._newest[samples.tag] = samples.source_time_ns
        self._queue.put(samples)

    async def put_held(self) -> None:
        """What was held back, now that a line stands again."""
        while self._held:
            generation, samples = self._held.pop(0)
            before = self._held
            self._held = []
            try:
                await self.put(samples, is_lossy=True)
            finally:
                self._held += before
            if generation != self._generation:  # the break that made this one is behind these samples
                self._open |= {tag: self._open.get(tag, []) for tag in samples.tag.tolist()}

    def let_held_go(self) -> None:
        """No line will stand again: what was held back has a break before it."""
        for _, samples in self._held:
            self._break(np.unique(samples.tag).tolist())
            self._queue.put(samples)
        self._held = []

    async def _bridge(self, samples: Samples, lossy: NDArray[np.bool_]) -> None:
        """Fill what lies before samples after a break or an overflow from the server's history, else tell of it.

        A row whose overflow is filled loses that bit. When the line breaks, what was read until then stays.
        """
        ends: dict[int, int] = {}
        rows: dict[int, int] = {}
        seen: set[int] = set()
        for row, (tag, time_ns) in enumerate(zip(samples.tag.tolist(), samples.source_time_ns.tolist(), strict=True)):
            if tag not in seen and (tag in self._open or lossy[row]):
                ends[tag], rows[tag] = time_ns, row
            seen.add(tag)
        behind = {tag: end_ns for tag, end_ns in ends.items() if _NEVER < self._newest[tag] < end_ns}
        filled = await self._fill(behind) if behind else set()
        # No history has what was measured while the server was down.
        self._break([tag for tag in behind if tag in self._open and (self._open[tag] or tag not in filled)])
        # A clock that was set back meanwhile: there is no interval to read, and nobody knows what came in it.
        self._break([tag for tag, end_ns in ends.items() if tag in self._open and self._newest[tag] > end_ns])
        for tag in ends:
            self._open.pop(tag, None)
        for tag in filled:
            if lossy[rows[tag]]:
                samples.quality[rows[tag]] &= ~np.uint32(OVERFLOW)

    async def _fill(self, ends: dict[int, int]) -> set[int]:
        """Queue what the server has of tags up to a time each; those of which it gave all that it has."""
        services = self._services
        there = {tag: self._nodes[tag] for tag in sorted(ends) if tag in self._nodes}
        filled: set[int] = set()
        try:
            readable = await services.with_history(there)
            starts = {tag: int(self._newest[tag]) for tag in readable}
            loose = set(readable)  # whose newest sample was not found in the history: it may not reach so far back
            async for page in services.history(there, starts, {tag: ends[tag] for tag in readable}):
                rows: dict[int, Sequence[_Row]] = {}
                for tag, found in page.values.items():
                    times = [_time_us(each) for each in found]
                    rows[tag] = _between(found, times, int(self._newest[tag]), ends[tag])
                    if starts[tag] // 1000 in times:
                        loose.discard(tag)
                headless = {tag: rows[tag][0][0] for tag in loose if rows.get(tag)}
                later = {tag: [at for at in self._open.get(tag, ()) if at > headless[tag]] for tag in headless}
                self._open |= {tag: [at for at in self._open.get(tag, ()) if at <= headless[tag]] for tag in headless}
                self._break(headless)
                self._open |= later
                loose -= headless.keys()
                self._put_page(rows)
                filled |= page.complete
            filled -= loose
        except ua.UaStatusCodeError as error:
            if not services.channel.is_open:
                raise
            _log.info("%s: no history: %s", self._endpoint, text_of(error))
        return filled

    def _put_page(self, page: Mapping[int, Sequence[_Row]]) -> None:
        """Queue rows by tag, with a break where the server began anew."""
        while any(page.values()):
            now: list[tuple[int, int, float, int]] = []
            later: dict[int, Sequence[_Row]] = {}
            for tag, rows in page.items():
                restarts = self._open.get(tag)
                count = sum(row[0] < restarts[0] for row in rows) if restarts else len(rows)
                now += [(tag, *row) for row in rows[:count]]
                if count < len(rows):
                    later[tag] = rows[count:]
            self._put_rows(now)
            self._break(later)
            for tag in later:
                self._open[tag].pop(0)
            page = later

    def _break(self, tags: Collection[int]) -> None:
        """Tell that something may be missing before the next sample of tags."""
        restarted = {tag for tag in tags if self._open.get(tag)}
        for reason, some in (
            (GapReason.SOURCE_RESTARTED, restarted),
            (GapReason.LINK_DOWN, set(tags) - restarted),
        ):
            if some:
                self._queue.put(Break(reason, frozenset(self._tags.names[tag] for tag in some)))

    def _put_rows(self, rows: Sequence[tuple[int, int, float, int]]) -> None:
        """Queue rows of tag, time, raw value and quality."""
        if not rows:
            return
        tags, times, values, qualities = zip(*rows, strict=True)
        columns = np.array(tags, np.uint32), np.array(times, np.int64), np.array(values), np.array(qualities, np.uint32)
        np.maximum.at(self._newest, columns[0], columns[1])
        self._queue.put(self._tags.samples(*columns))


def _between(found: Sequence[Any], times_us: Sequence[int], start_ns: int, end_ns: int) -> list[_Row]:
    """What a history has strictly between two samples; asyncua's times are whole microseconds."""
    start_us, end_us = start_ns // 1000, end_ns // 1000
    return [(us * 1000, *_number(each)) for each, us in zip(found, times_us, strict=True) if start_us < us < end_us]


def _time_us(value: Any) -> int:
    when = value.SourceTimestamp or value.ServerTimestamp
    return -1 if when is None else _microseconds(when)


def _microseconds(when: datetime) -> int:
    since = (when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _number(value: Any) -> tuple[float, int]:
    """Value and quality of one of asyncua's data values, as the decoder gives them."""
    quality = int(value.StatusCode.value) if value.StatusCode is not None else 0
    content = value.Value.Value if value.Value is not None else None
    if isinstance(content, (bool, int, float)):
        return float(content), quality
    return math.nan, quality if is_bad(quality) or content is None else BAD_TYPE_MISMATCH
