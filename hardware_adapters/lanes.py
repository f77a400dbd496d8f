"""Lanes: what comes now does not wait behind what has waited for long.

A lane is a spool and the uplink that drains it: a producer of its own, so the order of its sequences stays as it is and
each batch has its effect once. As long as the service keeps up there is one lane. When more than LIVE_BATCHES wait in
it while the service is there, it becomes the backlog, and what comes from then on goes into another lane. The backlog
drains beside it with fewer batches in flight, the oldest lane first and one at a time, so in each tag's order; a lane
that is empty is there to be used again. How long live samples wait therefore does not depend on how much lies behind.
"""

import asyncio
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from uem.hardware_adapters.spool import MOST_BYTES, Spool
from uem.hardware_adapters.tasks import end
from uem.hardware_adapters.uplink import MOST_IN_FLIGHT, Uplink
from uem.twin_core.alarms import Alarm
from uem.twin_core.errors import StorageError
from uem.twin_core.measurements import NS_PER_S, Gap, Samples

_log = logging.getLogger(__name__)

LIVE_BATCHES = 64
BACKLOG_IN_FLIGHT = 4
MOST_LANES = 8  # an outage during a catch-up takes one more; with all in use the newest one waits as a whole
_LOOK_EVERY_S = 0.1


@dataclass(eq=False)
class Lane:
    """A spool and what drains it, while its task runs."""

    spool: Spool
    uplink: Uplink
    task: "asyncio.Task[None] | None" = None

    def start(self, most_in_flight: int, *, behind: bool) -> None:
        """Drain, unless the task of before has not ended yet."""
        self.uplink.most_in_flight, self.uplink.behind = most_in_flight, behind
        if self.task is None:
            self.task = asyncio.create_task(self.uplink.run())

    def stop(self) -> None:
        """Stop draining soon."""
        if self.task is not None:
            self.task.cancel()


