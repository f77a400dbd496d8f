"""Networks as nobody would build them, and what must hold in all of them.

`python tests/twin_core/thermal/random_networks.py 10000` tries as many; the tests try the first few hundred.
"""

import random
import sys
from collections import Counter

import numpy as np

from uem.twin_core.errors import NotConverged
from uem.twin_core.plant.network import (
    Network,
    Node,
    NodeKind,
    Pipe,
    PipeClass,
    Pump,
    PumpControl,
    Valve,
    ValveKind,
)
from uem.twin_core.plant.units import FlowControl, HeatLoad, HeatSource, StorageTank
from uem.twin_core.thermal.network import NetworkPlan
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK

CLASSES = tuple(
    PipeClass(
        name=f"d{d}",
        inner_diameter_m=d * 1e-3,
        outer_diameter_m=d * 1e-3 + 0.007,
        wall_density_kg_m3=7850.0,
        wall_heat_capacity_j_kgk=480.0,
        loss_resistance_mk_w=4.0,
        twin_resistance_mk_w=5.0,
    )
    for d in (20, 50, 100)
)
GROUND_K = 280.0
LOWEST_K, HIGHEST_K = 278.0, 365.0  # ground, or what a load may cool to; the warmest source
STEPS_S = (1.0, 20.0, 60.0, 300.0, 900.0)


class Draw:
    """Parts of a network, drawn one after the other."""

    def __init__(self, seed: int) -> None:
        self.rnd = random.Random(seed)
        self.nodes: list[Node] = []
        self.pipes: list[Pipe] = []
        self.valves: list[Valve] = []
        self.pumps: list[Pump] = []
        self.units: list[HeatSource | HeatLoad | StorageTank] = []

    def some_nodes(self, count: int, prefix: str) -> list[str]:
        names = [f"{prefix}{i}" for i in range(count)]
        self.nodes += [Node(name=name, elevation_m=self.rnd.choice([0.0, 0.0, 5.0, 40.0])) for name in names]
        return names

    def hold(self, name: str, kind: NodeKind) -> None:
        i = next(i for i, node in enumerate(self.nodes) if node.name == name)
        self.nodes[i] = Node(
            name=name, kind=kind, pressure_pa=self.rnd.uniform(3e5, 9e5), supply_temp_k=self.rnd.uniform(330, 364)
        )

    def take(self, name: str) -> None:
        i = next(i for i, node in enumerate(self.nodes) if node.name == name)
        if self.nodes[i].pressure_pa is None:
            flow = self.rnd.choice([0.0, 1e-9, 0.1, 0.5, 2.0, -0.3])
            self.nodes[i] = Node(name=name, demand_kg_s=flow, supply_temp_k=self.rnd.uniform(300, 360))

    def pipe(self, start: str, end: str) -> None:
        self.pipes.append(
            Pipe(
                name=f"p{len(self.pipes)}",
                start=start,
                end=end,
                length_m=self.rnd.choice([0.5, 5.0, 30.0, 100.0, 400.0]),
                pipe_class=self.rnd.choice(CLASSES).name,
                loss_coefficient=self.rnd.choice([0.0, 2.0]),
            )
        )

    def valve(self, start: str, end: str) -> None:
        self.valves.append(
            Valve(
                name=f"v{len(self.valves)}",
                start=start,
                end=end,
                kind=self.rnd.choice(list(ValveKind)),
                inner_diameter_m=0.05,
                loss_coefficient=self.rnd.choice([0.0, 3.0]),
                opening=self.rnd.choice([0.0, 0.01, 0.5, 1.0]),
                flow_kg_s=self.rnd.choice([0.0, 0.2, 1.0]),
            )
        )

    def pump(self, start: str, end: str, ends: tuple[str, str]) -> None:
        self.pumps.append(
            Pump(
                name=f"u{len(self.pumps)}",
                start=start,
                end=end,
                shutoff_head_m=self.rnd.choice([5.0, 30.0]),
                curve_m_s2_kg2=self.rnd.choice([0.0, 0.05, 1.0]),
                parallel=self.rnd.choice([1, 1, 3]),
                control=self.rnd.choice([PumpControl.SPEED, PumpControl.PRESSURE]),
                speed=self.rnd.choice([0.0, 0.5, 1.0]),
                pressure_rise_pa=self.rnd.choice([0.0, 5e4, 2e5]),
                critical_start=ends[0],
                critical_end=ends[1],
            )
        )

    def twins(self) -> None:
        """Lay the first two pipes into one casing."""
        if len(self.pipes) >= 2 and self.rnd.random() < 0.3:
            a, b = self.pipes[:2]
            common = {"length_m": a.length_m}
            self.pipes[0] = Pipe(name=a.name, start=a.start, end=a.end, pipe_class=a.pipe_class, twin=b.name, **common)
            self.pipes[1] = Pipe(name=b.name, start=b.start, end=b.end, pipe_class=b.pipe_class, twin=a.name, **common)

    def network(self) -> Network:
        self.twins()
        return Network(
            name="random",
            nodes=tuple(self.nodes),
            pipes=tuple(self.pipes),
            pipe_classes=CLASSES,
            valves=tuple(self.valves),
            pumps=tuple(self.pumps),
            units=tuple(self.units),
            ambient_temp_k=GROUND_K,
        )


