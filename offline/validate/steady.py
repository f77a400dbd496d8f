"""Steady heat and pressures against pandapipes, run here and now on the networks that it ships.

Both programs get the same water (ours, as properties of its fluid), the same friction law and the same conductance
from water to ambient: our film in series with what a network's `u_w_per_m2k` stands for, written back into its pipes.
Compared are junctions that water flows through; at the end of a pipe where nothing flows pandapipes tells temperatures
that are none (261 K in schutterwald_heat), ours tells the ambient.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, nan, pi
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uem.offline.validate.analytic import film_w_mk
from uem.offline.validate.case import Calculation, Result, peer
from uem.twin_core.plant.network import Network, Node, NodeKind, Pipe, PipeClass
from uem.twin_core.plant.units import FlowControl, HeatLoad
from uem.twin_core.thermal import water
from uem.twin_core.thermal.network import NetworkPlan
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK

Array = NDArray[np.float64]

SUITE: Final = "steady"
MODELICA: Final = "openmodelica_test_networks/heat_transfer_cases"
NETWORKS: Final = {
    "one pipe": f"{MODELICA}/one_pipe.json",
    "two pipes": f"{MODELICA}/two_pipes.json",
    "t cross": f"{MODELICA}/t_cross.json",
    "delta": f"{MODELICA}/delta.json",
    "delta with two sinks": f"{MODELICA}/delta_2sinks.json",
    "heights": f"{MODELICA}/heights.json",
    "one source": f"{MODELICA}/one_source.json",
    "section variation": f"{MODELICA}/section_variation.json",
    "schutterwald": "sw_heat.json",
}
FRICTION: Final = "colebrook"
TEMP_BAR_K: Final = 0.1
PRESSURE_BAR: Final = 1e-3  # bar
# Both take the density and friction of a pipe at a mean temperature, each at its own: where a pipe cools by tens of
# kelvins, it is cut into so many parts that the means agree.
LEAST_PARTS: Final = 20
LONGEST_PART_KM: Final = 0.1
LONG_PIPE_KM: Final = 0.1
GRAVITY_M_S2: Final = 9.80665  # ours
# Of k/d in Colebrook's law: Colebrook's own, and what pandapipes rounds it to.
ROUGH, PANDAPIPES_ROUGH = 3.7, 3.71
LEAST_LENGTH_M: Final = 1e-3  # pipes of no length and open valves are bits of pipe
LEAST_FLOW_KG_S: Final = 1e-6
SETTLING_STEP_S: Final = 6 * 3600.0
SETTLED_K: Final = 1e-3  # change within such a step
LEAST_STEPS, MOST_STEPS = 6, 40


@dataclass(frozen=True, slots=True)
class Steady:
    """Our steady state; arrays of shape (junctions,) and (pipes,) in the order of the tables."""

    temp_k: Array
    pressure_pa: Array
    flow_kg_s: Array
    pipe_temp_k: Array


def compare(name: str) -> Iterator[Result]:
    """One network of pandapipes: the largest differences of temperature and pressure."""
    pandapipes = peer("pandapipes")
    net = pandapipes.from_json(str(Path(pandapipes.__file__).parent / "networks" / "network_files" / NETWORKS[name]))
    refine(pandapipes, net)
    run(pandapipes, net)
    start_k = np.maximum(net.res_junction.t_k.to_numpy(), net.pipe.text_k.min())
    pipe_classes = [_pipe_class(pipe) for pipe in net.pipe.itertuples()]
    air_bar = peer("pandapipes.component_models.component_toolbox").p_correction_height_air(
        net.junction.height_m.to_numpy()
    )
    ours = settle(network(name, net, pipe_classes, air_bar), net, start_k)
    with_our_water(net)
    for (index, pipe), pipe_class, flow, temp_k in zip(
        net.pipe.iterrows(), pipe_classes, ours.flow_kg_s, ours.pipe_temp_k, strict=True
    ):
        through = 1.0 / (pipe_class.loss_resistance_mk_w + 1.0 / film_w_mk(pipe_class, abs(flow), temp_k))
        net.pipe.loc[index, "outer_diameter_mm"] = pipe.inner_diameter_mm
        net.pipe.loc[index, "u_w_per_m2k"] = through / (pi * 1e-3 * pipe.inner_diameter_mm)
    net.junction["height_m"] *= GRAVITY_M_S2 / pandapipes.constants.GRAVITATION_CONSTANT
    net.pipe["k_mm"] *= PANDAPIPES_ROUGH / ROUGH
    run(pandapipes, net)
    moving = np.zeros(len(net.junction), dtype=bool)
    at = {junction: i for i, junction in enumerate(net.junction.index)}
    for pipe, flow in zip(net.pipe.itertuples(), ours.flow_kg_s, strict=True):
        if abs(flow) > LEAST_FLOW_KG_S:
            moving[[at[pipe.from_junction], at[pipe.to_junction]]] = True
    temp_k = net.res_junction.t_k.to_numpy()
    pressure_bar = net.res_junction.p_bar.to_numpy() + air_bar  # above that of the air, which falls with the height
    error_k = np.abs(ours.temp_k - temp_k)[moving].max()
    error_bar = np.abs(ours.pressure_pa * 1e-5 - pressure_bar)[moving].max()
    yield _result(name, "temperature, largest difference", float(error_k), "K", TEMP_BAR_K)
    yield _result(name, "pressure, largest difference", float(error_bar), "bar", PRESSURE_BAR)


def refine(pandapipes: Any, net: Any) -> None:
    """Cut every long pipe of a network into parts, with junctions on the straight line between its ends."""
    for row in list(net.pipe[net.pipe.length_km >= LONG_PIPE_KM].itertuples()):
        parts = max(LEAST_PARTS, ceil(row.length_km / LONGEST_PART_KM))
        low, high = (float(net.junction.height_m[end]) for end in (row.from_junction, row.to_junction))
        heights = np.linspace(low, high, parts + 1)[1:-1]
        pressure, temp_k = net.junction.loc[row.from_junction, ["pn_bar", "tfluid_k"]]
        inner = pandapipes.create_junctions(net, parts - 1, pn_bar=pressure, tfluid_k=temp_k, height_m=heights)
        chain = [row.from_junction, *inner, row.to_junction]
        pandapipes.create_pipes_from_parameters(
            net,
            chain[:-1],
            chain[1:],
            length_km=row.length_km / parts,
            inner_diameter_mm=row.inner_diameter_mm,
            k_mm=row.k_mm,
            loss_coefficient=row.loss_coefficient / parts,
            u_w_per_m2k=row.u_w_per_m2k,
            text_k=row.text_k,
            sections=1,
        )
        net.pipe.drop(index=row.Index, inplace=True)


def network(name: str, net: Any, pipe_classes: list[PipeClass], air_bar: Array) -> Network:
    """A network of pandapipes as ours: external grids and circulation pumps are sources at given pressures."""
    held = {row.junction: row.p_bar for row in net.ext_grid.itertuples()} if "ext_grid" in net else {}
    if "circ_pump_pressure" in net:
        for pump in net.circ_pump_pressure.itertuples():
            held |= {pump.flow_junction: pump.p_flow_bar, pump.return_junction: pump.p_flow_bar - pump.plift_bar}
    taken = dict.fromkeys(net.junction.index, 0.0)
    for table, sign in (("sink", 1.0), ("source", -1.0)):
        for row in net[table].itertuples() if table in net else ():
            taken[row.junction] += sign * row.mdot_kg_per_s * row.scaling
    valves = net.valve.itertuples() if "valve" in net else ()
    open_valve = _steel("valve", 0.2, 1e15, 0.0)
    return Network(
        name=name,
        nodes=tuple(
            Node(
                name=str(row.Index),
                kind=NodeKind.SOURCE if row.Index in held else NodeKind.JUNCTION,
                pressure_pa=(held[row.Index] + air) * 1e5 if row.Index in held else None,
                elevation_m=row.height_m,
                demand_kg_s=taken[row.Index],
            )
            for row, air in zip(net.junction.itertuples(), air_bar.tolist(), strict=True)
        ),
        pipes=(
            *(
                Pipe(
                    name=f"pipe {row.Index}",
                    start=str(row.from_junction),
                    end=str(row.to_junction),
                    length_m=max(1e3 * row.length_km, LEAST_LENGTH_M),
                    pipe_class=pipe_class.name,
                    loss_coefficient=row.loss_coefficient,
                )
                for row, pipe_class in zip(net.pipe.itertuples(), pipe_classes, strict=True)
            ),
            *(
                Pipe(
                    name=f"valve {row.Index}",
                    start=str(row.junction),
                    end=str(row.element),
                    length_m=LEAST_LENGTH_M,
                    pipe_class=open_valve.name,
                )
                for row in valves
            ),
        ),
        pipe_classes=(*{pipe_class.name: pipe_class for pipe_class in pipe_classes}.values(), open_valve),
        units=tuple(
            HeatLoad(
                name=f"consumer {row.Index}",
                start=str(row.from_junction),
                end=str(row.to_junction),
                flow_control=FlowControl.PUMPED,
                heat_w=row.qext_w,
                flow_kg_s=row.controlled_mdot_kg_per_s,
            )
            for row in (net.heat_consumer.itertuples() if "heat_consumer" in net else ())
        ),
        ambient_temp_k=float(net.pipe.text_k.iloc[0]),
    )


def settle(described: Network, net: Any, start_k: Array) -> Steady:
    """Our network after so long that nothing changes any more; it begins near the end, to get there sooner."""
    plan = NetworkPlan(described)
    inputs = plan.inputs()
    at = {junction: i for i, junction in enumerate(net.junction.index)}
    for row in net.ext_grid.itertuples() if "ext_grid" in net else ():
        inputs.node_supply_temp_k[at[row.junction]] = row.t_k
    for row in net.circ_pump_pressure.itertuples() if "circ_pump_pressure" in net else ():
        inputs.node_supply_temp_k[at[row.flow_junction]] = row.t_flow_k
    sources = [at[row.junction] for row in net.source.itertuples()] if "source" in net else []
    state = plan.initial_state(start_k)
    for step in range(MOST_STEPS):
        before_k = state.node_temp_k.copy()
        # A source of pandapipes has no temperature: it feeds in what flows there anyhow.
        inputs.node_supply_temp_k[sources] = before_k[sources]
        plan.step(state, SETTLING_STEP_S, inputs)
        if step > LEAST_STEPS and np.abs(state.node_temp_k - before_k).max() < SETTLED_K:
            break
    pipes = len(net.pipe)
    ends = np.array([(at[row.from_junction], at[row.to_junction]) for row in net.pipe.itertuples()])
    temp_k, flow = state.node_temp_k[:, 0].copy(), state.pipe_flow_kg_s[:pipes, 0].copy()
    inlet_k = np.where(flow >= 0.0, temp_k[ends[:, 0]], temp_k[ends[:, 1]])
    pressure_pa = state.node_pressure_pa[:, 0].copy()
    mean_k = _mean_of_exponential(inlet_k, state.pipe_outlet_temp_k[:pipes, 0], described.ambient_temp_k)
    return Steady(temp_k, pressure_pa, flow, mean_k)


def _mean_of_exponential(inlet_k: Array, outlet_k: Array, ambient_k: float) -> Array:
    """Mean temperature of water along pipes in which it falls exponentially towards the ambient."""
    above, below = inlet_k - ambient_k, outlet_k - ambient_k
    falls = (above > below) & (below > 1e-9)
    ratio = np.where(falls, above / np.where(falls, below, 1.0), 2.0)
    return np.where(
        falls & (ratio > 1.0 + 1e-9), ambient_k + (above - below) / np.log(ratio), 0.5 * (inlet_k + outlet_k)
    )


def with_our_water(net: Any) -> None:
    """Give the fluid of pandapipes the properties of our water."""
    fluids = peer("pandapipes.properties.fluids")
    temp_k = np.arange(273.15, 423.15, 0.5)
    for name, function in (("density", water.density_kg_m3), ("viscosity", water.viscosity_pa_s)):
        values = np.array([function(t) for t in temp_k])
        net.fluid.add_property(name, fluids.FluidPropertyInterExtra(temp_k, values), warn_on_duplicates=False)
    constant = fluids.FluidPropertyConstant(HEAT_CAPACITY_J_KGK)
    net.fluid.add_property("heat_capacity", constant, warn_on_duplicates=False)


def run(pandapipes: Any, net: Any) -> None:
    """Pressures and temperatures until they agree with each other."""
    most = dict.fromkeys(("max_iter_hyd", "max_iter_therm", "max_iter_bidirect"), 200)
    pandapipes.pipeflow(net, mode="bidirectional", friction_model=FRICTION, use_numba=False, **most)


def _pipe_class(pipe: Any) -> PipeClass:
    resistance = 1.0 / (pipe.u_w_per_m2k * pi * 1e-3 * pipe.inner_diameter_mm)
    name = f"{pipe.inner_diameter_mm:g} mm, {pipe.k_mm:g} mm, {pipe.u_w_per_m2k:g} W/m2K"
    return _steel(name, 1e-3 * pipe.inner_diameter_mm, resistance, 1e-3 * pipe.k_mm)


def _steel(name: str, inner_diameter_m: float, resistance: float, roughness_m: float) -> PipeClass:
    return PipeClass(
        name=name,
        inner_diameter_m=inner_diameter_m,
        outer_diameter_m=inner_diameter_m + 0.006,
        wall_density_kg_m3=7850.0,
        wall_heat_capacity_j_kgk=480.0,
        loss_resistance_mk_w=resistance,
        dispersion_factor=0.0,
        roughness_m=roughness_m,
    )


def _result(case: str, metric: str, value: float, unit: str, bar: float) -> Result:
    return Result(suite=SUITE, case=case, metric=metric, value=value, unit=unit, bar=bar, reference=nan)


def _case(name: str) -> Calculation:
    return lambda: compare(name)


CALCULATIONS: Final[dict[str, Calculation]] = {name: _case(name) for name in NETWORKS}
