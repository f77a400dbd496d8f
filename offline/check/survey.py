"""What shows on the map: lengths against positions, levels against neighbours, nodes that should be one."""

from collections.abc import Iterator
from itertools import pairwise
from math import dist
from statistics import median

from uem.offline.check.finding import Finding, Severity
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.sides import neighbours, sides

SHORTEST_M = 0.1
SAME_PLACE_M = 0.05
STEEPEST = 0.6  # of a pipe, level over length
LEVEL_M = 40.0  # above or below all neighbours


def findings(network: Network) -> Iterator[Finding]:
    """Everything that positions, lengths and levels tell."""
    yield from lengths(network)
    yield from levels(network)
    yield from same_places(network)


def lengths(network: Network) -> Iterator[Finding]:
    """Pipes shorter than the straight line between their ends, much longer, or of next to no length."""
    at = {node.name: node.position_m for node in network.nodes}
    distance_m: dict[str, float] = {}
    for pipe in network.pipes:
        if pipe.length_m < SHORTEST_M:
            text = f"is {pipe.length_m:g} m long"
            yield _warning("lengths", f"pipe {pipe.name}", text, "make its ends one node")
        a, b = at[pipe.start], at[pipe.end]
        if a is not None and b is not None and dist(a, b) > 0.0:
            distance_m[pipe.name] = dist(a, b)
    if not distance_m:
        return
    scale = median(pipe.length_m / distance_m[pipe.name] for pipe in network.pipes if pipe.name in distance_m)
    if not 0.8 <= scale <= 3.0:
        text = f"pipes are about {scale:.3g} times as long as their ends are apart: not drawn to scale"
        yield Finding(Severity.NOTE, "lengths", "network", text, "give positions in metres to have lengths checked")
        return
    for pipe in network.pipes:
        straight = distance_m.get(pipe.name, 0.0)
        if straight > 5.0 and pipe.length_m < 0.9 * straight:
            text = f"is {pipe.length_m:g} m long, but its ends are {straight:.4g} m apart"
            yield _warning("lengths", f"pipe {pipe.name}", text, "correct length_m or the positions (units?)")
        elif straight > 5.0 and pipe.length_m > 4.0 * straight:
            text = f"is {pipe.length_m:g} m long, its ends are only {straight:.4g} m apart"
            yield Finding(Severity.NOTE, "lengths", f"pipe {pipe.name}", text, "fine if it goes round about")


def levels(network: Network) -> Iterator[Finding]:
    """Nodes far above or below all of their neighbours, and pipes as steep as a ladder."""
    level = {node.name: node.elevation_m for node in network.nodes}
    if not any(level.values()):
        return
    told = set()
    for name, beside in neighbours(network).items():
        if not beside:
            continue
        off = [level[name] - level[other] for other in beside]
        same_sign = all(d > 0 for d in off) or all(d < 0 for d in off)
        if same_sign and min(abs(d) for d in off) > LEVEL_M and len(off) > 1:
            told.add(name)
            text = f"lies at {level[name]:g} m, its neighbours at {median(level[o] for o in beside):g} m"
            yield _warning("elevations", f"node {name}", text, "correct elevation_m (missing levels count as 0)")
    for pipe in network.pipes:
        rise = abs(level[pipe.end] - level[pipe.start])
        if rise > STEEPEST * pipe.length_m and rise > 5.0 and not {pipe.start, pipe.end} & told:
            text = f"rises {rise:g} m over {pipe.length_m:g} m"
            yield _warning("elevations", f"pipe {pipe.name}", text, "correct elevation_m or length_m")


def same_places(network: Network) -> Iterator[Finding]:
    """Nodes of one side at one place that nothing joins: an end that missed its neighbour."""
    side, beside = sides(network), neighbours(network, units=True)
    cells: dict[tuple[int, int, str], list[str]] = {}
    at = {node.name: node.position_m for node in network.nodes}
    for node in network.nodes:
        if node.position_m is not None:
            x, y = (round(c / SAME_PLACE_M) for c in node.position_m)
            cells.setdefault((x, y, side[node.name]), []).append(node.name)
    for names in cells.values():
        for first, second in pairwise(names):
            if second not in beside[first] and at[first] is not None:
                text = f"lies where node {second} lies, and nothing joins them"
                yield _warning("same place", f"node {first}", text, "make them one node, or connect them")


def _warning(check: str, element: str, text: str, remedy: str) -> Finding:
    return Finding(Severity.WARNING, check, element, text, remedy)
