"""The planning kernel against the same scheme in NumPy and the full scheme; forecasts and ensembles of a whole network.

Same equations, plugs, step and float64 on both sides; `ReferenceRings.step` works on all pipes at once, one row each.
Flows and temperatures change from step to step, so both work out the tanks anew.
"""

from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from uem.twin_core.plant.network import Pipe, PipeClass
from uem.twin_core.plant.units import HeatLoad
from uem.twin_core.thermal import lanes
from uem.twin_core.thermal.geometry import PipeGeometry, pipe_geometry
from uem.twin_core.thermal.network import NetworkPlan
from uem.twin_core.thermal.pipes import MEMO_NUMBERS as FULL_MEMO_NUMBERS
from uem.twin_core.thermal.pipes import Pipes
from uem.twin_core.thermal.reference_rings import ReferenceRings
from uem.twin_core.thermal.rings import MEMO_NUMBERS, Rings

Array = NDArray[np.float64]
Compare = Callable[..., None]

STEP_S = 60.0
AMBIENT_K = 283.15
# NumPy gets at most this many rows in a call: with more its temporaries leave the cache and it slows down.
NUMPY_ROWS = 10_000

DN80 = PipeClass(
    name="dn80",
    inner_diameter_m=0.0825,
    outer_diameter_m=0.0889,
    wall_density_kg_m3=7850.0,
    wall_heat_capacity_j_kgk=480.0,
    loss_resistance_mk_w=4.8,
)


def street(count: int) -> list[PipeGeometry]:
    """Pipes of a street grid."""
    lengths = np.random.default_rng(1).uniform(25.0, 75.0, count)
    return [
        pipe_geometry(Pipe(name="p", start="", end="", length_m=float(m), pipe_class="dn80"), DN80) for m in lengths
    ]


def given(geometries: list[PipeGeometry], members: int) -> list[tuple[Array, Array]]:
    """Masses and temperatures of what goes into each pipe in several steps, (pipes, members).

    A fifth of the pipes is passed by more water than it holds: what flows through services in a minute.
    """
    rng = np.random.default_rng(2)
    content = np.array([970.0 * g.cells * g.cell_volume_m3 for g in geometries])[:, None]
    usual = content * rng.uniform(0.1, 1.2, (len(geometries), members))
    shape = usual.shape
    return [(usual * rng.uniform(0.9, 1.1, shape), 350.0 + rng.uniform(-2.0, 2.0, shape)) for _ in range(7)]


def kernel_step(kernel: type[Rings] | type[Pipes], geometries: list[PipeGeometry], members: int) -> Callable[[], None]:
    """A call that advances all pipes of all members by one step."""
    pipes = kernel(geometries)
    shape = (len(geometries), members)
    width = MEMO_NUMBERS if kernel is Rings else FULL_MEMO_NUMBERS
    rows, memos = np.empty((members, pipes.width)), np.full((members, shape[0] * width), np.nan)
    pipes.fill(rows, np.full(shape, 340.0), np.full(shape, 335.0))
    steps = cycle(given(geometries, members))
    ambient, loss = np.full(members, AMBIENT_K), np.empty(members)
    out_mass, out_heat = np.empty(shape), np.empty(shape)
    return lambda: pipes.advance(rows, memos, *next(steps), STEP_S, ambient, out_mass, out_heat, loss)


def numpy_step(geometries: list[PipeGeometry], members: int) -> Callable[[], object]:
    """A call that does the same in NumPy."""
    rows = [g for g in geometries for _ in range(members)]
    pipes = ReferenceRings.at(rows, np.full(len(rows), 340.0), np.full(len(rows), 335.0))
    steps = cycle([(mass.reshape(-1), temp.reshape(-1)) for mass, temp in given(geometries, members)])
    ambient = np.full(len(rows), AMBIENT_K)
    return lambda: pipes.step(*next(steps), STEP_S, ambient)


