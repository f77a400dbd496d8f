"""What a drawing shows, in pixels: coloured lines, symbols, texts and a scale. The backends only put it on paper."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import atan2, ceil, cos, dist, floor, hypot, isfinite, log10, nan, sin, sqrt
from typing import NamedTuple

from uem.twin_core.plant.layout import positions
from uem.twin_core.plant.network import Network, NodeKind
from uem.twin_core.plant.sides import Side, is_consumer, neighbours, sides
from uem.twin_core.plant.units import StorageTank

WIDTH = 1000.0
MOST_HEIGHT, LEAST_HEIGHT = 1000.0, 380.0
MARGIN, LEGEND, HEAD = 36.0, 150.0, 56.0
INK, FAINT, GREY = "#1f2933", "#7b8794", "#b8c0c8"
_MOST_LABELS = 40
_PLANT = 18.0  # from one square of a plant to the next, at least
_MOST_ASIDE = 3  # names of a plant that may stand on the side of the network
_EM = 0.58  # mean width of a letter as a part of the size; of a bold one a little more

# From low to high. Temperature: cold blue to hot red; the others: light to dark, readable without colours.
RAMPS = {
    "temperature": ("#2c5c9c", "#5f9ec9", "#a9c8c4", "#f0b56b", "#de6a3a", "#a61c28"),
    "pressure": ("#d8e2a8", "#8cc084", "#45988d", "#2c6a8a", "#2f3f75", "#2a1a52"),
    "flow": ("#cfdbe6", "#93bcd9", "#4f97c4", "#2571a8", "#114a80", "#082b52"),
    "diameter": ("#e3d3b8", "#cda979", "#b07f55", "#875a44", "#5c3b38", "#33222a"),
}
UNITS = {"temperature": "°C", "pressure": "bar", "flow": "kg/s", "diameter": "mm"}


class Stroke(NamedTuple):
    """A line of one colour."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float
    dashed: bool = False
    tip: str = ""  # what a reader of the SVG sees when pointing at it


class Shape(NamedTuple):
    """A filled polygon, or a circle where `radius` is above 0 (around the one point)."""

    points: tuple[tuple[float, float], ...]
    fill: str
    edge: str = INK
    radius: float = 0.0
    tip: str = ""


class Text(NamedTuple):
    """`anchor`: start, middle or end."""

    x: float
    y: float
    text: str
    size: float = 12.0
    anchor: str = "start"
    colour: str = INK
    bold: bool = False

    @property
    def width(self) -> float:
        """About how wide it is: browsers differ in their fonts."""
        return len(self.text) * self.size * _EM * (1.08 if self.bold else 1.0)

    @property
    def left(self) -> float:
        """Where it begins."""
        return self.x - self.width * {"start": 0.0, "middle": 0.5, "end": 1.0}[self.anchor]

    def shortened(self, width: float) -> "Text":
        """The text, its end left out where it is wider."""
        fitting = int(len(self.text) * width / self.width) if self.width > width else len(self.text)
        return self if fitting == len(self.text) else self._replace(text=self.text[: max(fitting - 1, 0)] + "…")


