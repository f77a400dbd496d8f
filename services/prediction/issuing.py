"""Forecasts that are given without being asked for, at regular times of the plant, and kept as they were.

What was said stays: a forecast is kept once, under the plant time of the state that it starts from, and none is kept
for a time before the newest one. So a server that reads its past again does not say afterwards what it could have said.
"""

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Iterable
from time import monotonic

from uem.services.history.store import KeptForecast, Store
from uem.services.metrics import Metrics
from uem.services.prediction import convert
from uem.services.prediction.servicer import Forecaster
from uem.twin_core.errors import TwinError
from uem.twin_core.forecast.bands import Forecast
from uem.v1 import prediction_pb2 as pb

EVERY_S = 900.0
# A replay may run a thousand times as fast as a plant: then forecasts come less often, not the states of the twins.
MOST_SHARE = 0.05
HEARD_AGAIN_NS = 3600 * 10**9  # how old a kept forecast may be: of a day ahead that is nearly all
END_OF_TIME_NS = 2**63 - 1
_LOG = logging.getLogger(__name__)


class Issuer:
    """Follows the plant's time and keeps a forecast of each asset for every `every_s` of it."""

    def __init__(
        self,
        forecaster: Forecaster,
        assets: Iterable[str],
        hear: Callable[[Forecast], None],
        store: Store,
        metrics: Metrics,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`hear` is told what a process before has kept of `assets`, when plant time comes to where that matters."""
        self._forecaster = forecaster
        self._hear = hear
        self._store = store
        self._every_ns = max(1, round(every_s * 1e9))
        self._clock = clock
        self._newest_ns = dict.fromkeys(assets, -self._every_ns)  # when the newest forecast of each was issued
        self._unheard: dict[str, KeptForecast] | None = None  # of a process before; None: not looked for yet
        self._one_looks = asyncio.Lock()
        self._failing: set[str] = set()
        self._kept = metrics.counter("uem_prediction_kept_forecasts_total", "Forecasts kept, by plant time.", ["asset"])

    async def run(self, times: AsyncIterable[tuple[str, int]]) -> None:
        """Follow (asset, plant time in ns) until cancelled or until there are no more."""
        async for asset, time_ns in times:
            began = self._clock()
            try:
                await self._hear_again(time_ns)
                if time_ns // self._every_ns <= self._newest_ns[asset] // self._every_ns:
                    continue
                await self._issue(asset)
                self._failing.discard(asset)
            except Exception as error:  # a fault in one model must not end the forecasts of the others
                if asset not in self._failing:
                    self._failing.add(asset)
                    _LOG.warning("no forecast of %s is kept: %s", asset, error, exc_info=not _is_told(error))
            await asyncio.sleep((self._clock() - began) * (1.0 / MOST_SHARE - 1.0))

    async def _hear_again(self, time_ns: int) -> None:
        """By the plant time of whichever asset: who waits for a forecast may be there before its asset is."""
        async with self._one_looks:
            if self._unheard is None:
                self._unheard = await asyncio.to_thread(self._kept_before)
                self._newest_ns |= {asset: found.issue_ns for asset, found in self._unheard.items()}
        for asset, found in [*self._unheard.items()]:
            if time_ns < found.issue_ns:
                continue
            del self._unheard[asset]
            if time_ns - found.issue_ns <= HEARD_AGAIN_NS:
                self._hear(convert.from_message(pb.Forecast.FromString(found.data)))

    def _kept_before(self) -> dict[str, KeptForecast]:
        """The newest forecast of each asset that has one."""
        found = [self._store.forecasts(asset, 0, END_OF_TIME_NS, 0, 1, True) for asset in self._newest_ns]
        return {one.asset: one for kept in found for one in kept}

    async def _issue(self, asset: str) -> None:
        found = await self._forecaster(asset, None)
        if found.issue_time_ns <= self._newest_ns[asset]:
            return
        self._newest_ns[asset] = found.issue_time_ns
        if self._unheard is not None:
            self._unheard.pop(asset, None)
        if found.series:
            await asyncio.wrap_future(self._store.keep_forecast(convert.kept(convert.forecast(found))))
            self._kept.add(1, asset)


def _is_told(error: Exception) -> bool:
    return isinstance(error, TwinError)
