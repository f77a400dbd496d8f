"""From the messages of uem.v1 to records; protobuf objects stop here."""

import numpy as np

from uem.clients.records import Asset, Forecast, Kind, Series, Signal, Source, State, TagInfo
from uem.v1 import common_pb2, history_pb2, prediction_pb2, twin_pb2

_SOURCES = {
    common_pb2.SOURCE_MEASURED: Source.MEASURED,
    common_pb2.SOURCE_ESTIMATED: Source.ESTIMATED,
    common_pb2.SOURCE_FORECAST: Source.FORECAST,
    common_pb2.SOURCE_LEDGER: Source.LEDGER,
}
_KINDS = {
    twin_pb2.ASSET_KIND_HEAT_NETWORK: Kind.HEAT_NETWORK,
    twin_pb2.ASSET_KIND_MACHINE: Kind.MACHINE,
}


def asset(message: twin_pb2.Asset) -> Asset:
    """An asset; a kind or source that this client does not know yet is shown as unspecified."""
    return Asset(
        message.name,
        _KINDS.get(message.kind, Kind.UNSPECIFIED),
        message.title or message.name,
        tuple(signal(s) for s in message.signals),
        message.signals_revision,
    )


def signal(message: twin_pb2.Signal) -> Signal:
    """A signal; without a display unit people read the SI unit."""
    return Signal(
        message.name,
        message.unit,
        message.display_unit or message.unit,
        _SOURCES.get(message.source, Source.UNSPECIFIED),
        message.compared_with,
        dict(message.state_names),
    )


def state(message: twin_pb2.State, its_asset: Asset, missed: int = 0) -> State:
    """A state of `its_asset`; ValueError when its columns do not fit the asset's signals."""
    if message.signals_revision != its_asset.signals_revision:
        raise ValueError(f"state of {its_asset.name} with other signals than the server lists")
    columns = (message.value, message.standard_deviation, message.quality, message.age_s)
    lengths = {len(column) for column in columns}
    if lengths != {len(its_asset.signals)}:
        raise ValueError(
            f"state of {its_asset.name} with columns of {', '.join(str(len(c)) for c in columns)} rows "
            f"for {len(its_asset.signals)} signals"
        )
    return State(
        its_asset,
        message.tick,
        message.plant_time_ns,
        message.published_time_ns,
        np.array(message.value, np.float64),
        np.array(message.standard_deviation, np.float64),
        np.array(message.quality, np.uint32),
        np.array(message.age_s, np.float64),
        missed,
        message.ledger_since_ns,
        message.run_id,
    )


def forecast(message: prediction_pb2.Forecast) -> Forecast:
    """A forecast with its quantiles by valid time and level."""
    levels = len(message.quantile_level)
    return Forecast(
        message.asset,
        message.issue_time_ns,
        message.method,
        np.array(message.quantile_level, np.float64),
        tuple(_series(s, levels) for s in message.series),
    )


def _series(message: prediction_pb2.ForecastSeries, levels: int) -> Series:
    times = len(message.valid_time_ns)
    return Series(
        message.signal,
        message.unit,
        message.display_unit or message.unit,
        np.array(message.valid_time_ns, np.int64),
        np.array(message.value, np.float64),
        np.array(message.quantile, np.float64).reshape(times, levels),
        message.residual_count,
        message.quality,
    )


def tag_info(message: history_pb2.TagInfo) -> TagInfo:
    """What is known and stored of a tag."""
    return TagInfo(
        message.name,
        message.unit,
        message.display_unit or message.unit,
        message.low_limit,
        message.high_limit,
        message.sample_count,
        message.first_time_ns,
        message.last_time_ns,
    )
