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
from uem.twin_core.errors import NotReady, StorageError
from uem.twin_core.forecast.bands import Forecast
from uem.twin_core.forecast.day_ahead import STEP_NS, DayAhead
from uem.twin_core.measurements import BAD, NS_PER_S, Samples
from uem.twin_core.plant.groups import alike
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.units import Substation
from uem.twin_core.units import ZERO_CELSIUS_K

READ_DAYS = 28  # of history at the start
READ_SHARE = 0.2  # of a core while it is read
WAITING_BATCHES = 1024
GRACE_NS = 30 * NS_PER_S  # that samples of a quarter hour may come later than newer ones
DAY_NS = 86_400 * NS_PER_S
HELD = 4  # quarter hours after the one it was told in for which a value counts while its tag tells nothing
CLOCK_NS = 4 * STEP_NS  # by which the clock of a tag may be off
SILENT = 10  # times as many samples as there are tags: one that tells nothing meanwhile is waited for no more
LONG_AGO_NS = -(2**62)
_LOG = logging.getLogger(__name__)

Array = NDArray[np.float64]


class Quarters:
    """Means of tags over quarter hours, by time: a value counts until the next one of its tag.

    The plant's time is the one that half of the tags that tell have reached. Tags fall out of that half when they tell
    nothing for an hour of it, or while the others tell `SILENT` samples each; and one whose clock is further off than
    an hour counts for nothing. If that is most of those that tell, the plant's time has jumped: to theirs.
    """

    def __init__(self, tags: tuple[str, ...]) -> None:
        self._column = {tag: i for i, tag in enumerate(tags)}
        self._begin_anew()

    def _begin_anew(self) -> None:
        count = len(self._column)
        self._open: dict[int, tuple[Array, Array]] = {}  # number of the quarter hour -> integrals, and over how long
        self._now_ns: int | None = None
        self._closed_ns = LONG_AGO_NS  # the end of the newest quarter hour that was told
        self._told_ns, self._off = np.full(count, LONG_AGO_NS), np.zeros(count, np.bool_)
        self._taken, self._taken_at = 0, np.full(count, -SILENT * count)  # samples so far, and at the last of each tag
        self._last_ns, self._value = np.full(count, LONG_AGO_NS), np.full(count, np.nan)  # that count
        self._until_ns = np.full(count, LONG_AGO_NS)  # the value has been added up

    def begin_again(self, first_ns: int, last_ns: int) -> int:
        """From when on to read, at `first_ns` or later: what was taken is not taken twice."""
        if self._now_ns is None or last_ns < self._closed_ns:  # nothing yet, or a plant that was started anew
            self._begin_anew()
            return first_ns
        return max(first_ns, self._closed_ns)

    def take(self, samples: Samples) -> list[tuple[int, Array]]:
        """The quarter hours that these samples end: (end in ns, mean of each tag, NaN where there was none)."""
        column = np.array([self._column.get(name, -1) for name in samples.names], np.int64)[samples.tag]
        ours = column >= 0
        column, time_ns = column[ours], samples.source_time_ns[ours]
        if not len(column):
            return []
        value = np.where(samples.quality[ours] < BAD, samples.value[ours], np.nan)
        now_ns = self._follow(column, time_ns)
        order = np.lexsort((time_ns, column))
        order = order[~self._off[column[order]]]
        self._add(column[order], time_ns[order], value[order])
        return self._ended(now_ns)

    def _follow(self, column: NDArray[np.int64], time_ns: NDArray[np.int64]) -> int:
        """The plant's time, after samples."""
        newest_ns = np.full(len(self._column), LONG_AGO_NS)
        np.maximum.at(newest_ns, column, time_ns)
        tells = newest_ns > LONG_AGO_NS
        now_ns = _middle(newest_ns[tells]) if self._now_ns is None else self._now_ns
        self._told_ns[tells], self._off[tells] = newest_ns[tells], np.abs(newest_ns[tells] - now_ns) > CLOCK_NS
        self._taken += len(column)
        self._taken_at[tells] = self._taken
        lives = self._taken - self._taken_at < SILENT * len(self._column)
        lives &= self._off | (self._told_ns >= now_ns - CLOCK_NS)
        off = lives & self._off
        if 2 * off.sum() > lives.sum():
            told_ns, jumped_ns = self._told_ns, _middle(self._told_ns[off])
            if jumped_ns < now_ns:
                self._begin_anew()
                self._told_ns[off], self._taken_at[off] = told_ns[off], 0
            now_ns, self._off = jumped_ns, off & (np.abs(told_ns - jumped_ns) > CLOCK_NS)
        elif (lives & ~off).any():
            now_ns = max(now_ns, _middle(self._told_ns[lives & ~off], upper=True))
        self._now_ns = now_ns
        return now_ns

    def _add(self, column: NDArray[np.int64], time_ns: NDArray[np.int64], value: Array) -> None:
        """Values until the next ones; samples in order of tag and time."""
        is_new = time_ns > self._last_ns[column]
        column, time_ns, value = column[is_new], time_ns[is_new], value[is_new]
        if not len(column):
            return
        tells, first = np.unique(column, return_index=True)
        self._hold(tells, self._value[tells], self._last_ns[tells], self._until_ns[tells], time_ns[first])
        last = np.append(first[1:], len(column)) - 1
        begin_ns, end_ns = np.maximum(time_ns, self._closed_ns), np.append(time_ns[1:], 0)
        end_ns[last] = begin_ns[last]  # nobody knows yet how long these count
        self._hold(column, value, time_ns, begin_ns, end_ns)
        self._value[tells], self._last_ns[tells], self._until_ns[tells] = value[last], time_ns[last], begin_ns[last]

    def _hold(
        self,
        column: NDArray[np.int64],
        value: Array,
        told_ns: NDArray[np.int64],
        begin_ns: NDArray[np.int64],
        end_ns: NDArray[np.int64],
    ) -> None:
        """Add values of tags up between two times, but no longer than they count after they were told."""
        end_ns = np.minimum(end_ns, (told_ns // STEP_NS + 1 + HELD) * STEP_NS)
        some = np.isfinite(value) & (end_ns > begin_ns)
        column, value, begin_ns, end_ns = column[some], value[some], begin_ns[some], end_ns[some]
        if not len(column):
            return
        for quarter in range(int(begin_ns.min()) // STEP_NS, (int(end_ns.max()) - 1) // STEP_NS + 1):
            from_ns, to_ns = quarter * STEP_NS, (quarter + 1) * STEP_NS
            for_ns = np.maximum(np.minimum(end_ns, to_ns) - np.maximum(begin_ns, from_ns), 0)
            if not for_ns.any():
                continue
            sums, times = self._open.setdefault(quarter, (np.zeros_like(self._value), np.zeros_like(self._value)))
            sums += np.bincount(column, value * for_ns, len(sums))
            times += np.bincount(column, for_ns, len(times))

    def _ended(self, now_ns: int) -> list[tuple[int, Array]]:
        end_ns = (now_ns - GRACE_NS) // STEP_NS * STEP_NS
        if end_ns <= self._closed_ns:
            return []
        every = np.arange(len(self._column))
        self._hold(every, self._value, self._last_ns, self._until_ns, np.full(len(every), end_ns))
        self._until_ns, self._closed_ns = np.maximum(self._until_ns, end_ns), end_ns
        found = []
        for quarter in sorted(number for number in self._open if (number + 1) * STEP_NS <= end_ns):
            sums, times = self._open.pop(quarter)
            means = np.divide(sums, times, out=np.full(len(sums), np.nan), where=times > 0.0)
            found.append(((quarter + 1) * STEP_NS, means))
        return found


def _middle(time_ns: NDArray[np.int64], *, upper: bool = False) -> int:
    """The median, of two the earlier or the later one."""
    return int(np.sort(time_ns)[(len(time_ns) - 1 + upper) // 2])


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
        self._reads_history = False

    async def forecast(self, horizon_s: float | None) -> Forecast:
        """See DayAhead.forecast; NotReady also while the history is read, from whose midst it would be of days ago."""
        if self._reads_history:
            raise NotReady(f"asset {self.name}: no forecast yet, its history is being read")
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
        outdoor_c = float(means[stations]) - ZERO_CELSIUS_K if len(means) > stations else np.nan
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._ahead.take, end_ns, -means[:stations], outdoor_c)

    async def _read(self) -> None:
        """The means of past quarter hours that have not ended yet here, slowly; a history that fails is left."""
        self._reads_history = True
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
        finally:
            self._reads_history = False
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
