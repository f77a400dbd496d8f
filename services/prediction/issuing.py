"""Forecasts that are given without being asked for, at regular times of the plant, and kept as they were.

What was said stays: a forecast is kept once, under the plant time of the state that it starts from, and none is kept
for a time before the newest one. So a server that reads its past again does not say afterwards what it could have said.
"""

import asyncio
import logging
from collections.abc import AsyncIterable, Callable
from time import monotonic

from uem.services.history.store import Store
from uem.services.metrics import Metrics
from uem.services.prediction import convert
from uem.services.prediction.servicer import Forecaster
from uem.twin_core.errors import TwinError
from uem.twin_core.forecast.bands import Forecast
from uem.v1 import prediction_pb2 as pb

EVERY_S = 900.0
# A replay may run a thousand times as fast as a plant: then forecasts come less often, not the states of the twins.
MOST_SHARE = 0.05
END_OF_TIME_NS = 2**63 - 1
_LOG = logging.getLogger(__name__)


class Issuer:
    """Follows the plant's time and keeps a forecast of each asset for every `every_s` of it."""

    def __init__(
        self,
        forecaster: Forecaster,
        hear: Callable[[Forecast], None],
        store: Store,
        metrics: Metrics,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`hear` is told what a process before has kept of the present `every_s`, for which none is issued again."""
        self._forecaster = forecaster
        self._hear = hear
        self._store = store
        self._every_ns = max(1, round(every_s * 1e9))
        self._clock = clock
        self._newest_ns: dict[str, int] = {}
        self._failing: set[str] = set()
        self._kept = metrics.counter("uem_prediction_kept_forecasts_total", "Forecasts kept, by plant time.", ["asset"])

    async def run(self, times: AsyncIterable[tuple[str, int]]) -> None:
        """Follow (asset, plant time in ns) until cancelled or until there are no more."""
        async for asset, time_ns in times:
            began = self._clock()
            try:
                if time_ns // self._every_ns <= (await self._newest(asset, time_ns)) // self._every_ns:
                    continue
                await self._issue(asset)
                self._failing.discard(asset)
            except Exception as error:  # a fault in one model must not end the forecasts of the others
                if asset not in self._failing:
                    self._failing.add(asset)
                    _LOG.warning("no forecast of %s is kept: %s", asset, error, exc_info=not _is_told(error))
            await asyncio.sleep((self._clock() - began) * (1.0 / MOST_SHARE - 1.0))

    async def _newest(self, asset: str, time_ns: int) -> int:
        """When the newest forecast was issued, or tried."""
        if asset not in self._newest_ns:
            found = await asyncio.to_thread(self._store.forecasts, asset, 0, END_OF_TIME_NS, 0, 1, True)
            self._newest_ns[asset] = found[0].issue_ns if found else -self._every_ns
            if found and found[0].issue_ns // self._every_ns == time_ns // self._every_ns:
                self._hear(convert.told(pb.Forecast.FromString(found[0].data)))
        return self._newest_ns[asset]

    async def _issue(self, asset: str) -> None:
        found = await self._forecaster(asset, None)
        if found.issue_time_ns <= self._newest_ns[asset]:
            return
        self._newest_ns[asset] = found.issue_time_ns
        if found.series:
            await asyncio.wrap_future(self._store.keep_forecast(convert.kept(convert.forecast(found))))
            self._kept.add(1, asset)


def _is_told(error: Exception) -> bool:
    return isinstance(error, TwinError)
