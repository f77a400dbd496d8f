"""The pipe kernel against the same scheme in NumPy, and the step of a whole network.

Same equations, cells, step and float64 on both sides: `reference.step` works on all pipes at once, one row each. Flows
change from step to step, so both work out film and exchange anew; with constant flows the kernel remembers them.
"""

from collections.abc import Callable, Sequence
from itertools import cycle

import numpy as np
import pytest
from numpy.typing import NDArray

from uem.twin_core.plant.network import Network, Node, NodeKind, Pipe, PipeClass
from uem.twin_core.thermal import reference
from uem.twin_core.thermal.geometry import PipeGeometry, pipe_geometry
from uem.twin_core.thermal.network import NetworkPlan
from uem.twin_core.thermal.pipes import MEMO_NUMBERS, Pipes

Array = NDArray[np.float64]
Compare = Callable[..., None]

CELLS = 16
STEP_S = 10.0
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


def street(count: int) -> list[Pipe]:
    """Pipes of a street grid."""
    lengths = np.random.default_rng(1).uniform(25.0, 75.0, count)
    return [Pipe(name=f"p{k}", start="", end="", length_m=float(m), pipe_class="dn80") for k, m in enumerate(lengths)]


def masses(geometries: Sequence[PipeGeometry]) -> tuple[Array, Array]:
    """What goes into each pipe in two steps, kg: a part of a cell, a little different the second time."""
    volume = np.array([g.cell_volume_m3 for g in geometries])
    one = 970.0 * volume * np.random.default_rng(2).uniform(0.1, 0.9, len(volume))
    return one, one * 1.01


def kernel_step(geometries: list[PipeGeometry], members: int, steady: bool = False) -> Callable[[], object]:
    """A call that advances all pipes of all members by one step with the kernel."""
    count, pipes = len(geometries), Pipes(geometries)
    shape = (count, members)
    rows, memos = np.empty((members, pipes.width)), np.full((members, count * MEMO_NUMBERS), np.nan)
    pipes.fill(rows, np.full(shape, 340.0), np.full(shape, 335.0))
    given = cycle([np.repeat(one[:, None], members, axis=1) for one in masses(geometries)[: 1 if steady else 2]])
    temp, ambient = np.full(shape, 350.0), np.full(members, AMBIENT_K)
    out_mass, out_heat, loss = np.empty(shape), np.empty(shape), np.empty(members)
    return lambda: pipes.advance(rows, memos, next(given), temp, STEP_S, ambient, out_mass, out_heat, loss)


def numpy_step(geometries: list[PipeGeometry], members: int) -> Callable[[], object]:
    """A call that does the same in NumPy."""
    all_pipes = geometries * members
    pipes = reference.Pipes.at(all_pipes, np.full(len(all_pipes), 340.0), np.full(len(all_pipes), 335.0))
    given = cycle([np.tile(one, members) for one in masses(geometries)])
    temp, ambient = np.full(len(all_pipes), 350.0), np.full(len(all_pipes), AMBIENT_K)
    return lambda: reference.step(pipes, next(given), temp, STEP_S, ambient)


@pytest.mark.parametrize("members", [1, 64])
@pytest.mark.parametrize("count", [100, 1_000, 10_000])
def test_pipe_step(compare: Compare, short: bool, count: int, members: int) -> None:
    if short and count * members > 10_000:
        pytest.skip("pipe step: large sizes are left out of the short run")
    geometries = [pipe_geometry(pipe, DN80, CELLS) for pipe in street(count)]
    theirs = members if count * members <= NUMPY_ROWS else 1
    compare(
        kernel_step(geometries, members),
        numpy_step(geometries, theirs),
        peer="NumPy, same scheme",
        unit="ns/pipe-step",
        scale=1e9 / (count * theirs),
        times=members // theirs,
    )


def test_pipe_step_with_constant_flows(compare: Compare) -> None:
    geometries = [pipe_geometry(pipe, DN80, CELLS) for pipe in street(1_000)]
    compare(
        kernel_step(geometries, 1, steady=True),
        kernel_step(geometries, 1),
        peer="changing flows",
        unit="ns/pipe-step",
        scale=1e6,
    )


def test_network_step_with_its_nodes(compare: Compare) -> None:
    count = 1_000
    nodes = [
        Node(name="n0", kind=NodeKind.SOURCE, temperature_tag="t"),
        *[Node(name=f"n{k + 1}") for k in range(count)],
    ]
    pipes = [
        Pipe(name=f"p{k}", start=f"n{max(0, k - 9)}", end=f"n{k + 1}", length_m=p.length_m, pipe_class="dn80")
        for k, p in enumerate(street(count))
    ]
    network = Network(
        name="street",
        nodes=tuple(nodes),
        pipes=tuple(pipes),
        pipe_classes=(DN80,),
        ambient_temperature_tag="t",
    )
    plan = NetworkPlan(network, cells=CELLS)
    state, inputs = plan.initial_state(340.0), plan.inputs()
    inputs.node_supply_temp_k[:] = 350.0
    flows = cycle([0.01, 0.0101])

    def step() -> None:
        inputs.node_demand_kg_s[:] = next(flows)
        plan.step(state, STEP_S, inputs)

    geometries = [pipe_geometry(pipe, DN80, CELLS) for pipe in pipes]
    compare(step, kernel_step(geometries, 1), peer="its pipes alone", unit="ns/pipe-step", scale=1e6)
