"""What twins say of energy, as metrics: read from their newest states when Prometheus asks.

A series per unit of a plant, per machine of a factory and per indicator; customers of a network are one. The territory
file bounds them all; tags have none.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from uem.services.metrics import Labels, Metrics
from uem.twin_core.indicators import source_of
from uem.twin_core.measurements import is_good
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.territory import Territory
from uem.twin_core.state import Signal, Snapshot

Read = Callable[[Mapping[str, float]], float]  # out of the values of a state by signal
Series = tuple[Labels, Read]


@dataclass(frozen=True, slots=True)
class Asset:
    """What a twin publishes, and its newest state; None before the first."""

    name: str
    signals: Sequence[Signal]
    newest: Callable[[], Snapshot | None]


def export(territory: Territory, assets: Sequence[Asset], metrics: Metrics) -> None:
    """Make the metrics of all assets; one whose signals are not there has no series."""
    networks = {network.name: network for network in territory.networks}

    def gauge(name: str, text: str, labels: Sequence[str], series: Callable[[Asset], Iterator[Series]]) -> None:
        known = [(asset, list(series(asset))) for asset in assets]

        def read() -> dict[Labels, float]:
            return {labels: value for asset, some in known for labels, value in _values(asset, some)}

        metrics.gauge(name, text, read, ["asset", *labels])

    gauge(
        "uem_network_energy_joules",
        "Of a network since its ledger began: in, out, loss, stored; produced, delivered, recovered, curtailed.",
        ["what"],
        lambda asset: _named(asset, {f"{of}/{what}": (what,) for what, of in _ENERGIES.items()}),
    )
    gauge(
        "uem_network_co2_grams",
        "CO2 of a network since its ledger began, and what of it was avoided against gas boilers.",
        ["what"],
        lambda asset: _named(asset, _CO2, scale=1000.0),
    )
    gauge(
        "uem_network_cost_euros",
        "Cost of fuel and electricity since the ledger began, where all prices are known.",
        [],
        lambda asset: _named(asset, {"indicator/cost": ()}),
    )
    gauge(
        "uem_unit_heat_watts",
        "Heat that a unit of a plant gives to the water, below 0: takes; all customers are one.",
        ["unit", "source"],
        lambda asset: _units(asset, networks.get(asset.name)),
    )
    gauge("uem_machine_state_number", "State of a machine of a factory, as PackML numbers it.", ["machine"], _machines)
    gauge("uem_factory_power_watts", "Power that a factory takes.", [], lambda a: _named(a, {"power": ()}, "output"))
    gauge("uem_factory_energy_joules", "Energy of a factory since its ledger began.", [], _factory_energy)
    gauge("uem_factory_heat_watts", "Waste heat of a stream of a factory.", ["stream"], _streams)
    metrics.gauge(
        "uem_twin_deviation_kelvin",
        "Root mean square of measured minus twin over all temperatures that have both, of good quality.",
        lambda: {(asset.name,): found for asset in assets if (found := _deviation_k(asset)) is not None},
        ["asset"],
    )


_CO2 = {"indicator/co2": ("emitted",), "indicator/co2_avoided": ("avoided",)}
_ENERGIES = dict.fromkeys(("in", "out", "loss", "stored_change"), "energy") | dict.fromkeys(
    ("produced", "delivered", "recovered", "curtailed"), "indicator"
)


def _values(asset: Asset, series: Sequence[Series]) -> Iterator[tuple[Labels, float]]:
    snapshot = asset.newest()
    if snapshot is None or not series:
        return
    now = dict(zip((signal.name for signal in asset.signals), snapshot.value.tolist(), strict=True))
    for labels, read in series:
        yield (asset.name, *labels), read(now)


def _named(asset: Asset, signals: Mapping[str, Labels], beside: str = "", scale: float = 1.0) -> Iterator[Series]:
    """Signals of their own names; only of an asset that has the signal `beside` as well."""
    known = {signal.name for signal in asset.signals}
    if beside and beside not in known:
        return
    for name, labels in signals.items():
        if name in known:
            yield labels, _read(name, scale)


def _read(name: str, scale: float = 1.0) -> Read:
    return lambda now: scale * now[name]


def _units(asset: Asset, network: Network | None) -> Iterator[Series]:
    if network is None:
        return
    known = {signal.name for signal in asset.signals}
    customers: list[str] = []
    for unit in network.units:
        signal, source = f"unit/{unit.name}/heat", source_of(unit)
        if signal not in known:
            continue
        if source == "customers":
            customers.append(signal)
        else:
            yield (unit.name, source), _read(signal)
    if customers:
        yield ("customers", "customers"), lambda now: sum(now[signal] for signal in customers)


def _machines(asset: Asset) -> Iterator[Series]:
    for signal in asset.signals:
        parts = signal.name.split("/")
        if len(parts) == 3 and (parts[0], parts[2]) == ("machine", "state"):
            yield (parts[1],), _read(signal.name)


def _factory_energy(asset: Asset) -> Iterator[Series]:
    return _named(asset, {"energy": ()}, "output")


def _streams(asset: Asset) -> Iterator[Series]:
    for signal in asset.signals:
        parts = signal.name.split("/")
        if len(parts) == 2 and parts[0] == "heat":
            yield (parts[1],), _read(signal.name)


def _deviation_k(asset: Asset) -> float | None:
    snapshot = asset.newest()
    if snapshot is None:
        return None
    row = {signal.name: k for k, signal in enumerate(asset.signals)}
    pairs = [
        (row[signal.compared_with], k)
        for k, signal in enumerate(asset.signals)
        if signal.unit == "K" and signal.compared_with
    ]
    found = [
        snapshot.value[measured] - snapshot.value[twin]
        for measured, twin in pairs
        if is_good(int(snapshot.quality[measured])) and is_good(int(snapshot.quality[twin]))
    ]
    return float(np.sqrt(np.mean(np.square(found)))) if found else None
