"""What shows in the graph alone: islands, dead ends, crossed lines, customers that no heat reaches."""

from collections import Counter
from collections.abc import Iterator, Sequence

from uem.offline.check.finding import Finding, Severity
from uem.twin_core.plant.network import Edge, Network, NodeKind
from uem.twin_core.plant.sides import Side, anchors, is_consumer, neighbours, reached, sides
from uem.twin_core.plant.units import Unit

# A part with so many against its majority is two sides joined, rather than some units drawn the wrong way.
_JOINED = 0.25


def findings(network: Network) -> Iterator[Finding]:
    """Everything that the graph alone tells."""
    yield from islands(network)
    if without_heat := list(feeds(network)):
        yield from without_heat  # then nothing is reachable, which need not be told of every customer
    else:
        yield from unreachable(network)
    yield from crossed(network)
    yield from dead_ends(network)
    yield from duplicates(network)


def islands(network: Network) -> Iterator[Finding]:
    """Parts that nothing feeds, or that hold no pressure."""
    beside = neighbours(network, units=True)
    left = {node.name: node for node in network.nodes}
    while left:
        part = reached(beside, next(iter(left)))
        nodes = [left.pop(name) for name in sorted(part)]
        held = any(node.pressure_pa is not None or node.kind is NodeKind.SOURCE for node in nodes)
        if held:
            continue
        some = shortened([node.name for node in nodes])
        if len(nodes) == 1 and not beside[nodes[0].name]:
            yield _error("islands", f"node {nodes[0].name}", "nothing leads there", "connect it or take it out")
        else:
            text = f"cut off from every source and every pressure holding: {some}"
            yield _error("islands", f"node {nodes[0].name}", text, "draw the missing pipe, or hold a pressure there")


def feeds(network: Network) -> Iterator[Finding]:
    """Customers without anything that feeds them."""
    takers = [unit.name for unit in network.units if is_consumer(unit)]
    takers += [node.name for node in network.nodes if node.kind is NodeKind.CONSUMER or node.demand_kg_s > 0]
    gives = any(node.kind is NodeKind.SOURCE or node.demand_kg_s < 0 for node in network.nodes)
    if takers and not gives and all(is_consumer(unit) for unit in network.units):
        text = f"{len(takers)} customers ({shortened(takers)}), and nothing that gives heat"
        yield _error("feeds", "network", text, "add a producer among the units, or a node of kind source")


