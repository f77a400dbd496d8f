"""Random networks of everything that hydraulics knows, and what must hold in each of them.

`python tests/twin_core/thermal/random_hydraulics.py 10000` tries that many; a part of them is tried by the tests.
"""

import sys

import numpy as np

from uem.twin_core.thermal import water
from uem.twin_core.thermal.friction import friction_factors
from uem.twin_core.thermal.hydraulic_network import EdgeKind, HydraulicGraph
from uem.twin_core.thermal.hydraulics import HydraulicPlan

G = 9.80665
ONE_WAY = (EdgeKind.CHECK, EdgeKind.FLOW, EdgeKind.PUMP_SPEED, EdgeKind.PUMP_PRESSURE, EdgeKind.PUMP_CRITICAL)
# Pressure difference that counts as none, and flow that counts as none.
SLACK_PA, SLACK_KG_S = 1.0, 1e-6
# Beyond this (pumps short-circuited by wide pipes) the small flows beside are not looked at.
MOST_FLOW_KG_S = 1e3


def make_graph(nodes, ends, fixed, kinds=None, elevation_m=None, **columns):
    """A graph of edges between numbered nodes; columns that are not given are those of 100 m of DN 100."""
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
        kind=np.array([EdgeKind.PIPE] * count if kinds is None else kinds, np.intp),
        start=np.array([a for a, _ in ends], np.intp),
        end=np.array([b for _, b in ends], np.intp),
        elevation_m=np.zeros(nodes) if elevation_m is None else np.array(elevation_m, float),
        fixed=np.isin(np.arange(nodes), list(fixed)),
        **given,
    )


