"""What the hydraulic kernel works on: edges and nodes as arrays, and the shape of a network taken apart once.

A network is taken apart into a forest (branches that end dead: their flows are sums of demands), chains (pipes in
series, one unknown flow each) and the junctions between chains, whose pressures are the only unknowns of the sparse
system. Everything here depends on the topology alone and is done once per network.
"""

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.network import Edge, Network, PumpControl, ValveKind
from uem.twin_core.plant.units import FlowControl

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

MOST_CRITICAL_PUMPS: Final = 8


class FrictionLaw(StrEnum):
    """How the friction factor of a pipe follows from its Reynolds number and roughness."""

    COLEBROOK = "colebrook"  # laminar to 2000, Colebrook-White from 4000, cubic in between
    SWAMEE_JAIN = "swamee-jain"  # the same with the explicit formula of EPANET
    NIKURADSE = "nikuradse"  # 64/Re plus the fully rough value, as pandapipes has it by default


class EdgeKind(IntEnum):
    """What relates the flow of an edge to the pressures at its ends. `setting` is what commands it, per step."""

    PIPE = 0  # friction and local losses; no setting
    VALVE = 1  # quadratic, setting: opening 0..1, 0 is closed
    CHECK = 2  # quadratic from start to end, shut the other way; no setting
    FLOW = 3  # holds the flow `setting` (kg/s) as long as the pressure suffices; never reverse
    PUMP_SPEED = 4  # quadratic curve at speed `setting` of nominal, 0: stands and is shut; with check valve
    PUMP_PRESSURE = 5  # lifts by `setting` (Pa); with check valve
    PUMP_CRITICAL = 6  # lifts so that `setting` (Pa) is left between two nodes; with check valve
    PUMPED = 7  # passes the flow `setting` (kg/s, either sign) whatever the pressures
    FREE = 8  # quadratic, always open; no setting


@dataclass(frozen=True, slots=True, kw_only=True)
class HydraulicGraph:
    """A network as the hydraulic kernel sees it.

    Arrays of (edges,): kind, start, end, length_m, diameter_m, roughness_m, loss_coefficient (zeta on the velocity in
    diameter_m), resistance_pa_s2_kg2 (pressure drop over flow squared, for what has no diameter), shutoff_head_m,
    curve_m_s2_kg2 and parallel (pumps), critical_start and critical_end (nodes, -1: none).
    Arrays of (nodes,): elevation_m, fixed (whether its pressure is held).
    """

    name: str
    nodes: Sequence[str]
    edges: Sequence[str]
    kind: Ints
    start: Ints
    end: Ints
    length_m: Floats
    diameter_m: Floats
    roughness_m: Floats
    loss_coefficient: Floats
    resistance_pa_s2_kg2: Floats
    shutoff_head_m: Floats
    curve_m_s2_kg2: Floats
    parallel: Floats
    critical_start: Ints
    critical_end: Ints
    elevation_m: Floats
    fixed: NDArray[np.bool_]


_VALVES: Final = {ValveKind.CONTROL: EdgeKind.VALVE, ValveKind.CHECK: EdgeKind.CHECK, ValveKind.FLOW: EdgeKind.FLOW}
_PUMPS: Final = {
    PumpControl.SPEED: EdgeKind.PUMP_SPEED,
    PumpControl.PRESSURE: EdgeKind.PUMP_PRESSURE,
    PumpControl.CRITICAL: EdgeKind.PUMP_CRITICAL,
}
_UNITS: Final = {
    FlowControl.THROTTLED: EdgeKind.FLOW,
    FlowControl.PUMPED: EdgeKind.PUMPED,
    FlowControl.FREE: EdgeKind.FREE,
}