def shortened(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def unreachable(network: Network) -> Iterator[Finding]:
    """Customers whose supply no producer reaches, or whose return leads to none; closed valves count as walls."""
    shut = {valve.name for valve in network.valves if valve.opening == 0.0}
    beside: dict[str, list[str]] = {node.name: [] for node in network.nodes}
    ways: list[Edge] = [*network.pipes, *network.pumps, *(valve for valve in network.valves if valve.name not in shut)]
    for edge in ways:
        beside[edge.start].append(edge.end)
        beside[edge.end].append(edge.start)
    producers = [unit for unit in network.units if not is_consumer(unit)]
    for unit in producers:  # in series or in parallel, one brings water to the other
        beside[unit.start].append(unit.end)
        beside[unit.end].append(unit.start)
    fed: set[str] = set()
    sources = [n.name for n in network.nodes if n.kind is NodeKind.SOURCE or n.demand_kg_s < 0]
    for start in [unit.end for unit in producers] + sources:
        if start not in fed:
            fed |= reached(beside, start)
    for unit in network.units:
        if is_consumer(unit):
            for key, end in (("supply", unit.start), ("return", unit.end)):
                if end not in fed:
                    text = f"its {key} node {end} leads to no producer{' past closed valves' if shut else ''}"
                    yield _error("unreachable", f"unit {unit.name}", text, "draw the missing pipe or open the valve")
    for node in network.nodes:
        if (node.kind is NodeKind.CONSUMER or node.demand_kg_s > 0) and node.name not in fed:
            yield _error("unreachable", f"node {node.name}", "no source reaches it", "draw the missing pipe")


def crossed(network: Network) -> Iterator[Finding]:
    """Pipes between supply and return, and units drawn the wrong way round."""
    votes = _votes(network)
    if not any(side is Side.RETURN for _, _, side in votes):
        return
    # Pumps and valves may lead from one side to the other (mixing, bypass); pipes may not.
    beside: dict[str, list[str]] = {node.name: [] for node in network.nodes}
    for pipe in network.pipes:
        beside[pipe.start].append(pipe.end)
        beside[pipe.end].append(pipe.start)
    by_node: dict[str, list[tuple[Unit, Side]]] = {}
    for unit, node, side in votes:
        by_node.setdefault(node, []).append((unit, side))
    left = set(beside)
    side_of = sides(network)
    told: set[str] = set()
    for first in [node.name for node in network.nodes]:
        if first not in left:
            continue
        part = reached(beside, first)
        left -= part
        cast = [(unit, side) for node in sorted(part) for unit, side in by_node.get(node, [])]
        count = Counter(side for _, side in cast)
        if len(count) < 2:
            continue
        (major, _), (minor, fewer) = count.most_common(2)
        if fewer > 1 and fewer > _JOINED * len(cast):
            yield from _joining_pipes(network, part, side_of)
            continue
        for unit, side in cast:
            if side is minor and unit.name not in told:
                told.add(unit.name)
                text = f"is drawn the wrong way round: its {minor} end stands on the {major} side"
                yield _error("crossed", f"unit {unit.name}", text, "swap its start and end")


def _votes(network: Network) -> list[tuple[Unit, str, Side]]:
    """(unit, node, side that it says the node is on)."""
    found = []
    known = anchors(network)
    for unit in network.units:
        first, second = (Side.SUPPLY, Side.RETURN) if is_consumer(unit) else (Side.RETURN, Side.SUPPLY)
        for node, side in ((unit.start, first), (unit.end, second)):
            if is_consumer(unit) or node in known:
                found.append((unit, node, side))
    return found


def _joining_pipes(network: Network, part: set[str], side_of: dict[str, Side]) -> Iterator[Finding]:
    for pipe in network.pipes:
        if pipe.start in part and side_of[pipe.start] is not side_of[pipe.end]:
            text = f"joins {side_of[pipe.start]} node {pipe.start} and {side_of[pipe.end]} node {pipe.end}"
            remedy = "connect it to the other line; a bypass is a valve or a pump"
            yield _error("crossed", f"pipe {pipe.name}", text, remedy)


def dead_ends(network: Network) -> Iterator[Finding]:
    """Ends where nobody takes anything: their water stands and cools."""
    beside = neighbours(network, units=True)
    for node in network.nodes:
        used = node.kind is not NodeKind.JUNCTION or node.demand_kg_s or node.pressure_pa is not None
        if len(beside[node.name]) == 1 and not used:
            text = f"ends at {node.name}, where nobody takes anything: its water stands"
            pipe = next((p.name for p in network.pipes if node.name in (p.start, p.end)), "")
            yield Finding(
                Severity.NOTE,
                "dead ends",
                f"pipe {pipe}" if pipe else f"node {node.name}",
                text,
                "attach the customer, or leave the pipe out until there is one",
            )


def duplicates(network: Network) -> Iterator[Finding]:
    """Pipes between the same two nodes."""
    between: dict[frozenset[str], list[str]] = {}
    for pipe in network.pipes:
        between.setdefault(frozenset((pipe.start, pipe.end)), []).append(pipe.name)
    for names in between.values():
        if len(names) > 1:
            text = f"lies between the same nodes as {', '.join(names[1:])}"
            yield Finding(
                Severity.WARNING, "duplicates", f"pipe {names[0]}", text, "keep one, unless both are in the ground"
            )


def _error(check: str, element: str, text: str, remedy: str) -> Finding:
    return Finding(Severity.ERROR, check, element, text, remedy)