@dataclass
class Scene:
    """A drawing, from back to front: strokes, shapes, texts."""

    width: float
    height: float
    strokes: list[Stroke] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What to colour by, in the unit of `UNITS`: of nodes and pipes, by name; NaN or absent: not known, grey."""

    by: str
    pipe: Mapping[str, float]
    node: Mapping[str, float]
    flow_kg_s: Mapping[str, float] = field(default_factory=dict)  # of pipes: for arrows
    note: str = ""


def draw(network: Network, values: Values) -> Scene:
    """The network from the positions of its nodes."""
    return _Drawing(network, values).scene


class _Drawing:
    def __init__(self, network: Network, values: Values) -> None:
        self.network, self.values = network, values
        self.side = sides(network)
        self.is_closed = Side.RETURN in self.side.values()
        self.beside = neighbours(network)
        place = positions(network)
        self.at, height = _to_pixels(place)
        self.scene = Scene(WIDTH, height)
        shown = [v for v in (*values.pipe.values(), *values.node.values()) if isfinite(v)]
        self.low, self.high = _range(shown)
        self.widest_m = max((c.inner_diameter_m for c in network.pipe_classes), default=0.1)
        self._pipes()
        self._others()
        self._nodes()
        # Names at the edge need room of their own: the paper grows, and the legend goes aside.
        edge = max((text.left + text.width for text in self.scene.texts), default=0.0)
        self.legend_x = max(WIDTH - LEGEND + 34.0, edge + 20.0)
        self.scene.width = ceil(self.legend_x + LEGEND - 34.0)
        self._head()
        self._legend()
        self._grow()

    def _grow(self) -> None:
        """Paper on the left and below for what would be cut."""
        scene = self.scene
        aside = max((MARGIN / 6.0 - text.left for text in scene.texts), default=0.0)
        if aside > 0.0:
            scene.width += ceil(aside)
            scene.strokes = [s._replace(points=tuple((x + aside, y) for x, y in s.points)) for s in scene.strokes]
            scene.shapes = [s._replace(points=tuple((x + aside, y) for x, y in s.points)) for s in scene.shapes]
            scene.texts = [text._replace(x=text.x + aside) for text in scene.texts]
        scene.height = max(scene.height, *(text.y + MARGIN / 6.0 for text in scene.texts))

    def colour(self, value: float) -> str:
        if not isfinite(value):
            return GREY
        return ramp(self.values.by, (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5)

    def _offset(self, start: str, end: str) -> float:
        """Supply and return lie beside each other where they share a trench."""
        if not self.is_closed:
            return 0.0
        gap = 2.6 if len(self.network.pipes) < 400 else 1.4
        side = self.side[start] if self.side[start] is self.side[end] else Side.NEITHER
        return {Side.SUPPLY: gap, Side.RETURN: -gap, Side.NEITHER: 0.0}[side]

    def _line(self, start: str, end: str) -> tuple[tuple[float, float], tuple[float, float]]:
        """The line between two nodes; supply lies on the same hand of the way wherever it leads."""
        (x1, y1), (x2, y2) = self.at[start], self.at[end]
        length = hypot(x2 - x1, y2 - y1)
        if length < 1e-6:
            return (x1, y1), (x2, y2)
        offset = self._offset(start, end)
        turned = offset if (x1, y1) <= (x2, y2) else -offset
        nx, ny = -(y2 - y1) / length * turned, (x2 - x1) / length * turned
        return (x1 - nx, y1 - ny), (x2 - nx, y2 - ny)

    def _pipes(self) -> None:
        unit, many = UNITS[self.values.by], len(self.network.pipes) > 400
        largest = max((abs(v) for v in self.values.flow_kg_s.values() if isfinite(v)), default=0.0)
        arrows = []
        order = sorted(self.network.pipes, key=lambda p: self.side[p.start] is not Side.RETURN)  # return behind
        for pipe in order:
            value = self.values.pipe.get(pipe.name, nan)
            inner = self.network.pipe_class(pipe.pipe_class).inner_diameter_m
            width = (1.0 if many else 1.6) + (2.0 if many else 4.4) * sqrt(inner / self.widest_m)
            back = self.side[pipe.start] is Side.RETURN and self.side[pipe.end] is Side.RETURN
            line = self._line(pipe.start, pipe.end)
            shown = f"{value:.4g} {unit}" if isfinite(value) else "not known"
            tip = f"{pipe.name}: {shown}, {pipe.length_m:g} m, {inner * 1e3:.4g} mm"
            self.scene.strokes.append(Stroke(line, self.colour(value), width * (0.62 if back else 1.0), back, tip))
            flow = self.values.flow_kg_s.get(pipe.name, nan)
            if self.values.by == "flow" and abs(flow) > 0.002 * largest:
                arrows += _arrow(line if flow > 0 else line[::-1], width)
        self.scene.shapes += arrows

    def _others(self) -> None:
        """Valves and pumps on their way between two nodes."""
        for valve in self.network.valves:
            line = self._line(valve.start, valve.end)
            self.scene.strokes.append(Stroke(line, FAINT, 1.2))
            x, y, ux, uy = _middle(line)
            fill = INK if valve.opening == 0.0 else "#ffffff"
            for s in (-1.0, 1.0):
                base = [(x + s * 6 * ux - t * 4 * uy, y + s * 6 * uy + t * 4 * ux) for t in (1, -1)]
                self.scene.shapes.append(Shape(((x, y), *base), fill, tip=f"valve {valve.name}"))
        for pump in self.network.pumps:
            line = self._line(pump.start, pump.end)
            self.scene.strokes.append(Stroke(line, FAINT, 1.2))
            x, y, ux, uy = _middle(line)
            self.scene.shapes.append(Shape(((x, y),), "#ffffff", radius=7.0, tip=f"pump {pump.name}"))
            tip = (x + 6 * ux, y + 6 * uy)
            back = [(x - 4 * ux - s * 5 * uy, y - 4 * uy + s * 5 * ux) for s in (1, -1)]
            self.scene.shapes.append(Shape((tip, *back), INK, tip=f"pump {pump.name}"))

    def _nodes(self) -> None:
        many = len(self.network.nodes) > 150
        consumers = [unit for unit in self.network.units if is_consumer(unit)]
        producers = [unit for unit in self.network.units if not is_consumer(unit)]
        for unit in consumers:
            self._customer(unit.start, unit.name, many)
        for node in self.network.nodes:
            if node.kind is NodeKind.CONSUMER:
                self._customer(node.name, node.name, many)
            if node.kind is NodeKind.SOURCE:
                self._plant(node.name, [node.name])
        plants: dict[str, list[str]] = {}
        for unit in producers:
            is_tank = isinstance(unit, StorageTank)
            plants.setdefault(unit.end, []).append(f"{unit.name}{' (storage)' if is_tank else ''}")
        for name, names in self._together(plants).items():
            self._plant(name, names)
        taking = [node.name for node in self.network.nodes if node.kind is NodeKind.CONSUMER]
        if len(consumers) + len(taking) <= _MOST_LABELS and not many:
            for unit in consumers:
                self._label(unit.start, unit.name)
            for name in taking:
                self._label(name, name)

    def _together(self, plants: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """Names by node; where squares would lie on each other there is one, with the names of all."""
        found: dict[str, list[str]] = {}
        for node, names in plants.items():
            first = next((other for other in found if dist(self.at[other], self.at[node]) < _PLANT), node)
            found.setdefault(first, []).extend(names)
        return found

    def _label(self, node: str, name: str) -> None:
        """Beyond the node, on the hand where no pipe comes from."""
        (x, y), beside = self.at[node], self.beside[node]
        dx = sum(x - self.at[other][0] for other in beside)
        dy = sum(y - self.at[other][1] for other in beside)
        far = hypot(dx, dy) or 1.0
        dx, dy = dx / far, dy / far
        anchor = "start" if dx > 0.35 else "end" if dx < -0.35 else "middle"
        self.scene.texts.append(Text(x + 9 * dx, y + 4 + 14 * dy, name, 11.0, anchor, FAINT))

    def _customer(self, node: str, name: str, many: bool) -> None:
        value = self.values.node.get(node, nan)
        x, y = self.at[node]
        fill = self.colour(value) if node in self.values.node else "#ffffff"
        shown = f": {value:.4g} {UNITS[self.values.by]}" if isfinite(value) else ""
        edge = FAINT if many else INK
        self.scene.shapes.append(Shape(((x, y),), fill, edge, radius=2.4 if many else 5.0, tip=f"{name}{shown}"))

    def _plant(self, node: str, names: list[str]) -> None:
        x, y = self.at[node]
        corners = ((x - 8, y - 8), (x + 8, y - 8), (x + 8, y + 8), (x - 8, y + 8))
        self.scene.shapes.append(Shape(corners, INK, tip=", ".join(names)))
        middle = sum(x for x, _ in self.at.values()) / len(self.at)
        left = x > WIDTH - LEGEND - 120 or (len(names) > _MOST_ASIDE and MARGIN + 120 < x < middle)
        for k, name in enumerate(names):
            anchor, dx = ("end", -13.0) if left else ("start", 13.0)
            self.scene.texts.append(Text(x + dx, y + 20 + 14 * k, name, 12.0, anchor, bold=True))

    def _head(self) -> None:
        title = self.network.title or self.network.name
        room = self.scene.width - 2 * MARGIN
        self.scene.texts.append(Text(MARGIN, 28, title, 17.0, bold=True).shortened(room))
        length_km = sum(pipe.length_m for pipe in self.network.pipes) * 1e-3
        what = f"{len(self.network.pipes)} pipes, {length_km:.3g} km, coloured by {self.values.by}"
        note = f"{what}{'; ' if self.values.note else ''}{self.values.note}"
        self.scene.texts.append(Text(MARGIN, 46, note, 12.0).shortened(room))

    def _legend(self) -> None:
        x, y, height = self.legend_x, HEAD + 26.0, 190.0
        self.scene.texts.append(Text(x, y - 12, f"{self.values.by}, {UNITS[self.values.by]}", 12.0, bold=True))
        parts = 48
        for k in range(parts):
            top, bottom = y + height * k / parts, y + height * (k + 1) / parts + 0.5
            colour = ramp(self.values.by, 1.0 - (k + 0.5) / parts)
            corners = ((x, top), (x + 16, top), (x + 16, bottom), (x, bottom))
            self.scene.shapes.append(Shape(corners, colour, colour))
        for tick in _ticks(self.low, self.high) if self.low < self.high else [self.low]:
            part = (tick - self.low) / (self.high - self.low) if self.high > self.low else 0.5
            place = y + height * (1.0 - part)
            self.scene.strokes.append(Stroke(((x + 16, place), (x + 21, place)), INK, 1.0))
            self.scene.texts.append(Text(x + 25, place + 4, f"{tick:g}", 11.0))
        y += height + 26
        for drawn, name, dashed, width in self._line_kinds():
            if drawn:
                self.scene.strokes.append(Stroke(((x, y), (x + 26, y)), INK, width, dashed))
                self.scene.texts.append(Text(x + 33, y + 4, name, 11.0))
                y += 19
        self.scene.shapes.append(Shape(((x + 13, y),), "#ffffff", radius=5.0))
        self.scene.texts.append(Text(x + 33, y + 4, "customer", 11.0))
        y += 19
        corners = ((x + 6, y - 7), (x + 20, y - 7), (x + 20, y + 7), (x + 6, y + 7))
        self.scene.shapes.append(Shape(corners, INK))
        self.scene.texts.append(Text(x + 33, y + 4, "plant", 11.0))

    def _line_kinds(self) -> tuple[tuple[bool, str, bool, float], ...]:
        unknown = any(not isfinite(self.values.pipe.get(p.name, nan)) for p in self.network.pipes)
        return (
            (True, "supply" if self.is_closed else "pipe", False, 4.0),
            (self.is_closed, "return", True, 2.6),
            (unknown, "grey: not known", False, 0.6),
        )


def ramp(by: str, part: float) -> str:
    """The colour at a part (0 to 1) of the scale."""
    stops = RAMPS[by]
    place = min(max(part, 0.0), 1.0) * (len(stops) - 1)
    k = min(int(place), len(stops) - 2)
    a, b = (tuple(int(stop[i : i + 2], 16) for i in (1, 3, 5)) for stop in stops[k : k + 2])
    mixed = (round(p + (q - p) * (place - k)) for p, q in zip(a, b, strict=True))
    return "#" + "".join(f"{c:02x}" for c in mixed)


def _to_pixels(place: Mapping[str, tuple[float, float]]) -> tuple[dict[str, tuple[float, float]], float]:
    """Positions on paper, north up, and the height of the paper."""
    xs, ys = [p[0] for p in place.values()] or [0.0], [p[1] for p in place.values()] or [0.0]
    wide, high = max(xs) - min(xs), max(ys) - min(ys)
    room = WIDTH - 2 * MARGIN - LEGEND
    scale = min(room / wide if wide > 0 else 1e9, (MOST_HEIGHT - HEAD - 2 * MARGIN) / high if high > 0 else 1e9)
    scale = 1.0 if scale == 1e9 else scale
    height = min(max(high * scale + HEAD + 2 * MARGIN, LEAST_HEIGHT), MOST_HEIGHT)
    left = MARGIN + (room - wide * scale) / 2.0
    top = HEAD + MARGIN + (height - HEAD - 2 * MARGIN - high * scale) / 2.0
    at = {name: (left + (x - min(xs)) * scale, top + (max(ys) - y) * scale) for name, (x, y) in place.items()}
    return at, height


def _range(shown: list[float]) -> tuple[float, float]:
    if not shown:
        return 0.0, 1.0
    low, high = min(shown), max(shown)
    if high - low < 1e-9 * max(abs(high), 1.0):
        return low, low  # one value: the middle of the scale
    return low, high


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers within a range, four to eight of them."""
    raw = (high - low) / 5.0
    if not raw > 0.0:
        return [low]
    power = 10.0 ** floor(log10(raw))
    step = next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= raw * 0.999)
    first = ceil(low / step - 1e-9)
    return [float(f"{k * step:.10g}") for k in range(first, floor(high / step + 1e-9) + 1)]


def _middle(line: tuple[tuple[float, float], tuple[float, float]]) -> tuple[float, float, float, float]:
    """The middle of a line and its direction; upwards where it has none."""
    (x1, y1), (x2, y2) = line
    length = hypot(x2 - x1, y2 - y1)
    ux, uy = ((x2 - x1) / length, (y2 - y1) / length) if length > 1e-6 else (0.0, -1.0)
    return (x1 + x2) / 2.0, (y1 + y2) / 2.0, ux, uy


def _arrow(line: tuple[tuple[float, float], ...], width: float) -> list[Shape]:
    """An arrow head in the middle of a line that has room for it."""
    (x1, y1), (x2, y2) = line
    if hypot(x2 - x1, y2 - y1) < 34.0:
        return []
    angle, size = atan2(y2 - y1, x2 - x1), 3.0 + width
    # A little past the middle, so that arrows of supply and return stand beside each other.
    x, y = (x1 + x2) / 2.0 + 9.0 * cos(angle), (y1 + y2) / 2.0 + 9.0 * sin(angle)
    corners = [(x + size * cos(angle + turn), y + size * sin(angle + turn)) for turn in (0.0, 2.5, -2.5)]
    return [Shape(tuple(corners), "#ffffff", INK)]