class Solved:
    """A graph with a solution, and the terms of its equations."""

    def __init__(self, graph, demand, fixed, setting=None, temp_k=333.15, tolerance=1e-10, law="colebrook"):
        self.graph, self.law = graph, law
        self.plan = HydraulicPlan(graph, law)
        self.room = self.plan.room()
        self.flow = np.zeros(self.plan.edges)
        self.pressure = np.zeros(self.plan.nodes)
        self.memory = np.zeros(self.plan.memory_width)
        self.unsupplied = np.zeros(self.plan.nodes, np.uint8)
        self.again(demand, fixed, setting, temp_k, tolerance)

    def again(self, demand, fixed, setting=None, temp_k=333.15, tolerance=1e-10):
        """Solve from where it stands."""
        self.demand = np.array(demand, float)
        self.fixed = np.broadcast_to(fixed, self.plan.nodes).astype(float)
        self.setting = np.zeros(self.plan.edges) if setting is None else np.array(setting, float)
        self.temp_k = np.broadcast_to(temp_k, self.plan.edges).astype(float)
        self.iterations = self.plan.solve(
            self.demand, self.fixed, self.setting, self.temp_k, self.flow, self.pressure, self.memory,
            self.unsupplied, self.room, tolerance,
        )  # fmt: skip
        return self

    @property
    def imbalance(self):
        """What comes in less what goes out at the nodes of unknown pressure; demands of unsupplied parts are off."""
        net = np.where(self.unsupplied, 0.0, -self.demand)
        np.add.at(net, self.graph.end, self.flow)
        np.add.at(net, self.graph.start, -self.flow)
        return net[~self.graph.fixed]

    @property
    def density(self):
        """Per edge, kg/m3."""
        return np.array([water.density_kg_m3(t) for t in self.temp_k])

    @property
    def drive(self):
        """Pressure difference along each edge, gravity included."""
        g = self.graph
        fall = g.elevation_m[g.start] - g.elevation_m[g.end]
        return self.pressure[g.start] - self.pressure[g.end] + self.density * G * fall

    def problems(self):
        """Everything that a law of an edge or a node does not allow."""
        for name in ("flow", "pressure", "memory"):
            if not np.isfinite(getattr(self, name)).all():
                yield f"{name} is not finite"
        if not np.abs(self.imbalance).max(initial=0.0) < 1e-9 + 1e-14 * np.abs(self.flow).max():
            yield f"nodes do not balance: {np.abs(self.imbalance).max()} kg/s"
        g = self.graph
        off = (self.unsupplied[g.start] | self.unsupplied[g.end]).astype(bool)
        if self.flow[off].any():
            yield "flow in an unsupplied part"
        if np.abs(self.flow).max() > MOST_FLOW_KG_S:
            return
        for edge in np.flatnonzero(~off):
            if text := self._edge_problem(edge):
                kind = EdgeKind(g.kind[edge]).name
                yield (
                    f"edge {edge}, {kind}: {text}; {self.flow[edge]} kg/s at {self.drive[edge]} Pa, "
                    f"setting {self.setting[edge]}"
                )

    def _edge_problem(self, edge):
        g, kind, flow, setting = self.graph, self.graph.kind[edge], self.flow[edge], self.setting[edge]
        drive, density = self.drive[edge], self.density[edge]
        if kind == EdgeKind.PUMPED:
            return None if flow == setting else "not what it pumps"
        if kind in (EdgeKind.VALVE, EdgeKind.PUMP_SPEED) and setting <= 0:
            return None if flow == 0 else "shut, but passes"
        slack_kg_s = SLACK_KG_S + 2e-13 * abs(drive)  # what is shut leaks
        if kind in ONE_WAY and flow < -slack_kg_s:
            return "reversed"
        lift = 0.0
        if kind == EdgeKind.PUMP_SPEED:
            lift = density * G * g.shutoff_head_m[edge] * setting**2
        if kind == EdgeKind.PUMP_PRESSURE:
            lift = setting
        if kind == EdgeKind.PUMP_CRITICAL:
            return None
        if kind in ONE_WAY and flow <= slack_kg_s and (drive <= -lift + SLACK_PA or flow < 1e-8):
            return None
        if kind == EdgeKind.FLOW and flow > max(setting, 0.0) + slack_kg_s:
            return "more than it holds"
        if kind == EdgeKind.FLOW and abs(flow - setting) <= slack_kg_s:
            law = self._drop(edge, flow)
            return None if drive >= law - SLACK_PA else "holds without pressure"
        law = self._drop(edge, flow) - lift
        return None if abs(drive - law) <= SLACK_PA + 1e-4 * abs(law) else f"{law} Pa by its law"

    def _drop(self, edge, flow):
        g, kind, density = self.graph, self.graph.kind[edge], self.density[edge]
        area = np.pi / 4 * g.diameter_m[edge] ** 2
        if kind == EdgeKind.PUMP_PRESSURE:
            return 0.03 * flow
        if kind == EdgeKind.PUMP_SPEED:
            resistance = density * G * g.curve_m_s2_kg2[edge] / g.parallel[edge] ** 2
        elif kind == EdgeKind.PIPE:
            reynolds = max(4 * abs(flow) / (np.pi * g.diameter_m[edge] * water.viscosity_pa_s(self.temp_k[edge])), 1e-9)
            factor = np.empty(1)
            friction_factors(
                self.law, np.array([g.roughness_m[edge] / g.diameter_m[edge]]), np.array([reynolds]), factor
            )
            zeta = factor[0] * g.length_m[edge] / g.diameter_m[edge] + g.loss_coefficient[edge]
            return zeta * flow * abs(flow) / (2 * density * area**2)
        else:
            resistance = g.loss_coefficient[edge] / (2 * density * area**2) + g.resistance_pa_s2_kg2[edge]
            if kind == EdgeKind.VALVE:
                resistance /= self.setting[edge] ** 2
        return max(resistance, 1e-3) * flow * abs(flow)


