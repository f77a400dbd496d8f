"""A checked network table -> the network of the core: SI, classes with their resistances, the return line mirrored."""

import re
from collections.abc import Callable
from math import inf, log, pi
from typing import TypeVar

from uem.territories import schema_network as schema
from uem.territories.dimensions import DEPTH_M, FOAM_W_MK, SOIL_W_MK, STEEL
from uem.territories.schema_units import build_unit, file_keys, in_files
from uem.twin_core import units
from uem.twin_core.errors import InvalidTerritory
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
from uem.twin_core.plant.problem import Problem

PA_PER_BAR = 1e5
_INDEXED = re.compile(r"(nodes|pipes)\[(\d+)\]")
# Keys of the core that have another unit in files.
_KEYS = {
    "pressure_pa": "pressure_bar",
    "pressure_rise_pa": "pressure_rise_bar",
    "inner_diameter_m": "inner_diameter_mm",
    "supply_temp_k": "supply_c",
    "ambient_temp_k": "ambient_c",
    "roughness_m": "roughness_mm",
}
_KEY = re.compile(rf"\b({'|'.join(_KEYS)})\b")
T = TypeVar("T")
R = TypeVar("R")


def network(table: schema.Network) -> Network:
    """The network that a table describes.

    Raises:
        InvalidTerritory: every problem, by the keys of the table.
    """
    problems: list[str] = []
    classes = []
    for i, c in enumerate(table.pipe_classes):
        made = _told(pipe_class, c, problems, f"pipe_classes[{i}]")
        # One that is wrong stands in for itself, so that the rest of the network is checked too.
        classes.append(made or pipe_class(c.model_copy(update={"loss_resistance_mk_w": 1.0, "insulation": None})))
    nodes, pipes = [_node(node) for node in table.nodes], [Pipe(**pipe.model_dump()) for pipe in table.pipes]
    if table.mirror is not None:
        problems += [f"mirror.exclude: node {n!r} does not exist" for n in _unknown(table.mirror, nodes)]
        nodes, pipes = mirrored(nodes, pipes, table.mirror)
    try:
        built = Network(
            name=table.name,
            title=table.title,
            nodes=tuple(nodes),
            pipes=tuple(pipes),
            pipe_classes=tuple(classes),
            ambient_temperature_tag=table.ambient_temperature_tag,
            outdoor_temperature_tag=table.outdoor_temperature_tag,
            ambient_temp_k=units.to_si(table.ambient_c, "Cel"),
            valves=tuple(_valve(valve) for valve in table.valves),
            pumps=tuple(_pump(pump) for pump in table.pumps),
            units=tuple(build_unit(unit) for unit in table.units),
            step_s=table.step_s,
            forecast_horizon_s=table.forecast_horizon_s,
            forecast_step_s=table.forecast_step_s,
        )
    except InvalidTerritory as error:
        raise InvalidTerritory(error.where, [*problems, *_of_the_file(error.problems, table)]) from None
    if problems:
        raise InvalidTerritory(f"network {table.name}", problems)
    return built


def mirrored(nodes: list[Node], pipes: list[Pipe], how: schema.Mirror) -> tuple[list[Node], list[Pipe]]:
    """Nodes and pipes with those of the return line behind them."""
    partner = {node.name: node.name + how.suffix for node in nodes if node.name not in how.exclude}
    back = [
        Node(name=partner[n.name], elevation_m=n.elevation_m, position_m=n.position_m)
        for n in nodes
        if n.name in partner
    ]
    doubled = {p.name: p.name + how.suffix for p in pipes if {p.start, p.end} <= partner.keys()}
    there = [_with_twin(pipe, doubled[pipe.name]) if how.twin and pipe.name in doubled else pipe for pipe in pipes]
    returns = [
        Pipe(
            name=doubled[pipe.name],
            start=partner[pipe.end],
            end=partner[pipe.start],
            length_m=pipe.length_m,
            pipe_class=pipe.pipe_class + how.pipe_class_suffix,
            loss_coefficient=pipe.loss_coefficient,
            twin=pipe.name if how.twin else "",
        )
        for pipe in pipes
        if pipe.name in doubled
    ]
    return [*nodes, *back], [*there, *returns]


def _with_twin(pipe: Pipe, twin: str) -> Pipe:
    return Pipe(
        name=pipe.name,
        start=pipe.start,
        end=pipe.end,
        length_m=pipe.length_m,
        pipe_class=pipe.pipe_class,
        loss_coefficient=pipe.loss_coefficient,
        twin=twin,
    )


def _by_its_keys(problem: str) -> str:
    """A problem by the keys of the file, with values in their units."""
    if not isinstance(problem, Problem):
        return _KEY.sub(lambda match: _KEYS[match[1]], problem)
    keys = file_keys()  # of units
    return re.sub(r"\w+", lambda word: keys.get(word[0], word[0]), problem.told(in_files))


def _unknown(how: schema.Mirror, nodes: list[Node]) -> list[str]:
    known = {node.name for node in nodes}
    return [name for name in how.exclude if name not in known]


