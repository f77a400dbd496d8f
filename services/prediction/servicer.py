"""PredictionService: what the twins expect."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import numpy as np

from uem.services.history.store import KeptForecast, Store
from uem.services.metrics import Metrics
from uem.services.pages import page_size
from uem.services.prediction import convert
from uem.services.status import Context, InvalidField, errors_as_status
from uem.twin_core.errors import InvalidInput, UnknownName
from uem.twin_core.forecast.bands import Forecast
from uem.v1 import prediction_pb2 as pb
from uem.v1 import prediction_pb2_grpc

USUAL_PAGE, MOST_PAGE = 20, 100
MOST_PAGE_BYTES = 8 * 1024 * 1024  # a message has room for twice as much
LOOK_EVERY_S = 1.0  # for forecasts that were kept meanwhile: they come every quarter of an hour
END_OF_TIME_NS = 2**63 - 1
# From the name of an asset and a horizon in seconds (None: the asset's own) to its forecast.
Forecaster = Callable[[str, float | None], Awaitable[Forecast]]


class PredictionServicer(prediction_pb2_grpc.PredictionServiceServicer):
    """Translates; the forecaster decides."""

    def __init__(self, forecaster: Forecaster, metrics: Metrics, store: Store, assets: Iterable[str]) -> None:
        """`store` has what was given before; `assets` are the names of those that have forecasts."""
        self._forecaster = forecaster
        self._store = store
        self._assets = frozenset(assets)
        self._count = metrics.counter("uem_prediction_forecasts_total", "Forecasts given.", ["asset"])

    async def GetForecast(self, request: pb.GetForecastRequest, context: Context) -> pb.GetForecastResponse:
        """The forecast of an asset from its newest state."""
        async with errors_as_status(context):
            horizon_s = convert.horizon_s(request)
            try:
                found = await self._forecaster(request.asset, horizon_s)
            except InvalidInput as error:
                raise InvalidField("horizon", str(error)) from None
            self._count.add(1, request.asset)
            return pb.GetForecastResponse(forecast=convert.forecast(found))

    async def ListForecasts(self, request: pb.ListForecastsRequest, context: Context) -> pb.ListForecastsResponse:
        """Forecasts that were kept, in order of their issue time or the newest first."""
        async with errors_as_status(context):
            size = page_size(request.page_size, usual=USUAL_PAGE, most=MOST_PAGE)
            start_ns, end_ns = convert.issue_range(request)
            found = await asyncio.to_thread(
                self._store.forecasts,
                request.asset,
                start_ns,
                end_ns,
                request.valid_time_ns,
                size + 1,
                request.newest_first,
            )
            size = min(size, _fitting(found))
            following = convert.page_token(found[size].issue_ns) if len(found) > size else ""
            forecasts = [pb.Forecast.FromString(kept.data) for kept in found[:size]]
            return pb.ListForecastsResponse(forecasts=forecasts, next_page_token=following)

    async def WatchForecast(
        self, request: pb.WatchForecastRequest, context: Context
    ) -> AsyncIterator[pb.WatchForecastResponse]:
        """Those kept after a given one, then each new one; what is on disk waits for slow readers."""
        async with errors_as_status(context):
            if not 0 <= request.after_issue_time_ns < END_OF_TIME_NS:
                raise InvalidField("after_issue_time_ns", f"{request.after_issue_time_ns}; it must be 0 or a time")
            if request.asset not in self._assets:
                raise UnknownName("asset", request.asset, self._assets)
            last_ns = request.after_issue_time_ns
            while True:
                newest_first = last_ns == 0
                found = await asyncio.to_thread(
                    self._store.forecasts, request.asset, last_ns + 1, END_OF_TIME_NS, 0, 1, newest_first
                )
                for kept in found:
                    last_ns = kept.issue_ns
                    yield pb.WatchForecastResponse(forecast=pb.Forecast.FromString(kept.data))
                if not found:
                    await asyncio.sleep(LOOK_EVERY_S)


def _fitting(found: list[KeptForecast]) -> int:
    """How many of them a page takes, one at least."""
    total = np.cumsum([len(kept.data) for kept in found])
    return max(1, int(np.searchsorted(total, MOST_PAGE_BYTES, "right")))
