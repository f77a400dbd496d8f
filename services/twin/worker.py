"""Feeds the twins with committed samples and publishes their states.

The twins step in one thread and are forecast in another, so the event loop stays free and a forecast that takes long
holds no other twin back; no twin is ever used by two at once. At the start they read the newest past from the history
again: the state of a restarted server goes on where it was, its ledgers begin with what was read (`ledger_since_ns`).
What takes days to learn is not in that past: a keeper has it (`knowledge.py`).

Time goes forward only. What comes behind newer samples is not followed as it comes; when it has come to rest, the twin
is estimated again from the history and takes the place of the old one (docs/decisions/013-live-before-backlog.md).
Samples stamped ahead of our clock are not followed at all.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import NamedTuple

import numpy as np

from uem.services.bus import LatestBus, SampleBus, Subscription
from uem.services.clock import now_ns
from uem.services.health import Checks
from uem.services.history.store import Past
from uem.services.metrics import Metrics
from uem.services.twin.knowledge import Keeper
from uem.services.twin.late import Late
from uem.services.twin.past import by_time, read_past
from uem.twin_core.errors import StorageError, UnknownName
from uem.twin_core.forecast.bands import Forecast
from uem.twin_core.knowledge import Knowledge
from uem.twin_core.measurements import NS_PER_S, Samples
from uem.twin_core.state import Snapshot
from uem.twin_core.twin import AssetTwin, LedTwin

WAITING_BATCHES = 1024
MOST_ROWS_AT_ONCE = 8192  # between two looks of the event loop at the twins
SERVICES = ("uem.v1.TwinService", "uem.v1.PredictionService")  # that depend on the twins
AHEAD_NS = 60 * NS_PER_S  # a stamp further ahead of our clock is not followed
MEND_EVERY_S = 0.5
REACH = 3  # warm-up times that are estimated again so that ledgers stay whole
_END_NS = 2**63 - 1
_LOG = logging.getLogger(__name__)


class Published(NamedTuple):
    """A snapshot and when it was published, ns by the clock of the service."""

    snapshot: Snapshot
    time_ns: int


class Worker:
    """The twins of a territory; lives in one event loop."""

    def __init__(
        self,
        twins: Iterable[AssetTwin],
        store: Past,
        bus: SampleBus,
        states: LatestBus[Published],
        metrics: Metrics,
        clock: Callable[[], int] = now_ns,
        *,
        make: Callable[[], Iterable[AssetTwin]] | None = None,
        recorded_tags: Collection[str] | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        """`make` gives fresh twins to estimate again with; without it late samples are only counted.

        `recorded_tags`: of plants that play a recording, whose time may be ahead of ours; None: all are. `keeper`: of
        what was learned over days by twins of a process before.
        """
        self._twins = {twin.name: twin for twin in twins}
        self._store = store
        self._bus = bus
        self._states = states
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "twins")
        self._forecast_thread = ThreadPoolExecutor(1, "forecasts")
        # A twin and those that it leads are used by one at a time.
        self._turn: dict[str, asyncio.Lock] = {}
        for twin in self._twins.values():
            if not isinstance(twin, LedTwin):
                self._turn |= dict.fromkeys((twin.name, *(led.name for led in twin.led)), asyncio.Lock())
        self._broken: dict[str, str] = {}
        self._arrived_ns: dict[str, int] = {}
        self._factor: dict[str, float] = {}
        self._heard: dict[str, Forecast] = {}
        self._counters = _Counters(metrics)
        self._make = make
        self._recorded_tags = recorded_tags
        self._keeper = keeper
        self._late = Late()
        self._one_at_a_time = asyncio.Lock()
        self._in_hand = 0  # batches taken from the bus that the twins have not got yet
        # By twin: the next so many batches were on disk before its history was read, and so are part of what was read.
        self._read_already: dict[str, int] = {}
        metrics.gauge(
            "uem_twin_newest_sample_age_seconds",
            "Time since a sample of the asset came, by the clock of the service.",
            lambda: {(name,): (self._clock() - time) / NS_PER_S for name, time in self._arrived_ns.items()},
            ["asset"],
        )
        metrics.gauge(
            "uem_twin_real_time_factor_ratio",
            "Plant time that the twin followed per time that it took, when it last stepped.",
            lambda: {(name,): factor for name, factor in self._factor.items()},
            ["asset"],
        )

    @property
    def twins(self) -> tuple[AssetTwin, ...]:
        """All twins, in the order of the territory."""
        return tuple(self._twins.values())

    def twin(self, asset: str) -> AssetTwin:
        """The twin of an asset; UnknownName lists the known ones."""
        try:
            return self._twins[asset]
        except KeyError:
            raise UnknownName("asset", asset, self._twins) from None

    async def forecast(self, asset: str, horizon_s: float | None) -> Forecast:
        """The forecast of an asset from its newest state; raises UnknownName, NotReady or InvalidInput."""
        self.twin(asset)
        loop = asyncio.get_running_loop()
        async with self._turn[asset]:  # for as long as the state is copied
            prepare = self.twin(asset).prepare_forecast
            forecast = await loop.run_in_executor(self._forecast_thread, prepare, horizon_s)
        return await loop.run_in_executor(self._forecast_thread, forecast)

    async def knowledge(self, asset: str) -> Knowledge | None:
        """What the twin of an asset has learned over days, between two of its steps; see AssetTwin."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: self.twin(asset).knowledge)

    def hear(self, forecast: Forecast) -> None:
        """Tell all twins what is expected of an asset, unless they know what is newer: it may be reading its past."""
        known = self._heard.get(forecast.asset)
        if known is not None and known.issue_time_ns > forecast.issue_time_ns:
            return
        self._heard[forecast.asset] = forecast
        for twin in self.twins:
            twin.hear(forecast)

    def register(self, checks: Checks) -> None:
        """Add a health check per twin."""
        for name in self._twins:
            checks.register(f"twin of {name}", partial(self._problem, name), SERVICES)

    def _problem(self, name: str) -> str | None:
        twin = self._twins[name]
        if twin.name in self._broken:
            return self._broken[twin.name]
        problems = [str(failure) for failure in (twin.failure, twin.forecast_failure) if failure]
        return "; ".join(problems) or None

    async def run(self) -> None:
        """Read the past from the history, then follow the bus until cancelled."""
        subscription = self._bus.subscribe(WAITING_BATCHES)
        mending = asyncio.create_task(self._mend(subscription))
        try:
            await self._recall()
            for twin in self.twins:
                await self._read_past(twin)
                self._read_already[twin.name] = len(subscription)
            missed = 0
            async for batch in subscription:
                waiting = [await anext(subscription) for _ in range(len(subscription))]
                self._in_hand = 1 + len(waiting)
                async with self._one_at_a_time:
                    if subscription.dropped > missed:  # what is on the bus is on disk: read all of it there
                        _LOG.warning("%d batches missed on the bus: reading the history", subscription.dropped - missed)
                        missed = subscription.dropped
                        await self._read_what_was_missed()
                    else:
                        await self._take(by_time(Samples.concatenate([batch, *waiting])))
                    taken, self._in_hand = self._in_hand, 0
                    left = {name: count - taken for name, count in self._read_already.items()}
                    self._read_already = {name: count for name, count in left.items() if count > 0}
        finally:
            mending.cancel()
            subscription.close()

    def close(self) -> None:
        """Wait for the step and the forecast that run and end their threads."""
        self._thread.shutdown()
        self._forecast_thread.shutdown()

    async def _read_what_was_missed(self) -> None:
        """From the history; where late samples were among it is not known, so all twins count as late."""
        self._read_already.clear()  # which batches are gone is not known either
        for twin in self.twins:
            if twin.snapshot is not None and not isinstance(twin, LedTwin):
                self._late.note(twin.name, twin.snapshot.plant_time_ns)
            await self._read_past(twin)

    async def _recall(self) -> None:
        """Let all twins know what was learned over days, before they go through their past."""
        if self._keeper is None:
            return
        for twin in self.twins:
            try:
                newest_ns = await asyncio.to_thread(self._newest_stored_ns, twin)
            except StorageError:
                continue  # its past cannot be read either, which is told there
            await self._keeper.recall(twin, newest_ns + round(twin.patience.restart_s * NS_PER_S))

    async def _read_past(self, twin: AssetTwin) -> None:
        """Feed a twin from the history: what it has not seen yet, at most its warm-up time."""
        try:
            past = await asyncio.to_thread(self._past, twin)
        except StorageError as error:
            _LOG.error("asset %s goes on without its past: %s", twin.name, error)
            return
        await self._feed(twin, past, coarsely=True)
        await self._feed(twin, past.take(slice(0, 0)))
        twin.pop_late_ns()  # what is on disk twice
        if twin.snapshot is not None:
            _LOG.info("asset %s goes on from %d samples of the history", twin.name, len(past))

    def _past(self, twin: AssetTwin) -> Samples:
        newest_ns = self._newest_stored_ns(twin)
        begin_ns = newest_ns - round(twin.patience.warm_up_s * NS_PER_S)
        if twin.snapshot is not None:
            begin_ns = max(begin_ns, twin.snapshot.plant_time_ns + 1)
        return read_past(self._store, twin, begin_ns, newest_ns + 1)

    def _newest_stored_ns(self, twin: AssetTwin) -> int:
        """The newest source time of its tags in the history that is not ahead of our clock."""
        stats = self._store.tags(list(twin.tags))
        return max((min(found.last_ns, self._latest_ns(tag)) for tag, found in stats.items()), default=0)

    def _latest_ns(self, tag: str) -> int:
        """The latest source time of a tag that is believed."""
        is_recorded = self._recorded_tags is None or tag in self._recorded_tags
        return _END_NS if is_recorded else self._clock() + AHEAD_NS

    async def _take(self, samples: Samples) -> None:
        latest_ns = np.array([self._latest_ns(name) for name in samples.names], np.int64)
        ahead = samples.source_time_ns > latest_ns[samples.tag]
        if ahead.any():
            self._counters.note_ahead(int(ahead.sum()))
            samples = samples.take(~ahead)
        names = {samples.names[tag] for tag in np.unique(samples.tag).tolist()}
        for twin in self.twins:
            if not names.isdisjoint(twin.tags):
                self._arrived_ns[twin.name] = self._clock()
                await self._feed(twin, self._without_far_back(twin, samples))
                if not isinstance(twin, LedTwin):
                    self._note_late(twin, twin.pop_late_ns())

    def _note_late(self, twin: AssetTwin, late_ns: int | None) -> None:
        if late_ns is not None and twin.name not in self._read_already:
            self._late.note(twin.name, late_ns)

    def _without_far_back(self, twin: AssetTwin, samples: Samples) -> Samples:
        """Without what a plant that lives in our time tells of long ago; that of a recording means a new beginning.

        So does nothing that was on disk when the past was read from there.
        """
        if twin.snapshot is None or isinstance(twin, LedTwin):
            return samples
        until_ns = twin.snapshot.plant_time_ns - round(twin.patience.restart_s * NS_PER_S)
        far_back = samples.source_time_ns <= until_ns
        if not far_back.any():
            return samples
        tags, read = set(twin.tags), twin.name in self._read_already  # then a recording has not begun anew either
        lives = [name in tags and (read or self._latest_ns(name) < _END_NS) for name in samples.names]
        drop = far_back & np.array(lives, bool)[samples.tag]
        if drop.any():
            self._note_late(twin, int(samples.source_time_ns[drop].max()))
        return samples.take(~drop)

    async def _mend(self, subscription: Subscription) -> None:
        """Estimate twins again whose late samples have come to rest."""
        while self._make is not None:
            await asyncio.sleep(MEND_EVERY_S)
            behind, subscription.behind = subscription.behind, {}
            for tag, (_, last_ns) in behind.items():
                for twin in self.twins:
                    if tag in twin.tags and not isinstance(twin, LedTwin):
                        self._late.note(twin.name, last_ns)
            for name, last_ns in self._late.due():
                begin = perf_counter()
                async with self._one_at_a_time:
                    on_disk = self._in_hand + len(subscription)
                    try:
                        if await self._estimate_again(self._twins[name], last_ns, self._make):
                            self._read_already[name] = on_disk
                    except Exception as error:  # the twin that is there goes on
                        _LOG.error("asset %s is not estimated again from its late samples: %s", name, error)
                self._late.done(name, perf_counter() - begin)

    async def _estimate_again(self, old: AssetTwin, last_ns: int, make: Callable[[], Iterable[AssetTwin]]) -> bool:
        """Put a twin in the place of another that has the history in order: as after a start of the process.

        False when late samples are all too old to count, or nothing followed from the history.

        What was counted since the start is kept in the ledgers when it is not more than REACH of its warm-up times ago.
        """
        newest_ns = await asyncio.to_thread(self._newest_stored_ns, old)
        warm_up_ns = round(old.patience.warm_up_s * NS_PER_S)
        begin_ns = newest_ns - warm_up_ns
        if old.snapshot is not None and old.snapshot.ledger_since_ns >= newest_ns - REACH * warm_up_ns:
            begin_ns = min(begin_ns, old.snapshot.ledger_since_ns)
        if last_ns < begin_ns:
            self._counters.note_too_late(old.name)
            text = "asset %s: late samples up to %d ns are older than what is estimated again: in the history only"
            _LOG.warning(text, old.name, last_ns)
            return False
        loop = asyncio.get_running_loop()
        twin = await loop.run_in_executor(self._thread, _successor, old, make)
        past = await asyncio.to_thread(read_past, self._store, twin, begin_ns, newest_ns + 1)
        await loop.run_in_executor(self._thread, _replay, twin, past)
        if twin.snapshot is None:
            return False
        for each in (twin, *twin.led):
            before, found = self._twins[each.name].snapshot, each.snapshot
            # Its steps may lie on another grid: a state from a little before the newest is not told any more.
            is_newer = before is None or (found is not None and found.plant_time_ns >= before.plant_time_ns)
            each.count_on_from((before.tick if before is not None else 0) - (not is_newer))
            for forecast in [*self._heard.values()]:  # a step of another twin may empty it
                each.hear(forecast)
            self._twins[each.name] = each
            self._broken.pop(each.name, None)
            self._counters.take_over(each)
            if is_newer and each.snapshot is not None:
                self._states.publish(each.name, Published(each.snapshot, self._clock()))
        _LOG.info("asset %s: estimated again with late samples, from %d samples of the history", old.name, len(past))
        return True

    async def _feed(self, twin: AssetTwin, samples: Samples, *, coarsely: bool = False) -> None:
        loop = asyncio.get_running_loop()
        for begin in range(0, max(len(samples), 1), MOST_ROWS_AT_ONCE):
            rows = samples.take(slice(begin, begin + MOST_ROWS_AT_ONCE))
            before, forecast_before = twin.failure, twin.forecast_failure
            try:
                async with self._turn[twin.name]:
                    newest = await loop.run_in_executor(self._thread, self._step, twin, rows, coarsely)
            except Exception as error:  # a fault in a model must not stop the other twins
                _LOG.exception("asset %s: the twin failed", twin.name)
                self._broken[twin.name] = f"asset {twin.name}: the twin failed: {error}"
                newest = twin.snapshot.as_stale() if twin.snapshot is not None else None
            else:
                self._broken.pop(twin.name, None)
            if twin.failure is not None and before is None:
                _LOG.error("asset %s keeps its last good state: %s", twin.name, twin.failure)
            if twin.forecast_failure is not None and forecast_before is None:
                _LOG.error("%s", twin.forecast_failure)
            if newest is not None:
                self._states.publish(twin.name, Published(newest, self._clock()))

    def _step(self, twin: AssetTwin, samples: Samples, coarsely: bool) -> Snapshot | None:
        """In the thread of the twins: the newest of the snapshots that the samples led to."""
        before_ns = twin.snapshot.plant_time_ns if twin.snapshot is not None else None
        restarts = twin.restart_count
        begin = perf_counter()
        twin.take(samples)
        snapshots = twin.advance(coarsely=coarsely)
        seconds = perf_counter() - begin
        self._counters.note(twin, len(snapshots), seconds)
        if twin.restart_count > restarts:
            self._heard.clear()  # of another time
            _LOG.warning("asset %s: time at the plant jumped; the twin starts anew", twin.name)
        elif snapshots and before_ns is not None:
            self._factor[twin.name] = (snapshots[-1].plant_time_ns - before_ns) / NS_PER_S / seconds
        return snapshots[-1] if snapshots else None


