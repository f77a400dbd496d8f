"""Surveyed pipes and places -> a network: ends snapped together, tees cut, diameters by DN, the return line mirrored.

What geographic files hold is drawn, not connected: an end may miss its neighbour by centimetres, and a service pipe
ends somewhere on the street pipe. Positions here are metres.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, floor, hypot
from typing import Any

from uem.territories.dimensions import STEEL
from uem.territories.importers.draft import Draft, clean, rounded
from uem.twin_core.errors import InvalidInput

Point = tuple[float, float]
HEAT_CAPACITY_J_KGK = 4184.0

# Other words for the keys below, as files from several offices have them.
_WORDS = {
    "name": ("id", "fid", "objectid", "pipe", "pipe_id", "node", "node_id", "label"),
    "start": ("from", "from_node", "start_node", "node1", "from_junction"),
    "end": ("to", "to_node", "end_node", "node2", "to_junction"),
    "dn": ("nominal_diameter", "diameter_nominal", "nennweite"),
    "inner_diameter_mm": ("diameter_mm", "di_mm", "d_inner_mm"),
    "outer_diameter_mm": ("da_mm", "d_outer_mm"),
    "length_m": ("length", "laenge", "longueur"),
    "roughness_mm": ("k_mm", "roughness"),
    "kind": ("type", "role", "usage"),
    "elevation_m": ("elevation", "height_m", "z", "altitude"),
    "heat_kw": ("demand_kw", "load_kw", "peak_kw", "power_kw", "heat_demand_kw"),
    "temperature_drop_k": ("drop_k", "delta_t_k", "deltat_k"),
    "demand_kg_s": ("flow_kg_s", "mass_flow_kg_s"),
    "pressure_bar": ("p_bar",),
    "supply_c": ("supply_temp_c", "t_supply_c"),
}
_OF_LINES = ("name", "start", "end", "dn", "inner_diameter_mm", "outer_diameter_mm", "length_m", "roughness_mm")
_OF_POINTS = (
    "name",
    "kind",
    "elevation_m",
    "heat_kw",
    "temperature_drop_k",
    "demand_kg_s",
    "pressure_bar",
    "supply_c",
)
KEYS = tuple(dict.fromkeys((*_OF_LINES, *_OF_POINTS)))
_KINDS = {
    "source": ("source", "plant", "producer", "supplier", "heat_source", "boiler", "chp"),
    "consumer": ("consumer", "customer", "building", "substation", "load", "heat_load", "sink"),
    "junction": ("junction", "node", "tee", ""),
}
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")


@dataclass
class Line:
    """A pipe as it was drawn, or as a row of a table with its two ends named."""

    where: str  # for messages
    keys: Mapping[str, Any]
    points: list[Point] = field(default_factory=list)


@dataclass
class Place:
    """A plant, a customer or another point of note."""

    where: str
    keys: Mapping[str, Any]
    point: Point | None = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to read between the lines."""

    tolerance_m: float = 0.5  # ends nearer than this are one node
    dn: int | None = None  # of pipes that tell none
    supply_c: float = 80.0
    temperature_drop_k: float = 30.0
    heat_kw: float | None = None  # of consumers that tell none
    names: Mapping[str, str] = field(default_factory=dict)  # our key -> the file's


def draft(name: str, lines: list[Line], places: list[Place], options: Options) -> Draft:
    """The network that was surveyed.

    Raises:
        InvalidInput: there are no lines, or a value is no number.
    """
    if not lines:
        raise InvalidInput(f"{name}: holds no pipes (lines)")
    made = Draft(clean(name) or "network", name)
    work = _Survey(made, options)
    unused: set[str] = set()
    rows = [_Row(line.where, _known(line.keys, _OF_LINES, options, unused)) for line in lines]
    spots = [_Row(place.where, _known(place.keys, _OF_POINTS, options, unused)) for place in places]
    for place, row in zip(places, spots, strict=True):
        work.place(place, row)
    for line, row in zip(lines, rows, strict=True):
        work.line(line, row)
    work.cut_tees()
    work.pipes()
    work.plant_and_customers()
    if unused:
        made.info("columns", f"not used: {', '.join(sorted(unused))}")
    return made


