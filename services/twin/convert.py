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
    """A snapshot as columns of the signals of a revision."""
    snapshot = published.snapshot
    return pb.State(
        asset=snapshot.asset,
        tick=snapshot.tick,
        plant_time_ns=snapshot.plant_time_ns,
        published_time_ns=published.time_ns,
        value=snapshot.value.tolist(),
        standard_deviation=snapshot.standard_deviation.tolist(),
        quality=snapshot.quality.tolist(),
        age_s=snapshot.age_s.tolist(),
        ledger_since_ns=snapshot.ledger_since_ns,
        signals_revision=signals_revision,
        run_id=run_id,
    )
