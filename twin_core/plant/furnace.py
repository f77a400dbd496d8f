"""A furnace as it is built: recipe, heating, nodes, exhaust. Equations: docs/models/production.md.

furnace = Furnace(
recipe=(Segment(to_k=1173.0, duration_s=7200.0), Segment(to_k=1173.0, duration_s=3600.0, hold=True)),
power_w=400e3, chamber_j_per_k=4e5, lining_j_per_k=8e6, lining_w_per_k=300.0, wall_w_per_k=60.0,
part_j_per_k=25e3, part_w_per_k=15.0,
)
batch_furnace("furnace", furnace, takes=("in",), gives=("out",), batch=(10, 20))  # a machine, from production.py
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

MOST_LEVELS: Final = 4  # the kernel has room for so many


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of a recipe: the chamber is led to `to_k`, linearly over the time, or held there from the beginning.

    cooling: by force, as much as `to_k` asks for and `Furnace.cooling_w_per_k` allows.
    """

    to_k: float
    duration_s: float
    hold: bool = False
    cooling: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Furnace:
    """The thermal side of a batch machine: chamber, lining and load as heat capacities, heating, exhaust, door.

    Between batches the chamber is held at `standby_k`; None: the heating is off and the damper shut, as they are while
    anything hinders the machine. The recipe goes on where it stopped.
    """

    recipe: tuple[Segment, ...]
    recipes: dict[str, tuple[Segment, ...]] = field(default_factory=dict)  # by product, where it is not `recipe`
    power_w: float  # the most: electricity, or fuel by its lower heating value
    heating: str = "electric"  # or fuel
    efficiency: float = 1.0  # of it into the chamber, the heat of the fumes included; the rest goes to the hall
    chamber_j_per_k: float  # what the heating warms at once: gas, elements, inner face of the lining
    lining_j_per_k: float
    lining_w_per_k: float  # between chamber and lining
    wall_w_per_k: float  # from the lining to the hall
    part_j_per_k: float
    part_w_per_k: float  # between the chamber and one part
    carrier_j_per_k: float = 0.0  # baskets and trays that come and go with a batch
    carrier_w_per_k: float = 0.0
    brought_k: float | None = None  # parts and carrier as they come in; None: as the hall
    load_s: float = 0.0  # door open before the recipe, without heating
    unload_s: float = 0.0  # and after it
    door_w_per_k: float = 0.0  # from the open chamber to the hall
    fumes_kg_per_j: float = 0.0  # of fuel
    exhaust_j_per_kgk: float = 1100.0  # heat capacity of the exhaust
    vent_kg_s: float = 0.0  # air drawn through the chamber while it is heated or cooled
    recuperated: float = 0.0  # share of the exhaust's heat that comes back with the air
    cooling_w_per_k: float = 0.0  # the most of forced cooling, by kelvin between chamber and hall
    standby_k: float | None = None
    hall_k: float = 293.15
    levels_k: tuple[float, ...] = ()  # temperatures above which the heat of exhaust and cooling is counted
    scan_s: float = 60.0  # for so long the controller keeps the power

    def segments(self, product: str) -> tuple[Segment, ...]:
        """The recipe of a product, without the times of the open door."""
        return self.recipes.get(product, self.recipe)

    def seconds(self, product: str = "") -> float:
        """Duration of a batch, the open door included."""
        return self.ends(self.segments(product))[-1]

    def ends(self, segments: Sequence[Segment]) -> list[float]:
        """When each segment ends, doors included."""
        durations = [self.load_s, *(segment.duration_s for segment in segments), self.unload_s]
        return list(accumulate(duration for duration in durations if duration > 0)) or [0.0]

    def reached_s(self, chamber_k: float, product: str = "") -> float:
        """How far a batch most likely is whose chamber is as warm, in s, the open door included.

        Where a recipe asks for a temperature more than once, the longest segment counts, and the middle of a hold; for
        one that it never asks for, the nearest that it asks for.
        """
        began_s, from_k = self.load_s, self.hall_k
        found: list[tuple[float, float, float]] = []
        for segment in self.segments(product):
            low_k, high_k = (segment.to_k,) * 2 if segment.hold else sorted((from_k, segment.to_k))
            nearest_k = min(max(chamber_k, low_k), high_k)
            share = 0.5 if high_k == low_k else (nearest_k - from_k) / (segment.to_k - from_k)
            found.append((abs(nearest_k - chamber_k), -segment.duration_s, began_s + share * segment.duration_s))
            began_s, from_k = began_s + segment.duration_s, segment.to_k
        return min(found)[2]

    def problems(self) -> Iterator[str]:
        """Everything that is wrong with it."""
        for name in ("power_w", "chamber_j_per_k", "lining_j_per_k", "part_j_per_k", "exhaust_j_per_kgk", "hall_k"):
            if not 0 < getattr(self, name) < math.inf:
                yield f"{name} {getattr(self, name)} must be positive"
        for name in _NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:
                yield f"{name} {getattr(self, name)} must not be negative"
        if not 0 < self.scan_s < math.inf:
            yield f"scan_s {self.scan_s} must be positive"
        if not 0 < self.efficiency <= 1 or not 0 <= self.recuperated < 1:
            yield f"efficiency {self.efficiency} must be within 0 and 1, recuperated {self.recuperated} below 1"
        if self.heating not in ("electric", "fuel"):
            yield f"heating {self.heating!r} is neither electric nor fuel"
        if self.heating == "electric" and self.fumes_kg_per_j > 0:
            yield "fumes_kg_per_j belongs to a furnace of heating 'fuel'; draw air with vent_kg_s"
        if len(self.levels_k) > MOST_LEVELS or any(not 0 < level < math.inf for level in self.levels_k):
            yield f"levels_k {self.levels_k}: at most {MOST_LEVELS} temperatures in K"
        for name in ("standby_k", "brought_k"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < math.inf:
                yield f"{name} {getattr(self, name)} is not a temperature in K"
        yield from self._recipe_problems()

    def _recipe_problems(self) -> Iterator[str]:
        targets = [self.standby_k or self.hall_k]
        for segments in (self.recipe, *self.recipes.values()):
            if not segments:
                yield "a recipe needs a segment"
            for segment in segments:
                if not (0 < segment.to_k < math.inf and 0 < segment.duration_s < math.inf):
                    yield f"segment to {segment.to_k} K in {segment.duration_s} s: both must be positive"
                if segment.cooling and not self.cooling_w_per_k > 0:
                    yield "a segment with cooling needs cooling_w_per_k"
                targets.append(segment.to_k)
        hottest = max(targets) - self.hall_k
        fumes = (1 - self.recuperated) * self.exhaust_j_per_kgk * self.fumes_kg_per_j
        if not self.efficiency - fumes * hottest > 0:
            yield "fumes as hot as the hottest target would take all of the fuel's heat"
        exhaust_kg_s = self.vent_kg_s + self.fumes_kg_per_j * self.power_w
        away = (1 - self.recuperated) * self.exhaust_j_per_kgk * exhaust_kg_s + self.cooling_w_per_k
        if not away * self.scan_s <= 2 * self.chamber_j_per_k:
            yield f"scan_s {self.scan_s} is too long for {away:.4g} W/K of exhaust and cooling"


_NOT_NEGATIVE = (
    "lining_w_per_k",
    "wall_w_per_k",
    "part_w_per_k",
    "carrier_j_per_k",
    "carrier_w_per_k",
    "load_s",
    "unload_s",
    "door_w_per_k",
    "fumes_kg_per_j",
    "vent_kg_s",
    "cooling_w_per_k",
)
