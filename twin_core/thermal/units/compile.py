"""Units as they are built, turned into the rows that their kernels read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.plant.units import (
    Building,
    Chp,
    ChpKind,
    DumpCooler,
    FlowControl,
    HeatDemand,
    HeatLoad,
    HeatOnlyBoiler,
    HeatPump,
    HeatSource,
    Producer,
    StorageTank,
    Substation,
    Unit,
    WasteHeatExchanger,
    WasteIncinerator,
)
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK
from uem.twin_core.thermal.units.dispatch import UnitKind, command_names, parameter_row, result_names, state_names
from uem.twin_core.thermal.water import density_kg_m3

# Flow limits that are not given: this many times what the rating needs.
FLOW_MARGIN = 1.5
RUNNING = 2.0  # stage of a burner


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledUnit:
    """Rows of doubles of one unit and their names; `state` and `command` are those at the beginning.

    Results whose names end in _j, _kg or _s add up over steps, the others are those of the step.
    """

    name: str
    kind: UnitKind
    flow_control: FlowControl
    nominal_flow_kg_s: float  # with the pressure drop: the resistance of a throttled or free unit
    nominal_pressure_drop_pa: float
    parameters: NDArray[np.float64]
    state: NDArray[np.float64]
    command: NDArray[np.float64]
    state_names: tuple[str, ...]
    command_names: tuple[str, ...] = field(init=False)
    result_names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "command_names", command_names(self.kind))
        object.__setattr__(self, "result_names", result_names(self.kind))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    kind: UnitKind
    parameters: Mapping[str, object]
    state: Mapping[str, float]
    command: Mapping[str, float]
    nominal_flow_kg_s: float = 0.0  # where the unit itself does not say


def compile_unit(unit: Unit) -> CompiledUnit:
    """The rows of a unit; InvalidTerritory if it is wrong."""
    problems = list(unit.problems())
    if problems:
        raise InvalidTerritory(f"unit {unit.name}", problems)
    rows = _rows(unit)
    layers = unit.layers if isinstance(unit, StorageTank) else 0
    names = state_names(rows.kind, layers)
    return CompiledUnit(
        name=unit.name,
        kind=rows.kind,
        flow_control=unit.flow_control,
        nominal_flow_kg_s=unit.nominal_flow_kg_s or rows.nominal_flow_kg_s,
        nominal_pressure_drop_pa=unit.nominal_pressure_drop_pa,
        parameters=parameter_row(rows.kind, rows.parameters),
        state=np.array([rows.state[name] for name in names]),
        command=np.array([rows.command[name] for name in command_names(rows.kind)]),
        state_names=names,
    )


def _rows(unit: Unit) -> _Rows:
    match unit:
        case HeatSource():
            return _heat_source(unit)
        case HeatLoad():
            return _heat_load(unit)
        case Substation():
            return _substation(unit)
        case HeatOnlyBoiler():
            return _boiler(unit)
        case Chp():
            return _chp(unit)
        case HeatPump():
            return _heat_pump(unit)
        case WasteIncinerator():
            return _incinerator(unit)
        case WasteHeatExchanger():
            return _waste_heat(unit)
        case StorageTank():
            return _tank(unit)
        case DumpCooler():
            return _cooler(unit)
    raise InvalidTerritory(f"unit {unit.name}", [f"{type(unit).__name__} has no kernel"])


def _heat_source(unit: HeatSource) -> _Rows:
    return _Rows(
        kind=UnitKind.HEAT_SOURCE,
        parameters={"heat_limit_w": unit.heat_limit_w, "smallest_rise_k": unit.smallest_rise_k},
        state={"heat_w": 0.0},
        command={"supply_temp_k": unit.supply_temp_k, "heat_w": unit.heat_w},
    )


def _heat_load(unit: HeatLoad) -> _Rows:
    return _Rows(
        kind=UnitKind.HEAT_LOAD,
        parameters={
            "gives_heat": unit.heat_w is not None,
            "gives_flow": unit.flow_kg_s is not None,
            "gives_drop": unit.temperature_drop_k is not None,
            "minimum_flow_kg_s": unit.minimum_flow_kg_s,
            "maximum_flow_kg_s": unit.maximum_flow_kg_s,
            "lowest_return_temp_k": unit.lowest_return_temp_k,
        },
        state={"heat_w": 0.0},
        command={
            "heat_w": unit.heat_w or 0.0,
            "flow_kg_s": unit.flow_kg_s or 0.0,
            "temperature_drop_k": unit.temperature_drop_k or 0.0,
            "return_temp_k": unit.return_temp_k or unit.lowest_return_temp_k,
        },
    )


def _substation(unit: Substation) -> _Rows:
    heating = _circuit(
        unit.nominal_heat_w,
        unit.primary_supply_temp_k,
        unit.primary_return_temp_k,
        unit.secondary_supply_temp_k,
        unit.secondary_return_temp_k,
    )
    # Without hot water, resistances of the same make, so that all are finite; nothing goes through them.
    hot_water = _circuit(
        unit.nominal_hot_water_w or unit.nominal_heat_w,
        unit.hot_water_primary_supply_temp_k,
        unit.hot_water_primary_return_temp_k,
        unit.hot_water_temp_k,
        unit.cold_water_temp_k,
    )
    if unit.nominal_hot_water_w == 0:
        hot_water["nominal_w"] = 0.0  # which the kernel reads as: there is none
    flow = 1.0 / (heating["primary_k_w"] * HEAT_CAPACITY_J_KGK)
    if unit.nominal_hot_water_w > 0:
        flow += 1.0 / (hot_water["primary_k_w"] * HEAT_CAPACITY_J_KGK)
    maximum = unit.maximum_flow_kg_s or max(FLOW_MARGIN * flow, unit.minimum_flow_kg_s)
    mean_radiator_k = 0.5 * (unit.secondary_supply_temp_k + unit.secondary_return_temp_k)
    parameters: dict[str, object] = {
        "heating": heating,
        "hot_water": hot_water,
        "curve_high_k": unit.secondary_supply_temp_k,
        "curve_low_k": unit.secondary_lowest_temp_k,
        "design_outdoor_k": unit.design_outdoor_temp_k,
        "heating_limit_k": unit.heating_limit_temp_k,
        "room_k": unit.room_temp_k,
        "radiator_rise_k": mean_radiator_k - unit.room_temp_k,
        "radiator_power": 1.0 / unit.radiator_exponent,
        "hot_water_k": unit.hot_water_temp_k,
        "cold_water_k": unit.cold_water_temp_k,
        "minimum_flow_kg_s": unit.minimum_flow_kg_s,
        "maximum_flow_kg_s": maximum,
        "by_outdoor": unit.demand is HeatDemand.OUTDOOR,
    }
    state: dict[str, float] = {}
    for circuit, rating in (("heating", heating), ("hot_water", hot_water)):
        state |= {
            f"{circuit}_k_w": rating["primary_k_w"],
            f"{circuit}_total_k_w": rating["primary_k_w"],
            f"{circuit}_slope": 0.0,
        }
    command = {
        "outdoor_temp_k": unit.outdoor_temp_k,
        "heating_w": unit.heating_w,
        "hot_water_w": unit.hot_water_w,
        "fouling": unit.fouling,
    }
    kind = UnitKind.SUBSTATION
    if unit.building is not None:
        kind = UnitKind.HOUSE
        parameters = {"station": parameters, "building": building_parameters(unit.building)}
        state |= dict.fromkeys(("air_temp_k", "wall_temp_k", "mass_temp_k"), unit.building.room_temp_k)
        state["wall_temp_k"] = _wall_at_rest_k(unit.building, unit.outdoor_temp_k)
        command |= {
            "solar_w_m2": 0.0,
            "internal_gains_w": unit.building.internal_gains_w,
            "room_set_temp_k": unit.building.room_temp_k,
        }
    return _Rows(kind=kind, parameters=parameters, state=state, command=command, nominal_flow_kg_s=flow)


def _circuit(
    heat_w: float, primary_supply_k: float, primary_return_k: float, supply_k: float, return_k: float
) -> dict[str, float]:
    """An exchanger from the temperatures of its rating, by the logarithmic mean difference."""
    return {
        "nominal_w": heat_w,
        "primary_k_w": (primary_supply_k - primary_return_k) / heat_w,
        "secondary_k_w": (supply_k - return_k) / heat_w,
        "wall_k_w": log_mean_k(primary_supply_k - supply_k, primary_return_k - return_k) / heat_w,
    }


def log_mean_k(one_k: float, other_k: float) -> float:
    """Logarithmic mean of two positive temperature differences."""
    ratio = one_k / other_k
    return other_k if abs(ratio - 1.0) < 1e-9 else (one_k - other_k) / math.log(ratio)


def _wall_at_rest_k(building: Building, outdoor_k: float) -> float:
    """Wall temperature between a room at its set point and the outdoors, at rest."""
    inside, outside = building.wall_inside_w_k, building.wall_outside_w_k
    return (inside * building.room_temp_k + outside * outdoor_k) / (inside + outside)


def building_parameters(building: Building) -> dict[str, object]:
    """Modes of a building and what its thermostat foresees; the mathematics is in building.pyx."""
    light = building.mass_capacity_j_k == 0  # two nodes: the third stands alone
    capacity = np.array([building.air_capacity_j_k, building.wall_capacity_j_k, building.mass_capacity_j_k or 1.0])
    k = np.zeros((3, 3))
    for i, j, conductance in ((0, 1, building.wall_inside_w_k), (0, 2, building.mass_w_k)):
        k[[i, j], [j, i]] += conductance
        k[[i, j], [i, j]] -= conductance
    k[0, 0] -= building.outdoor_w_k
    k[1, 1] -= building.wall_outside_w_k
    root = np.sqrt(capacity)
    rates, vectors = np.linalg.eigh(k / np.outer(root, root))
    rates = np.minimum(rates, 0.0)
    to_modes = vectors.T * root
    from_modes = vectors / root[:, None]
    # Where the air is after the horizon: its share of every node, and the answer to a constant heat in a node.
    y = rates * building.thermostat_horizon_s
    hold = from_modes[0] * np.exp(y) @ to_modes
    once = np.where(y > -1e-12, 1.0, np.expm1(np.minimum(y, -1e-12)) / np.minimum(y, -1e-12))
    answer = from_modes[0] * once * building.thermostat_horizon_s @ from_modes.T
    return {
        "rate_1_s": rates,
        "to_modes": to_modes.ravel(),
        "from_modes": from_modes.ravel(),
        "outdoor_w_k": building.outdoor_w_k,
        "wall_outside_w_k": building.wall_outside_w_k,
        "sun_to_air": light,
        "solar_area_m2": building.solar_area_m2,
        "horizon_hold": hold,
        "horizon_outdoor": 1.0 - hold.sum(),
        "horizon_air_k_w": answer[0],
        "horizon_mass_k_w": answer[2],
    }


def _burner(unit: Producer) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    pumped = unit.flow_control is FlowControl.PUMPED
    heat_w = unit.nominal_heat_w if unit.heat_w is None else unit.heat_w
    parameters = {
        "nominal_heat_w": unit.nominal_heat_w,
        "minimum_heat_w": unit.minimum_heat_w,
        "ramp_w_s": unit.ramp_w_s,
        "start_up_s": unit.start_up_s,
        "start_up_j": unit.start_up_fuel_j,
        "cycling": float(unit.cycling),
        "highest_temp_k": unit.highest_temp_k,
        "pumped": float(pumped),
        "smallest_rise_k": unit.smallest_rise_k,
    }
    runs = unit.on and (unit.cycling or heat_w >= unit.minimum_heat_w)
    given_w = heat_w if runs and pumped else 0.0
    state = {
        "stage": RUNNING if runs else 0.0,
        "start_remaining_s": 0.0,
        "heat_w": given_w,
        "next_heat_w": given_w,
    }
    command = {"on": float(unit.on), "supply_temp_k": unit.supply_temp_k, "heat_w": heat_w}
    return parameters, state, command


def _boiler(unit: HeatOnlyBoiler) -> _Rows:
    burner, state, command = _burner(unit)
    return _Rows(
        kind=UnitKind.BOILER,
        parameters={
            "burner": burner,
            "points": len(unit.efficiency),
            "load": [load for load, _ in unit.efficiency],
            "efficiency": [value for _, value in unit.efficiency],
            "standby_loss_w": unit.standby_loss_w,
            "auxiliary_w": unit.auxiliary_w,
        },
        state=state,
        command=command,
    )


def _chp(unit: Chp) -> _Rows:
    burner, state, command = _burner(unit)
    low = unit.power_to_heat if unit.power_to_heat_minimum is None else unit.power_to_heat_minimum
    return _Rows(
        kind=UnitKind.CHP,
        parameters={
            "burner": burner,
            "extracts": unit.kind is ChpKind.EXTRACTION,
            "power_to_heat": unit.power_to_heat,
            "power_to_heat_minimum": low,
            "total_efficiency": unit.total_efficiency,
            "electric_efficiency": unit.electric_efficiency,
            "power_loss": unit.power_loss,
            "nominal_electricity_w": unit.nominal_electricity_w,
            "minimum_electricity_w": unit.minimum_electricity_w,
        },
        state=state,
        command=command | {"electricity_w": unit.electricity_w},
    )


def _heat_pump(unit: HeatPump) -> _Rows:
    burner, state, command = _burner(unit)
    return _Rows(
        kind=UnitKind.HEAT_PUMP,
        parameters={
            "burner": burner,
            "carnot_fraction": unit.carnot_fraction,
            "pinch_k": unit.pinch_k,
            "highest_cop": unit.highest_cop,
            "electric_limit_w": unit.electric_limit_w,
            "source_heat_capacity_j_kgk": unit.source_heat_capacity_j_kgk,
            "lowest_source_temp_k": unit.lowest_source_temp_k,
            "sources": len(unit.table_source_temp_k),
            "outlets": len(unit.table_outlet_temp_k),
            "source_k": unit.table_source_temp_k,
            "outlet_k": unit.table_outlet_temp_k,
            "cop": [cop for row in unit.table_cop for cop in row],
        },
        state=state,
        command=command | {"source_temp_k": unit.source_temp_k, "source_flow_kg_s": unit.source_flow_kg_s},
    )


def _incinerator(unit: WasteIncinerator) -> _Rows:
    waste = unit.nominal_waste_kg_s if unit.waste_kg_s is None else unit.waste_kg_s
    return _Rows(
        kind=UnitKind.INCINERATOR,
        parameters={
            "nominal_waste_kg_s": unit.nominal_waste_kg_s,
            "heating_value_j_kg": unit.heating_value_j_kg,
            "heat_efficiency": unit.heat_efficiency,
            "electric_efficiency": unit.electric_efficiency,
            "lag_s": unit.lag_s,
            "highest_temp_k": unit.highest_temp_k,
            "smallest_rise_k": unit.smallest_rise_k,
        },
        state={"fire_w": waste * unit.heating_value_j_kg},
        command={"supply_temp_k": unit.supply_temp_k, "waste_kg_s": waste},
    )


def _waste_heat(unit: WasteHeatExchanger) -> _Rows:
    flow = unit.nominal_stream_flow_kg_s if unit.stream_flow_kg_s is None else unit.stream_flow_kg_s
    return _Rows(
        kind=UnitKind.WASTE_HEAT,
        parameters={
            "wall_k_w": 1.0 / unit.ua_w_k,
            "water_k_w": 1.0 / (unit.nominal_water_flow_kg_s * HEAT_CAPACITY_J_KGK),
            "stream_k_w": 1.0 / (unit.nominal_stream_flow_kg_s * unit.stream_heat_capacity_j_kgk),
            "stream_heat_capacity_j_kgk": unit.stream_heat_capacity_j_kgk,
            "lowest_stream_temp_k": unit.lowest_stream_temp_k,
            "minimum_flow_kg_s": unit.minimum_flow_kg_s,
            "maximum_flow_kg_s": unit.maximum_flow_kg_s
            or max(FLOW_MARGIN * unit.nominal_water_flow_kg_s, unit.minimum_flow_kg_s),
        },
        state={"heat_w": 0.0},
        command={
            "supply_temp_k": unit.supply_temp_k,
            "stream_flow_kg_s": flow,
            "stream_temp_k": unit.stream_temp_k,
            "fouling": unit.fouling,
        },
        nominal_flow_kg_s=unit.nominal_water_flow_kg_s,
    )


def _tank(unit: StorageTank) -> _Rows:
    mass = unit.volume_m3 * density_kg_m3(0.5 * (unit.top_temp_k + unit.bottom_temp_k))
    section = unit.volume_m3 / unit.height_m
    layer_m = unit.height_m / unit.layers
    state = {"fill": 1.0}
    for k in range(unit.layers + 1):
        state[f"plug_{k}_temp_k"] = unit.bottom_temp_k if k < unit.layers / 2 else unit.top_temp_k
    return _Rows(
        kind=UnitKind.TANK,
        parameters={
            "layers": unit.layers,
            "capacity_j_k": mass * HEAT_CAPACITY_J_KGK,
            "conductance_w_k": unit.conductivity_w_mk * section / layer_m,
            "side_w_k": unit.loss_w_m2k * math.sqrt(4.0 * math.pi * section) * layer_m,
            "lid_w_k": unit.loss_w_m2k * section,
            "maximum_flow_kg_s": unit.maximum_flow_kg_s,
            "lowest_discharge_temp_k": unit.lowest_discharge_temp_k,
            "highest_charge_temp_k": unit.highest_charge_temp_k,
        },
        state=state,
        command={"flow_kg_s": unit.flow_kg_s, "room_temp_k": unit.room_temp_k},
    )


def _cooler(unit: DumpCooler) -> _Rows:
    air_k_w = unit.nominal_air_rise_k / unit.nominal_heat_w
    drop_k = unit.nominal_heat_w / (unit.nominal_flow_kg_s * HEAT_CAPACITY_J_KGK)
    wall_k = log_mean_k(
        unit.nominal_water_temp_k - unit.nominal_air_temp_k - unit.nominal_air_rise_k,
        unit.nominal_water_temp_k - drop_k - unit.nominal_air_temp_k,
    )
    return _Rows(
        kind=UnitKind.COOLER,
        parameters={
            "wall_k_w": wall_k / unit.nominal_heat_w,
            "air_k_w": air_k_w,
            "fan_w": unit.fan_w,
            "nominal_flow_kg_s": unit.nominal_flow_kg_s,
            "nominal_heat_w": unit.nominal_heat_w,
        },
        state={"heat_w": 0.0},
        command={"on": float(unit.on), "outlet_temp_k": unit.outlet_temp_k, "air_temp_k": unit.air_temp_k},
    )
