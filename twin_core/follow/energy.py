"""The energy ledger of a closed network and its indicators, as signals; everything since the ledger began."""

import math
from collections.abc import Iterator, Mapping

from uem.twin_core.follow.ledger import UNMEASURED_SHARE
from uem.twin_core.follow.network import LOSS_CLASS
from uem.twin_core.follow.unit_ledger import UnitLedger
from uem.twin_core.follow.writer import Writer
from uem.twin_core.indicators import carriers, cost_eur, indicators
from uem.twin_core.plant.network import Network
from uem.twin_core.state import Signal, Source
from uem.twin_core.thermal.network import NetworkState

PARTS = ("in", "out", "loss", "stored_change", "imbalance", "expansion")
# Of what a network did, with their units.
INDICATORS = (
    ("produced_j", "J"),
    ("delivered_j", "J"),
    ("recovered_j", "J"),
    ("curtailed_j", "J"),
    ("recovered_share", "1"),
    ("co2_kg", "kg"),
    ("co2_avoided_kg", "kg"),
)


def energy_signals(network: Network) -> Iterator[Signal]:
    """What `write_energy` fills."""
    yield from (Signal(f"energy/{part}", "J", Source.LEDGER) for part in PARTS)
    yield from (Signal(f"unit/{unit.name}/energy", "J", Source.LEDGER) for unit in network.units)
    yield from (Signal(_signal_of(name), unit, Source.LEDGER) for name, unit in INDICATORS)
    if _is_priced(network):
        yield Signal("indicator/cost", "EUR", Source.LEDGER)


def write_energy(
    writer: Writer,
    network: Network,
    heat: NetworkState,
    units: UnitLedger,
    *,
    dumped_j: float,
    unsure: float,
    settled: bool,
    untold_j: Mapping[str, float] | None = None,
) -> None:
    """`dumped_j`: thrown away by loops of factories; `unsure`: the part of what units did that may be wrong.

    `untold_j`: by how much more that of single units may be wrong, since their sensors were dead for a while.
    """
    untold_j = untold_j or {}
    all_untold_j = math.hypot(*untold_j.values())
    energies = {"in": heat.total_in_j, "out": heat.total_out_j, "loss": heat.total_loss_j}
    totals = {key: float(total[0]) for key, total in energies.items()}
    for key, total_j in totals.items():
        part, more_j = (LOSS_CLASS, 0.0) if key == "loss" else (unsure, all_untold_j)
        writer.own(f"energy/{key}", total_j, math.hypot(part * total_j, more_j), settled=settled)
    stored_j = float(heat.total_stored_change_j[0])
    writer.own("energy/stored_change", stored_j, unsure * abs(stored_j))
    writer.own("energy/imbalance", totals["in"] - totals["out"] - totals["loss"] - stored_j, 0.0)
    of_units_j = units.total_j[:, 0]
    for unit, energy_j in zip(network.units, of_units_j.tolist(), strict=True):
        more_j = untold_j.get(unit.name, 0.0)
        is_known = settled and more_j <= UNMEASURED_SHARE * abs(energy_j)
        writer.own(f"unit/{unit.name}/energy", energy_j, unsure * abs(energy_j) + more_j, settled=is_known)
    expansion_j = totals["in"] - totals["out"] - float(of_units_j.sum())
    writer.own("energy/expansion", expansion_j, unsure * abs(expansion_j), settled=settled)
    totals_of = units.totals()
    found = indicators(network.units, totals_of, dumped_j)
    for name, _ in INDICATORS:
        value = float(getattr(found, name))
        sd = unsure * (value * (1.0 - value) if name == "recovered_share" else abs(value))
        writer.own(_signal_of(name), value, sd, settled=settled)
    if _is_priced(network):
        prices = {price.carrier: price for price in network.prices}
        costs = [cost_eur(unit, totals_of[unit.name], prices) for unit in network.units]
        writer.own("indicator/cost", sum(costs), unsure * sum(map(abs, costs)), settled=settled)


def _is_priced(network: Network) -> bool:
    """Whether everything that its units buy or sell has a price; else a cost would leave something out."""
    needed = {carrier for unit in network.units for carrier in carriers(unit)}
    return bool(needed) and needed <= {price.carrier for price in network.prices}


def _signal_of(indicator: str) -> str:
    return "indicator/" + indicator.removesuffix("_j").removesuffix("_kg")
