"""From the messages of uem.v1 to records; protobuf objects stop here."""

import math

import numpy as np

from uem.clients.records import (
    Alarm,
    Asset,
    ClockStatus,
    Forecast,
    Gap,
    GatewayStatus,
    Kind,
    Layout,
    Link,
    LinkKind,
    Method,
    Node,
    PlantStatus,
    Series,
    Side,
    Signal,
    Source,
    State,
    Status,
    TagInfo,
    TwinStatus,
)
from uem.v1 import common_pb2, history_pb2, prediction_pb2, status_pb2, twin_pb2
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
    twin_pb2.ASSET_KIND_FACTORY: Kind.FACTORY,
}
_SIDES = {
    twin_pb2.NETWORK_SIDE_SUPPLY: Side.SUPPLY,
    twin_pb2.NETWORK_SIDE_RETURN: Side.RETURN,
}
_LINKS = {
    twin_pb2.NETWORK_LINK_KIND_PIPE: LinkKind.PIPE,
    twin_pb2.NETWORK_LINK_KIND_VALVE: LinkKind.VALVE,
    twin_pb2.NETWORK_LINK_KIND_PUMP: LinkKind.PUMP,
    twin_pb2.NETWORK_LINK_KIND_CONSUMER: LinkKind.CONSUMER,
    twin_pb2.NETWORK_LINK_KIND_PRODUCER: LinkKind.PRODUCER,
    twin_pb2.NETWORK_LINK_KIND_STORAGE: LinkKind.STORAGE,
}

_METHODS = {
    Method.MIN_MAX: history_pb2.OVERVIEW_METHOD_MIN_MAX,
    Method.LARGEST_TRIANGLE: history_pb2.OVERVIEW_METHOD_LARGEST_TRIANGLE,
}


def overview_method(method: Method) -> history_pb2.OverviewMethod.ValueType:
    """How an overview is made, as it is asked for."""
    return _METHODS[method]


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


def layout(message: twin_pb2.GetNetworkResponse) -> Layout:
    """How a network is laid out; sides and kinds that this client does not know yet are unspecified."""
    nodes = [Node(n.name, n.east_m, n.north_m, _SIDES.get(n.side, Side.UNSPECIFIED)) for n in message.nodes]
    links = [
        Link(
            link.name,
            _LINKS.get(link.kind, LinkKind.UNSPECIFIED),
            link.start,
            link.end,
            link.length_m,
            link.inner_diameter_m,
            link.unit_type,
            tuple(link.heat_from),
        )
        for link in message.links
    ]
    return Layout(tuple(nodes), tuple(links))


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


def alarm(message: common_pb2.Alarm) -> Alarm:
    """An alarm; a state that this client does not know yet is told by its number."""
    try:
        state = common_pb2.AlarmState.Name(message.state).removeprefix("ALARM_STATE_").lower()
    except ValueError:
        state = f"state_{message.state}"
    return Alarm(
        plant=message.plant,
        condition=message.condition,
        branch=message.branch,
        source=message.source,
        name=message.name,
        message=message.message,
        state=state,
        severity=message.severity,
        priority="low" if message.severity <= 333 else "medium" if message.severity <= 666 else "high",
        time_ns=message.time_ns,
        quality=message.quality,
    )


def gap(message: common_pb2.Gap) -> Gap:
    """A gap; a reason that this client does not know yet is told by its number."""
    try:
        reason = common_pb2.GapReason.Name(message.reason).removeprefix("GAP_REASON_").lower()
    except ValueError:
        reason = f"reason_{message.reason}"
    return Gap(message.tag_name, message.start_time_ns, message.end_time_ns, reason)


def status(message: status_pb2.GetStatusResponse) -> Status:
    """What a server told of itself and of its gateways."""
    server = message.server
    return Status(
        server.version,
        server.territory,
        server.uptime_s,
        tuple(_twin_status(twin) for twin in server.twins),
        server.history.byte_count,
        server.history.sample_count,
        server.history.newest_sample_ns,
        dict(server.problems),
        tuple(_gateway_status(found) for found in message.gateways),
    )


def _twin_status(message: status_pb2.TwinStatus) -> TwinStatus:
    return TwinStatus(
        message.asset,
        message.plant_time_ns,
        message.newest_sample_ns,
        tuple(message.waits_for),
        message.late_count,
        message.unusable_count,
        message.failed_step_count,
        message.restart_count,
        message.failure,
    )


def _gateway_status(message: status_pb2.ReportedGateway) -> GatewayStatus:
    gateway, backlog = message.gateway, message.gateway.backlog
    return GatewayStatus(
        gateway.name,
        gateway.version,
        message.age_s,
        tuple(_plant_status(plant) for plant in gateway.plants),
        backlog.row_count,
        backlog.byte_count,
        backlog.oldest_age_s,
        backlog.drain_rows_per_s,
        backlog.pending_row_count,
        gateway.delivered_count,
        dict(gateway.rejected_count),
        gateway.refused_batch_count,
        gateway.certificate_expiry_s,
        gateway.clock_jump_count,
    )


def _plant_status(message: status_pb2.PlantStatus) -> PlantStatus:
    return PlantStatus(
        message.plant,
        message.connected,
        message.reconnect_count,
        message.newest_sample_age_s if message.HasField("newest_sample_age_s") else math.nan,
        message.usual_interval_s if message.HasField("usual_interval_s") else math.nan,
        dict(message.missing_tags),
        message.received_count,
        message.dropped_count,
        message.repeated_count,
        message.bad_quality_count,
        message.gap_count,
        _clock_status(message.source_clock),
        _clock_status(message.server_clock),
        dict(message.check_count),
        dict(message.unit_mismatches),
    )


def _clock_status(message: status_pb2.ClockStatus) -> ClockStatus:
    return ClockStatus(
        message.state or "unknown",
        message.offset_s if message.HasField("offset_s") else math.nan,
        message.drift_ppm if message.HasField("drift_ppm") else math.nan,
        message.jump_count,
    )