class _Counters:
    """What the twins counted, as metrics."""

    def __init__(self, metrics: Metrics) -> None:
        labels = ["asset"]
        self._steps = metrics.counter("uem_twin_steps_total", "Steps of the twin.", labels)
        self._step_seconds = metrics.histogram(
            "uem_twin_step_duration_seconds", "Mean time of a step, per batch of samples.", labels=labels
        )
        self._ahead = metrics.counter(
            "uem_twin_ahead_samples_total", "Samples stamped ahead of our clock, which no twin follows."
        )
        self._again = metrics.counter(
            "uem_twin_estimated_again_total", "Times that a twin was estimated again with late samples.", labels
        )
        self._too_late = metrics.counter(
            "uem_twin_too_late_total",
            "Times that late samples were too old for the twin to be estimated again.",
            labels,
        )
        self._seen: dict[tuple[str, str], int] = {}
        self._totals = [(metrics.counter(f"uem_twin_{name}_total", text, labels), read) for name, text, read in _TOTALS]

    def note(self, twin: AssetTwin, steps: int, seconds: float) -> None:
        """Count what a batch led to."""
        self._steps.add(steps, twin.name)
        if steps:
            self._step_seconds.observe(seconds / steps, twin.name)
        for counter, read in self._totals:
            total = read(twin)
            counter.add(total - self._seen.get((counter.name, twin.name), 0), twin.name)
            self._seen[counter.name, twin.name] = total

    def note_ahead(self, count: int) -> None:
        """Count samples that are not followed."""
        self._ahead.add(count)

    def note_too_late(self, asset: str) -> None:
        """Count late samples that no estimate has."""
        self._too_late.add(1, asset)

    def take_over(self, twin: AssetTwin) -> None:
        """Another twin stands for the asset: what it counted in the past has been counted."""
        self._again.add(1, twin.name)
        for counter, read in self._totals:
            self._seen[counter.name, twin.name] = read(twin)


