"""Flows and pressures against a plain program: every pipe and every node is an unknown of one dense Newton system.

Nothing is peeled off, contracted, ordered or begun from the last step there, and friction is written down once more.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from uem.twin_core.thermal import water
from uem.twin_core.thermal.hydraulic_network import EdgeKind, take_apart

_spec = importlib.util.spec_from_file_location("random_hydraulics", Path(__file__).parent / "random_hydraulics.py")
cases = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = cases
_spec.loader.exec_module(cases)
Solved, make_graph = cases.Solved, cases.make_graph

G = 9.80665
C = 2.0 / np.log(10.0)


def colebrook(rough, reynolds):
    """Factor and its slope over Re, by twenty Newton steps on the implicit equation; rough: relative / 3.7."""
    x = np.full(len(reynolds), 6.0)
    for _ in range(20):
        inside = rough + 2.51 * x / reynolds
        x = np.maximum(x - (x + C * np.log(inside)) / (1.0 + C * 2.51 / (reynolds * inside)), 0.5)
    inside = rough + 2.51 * x / reynolds
    by_reynolds = C * 2.51 * x / (reynolds**2 * inside) / (1.0 + C * 2.51 / (reynolds * inside))
    return x**-2, -2.0 * x**-3 * by_reynolds


def factor_and_slope(rough, reynolds):
    """64 / Re, the cubic of Dunlop, Colebrook-White."""
    turbulent, slope = colebrook(rough, np.maximum(reynolds, 4000.0))
    at_4000, slope_4000 = colebrook(rough, np.full(len(rough), 4000.0))
    r = reynolds / 2000.0 - 1.0
    b = 2000.0 * slope_4000 + 0.032 - 2.0 * at_4000
    cubic = 0.032 + r * (-0.032 + r * ((at_4000 - b) + r * b))
    cubic_slope = (-0.032 + r * (2.0 * (at_4000 - b) + 3.0 * r * b)) / 2000.0
    low, middle = reynolds <= 2000.0, reynolds < 4000.0
    factor = np.where(low, 64.0 / reynolds, np.where(middle, cubic, turbulent))
    return factor, np.where(low, -64.0 / reynolds**2, np.where(middle, cubic_slope, slope))


def dense_solution(graph, demand, fixed_pa, temp_k):
    """Flows and pressures of a network of pipes."""
    count, nodes = len(graph.edges), len(graph.nodes)
    free = np.flatnonzero(~graph.fixed)
    leaves = np.zeros((nodes, count))
    leaves[graph.start, np.arange(count)] += 1.0
    leaves[graph.end, np.arange(count)] -= 1.0
    density = np.array([water.density_kg_m3(t) for t in temp_k])
    viscosity = np.array([water.viscosity_pa_s(t) for t in temp_k])
    area = np.pi / 4.0 * graph.diameter_m**2
    per_flow = graph.diameter_m / (area * viscosity)
    friction = graph.length_m / graph.diameter_m / (2.0 * density * area**2)
    local = graph.loss_coefficient / (2.0 * density * area**2)
    weight = density * G * (leaves.T @ graph.elevation_m)
    pressure = np.where(graph.fixed, fixed_pa, 0.0)
    flow = 500.0 * area
    for _ in range(100):
        size = np.maximum(np.abs(flow), 1e-12)
        factor, by_reynolds = factor_and_slope(graph.roughness_m / graph.diameter_m / 3.7, size * per_flow)
        drop = (friction * factor + local) * size * flow
        slope = 2.0 * (friction * factor + local) * size + friction * by_reynolds * per_flow * size**2
        matrix = np.block([[np.diag(-slope), leaves[free].T], [leaves[free], np.zeros((len(free), len(free)))]])
        wrong = np.concatenate([drop - leaves.T @ pressure - weight, -demand[free] - leaves[free] @ flow])
        change = np.linalg.solve(matrix, wrong)
        flow = flow + change[:count]
        pressure[free] += change[count:]
        if np.abs(change[:count]).max() < 1e-12 * np.abs(flow).max():
            return flow, pressure
    raise AssertionError("the plain program did not settle")


def town(rng, nodes, loops):
    """Trees that hang on loops, chains of pipes, pipes in parallel, some nodes of held pressure."""
    ends = [(int(rng.integers(max(0, i - 4), i + 1)), i + 1) for i in range(nodes - 1)]
    ends += [tuple(rng.choice(nodes, 2, replace=False).tolist()) for _ in range(loops)]
    ends += [ends[0], ends[-1]]
    return nodes, ends, rng.choice(nodes, min(2, nodes), replace=False)


def grid(side):
    ends = [(x + side * y, x + 1 + side * y) for y in range(side) for x in range(side - 1)]
    ends += [(x + side * y, x + side * (y + 1)) for y in range(side - 1) for x in range(side)]
    return side * side, ends, [0]


def agrees_with_the_plain_program(rng, nodes, ends, fixed):
    count = len(ends)
    graph = make_graph(
        nodes,
        [(a, b) if rng.random() < 0.5 else (b, a) for a, b in ends],
        fixed,
        elevation_m=rng.uniform(0.0, 20.0, nodes),
        length_m=rng.uniform(5.0, 300.0, count),
        diameter_m=rng.choice([0.05, 0.08, 0.2], count),
        roughness_m=rng.choice([1e-6, 1e-4, 1e-3], count),
        loss_coefficient=rng.choice([0.0, 3.0], count),
    )
    demand = rng.uniform(0.0, 0.5, nodes) * rng.choice([0.01, 1.0], nodes)
    temp_k = 273.15 + rng.integers(200, 1000, count) / 8.0  # where the solver's table of water is exact
    found = Solved(graph, demand, 5e5, temp_k=temp_k, tolerance=1e-11)
    flow, pressure = dense_solution(graph, demand, np.full(nodes, 5e5), temp_k)
    np.testing.assert_allclose(found.flow, flow, rtol=0.0, atol=1e-8 * np.abs(flow).max())
    np.testing.assert_allclose(found.pressure, pressure, rtol=0.0, atol=1e-8 * np.ptp(pressure))
    return graph


@pytest.mark.parametrize("seed", range(30))
def test_trees_on_loops_agree_with_a_dense_solution_of_everything(seed):
    rng = np.random.default_rng(seed)
    agrees_with_the_plain_program(rng, *town(rng, int(rng.integers(3, 60)), int(rng.integers(0, 12))))


def test_a_grid_agrees_with_a_dense_solution_of_everything():
    graph = agrees_with_the_plain_program(np.random.default_rng(1), *grid(11))
    shape = take_apart(graph, (graph.kind == EdgeKind.PIPE).tolist())
    assert 4 in shape.alike  # so that columns taken four at a time are held against it too
