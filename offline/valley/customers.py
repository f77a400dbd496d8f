"""Customers of the network: what they are, how large, and the stations that they have."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from uem.offline.valley.streets import Position, Streets, density

SUPPLY_C, RETURN_C = 105.0, 65.0  # of the network on the design day
DESIGN_OUTDOOR_C, HEATING_LIMIT_C = -10.0, 16.0
HEAT_CAPACITY_KJ_KGK = 4.184
BYPASS_KG_S = 0.03  # keeps the service pipe warm in summer


class _Kind(NamedTuple):
    """What customers of a kind have in common."""

    share: float  # of the customers
    heat_kw: tuple[float, float]  # space heating on the design day, smallest and largest
    hot_water: float  # mean of a day, of that
    group: str  # of measured profiles


KINDS = {
    "hospital": _Kind(0.015, (1600.0, 2600.0), 0.12, "large"),
    "pool": _Kind(0.02, (500.0, 900.0), 0.20, "large"),
    "school": _Kind(0.12, (180.0, 700.0), 0.02, "large"),
    "office": _Kind(0.13, (120.0, 600.0), 0.01, "large"),
    "residence": _Kind(0.60, (180.0, 900.0), 0.10, "medium"),
    "houses": _Kind(0.115, (70.0, 220.0), 0.10, "small"),
}
MOST_AT_ONE_CROSSING = 3


@dataclass(frozen=True)
class Customer:
    """A building with its station, in a side street off a crossing."""

    name: str
    kind: str
    crossing: int
    at: Position
    service_m: float
    heat_kw: float
    hot_water_kw: float  # mean of a day

    @property
    def design_kg_s(self) -> float:
        """Water from the network on the design day."""
        return (self.heat_kw + self.hot_water_kw) / (HEAT_CAPACITY_KJ_KGK * (SUPPLY_C - RETURN_C))


def customers(rng: Random, grid: Streets, towns: Sequence[Position], count: int, heat_kw: float) -> list[Customer]:
    """`count` customers, more where it is densely built; all together need `heat_kw`."""
    crossings = range(len(grid.at))
    weights = [density(at, towns) for at in grid.at]
    kinds = [kind for kind, about in KINDS.items() for _ in range(max(1, round(about.share * count)))]
    kinds = (kinds + ["residence"] * count)[:count]
    taken: dict[int, int] = {}  # by crossing
    drawn = []
    for kind in kinds:
        crossing = _pick(rng, crossings, weights)
        while taken.get(crossing, 0) >= MOST_AT_ONE_CROSSING:
            crossing = _pick(rng, crossings, weights)
        taken[crossing] = taken.get(crossing, 0) + 1
        low, high = KINDS[kind].heat_kw
        # Stations stand in the quarters between the streets, each of a crossing in another one.
        east, north = ((1, 1), (-1, 1), (1, -1))[taken[crossing] - 1]
        off = east * rng.uniform(18.0, 55.0), north * rng.uniform(12.0, 45.0)
        drawn.append((kind, crossing, off, low * (high / low) ** rng.random()))
    scale = heat_kw / sum(heat for *_, heat in drawn)
    numbers: dict[str, int] = {}
    found = []
    for kind, crossing, (dx, dy), heat in drawn:
        numbers[kind] = numbers.get(kind, 0) + 1
        x, y = grid.at[crossing]
        rated_kw = max(5.0 * round(heat * scale / 5.0), 20.0)
        found.append(
            Customer(
                name=f"{kind}-{numbers[kind]:02d}",
                kind=kind,
                crossing=crossing,
                at=(round(x + dx, 1), round(y + dy, 1)),
                service_m=round(1.15 * (dx * dx + dy * dy) ** 0.5, 1),
                heat_kw=rated_kw,
                hot_water_kw=round(KINDS[kind].hot_water * rated_kw, 1),
            )
        )
    return found


def station(customer: Customer, prefix: str) -> dict[str, Any]:
    """The substation of a customer; what it asks for is told from outside, at the beginning that of the design day."""
    node = prefix + customer.name
    return {
        "kind": "substation",
        "name": node,
        "start": node,
        "end": f"{node}-return",
        "nominal_heat_kw": customer.heat_kw,
        "primary_supply_temp_c": 100.0,
        "primary_return_temp_c": 63.0,
        "secondary_supply_temp_c": 80.0,
        "secondary_return_temp_c": 60.0,
        "secondary_lowest_temp_c": 30.0,
        "design_outdoor_temp_c": DESIGN_OUTDOOR_C,
        "heating_limit_temp_c": HEATING_LIMIT_C,
        "outdoor_temp_c": DESIGN_OUTDOOR_C,
        "demand": "command",
        "heating_kw": customer.heat_kw,
        "minimum_flow_kg_s": BYPASS_KG_S,
        "nominal_hot_water_kw": round(3.0 * customer.hot_water_kw, 1),
        "hot_water_kw": customer.hot_water_kw,
        "hot_water_primary_supply_temp_c": 70.0,
        "hot_water_primary_return_temp_c": 45.0,
        "cold_water_temp_c": 30.0,  # mixed with what comes back from the circulation
    }


def _pick(rng: Random, among: Sequence[int], weights: Sequence[float]) -> int:
    left = rng.random() * sum(weights)
    for thing, weight in zip(among, weights, strict=True):
        left -= weight
        if left < 0.0:
            return thing
    return among[-1]
