"""What weather and people ask of a network that runs by itself."""

from dataclasses import replace

import pytest
from shipped import shipped

from uem.hardware_adapters.simulator.season import SLIDE_K, Season
from uem.hardware_adapters.simulator.truth import NetworkTruth
from uem.twin_core.plant.units import HeatPump, Substation
from uem.twin_core.units import ZERO_CELSIUS_K

VALLEE = shipped("vallee")
NETWORK = VALLEE.networks[0]
COOL_NS = next(  # so cool that the stations of the file heat, by half of their load at the most
    time_ns
    for time_ns in range(VALLEE.simulation.epoch_ns, VALLEE.simulation.epoch_ns + 10**17, 10**13)
    if 8.0 < VALLEE.simulation.mean_of_a_day_c(time_ns) < 12.0
)


def driven(*, limits_c):
    """The commands of a network some of whose stations, from the last on, begin to heat at other temperatures."""
    stations = [unit for unit in NETWORK.units if isinstance(unit, Substation)]
    other = {
        unit.name: replace(unit, heating_limit_temp_k=limit_c + ZERO_CELSIUS_K)
        for unit, limit_c in zip(reversed(stations), limits_c, strict=False)
    }
    network = replace(NETWORK, units=tuple(other.get(unit.name, unit) for unit in NETWORK.units))
    truth = NetworkTruth(network, {}, seed=1)
    Season(VALLEE.simulation, truth).drive(COOL_NS)
    return truth.inputs.unit_commands


def test_supply_temperatures_and_the_heat_pump_follow_what_all_stations_ask_for():
    last = next(unit for unit in reversed(NETWORK.units) if isinstance(unit, Substation))
    heating_w = sum(unit.heating_w for unit in NETWORK.units if isinstance(unit, Substation))
    (pump,) = (unit.name for unit in NETWORK.units if isinstance(unit, HeatPump))
    (design_k,) = {unit.supply_temp_k for unit in NETWORK.units if unit.name == "gas-1"}
    as_in_the_file, without_the_last = driven(limits_c=()), driven(limits_c=(5.0,))
    part = 1.0 - (design_k - float(as_in_the_file["gas-1"]["supply_temp_k"][0])) / SLIDE_K
    expected_k = design_k - SLIDE_K * (1.0 - part * (1.0 - last.heating_w / heating_w))
    assert float(without_the_last["gas-1"]["supply_temp_k"][0]) == pytest.approx(expected_k)
    assert float(without_the_last[pump]["on"][0]) == 1.0


def test_the_heat_pump_stands_where_nobody_heats():
    (pump,) = (unit.name for unit in NETWORK.units if isinstance(unit, HeatPump))
    assert float(driven(limits_c=(5.0,) * len(NETWORK.units))[pump]["on"][0]) == 0.0