def random_case(seed):
    """(graph, [(demand, fixed pressures, settings, temperatures)]): a network and what happens to it, step by step."""
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(2, 40))
    ends = [(int(rng.integers(max(0, i - 5), i + 1)), i + 1) for i in range(nodes - 1) if rng.random() > 0.03]
    for _ in range(rng.integers(0, nodes)):
        a, b = (int(x) for x in rng.integers(0, nodes, 2))
        if a != b:
            ends.append((a, b))
    ends = ends or [(0, 1)]
    ends += [ends[int(rng.integers(len(ends)))] for _ in range(rng.integers(0, 3))]  # in parallel
    ends = [(a, b) if rng.random() < 0.5 else (b, a) for a, b in ends]
    count = len(ends)
    odd = [kind for kind in EdgeKind if kind is not EdgeKind.PIPE]
    kinds = np.array([rng.choice(odd) if rng.random() < rng.choice([0.1, 0.5]) else EdgeKind.PIPE for _ in ends])
    for extra in np.flatnonzero(kinds == EdgeKind.PUMP_CRITICAL)[1:]:
        kinds[extra] = EdgeKind.PUMP_PRESSURE
    fixed = rng.choice(nodes, min(nodes, int(rng.integers(1, 4))), replace=False)
    for edge, (a, b) in enumerate(ends):
        # Two held pressures and a held difference between them leave the flow to chance.
        if kinds[edge] in (EdgeKind.PUMP_PRESSURE, EdgeKind.PUMP_CRITICAL) and a in fixed and b in fixed:
            kinds[edge] = EdgeKind.PUMP_SPEED
    critical = rng.choice(nodes, 2, replace=False)
    graph = make_graph(
        nodes,
        ends,
        fixed,
        kinds,
        elevation_m=rng.uniform(0, 30, nodes) * rng.choice([0.0, 1.0]),
        length_m=rng.uniform(1, 500, count),
        diameter_m=rng.choice([0.02, 0.08, 0.3], count),
        roughness_m=rng.choice([1e-6, 5e-4], count),
        loss_coefficient=rng.choice([0.0, 3.0, 100.0], count),
        resistance_pa_s2_kg2=np.where(kinds == EdgeKind.PIPE, 0.0, rng.choice([0.0, 1e3, 1e5], count)),
        shutoff_head_m=rng.uniform(5, 100, count),
        curve_m_s2_kg2=rng.choice([0.0, 0.01, 1.0], count),
        parallel=rng.choice([1.0, 2.0], count),
        critical_start=np.where(kinds == EdgeKind.PUMP_CRITICAL, critical[0], -1),
        critical_end=np.where(kinds == EdgeKind.PUMP_CRITICAL, critical[1], -1),
    )
    steps = []
    for _ in range(4):
        demand = rng.uniform(-1.0, 2.0, nodes) * rng.choice([0.0, 1e-6, 0.1, 1.0], nodes)
        if rng.random() < 0.2:
            demand[:] = 0.0
        setting = np.zeros(count)
        for edge, kind in enumerate(kinds):
            setting[edge] = {
                EdgeKind.VALVE: rng.choice([0.0, 0.01, 0.5, 1.0]),
                EdgeKind.FLOW: rng.choice([0.0, 0.01, 1.0]),
                EdgeKind.PUMP_SPEED: rng.choice([0.0, 0.3, 1.0]),
                EdgeKind.PUMP_PRESSURE: rng.choice([0.0, 1e5, 5e5]),
                EdgeKind.PUMP_CRITICAL: rng.choice([0.0, 5e4]),
                EdgeKind.PUMPED: rng.uniform(-1.0, 1.0) * rng.choice([0.0, 0.1, 1.0]),
            }.get(kind, 0.0)
        pressures = np.full(nodes, 5e5) + rng.uniform(0, 2e5, nodes) * rng.choice([0.0, 1.0])
        temps = rng.uniform(280, 400, count) if rng.random() < 0.5 else np.full(count, 340.0)
        steps.append((demand, pressures, setting, temps))
    return graph, steps


def try_case(seed):
    """What is wrong with the case of this seed: a list of sentences."""
    graph, steps = random_case(seed)
    solved, wrong = None, []
    for step in steps:
        if solved is None:
            solved = Solved(graph, *step)
        else:
            solved.again(*step)
        wrong += solved.problems()
    return wrong


if __name__ == "__main__":
    bad = 0
    for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1000):
        try:
            found = try_case(number)
        except Exception as error:
            found = [f"{type(error).__name__}: {error}"]
        if found:
            bad += 1
            print(number, found[:2], flush=True)
    print(f"{bad} networks with problems")
    sys.exit(bad > 0)
