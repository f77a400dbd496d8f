"""A network on its way from another tool: tables of a territory file, and notes of what changed or stayed behind."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import cos, pi, radians, sqrt
from typing import Any, NamedTuple

WATER_KG_M3 = 998.2  # at 20 degC: between the volume flows of other tools and mass flows
GRAVITY_M_S2 = 9.80665
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")
_EARTH_M = 6_378_137.0  # WGS 84
_FLATTENING = 1 / 298.257223563


class Severity(StrEnum):
    """How much a note matters."""

    INFO = "info"  # carried over in another form, or assumed
    LOST = "lost"  # not in the territory; the network answers otherwise without it


class Note(NamedTuple):
    """Something that a reader of the territory has to know."""

    severity: Severity
    element: str
    text: str


@dataclass
class Draft:
    """Tables as they will stand in the file."""

    name: str
    title: str = ""
    ambient_c: float = 10.0
    nodes: list[dict[str, Any]] = field(default_factory=list)
    pipe_classes: list[dict[str, Any]] = field(default_factory=list)
    pipes: list[dict[str, Any]] = field(default_factory=list)
    valves: list[dict[str, Any]] = field(default_factory=list)
    pumps: list[dict[str, Any]] = field(default_factory=list)
    units: list[dict[str, Any]] = field(default_factory=list)
    mirror: dict[str, Any] | None = None
    notes: list[Note] = field(default_factory=list)
    _taken: dict[str, set[str]] = field(default_factory=dict)
    _class_of: dict[tuple[tuple[str, Any], ...], str] = field(default_factory=dict)

    def unique(self, kind: str, wanted: object) -> str:
        """A name that files allow and that no other element of this kind has, near to `wanted`."""
        base = clean(wanted) or kind
        taken = self._taken.setdefault(kind, set())
        name, k = base, 2
        while name in taken:
            name, k = f"{base}-{k}", k + 1
        taken.add(name)
        return name

    def pipe_class(self, wanted: str, keys: Mapping[str, Any]) -> str:
        """The name of the class that has these keys; made when it is the first of its kind."""
        key = tuple(sorted((k, _hashable(v)) for k, v in keys.items()))
        if key not in self._class_of:
            name = self._class_of[key] = self.unique("class", wanted)
            self.pipe_classes.append({"name": name, **keys})
        return self._class_of[key]

    def info(self, element: str, text: str) -> None:
        """Tell what was carried over in another form."""
        self.notes.append(Note(Severity.INFO, element, text))

    def lost(self, element: str, text: str) -> None:
        """Tell what was not carried over."""
        self.notes.append(Note(Severity.LOST, element, text))

    def territory(self) -> dict[str, Any]:
        """The territory file as tables."""
        network: dict[str, Any] = {"name": self.name, "title": self.title or None, "ambient_c": self.ambient_c}
        for key in ("nodes", "pipe_classes", "pipes", "valves", "pumps", "units"):
            if getattr(self, key) or key in ("nodes", "pipe_classes", "pipes"):
                network[key] = getattr(self, key)
        if self.mirror is not None:
            network["mirror"] = self.mirror
        return {"name": self.name, "title": self.title or None, "networks": [network]}


def clean(wanted: object) -> str:
    """A name with the letters that territory files allow: Straße 3/b becomes Strasse-3-b."""
    text = unicodedata.normalize("NFKD", str(wanted).replace("ß", "ss"))
    text = "".join(c for c in text if not unicodedata.combining(c))
    return _NOT_IN_NAMES.sub("-", text).strip("-._")[:150].lstrip("_.-")


def rounded(value: float, digits: int = 6) -> float:
    """A number as people write it: so many significant digits."""
    return float(f"{value:.{digits}g}")


def are_degrees(points: list[tuple[float, float]]) -> bool:
    """Whether positions look like longitude and latitude rather than metres."""
    return bool(points) and all(abs(x) <= 180.0 and abs(y) <= 90.0 for x, y in points) and _is_small(points)


def _is_small(points: list[tuple[float, float]]) -> bool:
    # A network in metres that lies within 180 m of its origin is wider than a few degrees.
    return max(x for x, _ in points) - min(x for x, _ in points) < 5.0


class Projection:
    """Longitude and latitude to metres east and north of a place, true within some 50 km of it."""

    def __init__(self, longitude: float, latitude: float) -> None:
        """Where the origin lies, in degrees."""
        self._origin = longitude, latitude
        square = _FLATTENING * (2.0 - _FLATTENING)
        sine2 = 1.0 - cos(radians(latitude)) ** 2
        curved = 1.0 - square * sine2
        self._east_m = pi / 180.0 * _EARTH_M * cos(radians(latitude)) / sqrt(curved)
        self._north_m = pi / 180.0 * _EARTH_M * (1.0 - square) / curved**1.5

    def __call__(self, longitude: float, latitude: float) -> tuple[float, float]:
        """Metres east and north."""
        return (longitude - self._origin[0]) * self._east_m, (latitude - self._origin[1]) * self._north_m


def projection(points: list[tuple[float, float]]) -> Projection:
    """One with its origin in the middle of some points."""
    return Projection(*(sum(p[k] for p in points) / len(points) for k in (0, 1)))


def _hashable(value: Any) -> Any:
    return tuple(sorted(value.items())) if isinstance(value, Mapping) else value