_TOTALS: tuple[tuple[str, str, Callable[[AssetTwin], int]], ...] = (
    (
        "late_samples",
        "Samples too old or too far ahead to be used.",
        lambda twin: twin.late_count,
    ),
    ("unusable_samples", "Samples of bad quality; the value before was held.", lambda twin: twin.unusable_count),
    (
        "contradictory_steps",
        "Steps whose measured flows contradict each other.",
        lambda twin: twin.contradiction_count,
    ),
    ("failed_steps", "Steps without a finite result; the state before was kept.", lambda twin: twin.failure_count),
    ("failed_forecasts", "Forecasts on the grid that failed.", lambda twin: twin.forecast_failure_count),
    ("restarts", "Times that the plant's time jumped, back or far ahead.", lambda twin: twin.restart_count),
)


def _successor(old: AssetTwin, make: Callable[[], Iterable[AssetTwin]]) -> AssetTwin:
    """In the thread of the twins: a fresh twin that knows what the old one has learned over days."""
    twin = next(twin for twin in make() if twin.name == old.name)
    for each, before in zip((twin, *twin.led), (old, *old.led), strict=True):
        known = before.knowledge
        if known is not None:
            each.recall(known)
    return twin


def _replay(twin: AssetTwin, past: Samples) -> None:
    """In the thread of the twins: let a fresh twin follow the past, without a snapshot of each step."""
    for begin in range(0, len(past), MOST_ROWS_AT_ONCE):
        twin.take(past.take(slice(begin, begin + MOST_ROWS_AT_ONCE)))
        for each in (twin, *twin.led):
            each.advance(coarsely=True)
    for each in (twin, *twin.led):
        each.advance()
