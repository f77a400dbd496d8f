"""The common exercises of DESTEST: a closed network of 8, 16 or 32 buildings, against the tools that took part.

Exercise 0 is steady and judged by the band of six tools; exercise 1 is a week, whose results are reported and held
against the model itself: the week in other steps must tell the same, and energy must close. Where the exercises are
silent: a wall counts as its heat resistance (exercise 1 has none) and the bypass of a building is 1 % of its largest
flow.

Exercise 0 gives density and viscosity as constants (988 kg/m3, 0.543 mPa s), and the pressure drops that are judged
are made with them. Our water at its temperatures moves the drops by up to 4 % and is reported beside them: with it 17
of the 18 quantities are inside the band, and dp_supply_i_e is 22,378 Pa where the band begins at 22,385 Pa.

Steps of 60 s and 900 s are both cut into inner steps of 5 s, so that they can hardly differ; what tells something
about the length of steps is 1 s against either.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log, nan, pi
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.offline.validate.case import EVERY_FIGURE, Case, Result, UnusableFile, read_columns, read_rows
from uem.offline.validate.hydraulics import temperature_of
from uem.twin_core.plant.network import Network, Node, Pipe, PipeClass
from uem.twin_core.plant.units import FlowControl, HeatLoad, HeatSource
from uem.twin_core.thermal.hydraulic_network import hydraulic_graph
from uem.twin_core.thermal.hydraulics import HydraulicPlan
from uem.twin_core.thermal.network import NetworkPlan, NetworkState
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK
from uem.twin_core.units import ZERO_CELSIUS_K

Array = NDArray[np.float64]

SUITE: Final = "destest"
SOURCE: Final = "i"
BUILDING: Final = "SimpleDistrict_"
PRESSURE_PA: Final = 3e5  # held at the return of the source; drops do not depend on it

CE0_SUPPLY_K: Final = 70.0 + ZERO_CELSIUS_K
CE0_GROUND_K: Final = 10.0 + ZERO_CELSIUS_K
CE0_FLOW_KG_S: Final = 553.0 / 3600.0
CE0_DROP_K: Final = 30.0
CE0_WALL_W_MK: Final = 0.35
CE0_INSULATION_W_MK: Final = 0.026
CE0_ROUGHNESS_M: Final = 7e-6
CE0_DENSITY_KG_M3: Final = 988.0
CE0_VISCOSITY_PA_S: Final = 5.434e-4
CE0_JUDGE: Final = "pydhn"  # in the table of results, but none of the six tools of the exercise

CE1_SUPPLY_K: Final = 50.0 + ZERO_CELSIUS_K
CE1_GROUND_K: Final = 12.0 + ZERO_CELSIUS_K
CE1_DROP_K: Final = 20.0
CE1_ROUGHNESS_M: Final = 5e-5
CE1_BYPASS: Final = 0.01  # of the largest flow
CE1_ROW_S: Final = 900.0
CE1_ROWS: Final = 7 * 96
STEP_BAR_K: Final = 0.05
CE1_OTHER_STEPS_S: Final = (60.0, 1.0)
CE1_FEW_UNITS: Final = 9  # of networks that run in the last of them without `--every-figure` too
CLOSURE_BAR: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Row:
    """A pipe of the table, from the side of the source outwards."""

    start: str
    end: str
    length_m: float
    pipe_class: PipeClass


@dataclass(frozen=True, slots=True)
class Week:
    """What a run of exercise 1 showed; columns of shape (rows,) hold means over 900 s."""

    building_temp_k: Array  # (rows, buildings) supply, where it arrives
    return_temp_k: Array  # at the source
    heat_w: Array  # given by the source
    loss_w: Array
    pressure_drop_pa: Array  # supply and return together, to the building where it is largest
    closure: float  # largest energy gap of a step as a part of what went through


def ce0(path: Path) -> Iterator[Result]:
    """Exercise 0: all 18 quantities inside of the band of the six tools; the reference is their median."""
    rows = _ce0_rows(path)
    load = HeatLoad(
        name="",
        start="",
        end="",
        flow_control=FlowControl.PUMPED,
        flow_kg_s=CE0_FLOW_KG_S,
        temperature_drop_k=CE0_DROP_K,
    )
    network = closed_network("ce0", rows, CE0_SUPPLY_K, load)
    plan = NetworkPlan(network)
    inputs = plan.inputs()
    inputs.ambient_temp_k[:] = CE0_GROUND_K
    state = plan.initial_state(CE0_SUPPLY_K)
    for _ in range(100):
        plan.step(state, 900.0, inputs)
    quantities = ce0_quantities(plan, state)
    real = {name: value for name, value in quantities.items() if name.startswith("dp_")}
    quantities |= ce0_pressure_drops(network)
    tools = _tools(path.with_name("ce0_results_by_tool.csv"))
    for quantity, value in quantities.items():
        found = [tool[quantity] for tool in tools]
        middle = median(found)
        # One tool gives its heat loss in another unit; what is off by a factor is no width of a band.
        band = [figure for figure in found if 0.5 * middle < figure < 2.0 * middle]
        yield Result(
            suite=SUITE,
            case="ce0",
            metric=quantity,
            value=value,
            unit=_unit(quantity),
            least=min(band),
            bar=max(band),
            reference=median(band),
        )
    for quantity, value in real.items():
        yield _result("ce0", f"{quantity}, water at its temperatures", value, "Pa", np.inf)


def ce1(path: Path) -> Iterator[Result]:
    """Exercise 1: a week of one number of buildings, reported, and the same with other steps."""
    rows = _ce1_rows(path)
    heat_w = _rows_of_900_s(path.with_name("ce1_heat_profile_one_building.csv"))
    bypass_kg_s = CE1_BYPASS * float(heat_w.max()) / (CE1_DROP_K * HEAT_CAPACITY_J_KGK)
    network = ce1_network(path.stem, rows, bypass_kg_s)
    week = run(network, heat_w, CE1_ROW_S)
    yield from _reports(path.stem, week)
    closure = week.closure
    few = len(network.units) <= CE1_FEW_UNITS or EVERY_FIGURE.get()
    for other_s in CE1_OTHER_STEPS_S if few else CE1_OTHER_STEPS_S[:-1]:
        other = run(network, heat_w, other_s)
        metric = f"steps of {other_s:g} and {CE1_ROW_S:g} s apart, the week"
        yield _result(path.stem, metric, _apart_k(week, other), "K", STEP_BAR_K)
        closure = max(closure, other.closure)
    yield _result(path.stem, "energy gap of a step", closure, "1", CLOSURE_BAR)


def closed_network(name: str, rows: Sequence[Row], supply_temp_k: float, load: HeatLoad) -> Network:
    """Supply and return of a table, a load at each building and an ideal source at `i`.

    Nodes of the supply are called as in the table, those of the return with `/r` behind. The flow of all pipes is
    positive when water goes out on the supply and home on the return.
    """
    nodes = {row.end: None for row in rows} | {row.start: None for row in rows}
    kinds = {row.pipe_class.name: row.pipe_class for row in rows}
    return Network(
        name=name,
        nodes=tuple(
            Node(name=f"{node}{side}", pressure_pa=PRESSURE_PA if (node, side) == (SOURCE, "/r") else None)
            for side in ("", "/r")
            for node in nodes
        ),
        pipes=tuple(
            Pipe(
                name=f"{row.start}-{row.end}{side}",
                start=f"{row.end}/r" if side else row.start,
                end=f"{row.start}/r" if side else row.end,
                length_m=row.length_m,
                pipe_class=row.pipe_class.name,
            )
            for side in ("", "/r")
            for row in rows
        ),
        pipe_classes=tuple(kinds.values()),
        units=(
            HeatSource(
                name="source",
                start=f"{SOURCE}/r",
                end=SOURCE,
                supply_temp_k=supply_temp_k,
                nominal_flow_kg_s=1.0,
                nominal_pressure_drop_pa=1.0,
            ),
            *(replace(load, name=node, start=node, end=f"{node}/r") for node in nodes if node.startswith(BUILDING)),
        ),
    )


def ce1_network(name: str, rows: Sequence[Row], bypass_kg_s: float) -> Network:
    """The network of exercise 1."""
    load = HeatLoad(
        name="",
        start="",
        end="",
        flow_control=FlowControl.PUMPED,
        heat_w=0.0,
        temperature_drop_k=CE1_DROP_K,
        minimum_flow_kg_s=bypass_kg_s,
    )
    return closed_network(name, rows, CE1_SUPPLY_K, load)


def run(network: Network, heat_w: Array, step_s: float) -> Week:
    """Exercise 1 with demands that hold for 900 s, in steps of `step_s`; it begins with water of supply temperature."""
    plan = NetworkPlan(network)
    inputs, state = plan.inputs(), plan.initial_state(CE1_SUPPLY_K)
    inputs.ambient_temp_k[:] = CE1_GROUND_K
    loads = [inputs.unit_commands[unit.name]["heat_w"] for unit in network.units[1:]]
    at = {node: i for i, node in enumerate(plan.nodes)}
    arrives = [at[unit.start] for unit in network.units[1:]]
    leaves = [at[unit.end] for unit in network.units[1:]]
    source_j = plan.unit_results(state)["source"]["heat_j"]
    step_j = (state.energy_in_j, state.energy_out_j, state.energy_loss_j, state.energy_stored_change_j)
    steps = round(CE1_ROW_S / step_s)
    supply, returned = np.zeros((len(heat_w), len(arrives))), np.zeros(len(heat_w))
    heat, lost, drop = np.zeros(len(heat_w)), np.zeros(len(heat_w)), np.zeros(len(heat_w))
    closure = 0.0
    for row, demand_w in enumerate(heat_w):
        for command in loads:
            command[:] = demand_w
        temp_sum_k, heat_j, lost_j = np.zeros_like(state.node_temp_k), 0.0, 0.0
        for _ in range(steps):
            plan.step(state, step_s, inputs)
            temp_sum_k += state.node_temp_k
            heat_j += source_j.item()
            came_j, gone_j, loss_j, stored_j = (energy.item() for energy in step_j)
            lost_j += loss_j
            closure = max(closure, abs(came_j - gone_j - loss_j - stored_j) / max(came_j, 1.0))
        supply[row], returned[row] = temp_sum_k[arrives, 0] / steps, temp_sum_k[at[f"{SOURCE}/r"], 0] / steps
        heat[row], lost[row] = heat_j / CE1_ROW_S, lost_j / CE1_ROW_S
        pressure = state.node_pressure_pa[:, 0]
        head = pressure[at[SOURCE]] - pressure[at[f"{SOURCE}/r"]]
        drop[row] = head - np.min(pressure[arrives] - pressure[leaves])
    return Week(supply, returned, heat, lost, drop, closure)


def ce0_pressure_drops(network: Network) -> dict[str, float]:
    """Pressure drops with the water of the exercise: everything at the temperature that has its viscosity."""
    graph = hydraulic_graph(network)
    graph.resistance_pa_s2_kg2[:] = 0.0  # the exercise counts pipes alone
    plan = HydraulicPlan(graph)
    pressure = np.zeros(plan.nodes)
    plan.solve(
        np.zeros(plan.nodes),
        np.full(plan.nodes, PRESSURE_PA),
        np.full(plan.edges, CE0_FLOW_KG_S),
        np.full(plan.edges, temperature_of(CE0_VISCOSITY_PA_S / CE0_DENSITY_KG_M3)),
        np.zeros(plan.edges),
        pressure,
        np.zeros(plan.memory_width),
        np.zeros(plan.nodes, np.uint8),
        plan.room(),
    )
    return _pressure_drops(dict(zip(graph.nodes, pressure.tolist(), strict=True)))


def _pressure_drops(pressure: Mapping[str, float]) -> dict[str, float]:
    return {
        "dp_supply_i_e_Pa": pressure[SOURCE] - pressure["e"],
        "dp_return_a_i_Pa": pressure["a/r"] - pressure[f"{SOURCE}/r"],
        "dp_return_i_h_Pa": pressure["h/r"] - pressure[f"{SOURCE}/r"],
    }


def ce0_quantities(plan: NetworkPlan, state: NetworkState) -> dict[str, float]:
    """The judged figures, called as in the table of results."""
    temp_c = dict(zip(plan.nodes, (state.node_temp_k[:, 0] - ZERO_CELSIUS_K).tolist(), strict=True))
    pressure = dict(zip(plan.nodes, state.node_pressure_pa[:, 0].tolist(), strict=True))
    first = float(state.pipe_flow_kg_s[plan.pipes.index(f"{SOURCE}-h"), 0])
    whole = float(state.unit_flow_kg_s[plan.units.index("source"), 0])
    cooled_k = temp_c[SOURCE] - float(state.pipe_outlet_temp_k[plan.pipes.index(f"{SOURCE}-h"), 0] - ZERO_CELSIUS_K)
    shown = {node: node for node in (SOURCE, *"hgfe")} | {"SD1": f"{BUILDING}1"}
    return {
        "mass_flow_i_kg_h": 3600.0 * whole,
        **_pressure_drops(pressure),
        **{f"Ts_{label}": temp_c[node] for label, node in shown.items()},
        **{f"Tr_{label}": temp_c[f"{node}/r"] for label, node in shown.items()},
        "heat_loss_supply_i_h_W": first * HEAT_CAPACITY_J_KGK * cooled_k,
        "heat_source_W": whole * HEAT_CAPACITY_J_KGK * (temp_c[SOURCE] - temp_c[f"{SOURCE}/r"]),
    }


def _unit(quantity: str) -> str:
    return {"T": "degC", "m": "kg/h", "d": "Pa", "h": "W"}[quantity[0]]


def _reports(case: str, week: Week) -> Iterator[Result]:
    """What the exercise asks for; nothing to judge it by comes with the data."""
    hours = CE1_ROW_S / 3600.0
    yield _result(case, "heat injected in the week", float(week.heat_w.sum()) * hours / 1e3, "kWh", np.inf)
    yield _result(case, "heat lost in the week", float(week.loss_w.sum()) * hours / 1e3, "kWh", np.inf)
    lowest_k = float(week.building_temp_k.min())
    yield _result(case, "critical supply temperature, lowest", lowest_k - ZERO_CELSIUS_K, "degC", np.inf)
    yield _result(case, "critical pressure drop, largest", float(week.pressure_drop_pa.max()), "Pa", np.inf)


def _apart_k(one: Week, other: Week) -> float:
    """The largest difference of a 900 s mean at a building or at the source."""
    pairs = ((one.building_temp_k, other.building_temp_k), (one.return_temp_k, other.return_temp_k))
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def _ce0_rows(path: Path) -> list[Row]:
    columns = read_columns(path, ("length_m", "inner_diameter_m", "outer_diameter_m", "insulation_m"))
    return [
        Row(
            start=start,
            end=end,
            length_m=length_m,
            pipe_class=PipeClass(
                name=f"d{1e3 * inner:g}",
                inner_diameter_m=inner,
                outer_diameter_m=outer,
                wall_density_kg_m3=940.0,
                wall_heat_capacity_j_kgk=2300.0,
                # The wall of plastic insulates too: its resistance counts to the ambient.
                loss_resistance_mk_w=(
                    log(outer / inner) / CE0_WALL_W_MK + log(1.0 + 2.0 * insulation / outer) / CE0_INSULATION_W_MK
                )
                / (2.0 * pi),
                roughness_m=CE0_ROUGHNESS_M,
            ),
        )
        for (start, end), length_m, inner, outer, insulation in zip(
            _ends(path), *(column.tolist() for column in columns.values()), strict=True
        )
    ]


def _ce1_rows(path: Path) -> list[Row]:
    columns = read_columns(path, ("length_m", "inner_diameter_m", "insulation_m", "insulation_conductivity_W_mK"))
    return [
        Row(
            start=start,
            end=end,
            length_m=length_m,
            pipe_class=PipeClass(
                name=f"d{1e3 * inner:g} with {1e3 * insulation:g}",
                inner_diameter_m=inner,
                outer_diameter_m=inner + 1e-6,  # no wall is told
                wall_density_kg_m3=1.0,
                wall_heat_capacity_j_kgk=1.0,
                loss_resistance_mk_w=log(1.0 + 2.0 * insulation / inner) / (2.0 * pi * conductivity),
                roughness_m=CE1_ROUGHNESS_M,
            ),
        )
        for (start, end), length_m, inner, insulation, conductivity in zip(
            _ends(path), *(column.tolist() for column in columns.values()), strict=True
        )
    ]


def _ends(path: Path) -> list[tuple[str, str]]:
    return [(row["from"], row["to"]) for _, row in read_rows(path, ("from", "to"))]


def _tools(path: Path) -> list[dict[str, float]]:
    """The results of the six tools."""
    rows = [row for _, row in read_rows(path, ("tool",)) if row["tool"] != CE0_JUDGE]
    names = [name for name in rows[0] if name != "tool"] if rows else []
    columns = read_columns(path, names)
    kept = [i for i, (_, row) in enumerate(read_rows(path, ("tool",))) if row["tool"] != CE0_JUDGE]
    return [{name: float(columns[name][i]) for name in names} for i in kept]


def _rows_of_900_s(path: Path) -> Array:
    """The demand of a building as means over 900 s, linear between the samples of the profile."""
    columns = read_columns(path, ("time_s", "heat_W"))
    time_s, heat_w = columns["time_s"], columns["heat_W"]
    if len(time_s) < 2 or np.any(np.diff(time_s) <= 0.0) or time_s[-1] < CE1_ROWS * CE1_ROW_S:
        raise UnusableFile(path, f"column 'time_s' must rise to {CE1_ROWS * CE1_ROW_S:g} s at least")
    # Exact for straight lines: the integral at the samples is a cumulative sum of trapezoids.
    integral_j = np.concatenate(([0.0], np.cumsum(np.diff(time_s) * 0.5 * (heat_w[1:] + heat_w[:-1]))))
    edges_s = time_s[0] + CE1_ROW_S * np.arange(CE1_ROWS + 1)
    k = np.clip(np.searchsorted(time_s, edges_s, side="right") - 1, 0, len(time_s) - 2)
    since_s = edges_s - time_s[k]
    slope = (heat_w[k + 1] - heat_w[k]) / (time_s[k + 1] - time_s[k])
    reached_j: Array = integral_j[k] + since_s * (heat_w[k] + 0.5 * slope * since_s)
    return np.diff(reached_j) / CE1_ROW_S


def _result(case: str, metric: str, value: float, unit: str, bar: float) -> Result:
    return Result(suite=SUITE, case=case, metric=metric, value=value, unit=unit, bar=bar, reference=nan)


SUITES: Final[dict[str, Case]] = {"ce0_pipes.csv": ce0, "ce1_pipes_*.csv": ce1}