class Lanes:
    """All lanes of a gateway as if they were one spool with one uplink."""

    def __init__(
        self, first: Spool, address: str, *, most_bytes: int = MOST_BYTES, make: Callable[..., Uplink] = Uplink
    ) -> None:
        """The lanes beside `first`, as far as they exist; `address` is host:port of the ingestion service.

        `most_bytes` may wait in all lanes together.
        """
        self._first = first
        self._address = address
        self._most_bytes = most_bytes
        self._make = make
        self._problem = ""
        self.lanes = [Lane(first, make(address, first))]
        for number in range(2, MOST_LANES + 1):
            if self._path(number).exists():
                self._open(number)
        # All know what the one knows that was written to last.
        self._kept = max((lane.spool.kept for lane in self.lanes), key=lambda kept: kept.number)
        for lane in self.lanes:
            lane.spool.kept = self._kept
        waiting = sorted((lane for lane in self.lanes if lane.spool.batch_count), key=_oldest)
        self._backlog: deque[Lane] = deque(waiting)
        if len(waiting) == 1 and waiting[0].spool.batch_count <= LIVE_BATCHES:
            self._live = self._backlog.pop()
        else:
            self._live = self._free() or self._backlog.pop()

    def _path(self, number: int) -> Path:
        first = self._first.path
        old = first.with_name(f"spool-{number}.db")  # what gateways called it before; it may have a backlog still
        return (
            old
            if first.name == "spool.db" and old.exists()
            else first.with_name(f"{first.name}.lanes") / f"{number}.db"
        )

    def _open(self, number: int) -> Lane:
        spool = Spool(self._path(number))
        self.lanes.append(Lane(spool, self._make(self._address, spool)))
        return self.lanes[-1]

    def _free(self) -> Lane | None:
        """A lane that nothing waits in and that nobody uses, a new one if there may be one more."""
        for lane in self.lanes:
            if lane.task is None and lane not in self._backlog and not lane.spool.batch_count:
                return lane
        number = next((n for n in range(2, MOST_LANES + 1) if not self._path(n).exists()), None)
        if number is None:
            return None
        try:
            lane = self._open(number)
        except StorageError as error:
            if str(error) != self._problem:
                _log.warning("no further lane: %s; live samples wait behind the backlog", error)
            self._problem = str(error)
            return None
        lane.spool.kept = self._kept
        return lane

    def close(self) -> None:
        """Close the spools that were opened here."""
        for lane in self.lanes[1:]:
            lane.spool.close()

    # As a spool.

    @property
    def batch_count(self) -> int:
        """Batches that wait in all lanes."""
        return sum(lane.spool.batch_count for lane in self.lanes)

    @property
    def row_count(self) -> int:
        """Rows that wait in all lanes."""
        return sum(lane.spool.row_count for lane in self.lanes)

    @property
    def byte_count(self) -> int:
        """Bytes that the waiting batches take, roughly."""
        return sum(lane.spool.byte_count for lane in self.lanes)

    @property
    def acknowledged_row_count(self) -> int:
        """Rows that the service has, since the start."""
        return sum(lane.spool.acknowledged_row_count for lane in self.lanes)

    @property
    def refused_row_count(self) -> int:
        """Rows that are set aside."""
        return sum(lane.spool.refused_row_count for lane in self.lanes)

    @property
    def oldest_received_ns(self) -> int | None:
        """When the oldest batch that waits was received, by our clock; None when nothing waits."""
        found = [lane.spool.oldest_received_ns for lane in self.lanes]
        return min((time_ns for time_ns in found if time_ns is not None), default=None)

    @property
    def kept_ns(self) -> dict[str, int]:
        """The source time of the last sample of each tag that is or was on disk here."""
        return self._kept.times_ns()

    @property
    def away_s(self) -> float:
        """Seconds since a sample was kept last before the start, by our clock; NaN when that is not known."""
        written_ns = self._kept.written_ns
        return (time.time_ns() - written_ns) / NS_PER_S if written_ns else math.nan

    def append(
        self, samples: Samples, gaps: Sequence[Gap] = (), received_ns: int = 0, alarms: Sequence[Alarm] = ()
    ) -> int:
        """Commit a batch to the lane of what comes now; see Spool.append."""
        spool = self._live.spool
        spool.most_bytes = self._most_bytes - (self.byte_count - spool.byte_count)
        return spool.append(samples, gaps, received_ns, alarms)

    # As an uplink.

    @property
    def connected(self) -> bool:
        """Whether what comes now can be delivered."""
        return self._live.uplink.connected

    @property
    def rejected(self) -> "Counter[str]":
        """Samples that the service rejected, by reason."""
        found: Counter[str] = Counter()
        for lane in self.lanes:
            found.update(lane.uplink.rejected)
        return found

    @property
    def refused_batches(self) -> int:
        """Batches that the service refused as a whole."""
        return sum(lane.uplink.refused_batches for lane in self.lanes)

    @property
    def backlog_lanes(self) -> int:
        """Lanes that drain, or wait to, beside the live one."""
        return len(self._backlog)

    def notify(self) -> None:
        """There is something new."""
        self._live.uplink.notify()

    async def drain(self, timeout_s: float) -> None:
        """Wait until all lanes are empty, at most `timeout_s`, or not at all when nobody is there to take it."""
        until_s = time.monotonic() + timeout_s
        while self.connected and self.batch_count and time.monotonic() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY_S / 4)

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                self._arrange()
                tasks = [lane.task for lane in self.lanes if lane.task is not None]
                done, _ = await asyncio.wait(tasks, timeout=_LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                for lane in self.lanes:
                    if lane.task in done:
                        task, lane.task = lane.task, None
                        if not task.cancelled():
                            task.result()  # an uplink does not end by itself: this raises its error
        finally:
            await end([lane.task for lane in self.lanes if lane.task is not None])

    def _arrange(self) -> None:
        """Who drains now: the live lane, and the oldest one of the backlog."""
        if self._live.uplink.connected and self._live.spool.batch_count > LIVE_BATCHES:
            free = self._free()
            if free is not None:
                self._backlog.append(self._live)
                self._live = free
        for lane in list(self._backlog):
            if not lane.spool.batch_count:
                self._backlog.remove(lane)
                lane.stop()
        for lane in self.lanes:  # a batch that was just being committed when its lane was left
            if lane is not self._live and lane not in self._backlog and lane.spool.batch_count:
                self._backlog.append(lane)
        for lane in list(self._backlog)[1:]:
            lane.stop()
        if self._backlog:
            self._backlog[0].start(BACKLOG_IN_FLIGHT, behind=True)
            self._backlog[0].uplink.notify()  # of a batch that was just being committed when this lane was left
        self._live.start(MOST_IN_FLIGHT, behind=False)


def _oldest(lane: Lane) -> int:
    return lane.spool.oldest_received_ns or 0
