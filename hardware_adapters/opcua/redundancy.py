"""A set of servers with the same data (OPC 10000-4, 6.6.2: non-transparent redundancy) as one adapter.

All servers are subscribed to all of the time. What the active one tells is passed on; what the others tell is kept
until the active one has told it too, so that nothing is missing when another becomes active. A break is told only for
tags of which the server that goes on cannot have told everything.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from uem.hardware_adapters.base import Alarms, Break, SampleQueue, WriteOutcome, Written
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.methods import Called
from uem.hardware_adapters.supervise import FIRST_LOGIN_WAIT_S, LONGEST_LOGIN_WAIT_S, Backoff
from uem.hardware_adapters.tags import TagTable
from uem.hardware_adapters.tasks import end
from uem.twin_core.errors import AdapterError, LoginRefused, UnknownTag
from uem.twin_core.measurements import GapReason, Samples, Tag
from uem.twin_core.plant.territory import TagBinding

_log = logging.getLogger(__name__)

OVERLAP_S = 10.0  # within which the servers of a set tell the same
TOGETHER_S = 1.0  # for which the others are waited for when one is open
CHECK_S = 0.05  # how often it is seen whether the active one is still the best
HEALTHY, DEGRADED = 200, 2  # the least service levels of OPC 10000-4 6.6.2.4.2; below: maintenance, no data
_NEVER = np.iinfo(np.int64).min

Make = Callable[[str, Sequence[TagBinding]], OpcUaAdapter]


class _Member:
    """One server of the set, and what it told that was not passed on."""

    def __init__(self, endpoint: str, names: tuple[str, ...]) -> None:
        self.endpoint = endpoint
        self.adapter: OpcUaAdapter | None = None
        self.error: AdapterError | None = None  # of the last try
        self.level = -1  # not told yet
        self.missing: dict[str, str] = {}  # tags that it did not have when it was opened last
        self.reason = GapReason.LINK_DOWN
        self.open = np.zeros(len(names), bool)  # tags that have no sample since a break, at the head of what is kept
        self.kept: deque[tuple[float, Samples | Break]] = deque()  # with the time by our clock, in s
        self._names = names
        self._rows = 0
        self._before: tuple[int, int, float] = (0, 0, 0.0)

    @property
    def connected(self) -> bool:
        return self.adapter is not None and self.adapter.connected

    @property
    def rank(self) -> tuple[bool, int]:
        """By which the best is chosen: all healthy ones are equally good."""
        return self.connected, min(self.level, HEALTHY) if self.level >= DEGRADED else 0

    @property
    def counts(self) -> tuple[int, int, float]:
        """Rows dropped, outages, seconds of decoding, of all its adapters so far."""
        dropped, outages, decode_s = self._before
        if self.adapter is None:
            return self._before
        return dropped + self.adapter.dropped, outages + self.adapter.outages, decode_s + self.adapter.decode_s

    def closed(self) -> None:
        """Its adapter is used up."""
        self._before, self.adapter = self.counts, None

    def keep(self, item: Samples | Break, most_rows: int) -> None:
        """Keep what is not passed on now; when it is too much the oldest go, and that is a break."""
        self.kept.append((time.monotonic(), item))
        self._rows += _rows_of(item)
        while self._rows > most_rows:
            oldest = self.pop()
            self.settle(oldest)
            if isinstance(oldest, Samples):
                self.open[oldest.tag], self.reason = True, GapReason.QUEUE_OVERFLOW

    def pop(self) -> Samples | Break:
        """The oldest that is kept."""
        _, item = self.kept.popleft()
        self._rows -= _rows_of(item)
        return item

    def settle(self, item: Samples | Break) -> None:
        """Note for which tags something may be missing behind the item."""
        if isinstance(item, Samples):
            self.open[item.tag] = False
        else:
            self.reason = item.reason
            self.open |= np.array([item.tags is None or name in item.tags for name in self._names], bool)

    def trim(self, newest: NDArray[np.int64]) -> None:
        """Let go what the active server has told as well, or has had the time to tell: what it has not may be lost."""
        oldest_s = time.monotonic() - OVERLAP_S
        while self.kept:
            when_s, item = self.kept[0]
            untold = item.tag[item.source_time_ns > newest[item.tag]] if isinstance(item, Samples) else ()
            if len(untold) and when_s > oldest_s:
                return
            self.settle(self.pop())
            if len(untold):
                self.open[untold], self.reason = True, GapReason.LINK_DOWN


class RedundantAdapter:
    """The servers of a redundant set, of which the best that is connected is passed on."""

    def __init__(
        self,
        endpoints: Sequence[str],
        bindings: Sequence[TagBinding],
        make: Make,
        *,
        most_queued_rows: int = 100_000,
    ) -> None:
        """Nothing is opened yet.

        Args:
            endpoints: of the servers; of equally good ones the first that is connected is active.
            bindings: the tags of this plant, which each of the servers has.
            make: an adapter of the tags that it is given, at one of the endpoints.
            most_queued_rows: rows kept for a slow reader, and of each server that is not active.
        """
        self._names = TagTable(bindings).names
        self._bindings = (*bindings, _service_level(bindings[0].plant if bindings else ""))
        self._make = make
        self._most_rows = most_queued_rows
        self._queue = SampleQueue(most_queued_rows)
        self._members = [_Member(endpoint, self._names) for endpoint in endpoints]
        self._active: _Member | None = None
        self._newest = np.full(len(self._names), _NEVER)  # source times of what was passed on
        self._floor: NDArray[np.int64] | None = None  # of the server that became active, until...
        self._floor_until_s = 0.0
        self._tried = asyncio.Event()  # one is open, or none can be
        self._all_tried = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.switches = 0
        self.missing: dict[str, str] = {}

    @property
    def connected(self) -> bool:
        """Whether any of the servers is within reach."""
        return any(member.connected for member in self._members)

    @property
    def active(self) -> str:
        """The endpoint whose samples are passed on; empty before there is one."""
        return "" if self._active is None else self._active.endpoint

    @property
    def service_levels(self) -> dict[str, int]:
        """What each server says of itself, 0 to 255, by endpoint; -1 before it did."""
        return {member.endpoint: member.level for member in self._members}

    @property
    def dropped(self) -> int:
        """Rows dropped here, and the losses of the server that has most."""
        return self._queue.dropped + max(member.counts[0] for member in self._members)

    @property
    def outages(self) -> int:
        """How often a line to any of the servers was lost."""
        return sum(member.counts[1] for member in self._members)

    @property
    def decode_s(self) -> float:
        """Seconds that decoding took so far, of all servers."""
        return sum(member.counts[2] for member in self._members)

    @property
    def problems(self) -> dict[str, int]:
        """How often another server became the active one."""
        return {"failover": self.switches}

    @property
    def server_time_ns(self) -> int:
        """The clock of the active server, see `TellsTime`."""
        adapter = self._active.adapter if self._active else None
        return 0 if adapter is None else adapter.server_time_ns

    @property
    def certificate_ends_s(self) -> float:
        """When the first certificate of the servers expires, in s since 1970; NaN before one was seen."""
        ends = [member.adapter.certificate_ends_s for member in self._members if member.adapter]
        return min((each for each in ends if not math.isnan(each)), default=math.nan)

    async def __aenter__(self) -> Self:
        try:
            self._tasks = [asyncio.create_task(self._stay_connected(member)) for member in self._members]
            await self._tried.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(TOGETHER_S):
                    await self._all_tried.wait()
            if self._active is None:
                errors = [member.error for member in self._members if member.error is not None]
                raise next((each for each in errors if isinstance(each, LoginRefused)), errors[0])
        except BaseException:
            await self._close()
            raise
        self._tasks.append(asyncio.create_task(self._watch()))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._close()

    def batches(self) -> AsyncIterator[Any]:
        """The samples of the set, each once; what is lost of one server is not raised."""
        return self._queue.batches()

    async def write(self, values: Mapping[str, float], *, timeout_s: float = 10.0) -> list[Written]:
        """Write by the active server, see `Writes`."""
        adapter = self._active.adapter if self._active else None
        if adapter is None:
            text = "none of the servers is connected; nothing was sent"
            return [Written(tag=tag, outcome=WriteOutcome.REFUSED, value=v, text=text) for tag, v in values.items()]
        return await adapter.write(values, timeout_s=timeout_s)

    async def call(
        self, namespace_uri: str, path: str, arguments: Mapping[str, Any], *, timeout_s: float = 10.0
    ) -> Called:
        """Call a method of the active server; see `methods.call`."""
        adapter = self._active.adapter if self._active else None
        if adapter is None:
            raise AdapterError(f"none of the servers is connected; method {path} was not called")
        return await adapter.call(namespace_uri, path, arguments, timeout_s=timeout_s)

    # --- the servers ---

    async def _stay_connected(self, member: _Member) -> None:
        """Open an adapter as often as it takes and take what it tells."""
        waits, logins = Backoff(), Backoff(LONGEST_LOGIN_WAIT_S, FIRST_LOGIN_WAIT_S)
        while True:
            try:
                async with self._make(member.endpoint, self._bindings) as adapter:
                    self._opened(member, adapter)
                    waits.reset()
                    logins.reset()
                    async for item in adapter.batches():
                        self._take(member, item)
            except AdapterError as error:
                member.error = error
            except Exception as error:  # a fault of one must not stop the others
                _log.exception("%s: unexpected fault of its adapter", member.endpoint)
                member.error = AdapterError(f"{member.endpoint}: {error}")
            finally:
                member.closed()
            self._note_tried()
            wait_s = (logins if isinstance(member.error, LoginRefused) else waits).next_s()
            _log.warning("%s; next try in %g s", member.error, wait_s)
            await asyncio.sleep(wait_s)

    def _opened(self, member: _Member, adapter: OpcUaAdapter) -> None:
        missing = dict(adapter.missing)
        has_level = missing.pop(self._bindings[-1].tag.name, None) is None
        if len(missing) == len(self._names):
            first = "; ".join(f"{tag}: {reason}" for tag, reason in list(missing.items())[:3])
            raise UnknownTag(f"{member.endpoint}: the server has none of the {len(missing)} tags: {first}")
        member.adapter, member.level = adapter, -1 if has_level else HEALTHY
        member.missing = missing
        self.missing = self._missing_of_any()
        if self._active is not None:
            self._take(member, Break(GapReason.LINK_DOWN))  # nobody knows what it would have told before
        self._choose()
        self._note_tried()

    def _missing_of_any(self) -> dict[str, str]:
        """Tags that a server does not have, and which: while another is active nobody notices, until it fails."""
        found: dict[str, list[str]] = {}
        for member in self._members:
            for tag, reason in member.missing.items():
                found.setdefault(tag, []).append(f"{member.endpoint}: {reason}")
        return {tag: "; ".join(reasons) for tag, reasons in found.items()}

    def _note_tried(self) -> None:
        if all(each.error is not None or each.adapter is not None for each in self._members):
            self._all_tried.set()
        if self._active is not None or self._all_tried.is_set():
            self._tried.set()

    async def _watch(self) -> None:
        """See that the active server is lost, also when none has anything to tell."""
        while True:
            self._choose()
            await asyncio.sleep(CHECK_S)

    def _choose(self) -> None:
        """Go on with a better server than the active one, if there is one."""
        best, active = max(self._members, key=lambda member: member.rank), self._active
        if not best.connected:
            return
        # An active server that has not told its level yet is not left for that.
        if active is None or best.rank > (active.rank if active.level >= 0 else (active.connected, HEALTHY)):
            self._go_on_with(best)

    def _go_on_with(self, member: _Member) -> None:
        before, self._active = self._active, member
        if before is not None:
            self.switches += 1
            self._floor, self._floor_until_s = self._newest.copy(), time.monotonic() + OVERLAP_S
            levels = before.level, member.level
            _log.warning("%s: goes on in place of %s (levels %d, %d)", member.endpoint, before.endpoint, *levels[::-1])
        while member.kept:
            self._pass_on(member, member.pop())

    # --- samples ---

    def _take(self, member: _Member, item: Samples | Break | Alarms) -> None:
        """Pass on, or keep, what a server tells; alarms are the same of all."""
        if isinstance(item, Alarms):
            self._queue.put(item)
            return
        if isinstance(item, Samples):
            item = self._without_level(member, item)
            if not len(item):
                return
        self._choose()
        if isinstance(item, Break) and member is self._active:
            others = [each for each in self._members if each is not member and each.rank == member.rank]
            if others and others[0].connected:
                self._go_on_with(others[0])
        if member is self._active:
            self._pass_on(member, item)
            for each in self._members:
                if each is not member:
                    each.trim(self._newest)
        else:
            member.keep(item, self._most_rows)
            member.trim(self._newest)

    def _without_level(self, member: _Member, samples: Samples) -> Samples:
        """The rows of the plant, under its names; the service level is noted."""
        is_level = samples.tag == len(self._names)
        if is_level.any():
            level = samples.value[is_level][-1]
            member.level = 0 if math.isnan(level) else int(level)
            samples = samples.take(~is_level)
        return Samples(self._names, samples.tag, samples.source_time_ns, samples.value, samples.quality)

    def _pass_on(self, member: _Member, item: Samples | Break) -> None:
        """Queue what is new of the active server, behind a break of the tags that it may have lost something of."""
        if isinstance(item, Break):
            member.settle(item)
            return
        is_new = None
        if self._floor is not None:
            if time.monotonic() > self._floor_until_s:
                self._floor = None
            else:
                is_new = item.source_time_ns > self._floor[item.tag]
        samples = item if is_new is None or is_new.all() else item.take(is_new)
        later = samples.source_time_ns > self._newest[samples.tag]
        lost = np.unique(samples.tag[later & member.open[samples.tag] & (self._newest[samples.tag] != _NEVER)])
        if len(lost):
            self._queue.put(Break(member.reason, frozenset(self._names[tag] for tag in lost.tolist())))
        member.settle(item)
        if len(samples):
            self._newest[samples.tag] = samples.source_time_ns
            self._queue.put(samples)

    async def _close(self) -> None:
        tasks, self._tasks = self._tasks, []
        await end(tasks)


def _rows_of(item: Samples | Break) -> int:
    return len(item) if isinstance(item, Samples) else 0


def _service_level(plant: str) -> TagBinding:
    """Server_ServiceLevel (i=2267) as one more tag, so that it is read and monitored as they are."""
    return TagBinding(
        tag=Tag(name="Server/ServiceLevel", unit="1"),
        plant=plant,
        browse_path="Server/ServiceLevel",
        namespace_uri="http://opcfoundation.org/UA/",
        display_unit="1",
    )
