"""Heat networks as they are drawn: nodes and what leads from one to the other."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.plant.prices import Price
from uem.twin_core.plant.units import Unit


class NodeKind(StrEnum):
    """What happens at a node."""

    SOURCE = "source"  # water of a given temperature comes in; its flow follows from the others
    JUNCTION = "junction"
    CONSUMER = "consumer"  # a given flow is taken out
    BALANCE = "balance"  # takes what the measured source flow leaves over: a branch outside of the model


@dataclass(frozen=True, slots=True, kw_only=True)
class PipeClass:
    """Pipes of one make. `loss_resistance_mk_w`: from the outside of the wall to the ambient, per metre of pipe."""

    name: str
    inner_diameter_m: float
    outer_diameter_m: float
    wall_density_kg_m3: float
    wall_heat_capacity_j_kgk: float
    loss_resistance_mk_w: float
    loss_factor: float = 1.0  # calibratable: multiplies the heat loss
    dispersion_factor: float = 10.0  # calibratable: multiplies the turbulent-pipe dispersion
    roughness_m: float = 5e-5  # sand roughness of the inner wall, for friction
    # Between the two pipes that share one casing (twin pipe), per metre; infinite: they do not feel each other.
    twin_resistance_mk_w: float = math.inf
    # Insulation that stores heat; its resistance is a part of `loss_resistance_mk_w`. 0: it stores none.
    insulation_heat_capacity_j_m3k: float = 0.0
    insulation_conductivity_w_mk: float = 0.0
    insulation_diameter_m: float = 0.0  # outside

    @property
    def insulation_resistance_mk_w(self) -> float:
        """Of the insulation whose heat capacity counts, per metre of pipe."""
        if self.insulation_heat_capacity_j_m3k == 0.0:
            return 0.0
        thickness = math.log(self.insulation_diameter_m / self.outer_diameter_m)
        return thickness / (2.0 * math.pi * self.insulation_conductivity_w_mk)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipe:
    """A pipe from node `start` to node `end`; flow is positive in that direction."""

    name: str
    start: str
    end: str
    length_m: float
    pipe_class: str
    loss_coefficient: float = 0.0  # sum of the local losses (zeta) of bends, tees and fittings
    twin: str = ""  # the pipe in the same casing, of the same length; it names this one too


class ValveKind(StrEnum):
    """What a valve does with the flow."""

    CONTROL = "control"  # a resistance that follows from its opening; closed at 0
    CHECK = "check"  # lets water through from start to end only
    FLOW = "flow"  # pressure independent: holds a flow as long as the pressure suffices


@dataclass(frozen=True, slots=True, kw_only=True)
class Valve:
    """A valve from node `start` to node `end`."""

    name: str
    start: str
    end: str
    kind: ValveKind = ValveKind.CONTROL
    inner_diameter_m: float
    loss_coefficient: float = 0.0  # zeta when open, on the velocity in inner_diameter_m
    opening: float = 1.0  # 0 to 1, at the beginning; linear in the flow coefficient
    flow_kg_s: float = 0.0  # what kind FLOW holds, at the beginning


class PumpControl(StrEnum):
    """What a pump is governed by."""

    SPEED = "speed"  # runs at `speed`
    PRESSURE = "pressure"  # holds `pressure_rise_pa` across itself, speed follows
    CRITICAL = "critical"  # holds `pressure_rise_pa` between two nodes far out in the network


@dataclass(frozen=True, slots=True, kw_only=True)
class Pump:
    """A pump, or several equal ones in parallel; it lifts from node `start` to node `end` and has a check valve.

    The curve at nominal speed is head = shutoff_head_m - curve_m_s2_kg2 * flow**2; speed scales it by affinity.
    """

    name: str
    start: str
    end: str
    shutoff_head_m: float  # at no flow
    curve_m_s2_kg2: float  # fall of the head with the square of the flow of one pump, kg/s
    parallel: int = 1
    control: PumpControl = PumpControl.SPEED
    speed: float = 1.0  # of nominal, at the beginning; 0: stands
    pressure_rise_pa: float = 0.0  # what PRESSURE and CRITICAL hold, at the beginning
    critical_start: str = ""  # node of the supply side
    critical_end: str = ""  # node of the return side
    efficiency: float = 0.7  # hydraulic power to electric power


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node and the tags measured there (empty: not measured)."""

    name: str
    kind: NodeKind = NodeKind.JUNCTION
    temperature_tag: str = ""
    flow_tag: str = ""
    # A sensor in standing water shows the room, not the network: below this flow it is not compared.
    minimum_flow_kg_s: float = 0.0
    elevation_m: float = 0.0
    # Held here: at sources, which give or take what the others leave over, and at a closed network's pressure holding.
    pressure_pa: float | None = None
    position_m: tuple[float, float] | None = None  # east, north: for drawings
    # What the inputs of a run begin with, where no tag tells it.
    demand_kg_s: float = 0.0  # taken out; below 0: fed in
    supply_temp_k: float = 293.15  # of water that comes in here


