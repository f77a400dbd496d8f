"""Where the nodes of a drawing lie: as surveyed, and where nothing is known, worked out from the graph."""

from collections import deque

import numpy as np

from uem.twin_core.plant.network import Network, NodeKind
from uem.twin_core.plant.sides import Side, is_consumer, neighbours, sides

Point = tuple[float, float]
_RELAXATIONS = 400


def positions(network: Network) -> dict[str, Point]:
    """A place for every node, in metres where they are known; the others lie between their neighbours or on a tree."""
    found = {node.name: node.position_m for node in network.nodes if node.position_m is not None}
    known_side = [node for node, side in sides(network).items() if side is not Side.RETURN]
    if sum(node in found for node in known_side) < 0.3 * len(known_side):
        found = _tree(network)
    _pair_returns(network, found)
    _between_neighbours(network, found)
    return found


def _tree(network: Network) -> dict[str, Point]:
    """The supply side as a tree: eastwards by the length of the way, northwards leaf by leaf."""
    side = sides(network)
    lengths: dict[str, list[tuple[str, float]]] = {node.name: [] for node in network.nodes}
    typical = float(np.median([pipe.length_m for pipe in network.pipes])) if network.pipes else 1.0
    edges = [(p.start, p.end, p.length_m) for p in network.pipes]
    edges += [(valve.start, valve.end, 0.3 * typical) for valve in network.valves]
    edges += [(pump.start, pump.end, 0.3 * typical) for pump in network.pumps]
    for a, b, length in edges:
        # A long pipe would leave no room for the others.
        lengths[a].append((b, min(max(length, 0.3 * typical), 4.0 * typical)))
        lengths[b].append((a, min(max(length, 0.3 * typical), 4.0 * typical)))
    members = [name for name in lengths if side[name] is not Side.RETURN]
    east: dict[str, float] = {}
    children: dict[str, list[str]] = {}
    roots = []
    for root in sorted(members, key=lambda name: not _is_feed(network, name)):
        if root in east:
            continue
        roots.append(root)
        east[root], queue = 0.0, deque([root])
        while queue:
            here = queue.popleft()
            for other, length in lengths[here]:
                if other not in east and side[other] is not Side.RETURN:
                    east[other] = east[here] + length
                    children.setdefault(here, []).append(other)
                    queue.append(other)
    north: dict[str, float] = {}
    row = 0.0
    for root in roots:
        for name in _leaves_first(root, children):
            below = children.get(name, [])
            if below:
                north[name] = (north[below[0]] + north[below[-1]]) / 2.0
            else:
                north[name], row = row, row + typical
    return {name: (east[name], north[name]) for name in east}


def _is_feed(network: Network, name: str) -> bool:
    producers = {unit.end for unit in network.units if not is_consumer(unit)}
    return name in producers or any(n.name == name and n.kind is NodeKind.SOURCE for n in network.nodes)


def _leaves_first(root: str, children: dict[str, list[str]]) -> list[str]:
    """A node after all that hang on it."""
    order, stack = [], [root]
    while stack:
        here = stack.pop()
        order.append(here)
        stack += reversed(children.get(here, []))
    return order[::-1]


def _pair_returns(network: Network, found: dict[str, Point]) -> None:
    """A return node lies where its supply node lies: told by a unit between them, or by the name of a mirrored one."""
    suffixes = {unit.end.removeprefix(unit.start) for unit in network.units if unit.end.startswith(unit.start)}
    for node in network.nodes:
        for suffix in suffixes:
            if suffix and node.name not in found and node.name.removesuffix(suffix) in found:
                found[node.name] = found[node.name.removesuffix(suffix)]
    for unit in network.units:
        if is_consumer(unit):
            if unit.start in found:
                found.setdefault(unit.end, found[unit.start])
            elif unit.end in found:
                found[unit.start] = found[unit.end]


def _between_neighbours(network: Network, found: dict[str, Point]) -> None:
    """What is still unknown lies in the middle of its neighbours, again and again until it rests."""
    beside = neighbours(network, units=True)
    unknown = [node.name for node in network.nodes if node.name not in found]
    if not unknown:
        return
    middle = tuple(np.mean(list(found.values()), axis=0)) if found else (0.0, 0.0)
    here = {name: found.get(name, middle) for name in beside}
    for _ in range(_RELAXATIONS):
        moved = 0.0
        for name in unknown:
            if beside[name]:
                x, y = (sum(here[n][k] for n in beside[name]) / len(beside[name]) for k in (0, 1))
                moved = max(moved, abs(x - here[name][0]) + abs(y - here[name][1]))
                here[name] = (x, y)
        if moved < 1e-3:
            break
    found |= {name: here[name] for name in unknown}
