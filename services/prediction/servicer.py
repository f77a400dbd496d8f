"""PredictionService: what the twins expect."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

from uem.services.history.store import Store
from uem.services.metrics import Metrics
from uem.services.pages import page_size
from uem.services.prediction import convert
from uem.services.status import Context, InvalidField, errors_as_status
from uem.twin_core.errors import InvalidInput
from uem.twin_core.forecast.bands import Forecast
from uem.twin_core.measurements import NS_PER_S
from uem.v1 import prediction_pb2 as pb
from uem.v1 import prediction_pb2_grpc

USUAL_PAGE, MOST_PAGE = 20, 100
KEEP_EVERY_NS = 900 * NS_PER_S  # of plant time; a view that asks every second does not fill the disk
_LOG = logging.getLogger(__name__)
# From the name of an asset and a horizon in seconds (None: the asset's own) to its forecast.
Forecaster = Callable[[str, float | None], Awaitable[Forecast]]


class PredictionServicer(prediction_pb2_grpc.PredictionServiceServicer):
    """Translates; the forecaster decides."""

    def __init__(self, forecaster: Forecaster, metrics: Metrics, store: Store) -> None:
        """What is given is kept in `store`."""
        self._forecaster = forecaster
        self._store = store
        self._kept_ns: dict[str, int] = {}
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
            forecast = convert.forecast(found)
            self._keep(forecast)
            return pb.GetForecastResponse(forecast=forecast)

    async def ListForecasts(self, request: pb.ListForecastsRequest, context: Context) -> pb.ListForecastsResponse:
        """Forecasts that were given before, in order of their issue time."""
        async with errors_as_status(context):
            size = page_size(request.page_size, usual=USUAL_PAGE, most=MOST_PAGE)
            start_ns, end_ns = convert.issue_range(request)
            found = await asyncio.to_thread(
                self._store.forecasts, request.asset, start_ns, end_ns, request.valid_time_ns, size + 1
            )
            following = str(found[size].issue_ns) if len(found) > size else ""
            forecasts = [pb.Forecast.FromString(kept.data) for kept in found[:size]]
            return pb.ListForecastsResponse(forecasts=forecasts, next_page_token=following)

    def _keep(self, forecast: pb.Forecast) -> None:
        """Keep a forecast, unless one was kept that is hardly older."""
        since_ns = forecast.issue_time_ns - self._kept_ns.get(forecast.asset, forecast.issue_time_ns - KEEP_EVERY_NS)
        if 0 <= since_ns < KEEP_EVERY_NS:
            return
        self._kept_ns[forecast.asset] = forecast.issue_time_ns
        self._store.keep_forecast(convert.kept(forecast)).add_done_callback(_log_failure)


def _log_failure(done: "Future[None]") -> None:
    if error := done.exception():
        _LOG.warning("a forecast is not kept: %s", error)
