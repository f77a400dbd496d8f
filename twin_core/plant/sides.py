"""Which nodes of a closed network are supply and which are return: told by what customers and producers do there."""

from collections import deque
from enum import StrEnum
from math import dist

from uem.twin_core.plant.network import Edge, Network, NodeKind
from uem.twin_core.plant.units import HeatLoad, Substation, Unit


class Side(StrEnum):
    """Of a closed network; all of an open one is supply."""

    SUPPLY = "supply"
    RETURN = "return"
    NEITHER = "neither"  # nothing that is known leads there


def is_consumer(unit: Unit) -> bool:
    """Whether a unit takes heat from the supply side."""
    return isinstance(unit, (HeatLoad, Substation))


def anchors(network: Network) -> dict[str, Side]:
    """Nodes whose side is known from the units there; a node between two producers in series has none.

    What a consumer says counts more than what a producer says, which may stand in series with others.
    """
    told: dict[str, set[Side]] = {}
    for unit in network.units:
        if is_consumer(unit):
            told.setdefault(unit.start, set()).add(Side.SUPPLY)
            told.setdefault(unit.end, set()).add(Side.RETURN)
    by_consumers = {node: next(iter(found)) for node, found in told.items() if len(found) == 1}
    told = {}
    for unit in network.units:
        if not is_consumer(unit):
            told.setdefault(unit.start, set()).add(Side.RETURN)
            told.setdefault(unit.end, set()).add(Side.SUPPLY)
    by_producers = {node: next(iter(found)) for node, found in told.items() if len(found) == 1}
    by_sources = {node.name: Side.SUPPLY for node in network.nodes if node.kind is NodeKind.SOURCE}
    return by_producers | by_sources | by_consumers


def sides(network: Network) -> dict[str, Side]:
    """The side of every node: that of the nearest one that is known, along pipes, valves and pumps."""
    found = anchors(network)
    if not any(side is Side.RETURN for side in found.values()):
        return {node.name: Side.SUPPLY for node in network.nodes}
    beside = neighbours(network)
    # Consumers tell best: what they say spreads first.
    consumers = {node for unit in network.units if is_consumer(unit) for node in (unit.start, unit.end)}
    frontier = deque(sorted(found, key=lambda node: node not in consumers))
    while frontier:
        here = frontier.popleft()
        for other in beside.get(here, ()):
            if other not in found:
                found[other] = found[here]
                frontier.append(other)
    return {node.name: found.get(node.name, Side.NEITHER) for node in network.nodes}


def neighbours(network: Network, *, units: bool = False) -> dict[str, list[str]]:
    """Nodes beside each node, along pipes, valves and pumps, and `units` if wanted."""
    beside: dict[str, list[str]] = {node.name: [] for node in network.nodes}
    edges: list[Edge] = [*network.pipes, *network.valves, *network.pumps, *(network.units if units else ())]
    for edge in edges:
        beside[edge.start].append(edge.end)
        beside[edge.end].append(edge.start)
    return beside


def reached(beside: dict[str, list[str]], start: str) -> set[str]:
    """All nodes that can be reached from one."""
    found, frontier = {start}, [start]
    while frontier:
        for other in beside[frontier.pop()]:
            if other not in found:
                found.add(other)
                frontier.append(other)
    return found


def drawn_length_m(a: tuple[float, float] | None, b: tuple[float, float] | None) -> float | None:
    """The distance of two positions, where both are known."""
    return None if a is None or b is None else dist(a, b)
