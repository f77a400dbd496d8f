"""Furnaces for the kernel heating.pyx, and what their ledger says. Equations: docs/models/production.md."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import UnknownName
from uem.twin_core.plant.furnace import MOST_LEVELS, Furnace
from uem.twin_core.production import heating

Array = NDArray[np.float64]


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
            rows = segment_rows(furnace, product)
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


def segment_rows(furnace: Furnace, product: str) -> list[tuple[float, float, int, int]]:
    """Target above the hall in K, end in s, kind and whether it cools, of each segment, doors included."""
    segments = furnace.segments(product)
    kinds = [("hold" if segment.hold else "ramp", segment.to_k, segment.cooling) for segment in segments]
    if furnace.load_s > 0:
        kinds.insert(0, ("door", furnace.hall_k, False))
    if furnace.unload_s > 0:
        kinds.append(("door", furnace.hall_k, False))
    return [
        (to_k - furnace.hall_k, end, heating.KINDS[kind], int(cools))
        for (kind, to_k, cools), end in zip(kinds, furnace.ends(segments), strict=True)
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
        levels + [math.inf] * (MOST_LEVELS - len(levels)),
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