class _Row:
    """Cells by our keys."""

    def __init__(self, where: str, cells: Mapping[str, Any]) -> None:
        self.where = where
        self.cells = cells

    def text(self, key: str) -> str:
        value = self.cells.get(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return "" if value is None else str(value).strip()

    def number(self, key: str) -> float | None:
        value = self.cells.get(key)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        try:
            return float(value.replace(",", ".") if isinstance(value, str) else value)
        except (TypeError, ValueError):
            raise InvalidInput(f"{self.where}: {key}: {value!r} is not a number") from None


def _known(cells: Mapping[str, Any], keys: Iterable[str], options: Options, unused: set[str]) -> dict[str, Any]:
    lower = {str(k).strip().lower(): k for k in cells}
    found, taken = {}, set()
    for key in keys:
        words = (options.names[key].lower(),) if key in options.names else (key, *_WORDS.get(key, ()))
        word = next((w for w in words if w in lower and cells[lower[w]] not in (None, "")), None)
        if word is not None:
            found[key] = cells[lower[word]]
            taken.add(lower[word])
    unused.update(str(k) for k in cells if k not in taken and cells[k] not in (None, ""))
    return found


@dataclass
class _Drawn:
    row: _Row
    points: list[Point]
    nodes: list[tuple[float, str]]  # (distance along the line, node), in order
    length_m: float


class _Survey:
    def __init__(self, made: Draft, options: Options) -> None:
        self.made = made
        self.options = options
        self.position: dict[str, Point] = {}
        self.row: dict[str, dict[str, Any]] = {}  # of a node
        self.spots: dict[str, _Row] = {}  # what is known of the place at a node
        self.wanted: dict[str, str] = {}  # a table's name of a node -> ours
        self.cell: dict[tuple[int, int], list[str]] = {}
        self.size_m = max(4.0 * options.tolerance_m, 20.0)
        self.lines: list[_Drawn] = []
        self.met: set[str] = set()

    def place(self, place: Place, row: _Row) -> None:
        """A node of its own, with its name."""
        name = self._new_node(row.text("name") or "place", place.point)
        self.wanted[row.text("name")] = name
        self.spots[name] = row
        elevation = row.number("elevation_m")
        if elevation:
            self.row[name]["elevation_m"] = rounded(elevation)

    def line(self, line: Line, row: _Row) -> None:
        """A pipe whose ends are nodes that are there, or new ones."""
        start, end = row.text("start"), row.text("end")
        if start and end:
            ends = [self._named(start, line.points[:1]), self._named(end, line.points[-1:])]
        elif len(line.points) >= 2:
            ends = [self._at(line.points[0]), self._at(line.points[-1])]
        else:
            raise InvalidInput(f"{line.where}: neither start and end nor coordinates")
        drawn = _length_m(line.points)
        given = row.number("length_m")
        length = given if given is not None else drawn
        if ends[0] == ends[1] and len(line.points) < 3:
            self.made.lost(line.where, f"a pipe of {length:g} m from {ends[0]} to itself")
            return
        if given is not None and drawn > 1.0 and not 0.7 < given / drawn < 1.5:
            self.made.info(line.where, f"length {given:g} m is given, {drawn:.1f} m is drawn")
        if length < 0.01:
            self.made.info(line.where, f"length {length:g} m is taken as 0.01 m")
        self.lines.append(_Drawn(row, line.points, [(0.0, ends[0]), (drawn, ends[1])], max(length, 0.01)))
        self.met.update(ends)

    def cut_tees(self) -> None:
        """Cut lines where another one, or a place, ends on them."""
        for line in self.lines:
            ends = {node for _, node in line.nodes}
            along = 0.0
            for a, b in pairwise(line.points):
                for node in self._near_segment(a, b):
                    t, distance = _foot(a, b, self.position[node])
                    if node not in ends and distance <= self.options.tolerance_m:
                        line.nodes.append((along + t * hypot(b[0] - a[0], b[1] - a[1]), node))
                        ends.add(node)
                        self.met.add(node)
                along += hypot(b[0] - a[0], b[1] - a[1])
            line.nodes.sort()

    def pipes(self) -> None:
        """A pipe between each two neighbours along a line."""
        for line in self.lines:
            pieces = list(pairwise(line.nodes))
            drawn = line.nodes[-1][0]
            pipe_class = self._class(line.row)
            base = line.row.text("name") or f"{pieces[0][0][1]}-{pieces[-1][1][1]}"
            for k, ((s, start), (t, end)) in enumerate(pieces):
                part = (t - s) / drawn if len(pieces) > 1 else 1.0
                self.made.pipes.append(
                    {
                        "name": self.made.unique("pipe", base if len(pieces) == 1 else f"{base}-{k + 1}"),
                        "start": start,
                        "end": end,
                        "length_m": rounded(max(line.length_m * part, 0.01), 8),
                        "pipe_class": pipe_class,
                    }
                )

    def plant_and_customers(self) -> None:
        """What stands at the places; with customers in kW the return line is mirrored, so that water goes round."""
        sources = [n for n in self.spots if self._kind(n) == "source"]
        customers = [n for n in self.spots if self._kind(n) == "consumer"]
        for node, row in self.spots.items():
            if node not in self.met:
                self.made.lost(row.where, f"no pipe within {self.options.tolerance_m:g} m")
        heat = {n: self._heat_kw(n) for n in customers if n in self.met}
        if not sources:
            sources = [self._guessed_source()]
        if any(kw is not None for kw in heat.values()):
            self._closed([n for n in sources if n in self.met], heat)
        else:
            self._open(sources, customers)

    def _guessed_source(self) -> str:
        """An end of the widest pipe, so that there is a network to look at."""
        ends = Counter(node for pipe in self.made.pipes for node in (pipe["start"], pipe["end"]))
        width = {c["name"]: c.get("dn") or c["inner_diameter_mm"] for c in self.made.pipe_classes}
        widest = max(self.made.pipes, key=lambda p: (width[p["pipe_class"]], -min(ends[p["start"]], ends[p["end"]])))
        node: str = min(widest["start"], widest["end"], key=lambda n: ends[n])
        self.spots.setdefault(node, _Row(f"node {node}", {}))
        self.made.lost("network", f"no place of kind source; {node}, an end of the widest pipe, is taken as one")
        return node

    def _open(self, sources: list[str], customers: list[str]) -> None:
        for node in sources:
            row = self.spots[node]
            pressure, supply = row.number("pressure_bar"), row.number("supply_c")
            self.row[node] |= {
                "kind": "source",
                "pressure_bar": 6.0 if pressure is None else pressure,
                "supply_c": self.options.supply_c if supply is None else supply,
            }
        for node in customers:
            flow = self.spots[node].number("demand_kg_s")
            self.row[node] |= {"kind": "consumer", "demand_kg_s": flow or 0.0}
            if flow is None:
                self.made.lost(self.spots[node].where, "neither heat_kw nor demand_kg_s: it takes nothing")

    def _closed(self, sources: list[str], heat: dict[str, float | None]) -> None:
        self.made.mirror = {"suffix": "-return", "exclude": []}
        total = 0.0
        for node, kw in heat.items():
            if kw is None:
                self.made.lost(self.spots[node].where, "no heat_kw: no customer there (or give --heat-kw)")
                continue
            drop = self.spots[node].number("temperature_drop_k") or self.options.temperature_drop_k
            flow = kw * 1e3 / (HEAT_CAPACITY_J_KGK * drop)
            total += flow
            self.made.units.append(
                {"kind": "heat_load", "name": self.made.unique("unit", f"{node}-load"), "start": node}
                | {"end": f"{node}-return", "heat_kw": rounded(kw), "temperature_drop_k": drop}
                | {"nominal_flow_kg_s": rounded(max(flow, 1e-3))}
            )
        for k, node in enumerate(sources):
            self._plant(node, total, self._farthest(sources[0], heat) if k == 0 else "")
        self.made.info("network", "one line is drawn for supply and return: the return line is its mirror")

    def _plant(self, node: str, flow_kg_s: float, farthest: str) -> None:
        row = self.spots[node]
        supply, heat_kw = row.number("supply_c") or self.options.supply_c, row.number("heat_kw")
        source: dict[str, Any] = {"kind": "heat_source", "name": self.made.unique("unit", f"{node}-heat"), "end": node}
        source["supply_temp_c"] = supply
        if not farthest:  # a further plant
            if heat_kw is None:
                self.made.lost(row.where, "a further source without heat_kw gives nothing")
            pumped = {"start": f"{node}-return", "flow_control": "pumped", "heat_kw": heat_kw or 0.0}
            self.made.units.append(source | pumped)
            return
        inlet = self._new_node(f"{node}-inlet", self.position.get(node))
        assert self.made.mirror is not None
        self.made.mirror["exclude"].append(inlet)
        self.row[node]["pressure_bar"] = row.number("pressure_bar") or 6.0
        head = 60.0
        self.made.pumps.append(
            {"name": self.made.unique("pump", f"{node}-pump"), "start": f"{node}-return", "end": inlet}
            | {"shutoff_head_m": head, "curve_m_s2_kg2": rounded(0.2 * head / max(flow_kg_s, 0.1) ** 2)}
            | {"control": "critical", "pressure_rise_bar": 0.6}
            | {"critical_start": farthest, "critical_end": f"{farthest}-return"}
        )
        self.made.units.append(source | {"start": inlet, "nominal_flow_kg_s": rounded(max(flow_kg_s, 0.1))})
        self.made.info(row.where, f"an ideal source of {supply:g} degC and a pump that holds 0.6 bar at {farthest}")

    def _farthest(self, source: str, heat: Mapping[str, float | None]) -> str:
        """The customer that is longest to reach."""
        beside: dict[str, list[tuple[str, float]]] = {}
        for pipe in self.made.pipes:
            beside.setdefault(pipe["start"], []).append((pipe["end"], pipe["length_m"]))
            beside.setdefault(pipe["end"], []).append((pipe["start"], pipe["length_m"]))
        way, frontier = {source: 0.0}, [source]
        while frontier:
            here = frontier.pop(0)
            for other, length in beside.get(here, ()):
                if way[here] + length < way.get(other, float("inf")):
                    way[other] = way[here] + length
                    frontier.append(other)
        return max((n for n, kw in heat.items() if kw is not None), key=lambda n: way.get(n, 0.0))

    def _kind(self, node: str) -> str:
        word = self.spots[node].text("kind").lower()
        found = next((kind for kind, words in _KINDS.items() if word in words), None)
        if found is not None and word:
            return found
        if self.spots[node].cells.keys() & {"heat_kw", "demand_kg_s"}:
            return "consumer"
        return "junction"

    def _heat_kw(self, node: str) -> float | None:
        found = self.spots[node].number("heat_kw")
        return self.options.heat_kw if found is None else found

    def _class(self, row: _Row) -> str:
        roughness = row.number("roughness_mm")
        more = {} if roughness is None else {"roughness_mm": roughness}
        inner, outer, dn = row.number("inner_diameter_mm"), row.number("outer_diameter_mm"), row.text("dn")
        if dn:
            number = _NUMBER.search(dn)
            size = round(float(number[0].replace(",", "."))) if number else 0
            if size in STEEL:
                return self.made.pipe_class(f"dn{size}", {"dn": size, **more})
            raise InvalidInput(f"{row.where}: DN {dn!r} is not in the table; known: {', '.join(map(str, STEEL))}")
        if inner is not None:
            casing = {"conductivity_w_mk": 0.027, "casing_diameter_mm": rounded((outer or inner * 1.08) + 80.0)}
            soil = {"soil_conductivity_w_mk": 1.6, "soil_diameter_mm": 3600.0}
            keys = {"inner_diameter_mm": inner, "outer_diameter_mm": outer or rounded(inner * 1.08)}
            return self.made.pipe_class(f"d{inner:.0f}", keys | {"insulation": casing | soil} | more)
        if self.options.dn is None:
            raise InvalidInput(f"{row.where}: no diameter; name its column by --column dn=NAME or give --dn")
        self.made.info(row.where, f"no diameter: DN {self.options.dn} is assumed")
        return self.made.pipe_class(f"dn{self.options.dn}", {"dn": self.options.dn, **more})

    def _named(self, wanted: str, points: list[Point]) -> str:
        if wanted not in self.wanted:
            self.wanted[wanted] = self._new_node(wanted, points[0] if points else None)
        return self.wanted[wanted]

    def _at(self, point: Point) -> str:
        """The nearest node within the tolerance, or a new one."""
        reach = self.options.tolerance_m
        x, y = (floor(c / self.size_m) for c in point)
        near = [n for i in (-1, 0, 1) for j in (-1, 0, 1) for n in self.cell.get((x + i, y + j), ())]
        distance = {n: hypot(point[0] - self.position[n][0], point[1] - self.position[n][1]) for n in near}
        best = min(distance, key=lambda n: distance[n], default=None)
        if best is not None and distance[best] <= reach:
            return best
        return self._new_node(f"n{len(self.row) + 1}", point)

    def _new_node(self, wanted: str, point: Point | None) -> str:
        name = self.made.unique("node", wanted)
        self.row[name] = {"name": name}
        self.made.nodes.append(self.row[name])
        if point is not None:
            self.position[name] = point
            self.row[name] |= {"x_m": rounded(point[0], 9), "y_m": rounded(point[1], 9)}
            self.cell.setdefault((floor(point[0] / self.size_m), floor(point[1] / self.size_m)), []).append(name)
        return name

    def _near_segment(self, a: Point, b: Point) -> list[str]:
        """Nodes in the cells that a segment passes, and around them."""
        steps = max(1, ceil(hypot(b[0] - a[0], b[1] - a[1]) / self.size_m))
        seen: dict[tuple[int, int], None] = {}
        for k in range(steps + 1):
            x, y = (floor((p + (q - p) * k / steps) / self.size_m) for p, q in zip(a, b, strict=True))
            seen |= {(x + i, y + j): None for i in (-1, 0, 1) for j in (-1, 0, 1)}
        return [node for cell in seen for node in self.cell.get(cell, ())]


def _length_m(points: list[Point]) -> float:
    return sum(hypot(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(points))


def _foot(a: Point, b: Point, p: Point) -> tuple[float, float]:
    """Where along a segment (0 to 1) the nearest place to a point lies, and how far it is."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    square = dx * dx + dy * dy
    t = 0.0 if square == 0.0 else min(max(((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / square, 0.0), 1.0)
    return t, hypot(p[0] - a[0] - t * dx, p[1] - a[1] - t * dy)