def web(draw: Draw, names: list[str], loops: int, doubles: bool = False) -> None:
    """Pipes from every node to an earlier one, and some more; a few valves among them."""
    rnd = draw.rnd
    pairs = [(names[rnd.randrange(i)], names[i]) for i in range(1, len(names))]
    pairs += [tuple(rnd.sample(names, 2)) for _ in range(loops if len(names) > 1 else 0)]
    for a, b in pairs:
        start, end = rnd.sample([a, b], 2)
        draw.valve(start, end) if doubles and rnd.random() < 0.15 else draw.pipe(start, end)


def open_network(seed: int) -> Network:
    """Feeders that hold pressures, and demands at nodes; some of it an island."""
    draw = Draw(seed)
    rnd = draw.rnd
    names = draw.some_nodes(rnd.randint(2, 10), "n")
    web(draw, names, rnd.choice([0, 0, 1, 3]), doubles=True)
    for name in rnd.sample(names, rnd.choice([1, 1, 2]) if len(names) > 2 else 1):
        draw.hold(name, rnd.choice([NodeKind.SOURCE, NodeKind.JUNCTION]))
    for name in names:
        draw.take(name)
    for _ in range(rnd.choice([0, 0, 1, 2])):
        a, b = rnd.sample(names, 2)
        for _ in range(rnd.choice([1, 2])):  # in parallel
            draw.pump(a, b, (a, b))
    if rnd.random() < 0.3:
        web(draw, draw.some_nodes(rnd.randint(2, 4), "i"), 1)
    if not draw.pipes:
        draw.pipe(names[0], names[1])
    return draw.network()


def closed_network(seed: int) -> Network:
    """Supply and return of any shape, loads and stores between them, several producers, some of them pumped."""
    draw = Draw(seed)
    rnd = draw.rnd
    size = rnd.randint(2, 7)
    supply, back = draw.some_nodes(size, "s"), draw.some_nodes(size, "r")
    for names in (supply, back):
        web(draw, names, rnd.choice([0, 0, 1, 2]), doubles=True)
    draw.hold(back[0], NodeKind.JUNCTION)
    for k in range(rnd.choice([1, 1, 2])):
        at = rnd.randrange(size)
        (head,) = draw.some_nodes(1, f"h{k}")
        draw.pump(back[at], head, (supply[-1], back[-1]))
        if rnd.random() < 0.3:
            draw.pump(back[at], head, (supply[-1], back[-1]))
        draw.units.append(
            HeatSource(
                name=f"source{k}",
                start=head,
                end=supply[at],
                supply_temp_k=rnd.uniform(335, 364),
                nominal_flow_kg_s=rnd.choice([0.5, 5.0]),
                heat_limit_w=rnd.choice([1e4, 1e7]),
            )
        )
    if rnd.random() < 0.4:
        at = rnd.randrange(size)
        draw.units.append(
            HeatSource(
                name="pumped",
                start=back[at],
                end=supply[at],
                supply_temp_k=350.0,
                heat_w=rnd.choice([0.0, 2e4, 2e5]),
                heat_limit_w=3e5,
                flow_control=FlowControl.PUMPED,
            )
        )
    for k in range(rnd.randint(1, 4)):
        a, b = rnd.choice(supply), rnd.choice(back)
        draw.units.append(
            HeatLoad(
                name=f"load{k}",
                start=a,
                end=b,
                heat_w=rnd.choice([0.0, 1e3, 2e4, 1e5]),
                temperature_drop_k=rnd.choice([10.0, 30.0]),
                maximum_flow_kg_s=2.0,
                nominal_flow_kg_s=0.5,
                flow_control=rnd.choice([FlowControl.THROTTLED, FlowControl.THROTTLED, FlowControl.PUMPED]),
            )
        )
    if rnd.random() < 0.3:
        draw.pipe(rnd.choice(supply), rnd.choice(back))  # somebody crossed them
    if rnd.random() < 0.3:
        web(draw, draw.some_nodes(2, "i"), 0)
    if not draw.pipes:
        draw.pipe(supply[0], supply[1])
    return draw.network()


