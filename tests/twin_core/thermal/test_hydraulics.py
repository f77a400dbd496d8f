"""Flows and pressures: held against the equations themselves, edge by edge and node by node."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uem.twin_core.errors import InvalidInput
from uem.twin_core.thermal import water
from uem.twin_core.thermal.friction import friction_factors
from uem.twin_core.thermal.hydraulic_network import EdgeKind, HydraulicGraph
from uem.twin_core.thermal.hydraulics import HydraulicPlan

G = 9.80665


def make_graph(nodes, ends, fixed, kinds=None, elevation_m=None, **columns):
    count = len(ends)
    given = {
        "length_m": np.full(count, 100.0),
        "diameter_m": np.full(count, 0.1),
        "roughness_m": np.full(count, 1e-4),
        "loss_coefficient": np.zeros(count),
        "resistance_pa_s2_kg2": np.zeros(count),
        "shutoff_head_m": np.zeros(count),
        "curve_m_s2_kg2": np.zeros(count),
        "parallel": np.ones(count),
        "critical_start": np.full(count, -1),
        "critical_end": np.full(count, -1),
    } | {name: np.array(values) for name, values in columns.items()}
    return HydraulicGraph(
        name="test",
        nodes=[f"n{i}" for i in range(nodes)],
        edges=[f"e{i}" for i in range(count)],
        kind=np.array(kinds or [EdgeKind.PIPE] * count, np.intp),
        start=np.array([a for a, _ in ends], np.intp),
        end=np.array([b for _, b in ends], np.intp),
        elevation_m=np.zeros(nodes) if elevation_m is None else np.array(elevation_m, float),
        fixed=np.isin(np.arange(nodes), list(fixed)),
        **given,
    )


class Solved:
    def __init__(self, graph, demand, fixed, setting=None, temp_k=333.15, tolerance=1e-10, law="colebrook"):
        self.graph = graph
        self.plan = HydraulicPlan(graph, law)
        self.room = self.plan.room()
        self.flow = np.zeros(self.plan.edges)
        self.pressure = np.zeros(self.plan.nodes)
        self.memory = np.zeros(self.plan.memory_width)
        self.unsupplied = np.zeros(self.plan.nodes, np.uint8)
        self.again(demand, fixed, setting, temp_k, tolerance)

    def again(self, demand, fixed, setting=None, temp_k=333.15, tolerance=1e-10):
        self.demand, self.fixed = np.array(demand, float), np.broadcast_to(fixed, self.plan.nodes).astype(float)
        self.setting = np.zeros(self.plan.edges) if setting is None else np.array(setting, float)
        self.temp_k = np.broadcast_to(temp_k, self.plan.edges).astype(float)
        self.iterations = self.plan.solve(
            self.demand, self.fixed, self.setting, self.temp_k, self.flow, self.pressure, self.memory,
            self.unsupplied, self.room, tolerance,
        )  # fmt: skip
        return self

    @property
    def imbalance(self):
        """What comes in less what goes out at the nodes of unknown pressure."""
        net = -self.demand
        np.add.at(net, self.graph.end, self.flow)
        np.add.at(net, self.graph.start, -self.flow)
        return net[~self.graph.fixed]

    @property
    def density(self):
        return np.array([water.density_kg_m3(t) for t in self.temp_k])

    @property
    def drive(self):
        """Pressure difference along each edge, gravity included."""
        g = self.graph
        fall = g.elevation_m[g.start] - g.elevation_m[g.end]
        return self.pressure[g.start] - self.pressure[g.end] + self.density * G * fall


def pipe_drop(graph, flow, temp_k, law="colebrook"):
    """Darcy-Weisbach in NumPy."""
    rho = np.array([water.density_kg_m3(t) for t in temp_k])
    mu = np.array([water.viscosity_pa_s(t) for t in temp_k])
    area = np.pi / 4 * graph.diameter_m**2
    speed = np.abs(flow) / (rho * area)
    reynolds = np.maximum(speed * graph.diameter_m * rho / mu, 1e-12)
    factor = np.empty(len(flow))
    friction_factors(law, graph.roughness_m / graph.diameter_m, reynolds, factor)
    return np.sign(flow) * (factor * graph.length_m / graph.diameter_m + graph.loss_coefficient) * rho * speed**2 / 2


def random_pipes(rng, nodes, loops, fixed=1):
    ends = [(int(rng.integers(max(0, i - 5), i + 1)), i + 1) for i in range(nodes - 1)]
    while loops:
        a, b = (int(x) for x in rng.integers(0, nodes, 2))
        if a != b:
            ends.append((a, b))
            loops -= 1
    ends = [(a, b) if rng.random() < 0.5 else (b, a) for a, b in ends]
    count = len(ends)
    return make_graph(
        nodes,
        ends,
        rng.choice(nodes, fixed, replace=False),
        elevation_m=rng.uniform(0, 20, nodes),
        length_m=rng.uniform(5, 300, count),
        diameter_m=rng.choice([0.03, 0.08, 0.2], count),
        roughness_m=rng.choice([0.0, 1e-5, 5e-4], count),
        loss_coefficient=rng.choice([0.0, 3.0], count),
    )


@pytest.mark.parametrize("law", ["colebrook", "swamee-jain", "nikuradse"])
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(0, 15), st.integers(1, 3))
def test_pipes_balance_at_every_node_and_along_every_pipe(law, seed, nodes, loops, fixed):
    if law == "nikuradse":
        seed += 1
    rng = np.random.default_rng(seed)
    graph = random_pipes(rng, nodes, loops, min(fixed, nodes))
    if law == "nikuradse":
        graph.roughness_m[:] = np.maximum(graph.roughness_m, 1e-5)
    demand = rng.uniform(-0.5, 2.0, nodes) * rng.choice([0.0, 1e-4, 0.1, 1.0], nodes)
    temps = rng.uniform(280.0, 400.0, len(graph.edges))
    found = Solved(graph, demand, 5e5, temp_k=temps, law=law)
    np.testing.assert_allclose(found.imbalance, 0.0, atol=1e-11)
    drop = pipe_drop(graph, found.flow, temps, law)
    np.testing.assert_allclose(found.drive, drop, rtol=1e-5, atol=0.02 + 1e-5 * np.abs(drop).max())
    assert not found.unsupplied.any()


def test_a_wrong_shape_and_what_is_no_number_are_refused():
    graph = make_graph(2, [(0, 1)], [0])
    with pytest.raises(InvalidInput, match=r"demand of shape \(3,\); \(2,\) is needed"):
        Solved(graph, np.zeros(3), 1e5)
    with pytest.raises(InvalidInput, match="temperature nan is no number"):
        Solved(graph, np.zeros(2), 1e5, temp_k=np.nan)
