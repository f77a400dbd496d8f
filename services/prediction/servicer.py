"""PredictionService: what the twins expect."""

from collections.abc import Awaitable, Callable

from uem.services.metrics import Metrics
from uem.services.prediction import convert
from uem.services.status import Context, InvalidField, errors_as_status
from uem.twin_core.errors import InvalidInput
from uem.twin_core.forecast.bands import Forecast
from uem.v1 import prediction_pb2 as pb
from uem.v1 import prediction_pb2_grpc

# From the name of an asset and a horizon in seconds (None: the asset's own) to its forecast.
Forecaster = Callable[[str, float | None], Awaitable[Forecast]]


class PredictionServicer(prediction_pb2_grpc.PredictionServiceServicer):
    """Translates; the forecaster decides."""

    def __init__(self, forecaster: Forecaster, metrics: Metrics) -> None:
        self._forecaster = forecaster
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
