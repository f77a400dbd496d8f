"""Horizon of a request -> seconds; forecasts -> messages."""

import re

import numpy as np

from uem.services.history.store import KeptForecast
from uem.services.status import InvalidField
from uem.twin_core.forecast.bands import Forecast, ForecastSeries
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


def from_message(message: pb.Forecast) -> Forecast:
    """The forecast that `forecast` made a message of."""
    levels = tuple(message.quantile_level)
    series = tuple(
        ForecastSeries(
            signal=each.signal,
            unit=each.unit,
            display_unit=each.display_unit,
            valid_time_ns=np.array(each.valid_time_ns, np.int64),
            value=np.array(each.value),
            quantile=np.reshape(np.array(each.quantile), (-1, len(levels))),
            residual_count=each.residual_count,
            quality=each.quality,
        )
        for each in message.series
    )
    return Forecast(message.asset, message.issue_time_ns, message.method, levels, series)


def kept(message: pb.Forecast) -> KeptForecast:
    """A forecast as the store keeps it."""
    last_ns = max((max(series.valid_time_ns, default=0) for series in message.series), default=0)
    return KeptForecast(message.asset, message.issue_time_ns, last_ns, message.SerializeToString())


def issue_range(request: pb.ListForecastsRequest) -> tuple[int, int]:
    """The issue times that are asked for, from where the page begins."""
    start_ns, end_ns = request.start_issue_time_ns, request.end_issue_time_ns or 2**63 - 1
    if start_ns > end_ns:
        raise InvalidField("start_issue_time_ns", f"start {start_ns} is after end {end_ns}")
    if not request.page_token:
        return start_ns, end_ns
    if re.fullmatch(r"-?[0-9]{1,19}", request.page_token) is None:
        text = f"{request.page_token[:50]!r} was not given out by this server; start without a token"
        raise InvalidField("page_token", text)
    next_ns = max(-(2**63), min(int(request.page_token), 2**63 - 2))
    return (start_ns, min(end_ns, next_ns + 1)) if request.newest_first else (max(start_ns, next_ns), end_ns)


def page_token(issue_ns: int) -> str:
    """The token of the page that begins with the forecast issued then."""
    return str(issue_ns)
