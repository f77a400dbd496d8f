"""Coupled steps and days of a closed network against pandapipes, on the same town: `pip install 'uem[peers]'`.

Both sides solve flows, pressures and temperatures of supply and return with the same pipes, losses and demands, which
change from step to step. Ours is a transient step with plugs of water and pipe walls; pandapipes solves the steady
state, or in its transient mode an implicit step without walls. All pipes are counted, those of the return too.
"""

import itertools
import logging
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from uem.twin_core.thermal.network import NetworkInputs, NetworkPlan, NetworkState
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK

Compare = Callable[..., None]
Advance = Callable[[float], None]  # to the next instant, with demands times a factor

pytestmark = pytest.mark.filterwarnings("ignore")

LOOPS = 0.05
DAY_STEP_S = 900.0
OPTIONS: dict[str, Any] = {"max_iter_hyd": 100, "max_iter_therm": 100, "friction_model": "nikuradse"}


@pytest.fixture(scope="module")
def pandapipes() -> Any:
    module = pytest.importorskip("pandapipes", reason="pandapipes is not installed: pip install 'uem[peers]'")
    logging.getLogger("pandapipes").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    return module


def their_net(pandapipes: Any, networks: Any, town: Any) -> Any:
    """The town in pandapipes."""
    count = len(town.demand_kg_s)
    net = pandapipes.create_empty_network(fluid="water")
    pandapipes.create_junctions(net, 2 * count, pn_bar=5.0, tfluid_k=330.0)
    lift = town.pressure_pa * 1e-5
    pandapipes.create_circ_pump_const_pressure(
        net, return_junction=count, flow_junction=0, p_flow_bar=2.0 * lift, plift_bar=lift, t_flow_k=networks.SUPPLY_K
    )
    out, back = [s.start for s in town.streets], [s.end for s in town.streets]
    diameters = [s.diameter_mm for s in town.streets] * 2
    pandapipes.create_pipes_from_parameters(
        net,
        out + [end + count for end in back],
        back + [start + count for start in out],
        length_km=[s.length_m * 1e-3 for s in town.streets] * 2,
        inner_diameter_mm=diameters,
        outer_diameter_mm=[d + 2e3 * networks.WALL_M for d in diameters],
        k_mm=1e3 * networks.ROUGHNESS_M,
        sections=1,
        u_w_per_m2k=networks.U_W_M2K,
        text_k=networks.GROUND_K,
    )
    customers = [node for node, demand in enumerate(town.demand_kg_s) if demand > 0.0]
    flows = [town.demand_kg_s[node] for node in customers]
    pandapipes.create_heat_consumers(
        net,
        customers,
        [node + count for node in customers],
        qext_w=[flow * HEAT_CAPACITY_J_KGK * networks.DROP_K for flow in flows],
        controlled_mdot_kg_per_s=flows,
    )
    pandapipes.pipeflow(net, mode="sequential", **OPTIONS)
    return net


def their_advance(pandapipes: Any, net: Any, transient: bool) -> Advance:
    """A call that sets the demands and solves."""
    flow, heat = (net.heat_consumer[name].to_numpy().copy() for name in ("controlled_mdot_kg_per_s", "qext_w"))
    count = itertools.count()

    def advance(factor: float) -> None:
        net.heat_consumer["controlled_mdot_kg_per_s"] = flow * factor
        net.heat_consumer["qext_w"] = heat * factor
        how = {"transient": True, "dt": DAY_STEP_S, "simulation_time_step": next(count)} if transient else {}
        pandapipes.pipeflow(net, mode="sequential", **how, **OPTIONS)

    return advance


def our_plan(networks: Any, town: Any, **options: Any) -> tuple[NetworkPlan, NetworkState, NetworkInputs]:
    """Plan, state and inputs of the town, after its water has been renewed."""
    plan = NetworkPlan(networks.closed_network(town), **options)
    state, inputs = plan.initial_state(networks.SUPPLY_K - 0.5 * networks.DROP_K), plan.inputs()
    for _ in range(16):
        plan.step(state, DAY_STEP_S, inputs)
    return plan, state, inputs


def our_advance(plan: NetworkPlan, state: NetworkState, inputs: NetworkInputs, dt_s: float) -> Advance:
    """A call that sets the demands and steps."""
    flows = np.array([inputs.unit_commands[unit]["flow_kg_s"][0] for unit in inputs.units_with["flow_kg_s"]])

    def advance(factor: float) -> None:
        inputs.set_commands("flow_kg_s", factor * flows)
        plan.step(state, dt_s, inputs)

    return advance


def wobbling(advance: Advance) -> Callable[[], None]:
    """A call that advances with demands of +- 2 %."""
    factors = itertools.cycle([1.0, 1.02, 0.99, 1.01, 0.98])
    return lambda: advance(next(factors))


def whole_day(advance: Advance, steps: int) -> Callable[[], None]:
    """A call that advances through `steps` quarters of an hour of a day."""

    def run() -> None:
        for step in range(steps):
            advance(0.7 + 0.3 * math.sin(2.0 * math.pi * step / 96.0))

    return run


@pytest.mark.parametrize("dt_s", [1.0, 10.0, 60.0])
@pytest.mark.parametrize("pipes", [100, 1000])
def test_coupled_step_against_pandapipes(
    compare: Compare, networks: Any, pandapipes: Any, short: bool, pipes: int, dt_s: float
) -> None:
    if short and (pipes > 100 or dt_s > 1.0):
        pytest.skip("coupled step: large sizes and long steps are left out of the short run")
    town = networks.town(pipes // 2, LOOPS)
    net = their_net(pandapipes, networks, town)
    plan, state, inputs = our_plan(networks, town)
    for _ in range(30):
        plan.step(state, DAY_STEP_S, inputs)
    apart_k = np.abs(state.node_temp_k[:, 0] - net.res_junction.t_k.to_numpy())
    assert apart_k.max() < 1.0, "not the same steady state: not the same task"
    compare(
        wobbling(our_advance(plan, state, inputs, dt_s)),
        wobbling(their_advance(pandapipes, net, transient=False)),
        peer=f"pandapipes {pandapipes.__version__}, steady hydraulics and heat",
        unit=f"ms per {dt_s:.0f} s step of {pipes} pipes",
        scale=1e3,
        rounds=7,
    )


# Inner steps of a quarter of an hour are what pandapipes takes; 60 s are our default.
@pytest.mark.parametrize(("fidelity", "inner_step_s"), [("planning", 900.0), ("planning", 60.0), ("full", 900.0)])
def test_day_at_15_minutes_against_pandapipes(
    compare: Compare, networks: Any, pandapipes: Any, short: bool, fidelity: str, inner_step_s: float
) -> None:
    pipes, steps = (100, 8) if short else (1000, 96)
    if short and fidelity == "full":
        pytest.skip("day at 15 minutes: full fidelity is left out of the short run")
    town = networks.town(pipes // 2, LOOPS)
    net = their_net(pandapipes, networks, town)
    plan, state, inputs = our_plan(networks, town, fidelity=fidelity, inner_step_s=inner_step_s)
    compare(
        whole_day(our_advance(plan, state, inputs, DAY_STEP_S), steps),
        whole_day(their_advance(pandapipes, net, transient=True), steps),
        peer=f"pandapipes {pandapipes.__version__}, transient",
        unit=f"ms per {steps / 4:.0f} h of {pipes} pipes",
        scale=1e3,
        rounds=7,
    )