def random_network(seed: int) -> Network:
    """The network of a seed."""
    return (closed_network if seed % 2 else open_network)(seed)


def shake(plan: NetworkPlan, inputs, rnd: random.Random) -> None:
    """Change what the surroundings do."""
    for row in inputs.node_demand_kg_s:
        if row[0] != 0.0 and rnd.random() < 0.3:
            row *= rnd.choice([0.0, -1.0, 0.5, 1.5])
    for row in inputs.valve_opening:
        row[:] = rnd.choice([0.0, row[0], 1.0])
    for row in inputs.pump_speed:
        row[:] = rnd.choice([0.0, row[0], 1.0])
    for commands in inputs.unit_commands.values():
        for name in ("heat_w", "flow_kg_s"):
            if name in commands and rnd.random() < 0.3:
                commands[name] *= rnd.choice([0.0, 0.5, 1.2])


def tried(seed: int, steps: int = 6, fidelity: str = "full") -> list[str]:
    """What is wrong with the network of a seed."""
    network = random_network(seed)
    rnd = random.Random(seed + 1)
    plan = NetworkPlan(network, fidelity=fidelity)
    inputs = plan.inputs()
    state = plan.initial_state([rnd.uniform(285.0, 360.0) for _ in plan.nodes])
    wrong = []
    for _ in range(steps):
        before, dt_s = state.to_bytes(), rnd.choice(STEPS_S)
        try:
            plan.step(state, dt_s, inputs)
        except NotConverged as error:
            wrong.append(f"no flows: {error}" if state.to_bytes() == before else "a failed step changed the state")
            shake(plan, inputs, rnd)
            continue
        if not np.isfinite(state._block).all():
            return [*wrong, "not finite"]
        low, high = state.node_temp_k.min(), state.node_temp_k.max()
        low, high = min(low, state.pipe_outlet_temp_k.min()), max(high, state.pipe_outlet_temp_k.max())
        if low < LOWEST_K or high > HIGHEST_K:
            wrong.append(f"temperatures {low:.1f} to {high:.1f} K")
        gap = state.energy_in_j - state.energy_out_j - state.energy_loss_j - state.energy_stored_change_j
        through = state.energy_in_j + np.abs(state.energy_out_j) + np.abs(state.energy_loss_j)
        # Some of these circles turn so many tons of water per second that the last digit of its heat counts.
        circling_j = HEAT_CAPACITY_J_KGK * HIGHEST_K * np.abs(state.edge_flow_kg_s).sum() * dt_s
        if abs(gap[0]) > 1e-9 * through[0] + 1e-13 * abs(plan.stored_energy_j(state)[0]) + 1e-15 * circling_j:
            wrong.append(f"energy: {gap[0]:g} J of {through[0]:g} J")
        reach = supplied(network, state)
        for name, flag, reached in zip(plan.nodes, state.node_unsupplied[:, 0], reach, strict=True):
            if not reached and not flag:
                wrong.append(f"node {name} cannot be supplied and is not told")
        if np.abs(state.edge_flow_kg_s[[not reach[start] for start in plan._ends[:, 0]], 0]).max(initial=0.0) > 0.0:
            wrong.append("water flows in an island")
        shake(plan, inputs, rnd)
    return wrong


def supplied(network: Network, state) -> list[bool]:
    """Per node whether any way leads there from a held pressure, with everything open."""
    beside = {node.name: [] for node in network.nodes}
    for edge in (*network.pipes, *network.valves, *network.pumps, *network.units):
        beside[edge.start].append(edge.end)
        beside[edge.end].append(edge.start)
    reached = [node.name for node in network.nodes if node.pressure_pa is not None]
    for name in reached:
        reached += [other for other in beside[name] if other not in reached]
    return [node.name in reached for node in network.nodes]


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    told: Counter[str] = Counter()
    for seed in range(count):
        for fidelity in ("full", "planning"):
            try:
                problems = tried(seed, fidelity=fidelity)
            except Exception as error:
                problems = [f"crash: {type(error).__name__}: {error}"]
            for problem in problems[:1]:
                told[problem.split(":")[0]] += 1
                print(f"{seed} {fidelity}: {problem}", flush=True)
    print(f"{count} networks, each with both fidelities: {sum(told.values())} with problems {dict(told)}")
    sys.exit(bool(told))