Edge = Pipe | Valve | Pump | Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Pipes, valves, pumps and units between nodes.

    `ambient_temperature_tag` is what the pipes lose heat to, `outdoor_temperature_tag` the weather of customers.
    """

    name: str
    title: str = ""
    nodes: tuple[Node, ...]
    pipes: tuple[Pipe, ...]
    pipe_classes: tuple[PipeClass, ...]
    ambient_temperature_tag: str = ""
    outdoor_temperature_tag: str = ""
    ambient_temp_k: float = 283.15  # what the inputs of a run begin with, where no tag tells it
    valves: tuple[Valve, ...] = ()
    pumps: tuple[Pump, ...] = ()
    units: tuple[Unit, ...] = ()
    step_s: float = 60.0  # longest step of the twin; inputs are interpolated between their samples
    forecast_horizon_s: float = 6 * 3600.0
    forecast_step_s: float = 900.0
    prices: tuple[Price, ...] = ()  # at most one of each carrier

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InvalidTerritory(f"network {self.name}", problems)

    def pipe_class(self, name: str) -> PipeClass:
        """The pipe class called `name`."""
        return next(c for c in self.pipe_classes if c.name == name)

    @property
    def flows_are_imposed(self) -> bool:
        """Whether flows follow from the mass balance of a tree alone: nothing acts on the pressure or holds it."""
        acting = self.valves or self.pumps or self.units
        return not acting and all(node.pressure_pa is None for node in self.nodes)

    def _problems(self) -> Iterator[str]:
        for key, things in self._parts().items():
            yield from _duplicates(key, [thing.name for thing in things])
        for carrier, count in Counter(price.carrier for price in self.prices).items():
            if count > 1:
                yield f'prices: carrier "{carrier}" is defined {count} times'
        for i, c in enumerate(self.pipe_classes):
            yield from _class_problems(f"pipe_classes[{i}]", c)
        nodes = {node.name for node in self.nodes}
        if not math.isfinite(self.ambient_temp_k) or self.ambient_temp_k <= 0:
            yield f"ambient_temp_k: {self.ambient_temp_k} must be a temperature in K"
        for i, node in enumerate(self.nodes):
            yield from _node_problems(f"nodes[{i}]", node)
        for key in ("pipes", "valves", "pumps", "units"):
            for i, edge in enumerate(getattr(self, key)):
                yield from _end_problems(f"{key}[{i}]", key[:-1], edge, nodes)
        for i, pipe in enumerate(self.pipes):
            yield from self._pipe_problems(f"pipes[{i}]", pipe)
        for i, valve in enumerate(self.valves):
            yield from _valve_problems(f"valves[{i}]", valve)
        for i, pump in enumerate(self.pumps):
            yield from _pump_problems(f"pumps[{i}]", pump, nodes)
        for i, unit in enumerate(self.units):
            yield from (problem.below(f"units[{i}]") for problem in unit.problems())
        if self.flows_are_imposed:
            yield from self._imposed_problems(nodes)
        else:
            yield from self._pressure_problems()

    def _parts(self) -> dict[str, Sequence[Node | PipeClass | Edge]]:
        return {
            "nodes": self.nodes,
            "pipes": self.pipes,
            "pipe_classes": self.pipe_classes,
            "valves": self.valves,
            "pumps": self.pumps,
            "units": self.units,
        }

    def _pipe_problems(self, key: str, pipe: Pipe) -> Iterator[str]:
        classes = {c.name: c for c in self.pipe_classes}
        if not (math.isfinite(pipe.length_m) and pipe.length_m > 0):
            yield f"{key}.length_m: {pipe.length_m} must be positive"
        if not (math.isfinite(pipe.loss_coefficient) and pipe.loss_coefficient >= 0):
            yield f"{key}.loss_coefficient: {pipe.loss_coefficient} must not be negative"
        if pipe.pipe_class not in classes:
            yield (
                f"{key}.pipe_class: pipe class {pipe.pipe_class!r} does not exist; "
                f"classes are {', '.join(sorted(classes)) or 'none'}"
            )
        if not pipe.twin:
            return
        twin = next((other for other in self.pipes if other.name == pipe.twin), None)
        if twin is None or twin is pipe:
            yield f"{key}.twin: {pipe.twin!r} is not another pipe"
        elif twin.twin != pipe.name:
            yield f"{key}.twin: pipe {twin.name} names {twin.twin or 'no pipe'!r} as its twin, not {pipe.name}"
        elif twin.length_m != pipe.length_m:
            yield f"{key}.twin: {pipe.name} is {pipe.length_m:g} m long, its twin {twin.name} {twin.length_m:g} m"
        elif (made := classes.get(pipe.pipe_class)) and not math.isfinite(made.twin_resistance_mk_w):
            yield f"{key}.twin: pipe class {made.name} has no twin_resistance_mk_w"

    def _pressure_problems(self) -> Iterator[str]:
        if all(node.pressure_pa is None for node in self.nodes):
            yield "nodes: none has a pressure_pa; a network with valves, pumps or units needs one held somewhere"
        for i, node in enumerate(self.nodes):
            if node.kind is NodeKind.SOURCE and node.pressure_pa is None:
                yield f"nodes[{i}].pressure_pa: missing; source {node.name} needs one unless it feeds a plain tree"
            if node.kind is NodeKind.BALANCE:
                yield f"nodes[{i}].kind: balance is for a plain tree with one source; hold a pressure at {node.name}"

    def _imposed_problems(self, nodes: set[str]) -> Iterator[str]:
        sources = [node for node in self.nodes if node.kind is NodeKind.SOURCE]
        if len(sources) != 1:
            names = f" ({', '.join(node.name for node in sources)})" if sources else ""
            yield (
                f"nodes: {len(sources)} of kind source{names}; a tree with imposed flows has exactly one "
                "(where a pressure_pa is held, flows follow from pressures)"
            )
        balances = [node.name for node in self.nodes if node.kind is NodeKind.BALANCE]
        if len(balances) > 1:
            yield f"nodes: {len(balances)} of kind balance ({', '.join(balances)}); at most one can take the rest"
        if balances and sources and not sources[0].flow_tag:
            i = self.nodes.index(sources[0])
            yield f"nodes[{i}].flow_tag: missing; node {balances[0]} of kind balance needs one at the source"
        for i, node in enumerate(self.nodes):
            if node.kind is NodeKind.SOURCE and not node.temperature_tag:
                yield f"nodes[{i}].temperature_tag: missing; a source such as {node.name} needs one"
            if node.kind is NodeKind.CONSUMER and not node.flow_tag:
                yield f"nodes[{i}].flow_tag: missing; a consumer such as {node.name} needs one"
        if len(sources) == 1 and not any(end not in nodes for p in self.pipes for end in (p.start, p.end)):
            yield from self._tree_problems(sources[0].name)

    def _tree_problems(self, root: str) -> Iterator[str]:
        beside: dict[str, list[tuple[str, int]]] = {node.name: [] for node in self.nodes}
        for i, pipe in enumerate(self.pipes):
            beside[pipe.start].append((pipe.end, i))
            beside[pipe.end].append((pipe.start, i))
        reached, frontier, used = {root}, [root], set()
        while frontier:
            for other, i in beside[frontier.pop()]:
                if other not in reached:
                    reached.add(other)
                    frontier.append(other)
                    used.add(i)
        lost = sorted({node.name for node in self.nodes} - reached)
        if lost:
            yield f"nodes: {', '.join(lost)} not connected to the source {root}"
        # A pipe from a node to itself has been told already, and one among lost nodes may be wanted there.
        closing = [
            pipe.name
            for i, pipe in enumerate(self.pipes)
            if i not in used and pipe.start != pipe.end and pipe.start in reached
        ]
        if closing:
            yield f"pipes: {', '.join(closing)} close loops; without a pressure_pa held somewhere this must be a tree"


def _end_problems(key: str, kind: str, edge: Edge, nodes: set[str]) -> Iterator[str]:
    for name, end in (("start", edge.start), ("end", edge.end)):
        if end not in nodes:
            yield f"{key}.{name}: node {end!r} does not exist; nodes are {', '.join(sorted(nodes)) or 'none'}"
    if edge.start == edge.end:
        yield f"{key}.end: node {edge.end!r} is where {kind} {edge.name} starts"


def _node_problems(key: str, node: Node) -> Iterator[str]:
    if node.pressure_pa is not None and not (math.isfinite(node.pressure_pa) and node.pressure_pa > 0):
        yield f"{key}.pressure_pa: {node.pressure_pa} must be positive"
    for name in ("elevation_m", "demand_kg_s", "supply_temp_k"):
        if not math.isfinite(value := getattr(node, name)):
            yield f"{key}.{name}: {value} must be a number"


def _valve_problems(key: str, valve: Valve) -> Iterator[str]:
    if not (math.isfinite(valve.inner_diameter_m) and valve.inner_diameter_m > 0):
        yield f"{key}.inner_diameter_m: {valve.inner_diameter_m} must be positive"
    if not 0.0 <= valve.opening <= 1.0:
        yield f"{key}.opening: {valve.opening} must be 0 to 1"
    for name in ("loss_coefficient", "flow_kg_s"):
        if not (math.isfinite(value := getattr(valve, name)) and value >= 0):
            yield f"{key}.{name}: {value} must not be negative"


def _pump_problems(key: str, pump: Pump, nodes: set[str]) -> Iterator[str]:
    if not (math.isfinite(pump.shutoff_head_m) and pump.shutoff_head_m > 0):
        yield f"{key}.shutoff_head_m: {pump.shutoff_head_m} must be positive"
    for name in ("curve_m_s2_kg2", "speed", "pressure_rise_pa"):
        if not (math.isfinite(value := getattr(pump, name)) and value >= 0):
            yield f"{key}.{name}: {value} must not be negative"
    if pump.parallel < 1:
        yield f"{key}.parallel: {pump.parallel} must be at least 1"
    if not 0.0 < pump.efficiency <= 1.0:
        yield f"{key}.efficiency: {pump.efficiency} must be above 0 and at most 1"
    if pump.control is PumpControl.CRITICAL:
        for name in ("critical_start", "critical_end"):
            if (node := getattr(pump, name)) not in nodes:
                yield f"{key}.{name}: node {node!r} does not exist; control critical needs it"


def _class_problems(key: str, c: PipeClass) -> Iterator[str]:
    if not 0 < c.inner_diameter_m < c.outer_diameter_m:
        yield (
            f"{key}: inner diameter {c.inner_diameter_m:g} m of pipe class {c.name} must be positive and below "
            f"the outer diameter {c.outer_diameter_m:g} m"
        )
    for name in ("wall_density_kg_m3", "wall_heat_capacity_j_kgk", "loss_resistance_mk_w"):
        value = getattr(c, name)
        if not (math.isfinite(value) and value > 0):
            yield f"{key}.{name}: {value} must be positive"
    if not c.twin_resistance_mk_w > 0:
        yield f"{key}.twin_resistance_mk_w: {c.twin_resistance_mk_w} must be positive"
    for name in ("loss_factor", "dispersion_factor", "roughness_m", "insulation_heat_capacity_j_m3k"):
        value = getattr(c, name)
        if not (math.isfinite(value) and value >= 0):
            yield f"{key}.{name}: {value} must not be negative"
    if c.insulation_heat_capacity_j_m3k > 0:
        yield from _insulation_problems(key, c)


def _insulation_problems(key: str, c: PipeClass) -> Iterator[str]:
    if not (math.isfinite(c.insulation_conductivity_w_mk) and c.insulation_conductivity_w_mk > 0):
        yield f"{key}.insulation_conductivity_w_mk: {c.insulation_conductivity_w_mk} must be positive"
    elif not (math.isfinite(c.insulation_diameter_m) and c.insulation_diameter_m > c.outer_diameter_m > 0):
        yield f"{key}.insulation_diameter_m: {c.insulation_diameter_m} must exceed {c.outer_diameter_m}"
    elif not c.insulation_resistance_mk_w <= c.loss_resistance_mk_w * (1.0 + 1e-9):
        yield (
            f"{key}.loss_resistance_mk_w: {c.loss_resistance_mk_w:g} is less than the insulation's alone, "
            f"{c.insulation_resistance_mk_w:g}"
        )


def _duplicates(key: str, names: list[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f'{key}: name "{name}" is defined {count} times'
