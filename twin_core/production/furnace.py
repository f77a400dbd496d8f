"""A furnace as it is built, and what its ledger says. heating.pyx computes it; equations: docs/models/production.md.

furnace = Furnace(
recipe=(Segment(to_k=1173.0, duration_s=7200.0), Segment(to_k=1173.0, duration_s=3600.0, hold=True)),
power_w=400e3, chamber_j_per_k=4e5, lining_j_per_k=8e6, lining_w_per_k=300.0, wall_w_per_k=60.0,
part_j_per_k=25e3, part_w_per_k=15.0,
)
batch_furnace("furnace", furnace, takes=("in",), gives=("out",), batch=(10, 20))  # a machine, from model.py
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import UnknownName
from uem.twin_core.production import heating

Array = NDArray[np.float64]


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
        return self._ends(self.segments(product))[-1]

    def _ends(self, segments: Sequence[Segment]) -> list[float]:
        """When each segment ends, doors included."""
        durations = [self.load_s, *(segment.duration_s for segment in segments), self.unload_s]
        return np.cumsum([duration for duration in durations if duration > 0]).tolist() or [0.0]

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
        if len(self.levels_k) > heating.MOST_LEVELS or any(not 0 < level < math.inf for level in self.levels_k):
            yield f"levels_k {self.levels_k}: at most {heating.MOST_LEVELS} temperatures in K"
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


@dataclass(frozen=True, slots=True)
class FurnaceLedger:
    """Heat of the furnaces since the ledger began, one row per replication; shapes (n, furnaces) unless told.

    heating = casing + stored + load + walls + doors + flue + cooled, to rounding.
    """

    furnaces: tuple[str, ...]
    electric: NDArray[np.bool_]  # else by fuel; (furnaces,)
    levels_k: tuple[tuple[float, ...], ...]  # by furnace
    temperature_k: Array  # now, of chamber, lining, load (as the hall where there is none); (n, furnaces, 3)
    heating_j: Array  # electricity or fuel, by state of the machine; (n, furnaces, states)
    casing_j: Array  # of it lost to the hall before the chamber
    stored_j: Array  # in the nodes
    load_j: Array  # carried away by batches, less what they brought
    walls_j: Array
    doors_j: Array
    flue_j: Array  # exhaust, above the hall's temperature
    flue_kg: Array
    cooled_j: Array  # by forced cooling
    flue_above_j: Array  # of the exhaust, above each of `levels_k`; (n, furnaces, 4), 0 where there is no level
    cooled_above_j: Array  # of the forced cooling likewise
    flue_w: Array  # power of the exhaust now
    flue_kg_s: Array  # flow of the exhaust now
    flue_k: Array  # its temperature now; as the hall where nothing flows

    @property
    def fuel_j(self) -> Array:
        """Fuel by its lower heating value; (n, furnaces)."""
        return np.asarray(np.where(self.electric, 0.0, self.heating_j.sum(axis=2)))

    def above_j(self, furnace: str, level_k: float) -> Array:
        """Heat of exhaust and forced cooling of a furnace above one of its `levels_k`; (n,). Raises UnknownName."""
        if furnace not in self.furnaces:
            raise UnknownName("furnace", furnace, self.furnaces)
        f = self.furnaces.index(furnace)
        if level_k not in self.levels_k[f]:
            known = [f"{level} K" for level in self.levels_k[f]]
            raise UnknownName(f"level of furnace {furnace}", f"{level_k} K", known)
        k = self.levels_k[f].index(level_k)
        return np.asarray(self.flue_above_j[:, f, k] + self.cooled_above_j[:, f, k])


def tables(machines: Sequence[tuple[int, Furnace, int]], products: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Rows of the plan in the layout of heating.pyx; `machines`: (server, furnace, most parts of a batch)."""
    plans, bodies = [], []
    segments: list[tuple[float, float, int, int]] = []
    recipes: list[int] = []
    n_bodies = 0
    for server, furnace, most in machines:
        first_recipe = len(recipes) // 2
        for product in products:
            rows = _segment_rows(furnace, product)
            recipes += [len(segments), len(rows)]
            segments += rows
        plans.append(_plan_row(furnace, n_bodies, first_recipe, server))
        bodies.append(_bodies(furnace, most))
        n_bodies += len(bodies[-1])
    return {
        "furnace_plan": np.array(plans, heating.FURNACE_PLAN),
        "body": np.concatenate(bodies) if bodies else np.zeros(0, heating.BODY),
        "segment": np.array(segments, heating.SEGMENT_PLAN),
        "furnace_recipe": np.array(recipes, np.int32),
    }


def initial_excess_k(furnace: Furnace) -> tuple[float, float, float]:
    """Of chamber, lining and load: at standby as long ago as one likes, or cold."""
    chamber = (furnace.standby_k or furnace.hall_k) - furnace.hall_k
    through = furnace.lining_w_per_k + furnace.wall_w_per_k
    return chamber, chamber * furnace.lining_w_per_k / through if through > 0 else 0.0, 0.0


