"""Weather and people, who drive a network that runs by itself: outdoor temperature, demands, supply temperatures.

What the units of the network do with that is their own matter, as units.md says: no other commands are given.
"""

from collections.abc import Sequence

import numpy as np

from uem.hardware_adapters.simulator.truth import NetworkTruth
from uem.twin_core.plant.simulation import Simulation, load_part
from uem.twin_core.plant.units import (
    HeatDemand,
    HeatOnlyBoiler,
    HeatPump,
    Substation,
    WasteHeatExchanger,
    WasteIncinerator,
)
from uem.twin_core.units import ZERO_CELSIUS_K

SLIDE_K = 20.0  # by which supply temperatures fall from the design day to the heating limit
SUMMER_WASTE = 0.5  # above the heating limit one of two lines is overhauled


class Season:
    """Drives one network; `units` of the truth are believed to be as their territory says."""

    def __init__(self, simulation: Simulation, truth: NetworkTruth) -> None:
        self._simulation, self._truth = simulation, truth
        units = truth.network.units
        self._stations = [u for u in units if isinstance(u, Substation) and u.demand is HeatDemand.COMMAND]
        self._sliding = {
            unit.name: unit.supply_temp_k
            for unit in units
            if isinstance(unit, (HeatOnlyBoiler, WasteIncinerator, WasteHeatExchanger))
        }
        self._waste = {unit.name: unit.nominal_waste_kg_s for unit in units if isinstance(unit, WasteIncinerator)}
        self._heat_pumps = [unit.name for unit in units if isinstance(unit, HeatPump)]

    def drive(self, time_ns: int) -> None:
        """Set what holds from `time_ns` on."""
        simulation, truth, commands = self._simulation, self._truth, self._truth.inputs.unit_commands
        truth.outdoor_k = simulation.outdoor_temp_c(time_ns) + ZERO_CELSIUS_K
        truth.inputs.set_commands("outdoor_temp_k", truth.outdoor_k)
        mean_k = simulation.mean_of_a_day_c(time_ns) + ZERO_CELSIUS_K
        loads = [load_part(mean_k, u.design_outdoor_temp_k, u.heating_limit_temp_k) for u in self._stations]
        for k, (unit, part) in enumerate(zip(self._stations, loads, strict=True)):
            heating, hot_water = (simulation.shape(unit.name, use, time_ns) for use in ("heating", "hot_water"))
            truth.demand_w[:, k] = min(part * heating, 1.0) * unit.heating_w, hot_water * unit.hot_water_w
        load = self._of_the_network(loads)
        heats = float(load > 0.0)
        for name, supply_temp_k in self._sliding.items():
            commands[name]["supply_temp_k"][:] = supply_temp_k - SLIDE_K * (1.0 - load)
        for name, waste_kg_s in self._waste.items():
            commands[name]["waste_kg_s"][:] = waste_kg_s * (SUMMER_WASTE + (1.0 - SUMMER_WASTE) * heats)
        for name in self._heat_pumps:
            commands[name]["on"][:] = heats

    def _of_the_network(self, loads: Sequence[float]) -> float:
        """Part of their space heating at the design temperature that all stations ask for; 1 if none is heated."""
        heating_w = [unit.heating_w for unit in self._stations]
        return float(np.average(loads, weights=heating_w)) if any(heating_w) else 1.0