def lanes_step(geometries: list[PipeGeometry], members: int) -> Callable[[], None]:
    """A call that advances all pipes of all members by one step, members side by side."""
    pipes = Rings(geometries)
    shape, width = (len(geometries), members), lanes.WIDTH
    rows = np.empty((members, pipes.width))
    pipes.fill(rows, np.full(shape, 340.0), np.full(shape, 335.0))
    blocks = np.ascontiguousarray(rows.reshape(-1, width, pipes.width).transpose(0, 2, 1)).reshape(
        -1, pipes.width * width
    )
    steps = cycle(given(geometries, members))
    ambient, loss, out_heat = np.full(members, AMBIENT_K), np.empty(members), np.empty(shape)
    several = lanes.LaneRings(pipes)
    return lambda: several.advance(blocks, *next(steps), STEP_S, ambient, out_heat, loss)


@pytest.mark.parametrize("count", [100, 1_000])
def test_planning_pipe_step_of_64_members_in_lanes(compare: Compare, short: bool, count: int) -> None:
    if short and count > 100:
        pytest.skip("planning pipe step in lanes: large sizes are left out of the short run")
    geometries = street(count)
    theirs = min(64, NUMPY_ROWS // count)
    compare(
        lanes_step(geometries, 64),
        numpy_step(geometries, theirs),
        peer="NumPy, same scheme",
        unit="ns/pipe-step",
        scale=1e9 / (count * theirs),
        times=64 // theirs,
    )


@pytest.mark.parametrize("members", [1, 64])
@pytest.mark.parametrize("count", [100, 1_000, 10_000])
def test_planning_pipe_step(compare: Compare, short: bool, count: int, members: int) -> None:
    if short and count * members > 10_000:
        pytest.skip("planning pipe step: large sizes are left out of the short run")
    geometries = street(count)
    theirs = max(1, min(members, NUMPY_ROWS // count))
    compare(
        kernel_step(Rings, geometries, members),
        numpy_step(geometries, theirs),
        peer="NumPy, same scheme",
        unit="ns/pipe-step",
        scale=1e9 / (count * theirs),
        times=members // theirs,
    )


def test_planning_pipe_step_against_the_full_scheme(compare: Compare) -> None:
    geometries = street(1_000)
    compare(
        kernel_step(Rings, geometries, 1),
        kernel_step(Pipes, geometries, 1),
        peer="full scheme",
        unit="ns/pipe-step",
        scale=1e6,
    )


def quarter_of_an_hour(networks: Any, fidelity: str, members: int) -> Callable[[], None]:
    """A call that steps a closed network of 500 pairs of pipes by 15 minutes in steps of one.

    With hydraulics, a plant and 500 customers; every member has flows of its own, new ones every time.
    """
    network = networks.closed_network(networks.town(500))
    plan = NetworkPlan(network, members=members, fidelity=fidelity)
    state, inputs = plan.initial_state(330.0), plan.inputs()
    loads = [unit for unit in network.units if isinstance(unit, HeatLoad)]
    factors = cycle(np.random.default_rng(1).uniform(0.6, 1.2, (7, len(loads), members)))

    def run() -> None:
        for load, factor in zip(loads, next(factors), strict=True):
            inputs.unit_commands[load.name]["flow_kg_s"][:] = load.flow_kg_s * factor
        plan.run(state, 60.0, inputs, 15)

    return run


def test_forecast_of_a_day_for_500_pairs(compare: Compare, networks: Any) -> None:
    compare(
        quarter_of_an_hour(networks, "planning", 1),
        quarter_of_an_hour(networks, "full", 1),
        peer="full scheme",
        unit="ms/day",
        scale=96e3,
    )


def test_day_of_100_members_of_500_pairs(compare: Compare, short: bool, networks: Any) -> None:
    if short:
        pytest.skip("ensemble of 100 members: left out of the short run")
    compare(
        quarter_of_an_hour(networks, "planning", 100),
        quarter_of_an_hour(networks, "planning", 1),
        peer="one member, a hundred times",
        unit="s/day",
        scale=9600.0,
        times=100,
    )
