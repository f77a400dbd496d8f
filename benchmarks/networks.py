"""District-heating networks of any size, the same for the same seed: for benchmarks, ours and those of peers.

Streets are a grid; a tree grows over it from the plant in the middle, and some of the streets that it left out close
loops. Lengths, demands and diameters are those of a small town: 20 to 80 m, 0.05 to 0.3 kg/s at every node, velocities
near 1 m/s.
"""

import math
import random
from dataclasses import dataclass

from uem.twin_core.plant.network import Network, Node, NodeKind, Pipe, PipeClass
from uem.twin_core.plant.units import FlowControl, HeatLoad, HeatSource

SUPPLY_K, GROUND_K = 353.15, 283.15
DROP_K = 30.0  # at the customers
U_W_M2K = 1.0  # of the outer surface
WALL_M = 0.003
ROUGHNESS_M = 1e-4
DENSITY_KG_M3 = 972.0
DIAMETERS_MM = (25, 32, 40, 50, 65, 80, 100, 125, 150, 200, 250, 300, 400, 500, 600, 800)


@dataclass(frozen=True)
class Street:
    """A pipe of the supply from node `start` to node `end`."""

    start: int
    end: int
    length_m: float
    diameter_mm: int


@dataclass(frozen=True)
class Town:
    """Node 0 is the plant; all others have a demand."""

    streets: list[Street]
    demand_kg_s: list[float]  # by node
    position_m: list[tuple[float, float]]  # by node

    @property
    def pressure_pa(self) -> float:
        """More than enough at the plant to reach every customer."""
        return 1e5 * (20.0 + 0.5 * math.pow(len(self.streets), 0.75))


def town(pipes: int, loops: float = 0.0, seed: int = 1) -> Town:
    """A town of `pipes` supply pipes, the part `loops` of them closing loops."""
    rnd = random.Random(seed)
    chords = round(loops * pipes)
    count = pipes - chords + 1
    place, parent = [(0, 0)], [-1]
    node_at = {(0, 0): 0}
    growing = [0]
    while len(place) < count:
        # Mostly a street is prolonged, sometimes one branches off somewhere.
        k = len(growing) - 1 if rnd.random() < 0.6 else rnd.randrange(len(growing))
        x, y = place[growing[k]]
        free = [spot for spot in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)) if spot not in node_at]
        if not free:
            growing.pop(k)
            continue
        spot = rnd.choice(free)
        node_at[spot] = len(place)
        growing.append(len(place))
        parent.append(growing[k])
        place.append(spot)
    demand = [0.0, *(rnd.uniform(0.05, 0.3) for _ in range(count - 1))]
    flow = list(demand)
    for node in range(count - 1, 0, -1):  # parents come before their children
        flow[parent[node]] += flow[node]
    streets = [
        Street(parent[node], node, rnd.uniform(20.0, 80.0), _diameter_mm(flow[node])) for node in range(1, count)
    ]
    laid = {(min(s.start, s.end), max(s.start, s.end)) for s in streets}
    open_pairs = [
        (min(node, other), max(node, other))
        for node, (x, y) in enumerate(place)
        for spot in ((x + 1, y), (x, y + 1))
        if (other := node_at.get(spot)) is not None and (min(node, other), max(node, other)) not in laid
    ]
    for a, b in rnd.sample(open_pairs, chords):
        streets.append(Street(a, b, rnd.uniform(20.0, 80.0), _diameter_mm(0.5 * min(flow[a], flow[b]))))
    return Town(streets, demand, [(50.0 * x, 50.0 * y) for x, y in place])


def _diameter_mm(flow_kg_s: float) -> int:
    speed_m_s = 0.6 + 0.3 * math.log10(1.0 + flow_kg_s)
    wanted_mm = 1000.0 * math.sqrt(4.0 * flow_kg_s / (DENSITY_KG_M3 * math.pi * speed_m_s))
    return next((d for d in DIAMETERS_MM if d >= wanted_mm), DIAMETERS_MM[-1])


def pipe_class(diameter_mm: int) -> PipeClass:
    """Steel pipe of a diameter; its heat loss is `U_W_M2K` on the outer surface of the wall."""
    inner = diameter_mm * 1e-3
    return PipeClass(
        name=f"d{diameter_mm}",
        inner_diameter_m=inner,
        outer_diameter_m=inner + 2.0 * WALL_M,
        wall_density_kg_m3=7850.0,
        wall_heat_capacity_j_kgk=480.0,
        loss_resistance_mk_w=1.0 / (U_W_M2K * math.pi * (inner + 2.0 * WALL_M)),
        roughness_m=ROUGHNESS_M,
    )


def supply_network(town: Town, name: str = "town") -> Network:
    """The supply alone: a source that holds its pressure, and demands that are taken out at the nodes."""
    nodes = [
        Node(
            name=str(i),
            kind=NodeKind.JUNCTION if i else NodeKind.SOURCE,
            pressure_pa=None if i else town.pressure_pa,
            demand_kg_s=demand,
            supply_temp_k=SUPPLY_K,
            position_m=town.position_m[i],
        )
        for i, demand in enumerate(town.demand_kg_s)
    ]
    pipes = [
        Pipe(
            name=f"s{k}",
            start=str(s.start),
            end=str(s.end),
            length_m=s.length_m,
            pipe_class=f"d{s.diameter_mm}",
        )
        for k, s in enumerate(town.streets)
    ]
    return Network(
        name=name,
        nodes=tuple(nodes),
        pipes=tuple(pipes),
        pipe_classes=tuple(pipe_class(d) for d in DIAMETERS_MM),
        ambient_temp_k=GROUND_K,
    )


def closed_network(town: Town, name: str = "town") -> Network:
    """Supply and mirrored return, a customer with a pump of its own at every node, and one plant.

    The return of node `7` is `7r`, that of pipe `s7` is `r7` and drawn homewards.
    """
    count = len(town.demand_kg_s)
    nodes = [
        Node(
            name=f"{i}{side}",
            pressure_pa=town.pressure_pa if (i, side) == (0, "r") else None,
            position_m=(town.position_m[i][0] + shift, town.position_m[i][1] + shift),
        )
        for side, shift in (("", 0.0), ("r", 5.0))
        for i in range(count)
    ]
    supply = [
        Pipe(
            name=f"s{k}",
            start=str(s.start),
            end=str(s.end),
            length_m=s.length_m,
            pipe_class=f"d{s.diameter_mm}",
        )
        for k, s in enumerate(town.streets)
    ]
    back = [
        Pipe(
            name=f"r{k}",
            start=f"{s.end}r",
            end=f"{s.start}r",
            length_m=s.length_m,
            pipe_class=f"d{s.diameter_mm}",
        )
        for k, s in enumerate(town.streets)
    ]
    plant = HeatSource(
        name="plant",
        start="0r",
        end="0",
        supply_temp_k=SUPPLY_K,
        nominal_flow_kg_s=sum(town.demand_kg_s),
        nominal_pressure_drop_pa=2e4,
    )
    customers = [
        HeatLoad(
            name=f"c{i}",
            start=str(i),
            end=f"{i}r",
            flow_control=FlowControl.PUMPED,
            flow_kg_s=demand,
            temperature_drop_k=DROP_K,
        )
        for i, demand in enumerate(town.demand_kg_s)
        if demand > 0.0
    ]
    return Network(
        name=name,
        nodes=tuple(nodes),
        pipes=(*supply, *back),
        pipe_classes=tuple(pipe_class(d) for d in DIAMETERS_MM),
        units=(plant, *customers),
        ambient_temp_k=GROUND_K,
    )
