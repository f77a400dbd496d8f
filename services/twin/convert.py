"""Twins and snapshots -> messages."""

import zlib
from collections.abc import Sequence

from uem.services.twin.worker import Published
from uem.twin_core.plant.factory import FactorySite
from uem.twin_core.plant.machine import Machine
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.territory import Asset
from uem.twin_core.state import Signal, Source
from uem.v1 import common_pb2
from uem.v1 import twin_pb2 as pb
from uem.v1.columns import WATCH_STATE_RESPONSE, Columnar

_SOURCES = {
    Source.MEASURED: common_pb2.SOURCE_MEASURED,
    Source.ESTIMATED: common_pb2.SOURCE_ESTIMATED,
    Source.FORECAST: common_pb2.SOURCE_FORECAST,
    Source.LEDGER: common_pb2.SOURCE_LEDGER,
}


_KINDS = {
    Network: pb.ASSET_KIND_HEAT_NETWORK,
    Machine: pb.ASSET_KIND_MACHINE,
    FactorySite: pb.ASSET_KIND_FACTORY,
}


def asset(described: Asset, signals: Sequence[Signal]) -> pb.Asset:
    """What an asset is and what its states consist of."""
    messages = [_signal(signal) for signal in signals]
    return pb.Asset(
        name=described.name,
        kind=_KINDS[type(described)],
        title=described.title,
        signals=messages,
        signals_revision=zlib.crc32(b"".join(_framed(message) for message in messages)),
    )


def _framed(message: pb.Signal) -> bytes:
    data = message.SerializeToString(deterministic=True)
    return len(data).to_bytes(4, "little") + data


def _signal(signal: Signal) -> pb.Signal:
    return pb.Signal(
        name=signal.name,
        unit=signal.unit,
        display_unit=signal.display_unit,
        source=_SOURCES[signal.source],
        compared_with=signal.compared_with,
        state_names=signal.state_names,
    )


def state(published: Published, signals_revision: int, run_id: str) -> pb.State:
    """A snapshot of the signals of a revision."""
    message, columns = update(published, 0, signals_revision, run_id)
    for name, column in columns.items():
        getattr(message.state, name).extend(column.tolist())
    return message.state


def update(
    published: Published, missed_count: int, signals_revision: int, run_id: str
) -> Columnar[pb.WatchStateResponse]:
    """A snapshot of the signals of a revision, for a stream."""
    snapshot = published.snapshot
    state = pb.State(
        asset=snapshot.asset,
        tick=snapshot.tick,
        plant_time_ns=snapshot.plant_time_ns,
        published_time_ns=published.time_ns,
        ledger_since_ns=snapshot.ledger_since_ns,
        signals_revision=signals_revision,
        run_id=run_id,
    )
    return WATCH_STATE_RESPONSE.columnar(pb.WatchStateResponse(state=state, missed_count=missed_count), snapshot)