def hydraulic_graph(network: Network, nominal_flow_kg_s: Mapping[str, float] | None = None) -> HydraulicGraph:
    """The pipes, valves, pumps and units of `network`, in this order.

    `nominal_flow_kg_s`: by name, of units that do not say it themselves; it is where their nominal pressure drop holds.

    Raises:
        InvalidInput: a unit of unknown nominal flow.
    """
    nominal_flow_kg_s = nominal_flow_kg_s or {}
    index = {node.name: i for i, node in enumerate(network.nodes)}
    classes = {c.name: c for c in network.pipe_classes}
    edges: list[Edge] = [*network.pipes, *network.valves, *network.pumps, *network.units]
    count = len(edges)
    graph = HydraulicGraph(
        name=network.name,
        nodes=[node.name for node in network.nodes],
        edges=[edge.name for edge in edges],
        kind=np.zeros(count, np.intp),
        start=np.array([index[edge.start] for edge in edges], np.intp),
        end=np.array([index[edge.end] for edge in edges], np.intp),
        **{
            name: np.zeros(count)
            for name in (
                "length_m",
                "diameter_m",
                "roughness_m",
                "loss_coefficient",
                "resistance_pa_s2_kg2",
                "shutoff_head_m",
                "curve_m_s2_kg2",
            )
        },
        parallel=np.ones(count),
        critical_start=np.full(count, -1, np.intp),
        critical_end=np.full(count, -1, np.intp),
        elevation_m=np.array([node.elevation_m for node in network.nodes]),
        fixed=np.array([node.pressure_pa is not None for node in network.nodes]),
    )
    edge = 0
    for pipe in network.pipes:
        graph.kind[edge] = EdgeKind.PIPE
        graph.length_m[edge] = pipe.length_m
        graph.diameter_m[edge] = classes[pipe.pipe_class].inner_diameter_m
        graph.roughness_m[edge] = classes[pipe.pipe_class].roughness_m
        graph.loss_coefficient[edge] = pipe.loss_coefficient
        edge += 1
    for valve in network.valves:
        graph.kind[edge] = _VALVES[valve.kind]
        graph.diameter_m[edge] = valve.inner_diameter_m
        graph.loss_coefficient[edge] = valve.loss_coefficient
        edge += 1
    for pump in network.pumps:
        graph.kind[edge] = _PUMPS[pump.control]
        graph.shutoff_head_m[edge] = pump.shutoff_head_m
        graph.curve_m_s2_kg2[edge] = pump.curve_m_s2_kg2
        graph.parallel[edge] = pump.parallel
        if pump.control is PumpControl.CRITICAL:
            graph.critical_start[edge] = index[pump.critical_start]
            graph.critical_end[edge] = index[pump.critical_end]
        edge += 1
    for unit in network.units:
        graph.kind[edge] = _UNITS[unit.flow_control]
        if unit.flow_control is not FlowControl.PUMPED:
            nominal = unit.nominal_flow_kg_s or nominal_flow_kg_s.get(unit.name, 0.0)
            if not nominal > 0.0:
                raise InvalidInput(f"network {network.name}: unit {unit.name} has no nominal flow")
            graph.resistance_pa_s2_kg2[edge] = unit.nominal_pressure_drop_pa / nominal**2
        edge += 1
    return graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A network taken apart. Nodes and edges by their numbers in the graph; `pipe_edge` gives the pipes a new order.

    Forest, from the roots outwards: pipe k (of the first `forest` pipes) leads to `tree_node[k]` from
    `tree_parent[k]`, and is drawn that way if `pipe_sign[k]` is 1, against it if -1.
    Links join core nodes `link_a` to `link_b` (numbers of `core_node`; the first `unknowns` have unknown pressure and
    stand in the order of elimination): `chains` of pipes first, chain c has pipes `chain_start[c]` up to
    `chain_start[c + 1]`, the water leaves pipe k of a chain at node `pipe_head[k]`; then one link per element.
    The lower triangle of the system is stored by columns: column k has rows `row` from `column[k]` to `column[k + 1]`,
    and row k meets the columns `cross_column` at the entries `cross_entry`; where `alike` is 4 that column and the next
    three have the same rows from there on, else it is 1. `link_entry` is where a link belongs (-1: nowhere off the
    diagonal). `span_link`: links of a spanning forest from the fixed nodes, outermost first, `span_node` the core node
    each leads to. `home`: core node on which a node depends, for what has no supply.
    """

    forest: int
    pipe_edge: Ints
    pipe_sign: Floats
    tree_node: Ints
    tree_parent: Ints
    pipe_head: Ints
    chain_start: Ints
    link_a: Ints
    link_b: Ints
    element_edge: Ints
    core_node: Ints
    unknowns: int
    column: Ints
    row: Ints
    cross: Ints
    cross_column: Ints
    cross_entry: Ints
    alike: Ints
    link_entry: Ints
    span_link: Ints
    span_node: Ints
    home: Ints


class _Core:
    """What is left when dead ends are peeled off: nodes, and links between junctions."""

    def __init__(
        self, nodes: int, ends: list[tuple[int, int]], live: list[bool], is_pipe: list[bool], kept: list[bool]
    ) -> None:
        """`live`: edges whose flow is unknown; `kept`: nodes that stay junctions whatever hangs on them."""
        self.ends = ends
        self.is_pipe = is_pipe
        self.beside: list[list[int]] = [[] for _ in range(nodes)]
        for edge, (start, end) in enumerate(ends):
            if live[edge]:
                self.beside[start].append(edge)
                self.beside[end].append(edge)
        self.live = list(live)
        self.degree = [len(edges) for edges in self.beside]
        self.kept = kept
        self.peeled: list[tuple[int, int, int]] = []  # node, parent, edge; leaves first
        self._peel()
        in_forest = {node for node, _, _ in self.peeled}
        self.nodes = [node for node in range(nodes) if node not in in_forest]
        self.chains: list[tuple[int, int, list[tuple[int, int]]]] = []  # from, to, [(edge, node it leads to)]
        self.junctions = [node for node in self.nodes if self._is_junction(node)]
        self._follow_chains()
        self.elements = [e for e in range(len(ends)) if self.live[e] and not is_pipe[e]]

    def _other(self, edge: int, node: int) -> int:
        start, end = self.ends[edge]
        return end if start == node else start

    def _peel(self) -> None:
        leaves = deque(node for node, degree in enumerate(self.degree) if degree == 1)
        while leaves:
            node = leaves.popleft()
            if self.degree[node] != 1 or self.kept[node]:
                continue
            edge = next(e for e in self.beside[node] if self.live[e])
            if not self.is_pipe[edge]:
                continue
            parent = self._other(edge, node)
            self.peeled.append((node, parent, edge))
            self.live[edge] = False
            self.degree[node] = 0
            self.degree[parent] -= 1
            if self.degree[parent] == 1:
                leaves.append(parent)

    def _is_junction(self, node: int) -> bool:
        here = [e for e in self.beside[node] if self.live[e]]
        return self.kept[node] or len(here) != 2 or not all(self.is_pipe[e] for e in here)

    def _follow_chains(self) -> None:
        used: set[int] = set()
        junctions = set(self.junctions)

        def follow(origin: int) -> None:
            for first in self.beside[origin]:
                if not self.live[first] or not self.is_pipe[first] or first in used:
                    continue
                node, edge, pipes = origin, first, list[tuple[int, int]]()
                while True:
                    used.add(edge)
                    node = self._other(edge, node)
                    pipes.append((edge, node))
                    if node in junctions:
                        break
                    edge = next(e for e in self.beside[node] if self.live[e] and e not in used)
                self.chains.append((origin, node, pipes))

        for origin in self.junctions:
            follow(origin)
        # Rings that hang on no junction: one of their nodes becomes one.
        for node in self.nodes:
            if node not in junctions and not any(e in used for e in self.beside[node] if self.live[e]):
                junctions.add(node)
                self.junctions.append(node)
                follow(node)


def _elimination(neighbours: list[set[int]]) -> tuple[list[int], list[list[int]]]:
    """Minimum degree: the order of elimination, and per eliminated node its neighbours that come later."""
    left = [set(some) for some in neighbours]
    heap = [(len(some), node) for node, some in enumerate(left)]
    heapq.heapify(heap)
    done = [False] * len(left)
    order: list[int] = []
    later: list[list[int]] = []
    while heap:
        degree, node = heapq.heappop(heap)
        if done[node] or degree != len(left[node]):
            continue
        done[node] = True
        around = sorted(left[node])
        order.append(node)
        later.append(around)
        clique = left[node]
        for other in around:
            mine = left[other]
            mine |= clique
            mine.discard(other)
            mine.discard(node)
            heapq.heappush(heap, (len(mine), other))
    return order, later


def _postorder(later: list[list[int]]) -> list[int]:
    """Columns so that those with the same rows stand beside each other: children before parents, one after another.

    `later`: by column, the columns its node meets afterwards; the first of them is its parent. Fill stays the same.
    """
    children: list[list[int]] = [[] for _ in later]
    roots: list[int] = []
    for column, some in enumerate(later):
        (children[min(some)] if some else roots).append(column)
    order: list[int] = []
    stack = roots[::-1]
    while stack:
        column = stack.pop()
        order.append(column)
        # Taken down from the parent, so reversed at the end; the child with most rows comes next to it.
        stack.extend(sorted(children[column], key=lambda child: len(later[child])))
    return order[::-1]


def _quads(alike: list[bool]) -> list[int]:
    """4 where four in a row begin that are alike, else 1. What is inside of four does not count again."""
    found: list[int] = []
    for k in range(len(alike)):
        inside = 4 in found[-3:]
        found.append(4 if not inside and k + 3 < len(alike) and all(alike[k : k + 3]) else 1)
    return found


def take_apart(graph: HydraulicGraph, live: Sequence[bool]) -> Shape:
    """The shape of `graph` when the edges that are not `live` pass a given flow."""
    nodes, edges = len(graph.nodes), len(graph.edges)
    ends = list(zip(graph.start.tolist(), graph.end.tolist(), strict=True))
    is_pipe = (graph.kind == EdgeKind.PIPE).tolist()
    fixed = graph.fixed.tolist()
    kept = list(fixed)
    for node in (*graph.critical_start.tolist(), *graph.critical_end.tolist()):
        if node >= 0:
            kept[node] = True
    core = _Core(nodes, ends, list(live), is_pipe, kept)

    unknown = [node for node in core.junctions if not fixed[node]]
    number = {node: i for i, node in enumerate(unknown)}
    neighbours: list[set[int]] = [set() for _ in unknown]
    links = [(a, b) for a, b, _ in core.chains] + [ends[e] for e in core.elements]
    for a, b in links:
        if a != b and a in number and b in number:
            neighbours[number[a]].add(number[b])
            neighbours[number[b]].add(number[a])
    order, later = _elimination(neighbours)
    rank = {old: new for new, old in enumerate(order)}
    moved = _postorder([[rank[other] for other in some] for some in later])
    order, later = [order[k] for k in moved], [later[k] for k in moved]
    rank = {old: new for new, old in enumerate(order)}
    core_node = [unknown[old] for old in order] + [node for node in core.junctions if fixed[node]]
    place = {node: i for i, node in enumerate(core_node)}
    columns = [sorted(rank[other] for other in some) for some in later]
    column = np.cumsum([0, *map(len, columns)])
    entry = {(k, r): int(column[k]) + i for k, rows in enumerate(columns) for i, r in enumerate(rows)}
    crossing: list[list[tuple[int, int]]] = [[] for _ in order]
    for (k, r), where in entry.items():
        crossing[r].append((k, where))
    alike = [
        first + 1 == second and columns[first] == [second, *columns[second]]
        for some in crossing
        for (first, _), (second, _) in zip(some, [*some[1:], (-1, -1)], strict=False)
    ]
    link_ends = [(place[a], place[b]) for a, b in links]
    count = len(order)
    link_entry = [-1 if a == b or a >= count or b >= count else entry[min(a, b), max(a, b)] for a, b in link_ends]

    outward = core.peeled[::-1]
    home = np.arange(nodes)
    for _, b, pipes in core.chains:
        for _, node in pipes[:-1]:
            home[node] = b
    for node, parent, _ in outward:
        home[node] = home[parent]
    pipe_edge = [e for _, _, e in outward] + [e for _, _, pipes in core.chains for e, _ in pipes]
    leads_to = [node for node, _, _ in outward] + [node for _, _, pipes in core.chains for _, node in pipes]
    span = _spanning_forest(link_ends, len(core_node), count)

    def ints(values: Sequence[int]) -> Ints:
        return np.array(values, np.intp)

    assert len(set(pipe_edge)) == len(pipe_edge) <= edges
    return Shape(
        forest=len(outward),
        pipe_edge=ints(pipe_edge),
        pipe_sign=np.array([1.0 if ends[e][1] == node else -1.0 for e, node in zip(pipe_edge, leads_to, strict=True)]),
        tree_node=ints([node for node, _, _ in outward]),
        tree_parent=ints([parent for _, parent, _ in outward]),
        pipe_head=ints(leads_to),
        chain_start=np.cumsum([len(outward), *(len(pipes) for _, _, pipes in core.chains)]).astype(np.intp),
        link_a=ints([a for a, _ in link_ends]),
        link_b=ints([b for _, b in link_ends]),
        element_edge=ints(core.elements),
        core_node=ints(core_node),
        unknowns=count,
        column=column.astype(np.intp),
        row=ints([r for rows in columns for r in rows]),
        cross=np.cumsum([0, *map(len, crossing)]).astype(np.intp),
        cross_column=ints([k for some in crossing for k, _ in some]),
        cross_entry=ints([where for some in crossing for _, where in some]),
        alike=ints(_quads(alike)),
        link_entry=ints(link_entry),
        span_link=ints([link for link, _ in span]),
        span_node=ints([node for _, node in span]),
        home=ints([place[node] for node in home.tolist()]),
    )


def _spanning_forest(links: list[tuple[int, int]], nodes: int, unknowns: int) -> list[tuple[int, int]]:
    """(link, core node it leads to), outermost first. Chains come before elements, which may be shut."""
    beside: list[list[int]] = [[] for _ in range(nodes)]
    parent = list(range(nodes + 1))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for node in range(unknowns, nodes):
        parent[node] = nodes
    for link, (a, b) in enumerate(links):
        if root(a) != root(b):
            parent[root(a)] = root(b)
            beside[a].append(link)
            beside[b].append(link)
    found: list[tuple[int, int]] = []
    seen = [False] * nodes
    for first in [*range(unknowns, nodes), *range(unknowns)]:
        if seen[first]:
            continue
        seen[first] = True
        frontier = [first]
        for node in frontier:
            for link in beside[node]:
                a, b = links[link]
                other = b if a == node else a
                if not seen[other]:
                    seen[other] = True
                    frontier.append(other)
                    found.append((link, other))
    return found[::-1]
