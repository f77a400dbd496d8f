from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shipped import shipped

from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.estimation.timeline import Reading
from uem.twin_core.follow.energy import energy_signals, write_energy
from uem.twin_core.follow.unit_ledger import UnitLedger
from uem.twin_core.follow.writer import Writer
from uem.twin_core.indicators import J_PER_KWH, Factors, Totals, cost_eur, indicators
from uem.twin_core.measurements import GOOD
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.prices import Carrier, Price
from uem.twin_core.plant.units import (
    DumpCooler,
    Fuel,
    HeatLoad,
    HeatOnlyBoiler,
    HeatPump,
    StorageTank,
    WasteHeatExchanger,
    WasteIncinerator,
)
from uem.twin_core.state import Columns, places
from uem.twin_core.thermal.network import NetworkPlan

VALLEE = next(asset for asset in shipped("vallee").assets if isinstance(asset, Network))
MWH = 3.6e9


def of(kind, fuel=None):
    return next(u for u in VALLEE.units if isinstance(u, kind) and (fuel is None or u.fuel is fuel))


def some(**heat_mwh):
    """Units of the valley by kind, each with its heat."""
    kinds = {
        "gas": of(HeatOnlyBoiler, Fuel.GAS),
        "wood": of(HeatOnlyBoiler, Fuel.WOOD),
        "fumes": of(WasteHeatExchanger),
        "incinerator": of(WasteIncinerator),
        "pump": of(HeatPump),
        "tank": of(StorageTank),
        "cooler": of(DumpCooler),
        "customer": HeatLoad(name="customer", start="a", end="b", nominal_flow_kg_s=1.0),
    }
    units = [kinds[kind] for kind in heat_mwh]
    return units, {unit.name: Totals(heat_j=heat * MWH) for unit, heat in zip(units, heat_mwh.values(), strict=True)}


def test_a_year_of_fumes_spares_what_gas_boilers_would_have_given_off():
    units, totals = some(fumes=30_000, customer=-30_000)
    found = indicators(units, totals)
    assert found.recovered_share == 1.0
    assert found.co2_kg == 0.0
    g_per_kwh = 1000 * found.co2_avoided_kg / (found.delivered_j / J_PER_KWH)
    assert g_per_kwh == pytest.approx(1000 * 0.227 / 0.9)
    assert 240 < g_per_kwh < 270  # a graphite works near Lyon: 8,000 t for 30 GWh
    assert found.co2_avoided_kg == pytest.approx(7.57e6, rel=1e-3)


def test_gas_for_gas_spares_nothing():
    units, totals = some(gas=90, customer=-90)
    totals[units[0].name] = Totals(heat_j=90 * MWH, fuel_j=100 * MWH)
    found = indicators(units, totals)
    assert found.co2_kg == pytest.approx(22_700)
    assert found.co2_avoided_kg == pytest.approx(0.0, abs=1e-6)
    assert found.recovered_share == 0.0


def test_only_the_source_of_a_heat_pump_is_recovered_and_its_electricity_counts():
    units, totals = some(pump=50, customer=-50)
    totals[units[0].name] = Totals(heat_j=50 * MWH, electricity_j=10 * MWH, source_heat_j=40 * MWH)
    found = indicators(units, totals)
    assert found.recovered_share == pytest.approx(0.8)
    assert found.co2_kg == pytest.approx(790)


def test_storage_makes_nothing_and_what_is_thrown_away_is_told_apart():
    units, totals = some(incinerator=80, fumes=20, tank=-30, cooler=-10, customer=-60)
    totals[units[0].name] = Totals(heat_j=80 * MWH, fuel_j=110 * MWH, dumped_j=4 * MWH)
    found = indicators(units, totals, curtailed_j=1 * MWH)
    assert found.produced_j == pytest.approx(100 * MWH)
    assert found.delivered_j == pytest.approx(60 * MWH)
    assert found.curtailed_j == pytest.approx(15 * MWH)
    assert found.recovered_share == 1.0
    assert found.co2_kg == 0.0  # of what is burnt anyway


