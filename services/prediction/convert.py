"""Horizon of a request -> seconds; forecasts -> messages."""

from uem.services.status import InvalidField
from uem.twin_core.forecast.bands import Forecast
from uem.v1 import prediction_pb2 as pb

LONGEST_S = 86_400.0


def horizon_s(request: pb.GetForecastRequest) -> float | None:
    """How far ahead; None when the asset's own horizon is meant."""
    if not request.HasField("horizon"):
        return None
    seconds = request.horizon.seconds + request.horizon.nanos * 1e-9
    if not 0.0 < seconds <= LONGEST_S:
        raise InvalidField("horizon", f"{seconds:g} s; it must be positive and at most {LONGEST_S:.0f} s (24 h)")
    return seconds


def forecast(found: Forecast) -> pb.Forecast:
    """A forecast; quantiles row-major, valid time by level."""
    return pb.Forecast(
        asset=found.asset,
        issue_time_ns=found.issue_time_ns,
        method=found.method,
        quantile_level=found.levels,
        series=[
            pb.ForecastSeries(
                signal=series.signal,
                unit=series.unit,
                display_unit=series.display_unit,
                valid_time_ns=series.valid_time_ns.tolist(),
                value=series.value.tolist(),
                quantile=series.quantile.ravel().tolist(),
                residual_count=series.residual_count,
                quality=series.quality,
            )
            for series in found.series
        ],
    )
