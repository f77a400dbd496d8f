"""What capacities and diameters tell without a calculation: plants too small, stations rated too hot, odd diameters."""

from collections.abc import Iterator
from statistics import median

from uem.offline.check.finding import Finding, Severity
from uem.twin_core.plant.network import Edge, Network, NodeKind, Pipe
from uem.twin_core.plant.sides import is_consumer
from uem.twin_core.plant.units import (
    FlowControl,
    HeatDemand,
    HeatLoad,
    HeatSource,
    Producer,
    Substation,
    Unit,
    WasteHeatExchanger,
    WasteIncinerator,
)
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK

USUAL_RETURN_K = 318.15
NARROWER = 0.9  # of the pipe behind it


def findings(network: Network) -> Iterator[Finding]:
    """Everything that capacities and diameters tell."""
    yield from capacity(network)
    yield from ratings(network)
    yield from narrowing(network)


def design_heat_w(unit: Unit) -> float:
    """What a consumer takes at its design: space heating, and hot water as far as it is asked for."""
    if isinstance(unit, Substation):
        return (unit.heating_w if unit.demand is HeatDemand.COMMAND else unit.nominal_heat_w) + unit.hot_water_w
    if isinstance(unit, HeatLoad):
        if unit.heat_w is not None:
            return unit.heat_w
        return HEAT_CAPACITY_J_KGK * (unit.flow_kg_s or 0.0) * (unit.temperature_drop_k or 0.0)
    return 0.0


def capacity(network: Network) -> Iterator[Finding]:
    """Producers that together are weaker than what is asked of them."""
    wanted = sum(design_heat_w(unit) for unit in network.units)
    returns = [unit.primary_return_temp_k for unit in network.units if isinstance(unit, Substation)]
    return_k = median(returns) if returns else USUAL_RETURN_K
    makes = [_nominal_heat_w(unit, return_k) for unit in network.units if not is_consumer(unit)]
    if wanted > 0.0 and makes and sum(makes) < wanted:
        text = f"producers give {sum(makes) / 1e3:,.0f} kW, customers take {wanted / 1e3:,.0f} kW at their design"
        yield Finding(Severity.ERROR, "capacity", "network", text, "add capacity, or correct nominal_heat_kw")


def _nominal_heat_w(unit: Unit, return_k: float) -> float:
    if isinstance(unit, Producer):
        return unit.nominal_heat_w
    if isinstance(unit, HeatSource):
        return unit.heat_w if unit.flow_control is FlowControl.PUMPED else unit.heat_limit_w
    if isinstance(unit, WasteIncinerator):
        return unit.nominal_waste_kg_s * unit.heating_value_j_kg * unit.heat_efficiency
    if isinstance(unit, WasteHeatExchanger):
        coldest_k = max(unit.lowest_stream_temp_k, return_k)  # water does not cool the stream below itself
        flow = unit.nominal_stream_flow_kg_s if unit.stream_flow_kg_s is None else unit.stream_flow_kg_s
        return max(flow * unit.stream_heat_capacity_j_kgk * (unit.stream_temp_k - coldest_k), 0.0)
    return 0.0


def ratings(network: Network) -> Iterator[Finding]:
    """Stations rated for water hotter than any producer makes, producers hotter than their own limit."""
    kinds = (Producer, HeatSource, WasteHeatExchanger, WasteIncinerator)
    made = [unit.supply_temp_k for unit in network.units if isinstance(unit, kinds)]
    if not made:
        return
    for unit in network.units:
        if isinstance(unit, Substation) and unit.primary_supply_temp_k > max(made) + 0.5:
            text = (
                f"its exchanger is rated for {unit.primary_supply_temp_k - 273.15:g} degC, "
                f"producers give {max(made) - 273.15:g} degC"
            )
            remedy = "correct primary_supply_temp_c, or expect less heat and more flow"
            yield Finding(Severity.WARNING, "ratings", f"unit {unit.name}", text, remedy)
        if isinstance(unit, Substation) and unit.secondary_supply_temp_k > max(made) - 1.0:
            text = f"wants {unit.secondary_supply_temp_k - 273.15:g} degC for its house, no producer gives that"
            yield Finding(Severity.ERROR, "ratings", f"unit {unit.name}", text, "raise a producer's supply_temp_c")


def narrowing(network: Network) -> Iterator[Finding]:
    """On the way from a feed, a pipe that is narrower than the one behind it, where no other way leads there."""
    diameter = {pipe.name: network.pipe_class(pipe.pipe_class).inner_diameter_m for pipe in network.pipes}
    beside: dict[str, list[Pipe]] = {node.name: [] for node in network.nodes}
    for pipe in network.pipes:
        beside[pipe.start].append(pipe)
        beside[pipe.end].append(pipe)
    through: dict[str, list[str]] = {node.name: [] for node in network.nodes}
    joining: tuple[Edge, ...] = (*(valve for valve in network.valves if valve.opening > 0.0), *network.pumps)
    for edge in joining:
        through[edge.start].append(edge.end)
        through[edge.end].append(edge.start)
    feeds = [unit.end for unit in network.units if not is_consumer(unit)]
    feeds += [node.name for node in network.nodes if node.kind is NodeKind.SOURCE]
    came_by: dict[str, Pipe | None] = dict.fromkeys(feeds)
    queue = list(came_by)
    bridges = _bridges(network)
    for here in queue:
        before = came_by[here]
        for other in through[here]:
            if other not in came_by:
                came_by[other] = before
                queue.append(other)
        for pipe in beside[here]:
            other = pipe.end if pipe.start == here else pipe.start
            if other in came_by:
                continue
            came_by[other] = pipe
            queue.append(other)
            narrower = before is not None and diameter[before.name] < NARROWER * diameter[pipe.name]
            if before is not None and narrower and {pipe.name, before.name} <= bridges:
                text = (
                    f"has {diameter[before.name] * 1e3:.4g} mm, pipe {pipe.name} behind it "
                    f"{diameter[pipe.name] * 1e3:.4g} mm"
                )
                yield Finding(
                    Severity.WARNING, "diameters", f"pipe {before.name}", text, "correct one of their classes"
                )


def _bridges(network: Network) -> set[str]:
    """Pipes without which the lines would fall apart: those on no ring."""
    ends: dict[str, list[tuple[str, str]]] = {node.name: [] for node in network.nodes}
    lines: list[Edge] = [*network.pipes, *network.valves, *network.pumps]
    for line in lines:
        ends[line.start].append((line.end, line.name))
        ends[line.end].append((line.start, line.name))
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    found: set[str] = set()
    for root in ends:
        if root in order:
            continue
        order[root] = low[root] = len(order)
        stack = [(root, "", iter(ends[root]))]
        while stack:
            here, came, beside = stack[-1]
            for other, edge in beside:
                if edge == came:
                    continue
                if other in order:
                    low[here] = min(low[here], order[other])
                    continue
                order[other] = low[other] = len(order)
                stack.append((other, edge, iter(ends[other])))
                break
            else:
                stack.pop()
                if stack:
                    parent = stack[-1][0]
                    low[parent] = min(low[parent], low[here])
                    if low[here] > order[parent]:
                        found.add(came)
    return found