def ledger(plans: Sequence[tuple[str, Furnace]], read: Array, state: NDArray[Any]) -> FurnaceLedger:
    """From what `Engine.furnaces` read, (n, furnaces, numbers), and the fields of the blocks."""
    at = heating.AT
    hall = np.array([furnace.hall_k for _, furnace in plans])
    efficiency = np.array([furnace.efficiency for _, furnace in plans])
    used = read[:, :, at["heating"]]
    return FurnaceLedger(
        furnaces=tuple(name for name, _ in plans),
        levels_k=tuple(furnace.levels_k for _, furnace in plans),
        electric=np.array([furnace.heating == "electric" for _, furnace in plans], np.bool_),
        temperature_k=read[:, :, at["temperature"]] + hall[:, None],
        heating_j=used,
        casing_j=used.sum(axis=2) * (1.0 - efficiency),
        stored_j=read[:, :, at["stored"]],
        load_j=read[:, :, at["load"]],
        walls_j=read[:, :, at["walls"]],
        doors_j=read[:, :, at["doors"]],
        flue_j=read[:, :, at["flue"]],
        flue_kg=read[:, :, at["flue_kg"]],
        cooled_j=read[:, :, at["cooled"]],
        flue_above_j=read[:, :, at["flue_above"]],
        cooled_above_j=read[:, :, at["cooled_above"]],
        flue_w=state["flue"] * state["exhaust"],
        flue_kg_s=state["flue_kg"].copy(),
        flue_k=state["exhaust"] + hall,
    )


def _segment_rows(furnace: Furnace, product: str) -> list[tuple[float, float, int, int]]:
    segments = furnace.segments(product)
    kinds = [("hold" if segment.hold else "ramp", segment.to_k, segment.cooling) for segment in segments]
    if furnace.load_s > 0:
        kinds.insert(0, ("door", furnace.hall_k, False))
    if furnace.unload_s > 0:
        kinds.append(("door", furnace.hall_k, False))
    return [
        (to_k - furnace.hall_k, end, heating.KINDS[kind], int(cools))
        for (kind, to_k, cools), end in zip(kinds, furnace._ends(segments), strict=True)
    ]


def _plan_row(furnace: Furnace, body: int, recipe: int, server: int) -> tuple[Any, ...]:
    levels = [level - furnace.hall_k for level in furnace.levels_k]
    return (
        furnace.scan_s,
        furnace.power_w,
        furnace.efficiency,
        furnace.exhaust_j_per_kgk * furnace.fumes_kg_per_j,
        furnace.fumes_kg_per_j,
        furnace.exhaust_j_per_kgk * furnace.vent_kg_s,
        furnace.vent_kg_s,
        1.0 - furnace.recuperated,
        furnace.cooling_w_per_k,
        furnace.wall_w_per_k,
        furnace.door_w_per_k,
        math.nan if furnace.standby_k is None else furnace.standby_k - furnace.hall_k,
        0.0 if furnace.brought_k is None else furnace.brought_k - furnace.hall_k,
        levels + [math.inf] * (heating.MOST_LEVELS - len(levels)),
        body,
        recipe,
        server,
        0,
    )


def _bodies(furnace: Furnace, most: int) -> NDArray[Any]:
    """The modes with 0 to `most` parts, door shut and open."""
    parts = np.repeat(np.arange(most + 1), 2)
    door = np.tile([0.0, furnace.door_w_per_k], most + 1)
    to_load = np.where(parts > 0, furnace.carrier_w_per_k + parts * furnace.part_w_per_k, 0.0)
    to_lining = furnace.lining_w_per_k
    capacity = np.empty((len(parts), 3))
    capacity[:, 0], capacity[:, 1] = furnace.chamber_j_per_k, furnace.lining_j_per_k
    capacity[:, 2] = furnace.carrier_j_per_k + np.maximum(parts, 1) * furnace.part_j_per_k
    conductance = np.zeros((len(parts), 3, 3))
    conductance[:, 0, 0] = to_lining + to_load + door
    conductance[:, 1, 1] = to_lining + furnace.wall_w_per_k
    conductance[:, 2, 2] = to_load
    conductance[:, 0, 1] = conductance[:, 1, 0] = -to_lining
    conductance[:, 0, 2] = conductance[:, 2, 0] = -to_load
    root = np.sqrt(capacity)
    rates, vectors = np.linalg.eigh(-conductance / (root[:, :, None] * root[:, None, :]))
    turns = np.ascontiguousarray(vectors.transpose(0, 2, 1))
    return heating.bodies(root, turns, np.minimum(rates, 0.0), furnace.scan_s)