def _of_the_file(problems: tuple[str, ...], table: schema.Network) -> list[str]:
    """Problems by the keys that the file has: what the return line repeats is told once, at the supply line."""
    renamed = [_by_its_keys(problem) for problem in problems]
    if table.mirror is None:
        return renamed
    written = {"nodes": len(table.nodes), "pipes": len(table.pipes)}
    found: list[str] = []
    for problem in renamed:
        match = _INDEXED.match(problem)
        if match is None or int(match[2]) < written[match[1]]:
            found.append(problem)
        elif not any(p.startswith((f"{match[1]}[", "pipe_classes[")) for p in found):
            found.append(f"mirror: in the return line, {problem}")
    return found


def pipe_class(c: schema.PipeClass) -> PipeClass:
    """The pipe class that a table describes; InvalidTerritory when its heat loss is not told once."""
    inner, outer, casing = c.inner_diameter_mm, c.outer_diameter_mm, None
    if c.dn is not None:
        inner, outer, casing = STEEL[c.dn].inner_mm, STEEL[c.dn].outer_mm, STEEL[c.dn].casing_mm
    assert inner is not None  # the schema has seen to it
    assert outer is not None
    told = [key for key in ("loss_resistance_mk_w", "insulation") if getattr(c, key) is not None]
    if len(told) == 2 or (casing is None and not told):
        raise InvalidTerritory(f"pipe class {c.name}", ["give either loss_resistance_mk_w or insulation"])
    resistance, stores = c.loss_resistance_mk_w, c.insulation
    if resistance is None:
        layers = c.insulation or schema.Insulation(
            conductivity_w_mk=FOAM_W_MK,
            casing_diameter_mm=casing or 0.0,
            soil_conductivity_w_mk=SOIL_W_MK,
            soil_diameter_mm=4e3 * DEPTH_M,
        )
        resistance = _insulation_resistance_mk_w(c.name, outer, layers)
    capacity = stores.heat_capacity_j_m3k if stores else 0.0
    return PipeClass(
        name=c.name,
        inner_diameter_m=inner * 1e-3,
        outer_diameter_m=outer * 1e-3,
        wall_density_kg_m3=c.wall_density_kg_m3,
        wall_heat_capacity_j_kgk=c.wall_heat_capacity_j_kgk,
        loss_resistance_mk_w=resistance,
        loss_factor=c.loss_factor,
        dispersion_factor=c.dispersion_factor,
        roughness_m=c.roughness_mm * 1e-3,
        twin_resistance_mk_w=inf if c.twin_resistance_mk_w is None else c.twin_resistance_mk_w,
        insulation_heat_capacity_j_m3k=capacity,
        insulation_conductivity_w_mk=stores.conductivity_w_mk if stores and capacity else 0.0,
        insulation_diameter_m=stores.casing_diameter_mm * 1e-3 if stores and capacity else 0.0,
    )


def _insulation_resistance_mk_w(name: str, outer_mm: float, layers: schema.Insulation) -> float:
    """Cylindrical layers in series: insulation, then soil up to a diameter, then an outer film."""
    where, casing = f"pipe class {name}", layers.casing_diameter_mm
    if casing <= outer_mm:
        raise InvalidTerritory(where, [f"insulation.casing_diameter_mm {casing} must exceed {outer_mm}"])
    resistance = log(casing / outer_mm) / (2 * pi * layers.conductivity_w_mk)
    if (layers.soil_conductivity_w_mk is None) != (layers.soil_diameter_mm is None):
        raise InvalidTerritory(where, ["insulation: give soil_conductivity_w_mk and soil_diameter_mm together"])
    if layers.soil_conductivity_w_mk is not None and layers.soil_diameter_mm is not None:
        if layers.soil_diameter_mm <= casing:
            raise InvalidTerritory(
                where, [f"insulation.soil_diameter_mm {layers.soil_diameter_mm} must exceed {casing}"]
            )
        resistance += log(layers.soil_diameter_mm / casing) / (2 * pi * layers.soil_conductivity_w_mk)
    if layers.film_w_m2k is not None:
        resistance += 1.0 / (layers.film_w_m2k * pi * casing * 1e-3)
    return resistance


def _node(node: schema.Node) -> Node:
    return Node(
        name=node.name,
        kind=NodeKind(node.kind),
        temperature_tag=node.temperature_tag,
        flow_tag=node.flow_tag,
        minimum_flow_kg_s=node.minimum_flow_kg_s,
        elevation_m=node.elevation_m,
        pressure_pa=None if node.pressure_bar is None else node.pressure_bar * PA_PER_BAR,
        position_m=None if node.x_m is None or node.y_m is None else (node.x_m, node.y_m),
        demand_kg_s=node.demand_kg_s,
        supply_temp_k=units.to_si(node.supply_c, "Cel"),
    )


def _valve(valve: schema.Valve) -> Valve:
    rest = valve.model_dump(exclude={"kind", "inner_diameter_mm"})
    return Valve(kind=ValveKind(valve.kind), inner_diameter_m=valve.inner_diameter_mm * 1e-3, **rest)


def _pump(pump: schema.Pump) -> Pump:
    rest = pump.model_dump(exclude={"control", "pressure_rise_bar"})
    return Pump(control=PumpControl(pump.control), pressure_rise_pa=pump.pressure_rise_bar * PA_PER_BAR, **rest)


def _told(make: Callable[[T], R], item: T, problems: list[str], key: str) -> R | None:
    try:
        return make(item)
    except InvalidTerritory as error:
        problems += [f"{key}: {error.where}: {problem}" for problem in error.problems]
    return None
