"""From the messages of uem.v1 to records; protobuf objects stop here."""

import numpy as np

from uem.clients.records import Asset, Forecast, Gap, Kind, Series, Signal, Source, State, TagInfo
from uem.v1 import common_pb2, history_pb2, prediction_pb2, twin_pb2
from uem.v1.columns import WATCH_STATE_RESPONSE, Columnar

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


def state(message: twin_pb2.State, its_asset: Asset) -> State:
    """A state of `its_asset`; ValueError when its columns do not fit the asset's signals."""
    return update(WATCH_STATE_RESPONSE.split(twin_pb2.WatchStateResponse(state=message)), its_asset)


def update(columnar: Columnar[twin_pb2.WatchStateResponse], its_asset: Asset) -> State:
    """A state out of a stream; ValueError when its columns do not fit the asset's signals."""
    message, columns = columnar.message.state, columnar.columns
    if message.signals_revision != its_asset.signals_revision:
        raise ValueError(f"state of {its_asset.name} with other signals than the server lists")
    lengths = [len(column) for column in columns.values()]
    if set(lengths) != {len(its_asset.signals)}:
        raise ValueError(
            f"state of {its_asset.name} with columns of {', '.join(map(str, lengths))} rows "
            f"for {len(its_asset.signals)} signals"
        )
    return State(
        its_asset,
        message.tick,
        message.plant_time_ns,
        message.published_time_ns,
        columns["value"],
        columns["standard_deviation"],
        columns["quality"],
        columns["age_s"],
        columnar.message.missed_count,
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


def gap(message: common_pb2.Gap) -> Gap:
    """A gap; a reason that this client does not know yet is told by its number."""
    try:
        reason = common_pb2.GapReason.Name(message.reason).removeprefix("GAP_REASON_").lower()
    except ValueError:
        reason = f"reason_{message.reason}"
    return Gap(message.tag_name, message.start_time_ns, message.end_time_ns, reason)
