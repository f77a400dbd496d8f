"""What sensors tell a closed network: commands of its units that are worked out from what was measured there.

A signal is named as `uem run` names its columns, such as unit/school-01/heating. A command keeps its last value while
one of its signals has none that can be used, or while they tell nothing: what a unit gave is no set point while it
stands. What the file says would be further off: it is of the design day. How wrong a command that is held may be the
follower tells, at first a part of what the unit gives, after a while all that it can (`most_w`).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from uem.twin_core.plant.network import Network
from uem.twin_core.plant.units import (
    LOWEST_WATER_K,
    DumpCooler,
    HeatDemand,
    HeatPump,
    Producer,
    Substation,
    Unit,
    WasteHeatExchanger,
    WasteIncinerator,
)
from uem.twin_core.thermal.network import NetworkInputs

RUNS_FROM = 0.005  # part of the nominal heat: with less a unit stands
LEAST_FALL_K = 1.0  # of a stream: with less its flow cannot be told from its heat


@dataclass(frozen=True, slots=True)
class Told:
    """A command of a unit and the signals that it follows from; NaN of `worked_out`: keep the last one."""

    unit: str
    command: str
    signals: tuple[str, ...]
    worked_out: Callable[..., float]


def told_by(network: Network, sensors: Mapping[str, str]) -> tuple[Told, ...]:
    """The commands that `sensors`, tag by signal, can tell."""
    every = (told for unit in network.units for told in _of_unit(unit))
    return tuple(told for told in every if all(signal in sensors for signal in told.signals))


def tell(inputs: NetworkInputs, every: tuple[Told, ...], read: Callable[[str], float]) -> None:
    """Set the commands; `read` gives the value of a signal, NaN where there is none."""
    for told in every:
        values = [read(signal) for signal in told.signals]
        value = told.worked_out(*values) if all(map(math.isfinite, values)) else math.nan
        if math.isfinite(value):
            inputs.unit_commands[told.unit][told.command][:] = value


def most_w(unit: Unit) -> float:
    """No more heat than this can go between a unit and the water, W; 0 where its file does not tell."""
    match unit:
        case WasteIncinerator():
            return unit.nominal_waste_kg_s * unit.heating_value_j_kg
        case WasteHeatExchanger():
            capacity_w_k = unit.nominal_stream_flow_kg_s * unit.stream_heat_capacity_j_kgk
            return capacity_w_k * (unit.stream_temp_k - LOWEST_WATER_K)
        case DumpCooler() | Producer():
            return unit.nominal_heat_w
    return 0.0


def _of_unit(unit: Unit) -> Iterator[Told]:
    heat, outlet = f"unit/{unit.name}/heat", f"unit/{unit.name}/outlet_temperature"
    match unit:
        case Substation(demand=HeatDemand.COMMAND):
            for kind in ("heating", "hot_water"):
                yield Told(unit.name, f"{kind}_w", (f"unit/{unit.name}/{kind}",), lambda heat_w: max(heat_w, 0.0))
        case WasteIncinerator():
            yield Told(unit.name, "supply_temp_k", (outlet,), float)
            per_kg_j = unit.heating_value_j_kg
            yield Told(unit.name, "waste_kg_s", (f"unit/{unit.name}/fuel",), lambda fuel_w: max(fuel_w, 0.0) / per_kg_j)
        case WasteHeatExchanger():
            yield Told(unit.name, "supply_temp_k", (outlet,), float)
            after = f"unit/{unit.name}/stream_outlet_temperature"
            yield Told(unit.name, "stream_flow_kg_s", (heat, after), _stream_flow(unit))
        case DumpCooler():
            yield Told(unit.name, "outlet_temp_k", (outlet,), float)
            yield Told(unit.name, "on", (heat,), lambda heat_w: float(-heat_w > RUNS_FROM * unit.nominal_heat_w))
        case HeatPump():
            least_w = RUNS_FROM * unit.nominal_heat_w
            yield Told(unit.name, "on", (heat,), lambda heat_w: float(heat_w > least_w))
            yield Told(unit.name, "heat_w", (heat,), lambda heat_w: heat_w if heat_w > least_w else math.nan)
        case Producer():  # one that stands gives the water back as warm as it came: no heat, without being told
            yield Told(unit.name, "supply_temp_k", (outlet,), float)


def _stream_flow(unit: WasteHeatExchanger) -> Callable[[float, float], float]:
    """Of a stream as warm as the file says: what carries the heat from there to where it was measured."""

    def flow(heat_w: float, after_k: float) -> float:
        fall_k = unit.stream_temp_k - after_k
        if heat_w <= 0.0:
            return 0.0
        if fall_k < LEAST_FALL_K:
            return math.nan
        return min(heat_w / (unit.stream_heat_capacity_j_kgk * fall_k), unit.nominal_stream_flow_kg_s)

    return flow
