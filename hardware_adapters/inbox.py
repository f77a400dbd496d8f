"""Samples and gaps of all plants -> batches on disk: collected for some hundredths of a second, then committed."""

import asyncio
import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from uem.hardware_adapters.losses import Losses, merged
from uem.twin_core.alarms import Alarm
from uem.twin_core.errors import StorageError
from uem.twin_core.measurements import Gap, GapReason, Samples

_log = logging.getLogger(__name__)

_MOST_ALARMS = 100  # of a batch, since their texts may be long


class Appends(Protocol):
    """What keeps batches: a spool, or several."""

    def append(
        self, samples: Samples, gaps: Sequence[Gap] = (), received_ns: int = 0, alarms: Sequence[Alarm] = ()
    ) -> int:
        """Commit a batch to disk; StorageError when that is not possible."""
        ...


class Inbox:
    """Holds samples in memory until they are in the spool; bounded, what does not fit is counted by plant."""

    def __init__(
        self,
        spool: Appends,
        on_stored: Callable[[], None],
        *,
        most_batch_rows: int = 4096,
        most_delay_s: float = 0.03,
        most_pending_rows: int = 200_000,
        most_pending_gaps: int = 50_000,
        retry_s: float = 1.0,
    ) -> None:
        """`on_stored` is called after each commit; a full disk is tried again every `retry_s`."""
        self.dropped: Counter[str] = Counter()
        self.pending_rows = 0
        self._spool = spool
        self._on_stored = on_stored
        self._most_batch_rows = most_batch_rows
        self._most_delay_s = most_delay_s
        self._most_pending_rows = most_pending_rows
        self._most_pending_gaps = most_pending_gaps
        self._retry_s = retry_s
        self._pending: deque[tuple[int, Samples]] = deque()  # each with the time when it came, by our clock
        self._gaps: list[Gap] = []
        self._alarms: list[Alarm] = []
        self._losses: defaultdict[str, Losses] = defaultdict(partial(Losses, GapReason.SPOOL_FULL))
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._problem = ""
        self._is_dropping = False
        self._closed = False

    @property
    def pending_alarms(self) -> int:
        """Reports of alarms that wait for the spool."""
        return len(self._alarms)

    def put(self, plant: str, samples: Samples, gaps: Sequence[Gap] = ()) -> None:
        """Take samples and known gaps in; samples that there is no room for are dropped, counted and become a gap.

        While the spool takes what comes, one batch may be more than the bound, as what a server kept through an outage.
        """
        self._tell(gaps)
        room = self._most_pending_rows - self.pending_rows
        if len(samples) > room and (room <= 0 or self._problem):
            if not self._is_dropping:
                _log.error("no room for samples: they are dropped until the spool takes more (%s)", self._problem)
            self._is_dropping = True
            self.dropped[plant] += len(samples)
            self._losses[plant].dropped(samples)
            return
        self._tell(self._losses[plant].kept(samples))
        if not len(samples):
            return
        self._pending.append((time.time_ns(), samples))
        self.pending_rows += len(samples)
        self._some.set()
        if self.pending_rows >= self._most_batch_rows:
            self._enough.set()

    def tell(self, alarms: Sequence[Alarm]) -> None:
        """Keep alarms for the next batch; when too many wait, the oldest are dropped, and that is said."""
        self._alarms += alarms
        if (more := len(self._alarms) - self._most_pending_gaps) > 0:
            _log.error("no room for alarms: the %d oldest are dropped (%s)", more, self._problem)
            del self._alarms[:more]
        self._some.set()

    def _tell(self, gaps: Sequence[Gap]) -> None:
        """Keep gaps for the next batch; when too many wait, those of a tag become one."""
        if not gaps:
            return
        self._gaps += gaps
        if len(self._gaps) > self._most_pending_gaps:
            self._gaps = merged(self._gaps)
        self._some.set()

    async def run(self) -> None:
        """Commit what comes in until `close`, then once more what is there."""
        while not self._closed:
            await self._some.wait()
            try:
                async with asyncio.timeout(self._most_delay_s):
                    await self._enough.wait()
            except TimeoutError:
                pass
            if not await self.flush() and not self._closed:
                await asyncio.sleep(self._retry_s)
        await self.flush()

    def close(self) -> None:
        """Let `run` end soon; `pending_rows` is then what could not be stored."""
        for losses in self._losses.values():
            self._tell(losses.close())
        self._closed = True
        self._some.set()
        self._enough.set()

    async def flush(self) -> bool:
        """Commit everything that is pending; False when the spool refuses, then it stays pending."""
        while self._pending or self._gaps or self._alarms:
            (received_ns, batch), gaps = self._next_batch(), self._gaps[: self._most_batch_rows]
            self._gaps = self._gaps[self._most_batch_rows :]
            alarms = self._alarms[:_MOST_ALARMS]
            del self._alarms[: len(alarms)]
            try:
                await asyncio.to_thread(self._spool.append, batch, gaps, received_ns, alarms)
            except StorageError as error:
                self._gaps, self._alarms = gaps + self._gaps, alarms + self._alarms
                if len(batch):
                    self._pending.appendleft((received_ns, batch))
                if str(error) != self._problem:
                    _log.error("%s; %d rows wait in memory", error, self.pending_rows)
                self._problem = str(error)
                return False
            self.pending_rows -= len(batch)
            if self._problem:
                _log.info("the spool takes samples again")
            self._problem, self._is_dropping = "", False
            self._on_stored()
        self._some.clear()
        self._enough.clear()
        return True

    def _next_batch(self) -> tuple[int, Samples]:
        """Take the oldest rows, at most one batch, and when the first of them came; the rest stays."""
        parts: list[Samples] = []
        received_ns, rows = self._pending[0][0] if self._pending else time.time_ns(), 0
        while self._pending and rows < self._most_batch_rows:
            newest_ns, part = self._pending.popleft()
            parts.append(part)
            rows += len(part)
        batch = parts[0] if len(parts) == 1 else Samples.concatenate(parts)
        if rows > self._most_batch_rows:
            self._pending.appendleft((newest_ns, batch.take(slice(self._most_batch_rows, None))))
            batch = batch.take(slice(self._most_batch_rows))
        return received_ns, compact(batch)


def compact(samples: Samples) -> Samples:
    """The same rows under a dictionary of only the names that occur."""
    used, tag = np.unique(samples.tag, return_inverse=True)
    if len(used) == len(samples.names):
        return samples
    names = tuple(samples.names[i] for i in used.tolist())
    return Samples(names, tag.astype(np.uint32), samples.source_time_ns, samples.value, samples.quality)
