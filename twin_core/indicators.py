"""What people ask of a heat network: where its heat came from, how much was recovered, what it spared the air.

Of totals over any time, unit by unit, so that the parts add up to the whole. Equations, sources:
docs/models/indicators.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from uem.twin_core.plant.prices import Carrier, Price
from uem.twin_core.plant.units import (
    Chp,
    DumpCooler,
    Fuel,
    HeatLoad,
    HeatOnlyBoiler,
    HeatPump,
    StorageTank,
    Substation,
    Unit,
    WasteHeatExchanger,
    WasteIncinerator,
)

J_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """CO2 equivalents per kWh of final energy (lower heating value), and the boiler that heat is held against."""

    fuel_kg_kwh: Mapping[Fuel, float] = field(
        default_factory=lambda: {Fuel.GAS: 0.227, Fuel.OIL: 0.324, Fuel.WOOD: 0.024, Fuel.WASTE: 0.0}
    )
    electricity_kg_kwh: float = 0.079
    gas_boiler_efficiency: float = 0.9


@dataclass(frozen=True, slots=True)
class Totals:
    """Of one unit, over some time, J: heat to the water (below 0: taken from it), and what it used or threw away."""

    heat_j: float = 0.0
    fuel_j: float = 0.0
    electricity_j: float = 0.0
    source_heat_j: float = 0.0
    dumped_j: float = 0.0


@dataclass(frozen=True, slots=True)
class Indicators:
    """Energies in J, masses in kg."""

    produced_j: float  # by all but storage
    delivered_j: float  # to customers
    recovered_j: float  # waste heat, the source of heat pumps, waste that is burnt anyway
    curtailed_j: float  # recovered heat that was there and thrown away
    co2_kg: float  # of fuel and electricity
    co2_avoided_kg: float  # against gas boilers at the customers

    @property
    def recovered_share(self) -> float:
        """Part of the produced heat that was recovered; 0 as long as nothing was produced."""
        return self.recovered_j / self.produced_j if self.produced_j > 0.0 else 0.0


def indicators(
    units: Sequence[Unit], totals: Mapping[str, Totals], curtailed_j: float = 0.0, factors: Factors | None = None
) -> Indicators:
    """Of the totals of every unit by name; `curtailed_j`: what factories threw away before it came to the network."""
    known = factors or Factors()
    produced = delivered = recovered = thrown = co2 = 0.0
    for unit in units:
        of = totals[unit.name]
        if isinstance(unit, (HeatLoad, Substation)):
            delivered -= of.heat_j
        elif isinstance(unit, DumpCooler):
            thrown -= of.heat_j
        elif not isinstance(unit, StorageTank):
            produced += of.heat_j
            recovered += _recovered_j(unit, of)
        thrown += of.dumped_j
        co2 += _fuel_kg_j(unit, known) * of.fuel_j + known.electricity_kg_kwh / J_PER_KWH * of.electricity_j
    instead = known.fuel_kg_kwh[Fuel.GAS] / known.gas_boiler_efficiency / J_PER_KWH * delivered
    return Indicators(produced, delivered, recovered, thrown + curtailed_j, co2, instead - co2)


def source_of(unit: Unit) -> str:
    """Where its heat comes from, or where it goes: a fuel, waste_heat, heat_pump, storage, customers, thrown_away."""
    match unit:
        case HeatOnlyBoiler() | Chp():
            return unit.fuel.value
        case WasteIncinerator():
            return "waste"
        case WasteHeatExchanger():
            return "waste_heat"
        case HeatPump():
            return "heat_pump"
        case StorageTank():
            return "storage"
        case HeatLoad() | Substation():
            return "customers"
        case DumpCooler():
            return "thrown_away"
    return "other"


def cost_eur(unit: Unit, of: Totals, prices: Mapping[Carrier, Price]) -> float:
    """Of its fuel and electricity; what it sold counts below 0. `prices` has all of `carriers` of the unit."""
    cost = sum(
        prices[carrier].eur_per_kwh * (of.fuel_j if carrier not in _ELECTRIC else _electricity_j(carrier, of))
        for carrier in carriers(unit)
    )
    return cost / J_PER_KWH


def carriers(unit: Unit) -> Iterator[Carrier]:
    """What the unit buys, or sells."""
    match unit:
        case HeatOnlyBoiler():
            yield Carrier(unit.fuel.value)
            if unit.auxiliary_w > 0.0:
                yield Carrier.ELECTRICITY
        case Chp():
            yield from (Carrier(unit.fuel.value), Carrier.ELECTRICITY_SOLD)
        case WasteIncinerator():
            yield Carrier.WASTE
            if unit.electric_efficiency > 0.0:
                yield Carrier.ELECTRICITY_SOLD
        case HeatPump():
            yield Carrier.ELECTRICITY
        case DumpCooler() if unit.fan_w > 0.0:
            yield Carrier.ELECTRICITY


_ELECTRIC = (Carrier.ELECTRICITY, Carrier.ELECTRICITY_SOLD)


def _electricity_j(carrier: Carrier, of: Totals) -> float:
    """Bought: above 0; sold: below."""
    bought = carrier is Carrier.ELECTRICITY
    return max(of.electricity_j, 0.0) if bought else min(of.electricity_j, 0.0)


def _recovered_j(unit: Unit, of: Totals) -> float:
    if isinstance(unit, (WasteHeatExchanger, WasteIncinerator)):
        return of.heat_j
    return of.source_heat_j if isinstance(unit, HeatPump) else 0.0


def _fuel_kg_j(unit: Unit, factors: Factors) -> float:
    if isinstance(unit, (HeatOnlyBoiler, Chp)):
        return factors.fuel_kg_kwh[unit.fuel] / J_PER_KWH
    return factors.fuel_kg_kwh[Fuel.WASTE] / J_PER_KWH if isinstance(unit, WasteIncinerator) else 0.0
