"""Feeds the twins with committed samples and publishes their states.

The twins live in one thread of their own, so the event loop stays free and no twin is ever used by two at once. At the
start they read the newest past from the history again: the state of a restarted server goes on where it was, its
ledgers begin with what was read (`ledger_since_ns`).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import NamedTuple

import numpy as np

from uem.services.bus import LatestBus, SampleBus
from uem.services.clock import now_ns
from uem.services.health import Checks
from uem.services.history.store import Store
from uem.services.metrics import Metrics
from uem.twin_core.errors import StorageError, UnknownName
from uem.twin_core.forecast.bands import Forecast
from uem.twin_core.measurements import NS_PER_S, Samples
from uem.twin_core.state import Snapshot
from uem.twin_core.twin import AssetTwin

WAITING_BATCHES = 1024
MOST_ROWS_AT_ONCE = 8192  # between two looks of the event loop at the twins
SERVICES = ("uem.v1.TwinService", "uem.v1.PredictionService")  # that depend on the twins
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
        store: Store,
        bus: SampleBus,
        states: LatestBus[Published],
        metrics: Metrics,
        clock: Callable[[], int] = now_ns,
    ) -> None:
        self._twins = {twin.name: twin for twin in twins}
        self._store = store
        self._bus = bus
        self._states = states
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "twins")
        self._broken: dict[str, str] = {}
        self._arrived_ns: dict[str, int] = {}
        self._factor: dict[str, float] = {}
        self._counters = _Counters(metrics)
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
        twin = self.twin(asset)
        return await asyncio.get_running_loop().run_in_executor(self._thread, twin.forecast, horizon_s)

    def register(self, checks: Checks) -> None:
        """Add a health check per twin."""
        for name, twin in self._twins.items():
            checks.register(f"twin of {name}", partial(self._problem, twin), SERVICES)

    def _problem(self, twin: AssetTwin) -> str | None:
        if twin.name in self._broken:
            return self._broken[twin.name]
        problems = [str(failure) for failure in (twin.failure, twin.forecast_failure) if failure]
        return "; ".join(problems) or None

    async def run(self) -> None:
        """Read the past from the history, then follow the bus until cancelled."""
        subscription = self._bus.subscribe(WAITING_BATCHES)
        try:
            for twin in self._twins.values():
                await self._read_past(twin)
            missed = 0
            async for batch in subscription:
                waiting = [await anext(subscription) for _ in range(len(subscription))]
                if subscription.dropped > missed:  # what is on the bus is on disk: read all of it there
                    _LOG.warning("%d batches missed on the bus: reading the history", subscription.dropped - missed)
                    missed = subscription.dropped
                    for twin in self._twins.values():
                        await self._read_past(twin)
                else:
                    await self._take(_by_time(Samples.concatenate([batch, *waiting])))
        finally:
            subscription.close()

    def close(self) -> None:
        """Wait for the step that runs and end the thread."""
        self._thread.shutdown()

    async def _read_past(self, twin: AssetTwin) -> None:
        """Feed a twin from the history: what it has not seen yet, at most its warm-up time."""
        try:
            past = await asyncio.to_thread(self._past, twin)
        except StorageError as error:
            _LOG.error("asset %s goes on without its past: %s", twin.name, error)
            return
        await self._feed(twin, past)
        if twin.snapshot is not None:
            _LOG.info("asset %s goes on from %d samples of the history", twin.name, len(past))

    def _past(self, twin: AssetTwin) -> Samples:
        stats = self._store.tags(list(twin.tags))
        newest_ns = max((found.last_ns for found in stats.values()), default=0)
        begin_ns = newest_ns - round(twin.patience.warm_up_s * NS_PER_S)
        if twin.snapshot is not None:
            begin_ns = max(begin_ns, twin.snapshot.plant_time_ns + 1)
        return _by_time(self._store.read(list(twin.tags), begin_ns, newest_ns + 1))

    async def _take(self, samples: Samples) -> None:
        names = set(samples.names)
        for twin in self._twins.values():
            if not names.isdisjoint(twin.tags):
                self._arrived_ns[twin.name] = self._clock()
                await self._feed(twin, samples)

    async def _feed(self, twin: AssetTwin, samples: Samples) -> None:
        loop = asyncio.get_running_loop()
        for begin in range(0, len(samples), MOST_ROWS_AT_ONCE):
            rows = samples.take(slice(begin, begin + MOST_ROWS_AT_ONCE))
            before, forecast_before = twin.failure, twin.forecast_failure
            try:
                newest = await loop.run_in_executor(self._thread, self._step, twin, rows)
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

    def _step(self, twin: AssetTwin, samples: Samples) -> Snapshot | None:
        """In the thread of the twins: the newest of the snapshots that the samples led to."""
        before_ns = twin.snapshot.plant_time_ns if twin.snapshot is not None else None
        restarts = twin.restart_count
        begin = perf_counter()
        twin.take(samples)
        snapshots = twin.advance()
        seconds = perf_counter() - begin
        self._counters.note(twin, len(snapshots), seconds)
        if twin.restart_count > restarts:
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
        self._totals = [(metrics.counter(f"uem_twin_{name}_total", text, labels), read) for name, text, read in _TOTALS]

    def note(self, twin: AssetTwin, steps: int, seconds: float) -> None:
        """Count what a batch led to."""
        self._steps.add(steps, twin.name)
        if steps:
            self._step_seconds.observe(seconds / steps, twin.name)
        for counter, read in self._totals:
            counter.add(read(twin) - counter.get(twin.name), twin.name)


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


def _by_time(samples: Samples) -> Samples:
    return samples.take(np.argsort(samples.source_time_ns, kind="stable"))