heats = st.floats(0.0, 1e6)


@given(heats, heats, heats, heats)
def test_the_whole_is_the_sum_of_any_two_times(gas, wood, fumes, customer):
    units, first = some(gas=gas, wood=wood, fumes=fumes, customer=-customer)
    first |= {unit.name: Totals(heat_j=first[unit.name].heat_j, fuel_j=gas * MWH) for unit in units[:2]}
    twice = {name: Totals(2 * t.heat_j, 2 * t.fuel_j) for name, t in first.items()}
    once, both = indicators(units, first), indicators(units, twice)
    for name in ("produced_j", "delivered_j", "recovered_j", "curtailed_j", "co2_kg", "co2_avoided_kg"):
        assert getattr(both, name) == pytest.approx(2 * getattr(once, name), rel=1e-12, abs=1e-9)
    assert both.recovered_share == pytest.approx(once.recovered_share, rel=1e-12)


def test_every_fuel_has_a_factor():
    assert set(Factors().fuel_kg_kwh) == set(Fuel)


ROUND = {"gas": 0.05, "wood": 0.03, "waste": -0.02, "electricity": 0.12, "electricity_sold": 0.06}
PRICES = {
    Carrier(name): Price(carrier=Carrier(name), eur_per_kwh=eur, source="a test", date="2024-01-01")
    for name, eur in ROUND.items()
}


def test_fuel_and_electricity_cost_what_their_prices_say_and_what_is_sold_comes_back():
    gas, pump, burner = of(HeatOnlyBoiler, Fuel.GAS), of(HeatPump), of(WasteIncinerator)
    assert cost_eur(gas, Totals(heat_j=90 * MWH, fuel_j=100 * MWH), PRICES) == pytest.approx(5000)
    assert cost_eur(pump, Totals(heat_j=50 * MWH, electricity_j=10 * MWH), PRICES) == pytest.approx(1200)
    assert cost_eur(burner, Totals(fuel_j=100 * MWH, electricity_j=-15 * MWH), PRICES) == pytest.approx(-2000 - 900)
    assert cost_eur(of(WasteHeatExchanger), Totals(heat_j=MWH), {}) == 0.0


@pytest.mark.parametrize("missing", [None, *PRICES])
def test_a_cost_is_published_only_when_all_that_is_bought_and_sold_has_a_price(missing):
    told = tuple(price for price in PRICES.values() if price.carrier is not missing)
    names = {signal.name for signal in energy_signals(replace(VALLEE, prices=told))}
    assert ("indicator/cost" in names) == (missing is None)


def test_the_cost_of_a_network_is_the_sum_over_its_units_and_since_its_ledger_began():
    network = replace(VALLEE, prices=tuple(PRICES.values()))
    units = UnitLedger(network.units)
    heat = {unit.name: {"fuel_j": np.array([MWH]), "electricity_j": np.array([0.1 * MWH])} for unit in network.units}
    units.add(heat)
    units.add(heat)
    columns = Columns(places(tuple(energy_signals(network))))
    writer = Writer(columns, 0, [Reading(0.0, GOOD, 0)])
    state = NetworkPlan(network).initial_state(343.15)
    write_energy(writer, network, state, units, dumped_j=0.0, unsure=0.01, settled=True)
    found = columns.snapshot("valley", 1, 0, 0)
    k = [signal.name for signal in energy_signals(network)].index("indicator/cost")
    expected = sum(cost_eur(unit, Totals(0.0, 2 * MWH, 0.2 * MWH), PRICES) for unit in network.units)
    assert found.value[k] == pytest.approx(expected, rel=1e-12)
    assert 0 < found.standard_deviation[k] < 0.02 * abs(expected)


def test_a_price_twice_and_one_that_is_no_number_are_refused():
    gas = PRICES[Carrier.GAS]
    with pytest.raises(InvalidTerritory, match='carrier "gas" is defined 2 times'):
        replace(VALLEE, prices=(gas, gas))
    with pytest.raises(InvalidTerritory, match="must be finite"):
        replace(gas, eur_per_kwh=float("nan"))
