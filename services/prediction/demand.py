"""Feeds the demand forecast of a network: the means of quarter hours, from the history first, then as samples come.

Nothing here is long work for the event loop: samples of a batch are added up, and what they make is done in a thread.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import thread_time

import numpy as np
from numpy.typing import NDArray

from uem.services.bus import SampleBus
from uem.services.history.store import Past
from uem.twin_core.errors import StorageError
from uem.twin_core.forecast.bands import Forecast
from uem.twin_core.forecast.day_ahead import STEP_NS, DayAhead
from uem.twin_core.measurements import BAD, NS_PER_S, Samples
from uem.twin_core.plant.groups import alike
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.units import Substation

READ_DAYS = 28  # of history at the start
READ_SHARE = 0.2  # of a core while it is read
WAITING_BATCHES = 1024
GRACE_NS = 30 * NS_PER_S  # that samples of a quarter hour may come later than newer ones
DAY_NS = 86_400 * NS_PER_S
HELD = 4  # quarter hours for which a tag that tells nothing keeps its mean
ZERO_C_K = 273.15
_LOG = logging.getLogger(__name__)

Array = NDArray[np.float64]


class Quarters:
    """Means of tags over quarter hours; samples come in roughly in order of time."""

    def __init__(self, tags: tuple[str, ...]) -> None:
        self._column = {tag: i for i, tag in enumerate(tags)}
        self._begin_anew()

    def _begin_anew(self) -> None:
        count = len(self._column)
        self._open: dict[int, tuple[Array, Array]] = {}  # number of the quarter hour -> sums, counts
        self._newest_ns: int | None = None
        self._closed: int | None = None
        self._last, self._age = np.full(count, np.nan), np.zeros(count, np.int64)

    def begin_again(self, first_ns: int, last_ns: int) -> int:
        """From when on to read, at `first_ns` or later: what has not ended is forgotten, and what has is kept."""
        if self._closed is None or last_ns < self._closed * STEP_NS:  # nothing yet, or a plant that was started anew
            self._begin_anew()
            return first_ns
        self._open.clear()
        return max(first_ns, (self._closed + 1) * STEP_NS)

    def take(self, samples: Samples) -> list[tuple[int, Array]]:
        """The quarter hours that these samples end: (end in ns, mean of each tag, NaN where there was none)."""
        column = np.array([self._column.get(name, -1) for name in samples.names], np.int64)[samples.tag]
        ours = (column >= 0) & np.isfinite(samples.value) & (samples.quality < BAD)
        column, value, time_ns = column[ours], samples.value[ours], samples.source_time_ns[ours]
        if not len(column):
            return []
        reached = np.full(len(self._column), -1, np.int64)
        np.maximum.at(reached, column, time_ns)
        told = np.sort(reached[reached >= 0])
        reached_ns = int(told[(len(told) - 1) // 2])  # one clock that is wrong moves nothing
        if self._newest_ns is not None and reached_ns < self._newest_ns - 4 * STEP_NS:
            self._begin_anew()  # the plant was started anew
        self._newest_ns = max(reached_ns, self._newest_ns or reached_ns)
        number = time_ns // STEP_NS
        for quarter in np.unique(number[time_ns < self._newest_ns + DAY_NS]).tolist():
            if self._closed is not None and quarter <= self._closed:
                continue
            mine = number == quarter
            sums, counts = self._open.setdefault(quarter, (np.zeros_like(self._last), np.zeros_like(self._last)))
            sums += np.bincount(column[mine], value[mine], len(sums))
            counts += np.bincount(column[mine], minlength=len(sums))
        return self._ended()

    def _ended(self) -> list[tuple[int, Array]]:
        assert self._newest_ns is not None
        found = []
        for quarter in sorted(self._open):
            if (quarter + 1) * STEP_NS + GRACE_NS > self._newest_ns:
                break
            sums, counts = self._open.pop(quarter)
            passed = 1 if self._closed is None else quarter - self._closed
            told = counts > 0
            self._last[told] = sums[told] / counts[told]
            self._age = np.where(told, 0, self._age + passed)
            self._closed = quarter
            found.append(((quarter + 1) * STEP_NS, np.where(self._age <= HELD, self._last, np.nan)))
        return found


class DemandWorker:
    """The demand forecast of one network, as an asset of its own."""

    def __init__(self, network: Network, sensors: Mapping[str, str], past: Past, bus: SampleBus) -> None:
        """`sensors`: tag by the signal that it measures; `stations` is the number of customers with such a tag."""
        stations = [u for u in network.units if isinstance(u, Substation) and f"unit/{u.name}/heat" in sensors]
        self.name = f"{network.name}/demand"
        self.stations = len(stations)
        self._tags = (*(sensors[f"unit/{unit.name}/heat"] for unit in stations), *_weather(network))
        nominal_w = np.array([unit.nominal_heat_w + unit.nominal_hot_water_w for unit in stations])
        self._ahead = DayAhead(self.name, nominal_w, _groups([unit.name for unit in stations]))
        self._past, self._bus = past, bus
        self._thread = ThreadPoolExecutor(1, "demand")
        self._quarters = Quarters(self._tags)
        self._news = asyncio.Event()

    async def forecast(self, horizon_s: float | None) -> Forecast:
        """See DayAhead.forecast."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ahead.forecast, horizon_s)

    async def times(self) -> AsyncIterator[tuple[str, int]]:
        """The name and the end of each new quarter hour, once the history has been read."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._ahead.time_ns is not None:
                yield self.name, self._ahead.time_ns

    async def run(self, begun: asyncio.Event | None = None) -> None:
        """Read the history, then follow the bus until cancelled; not before it has `begun`."""
        if begun is not None:
            await begun.wait()
        subscription = self._bus.subscribe(WAITING_BATCHES)
        try:
            missed = 0  # those that found no room while the history was read count
            await self._read()
            async for batch in subscription:
                if subscription.dropped > missed:  # what is on the bus is on disk: all since is read there
                    missed = subscription.dropped
                    await self._read()
                for end_ns, means in self._quarters.take(batch):
                    await self._take(end_ns, means)
                    self._news.set()
        finally:
            subscription.close()

    def close(self) -> None:
        """Wait for what runs and end the thread."""
        self._thread.shutdown()

    async def _take(self, end_ns: int, means: Array) -> None:
        stations = self.stations
        outdoor_c = float(means[stations]) - ZERO_C_K if len(means) > stations else np.nan
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._ahead.take, end_ns, -means[:stations], outdoor_c)

    async def _read(self) -> None:
        """The means of past quarter hours that have not ended yet here, slowly; a history that fails is left."""
        try:
            stats = await asyncio.to_thread(self._past.tags, list(self._tags))
            if not stats:
                return
            last_ns = round(float(np.median([found.last_ns for found in stats.values()])))
            first_ns = max(min(found.first_ns for found in stats.values()), last_ns - READ_DAYS * DAY_NS)
            first_ns = self._quarters.begin_again(first_ns // STEP_NS * STEP_NS, last_ns)
            for begin_ns in range(first_ns, last_ns + GRACE_NS, STEP_NS):
                seconds, ended = await asyncio.to_thread(self._quarter, begin_ns)
                for end_ns, means in ended:
                    await self._take(end_ns, means)
                await asyncio.sleep(seconds * (1.0 / READ_SHARE - 1.0))
        except StorageError as error:
            _LOG.error("asset %s goes on without its past: %s", self.name, error)
        self._news.set()

    def _quarter(self, begin_ns: int) -> tuple[float, list[tuple[int, Array]]]:
        """In a thread: the CPU time that it took, and the quarter hours that ended."""
        began_s = thread_time()
        samples = self._past.read(list(self._tags), begin_ns, begin_ns + STEP_NS)
        return thread_time() - began_s, self._quarters.take(samples)


def _weather(network: Network) -> tuple[str, ...]:
    return (network.outdoor_temperature_tag,) if network.outdoor_temperature_tag else ()


def _groups(stations: list[str]) -> dict[str, list[int]]:
    """All stations, and those that are alike."""
    return {"demand": list(range(len(stations)))} | {f"demand/{stem}": some for stem, some in alike(stations).items()}
