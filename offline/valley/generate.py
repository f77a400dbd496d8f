"""A whole valley by chance: its territory file, its tag table, and what days ask of it.

The same seed draws the same valley. `times` districts lie one behind the other, each with plant, lines and customers
of its own chance, and with four factories. They are one network, but their section valves are shut: each plant holds
the pressures of its own district.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from typing import Any

from uem.offline.valley import customers as of_customers
from uem.offline.valley import demand, tags
from uem.offline.valley.customers import Customer, station
from uem.offline.valley.factories import factories
from uem.offline.valley.plant import INSIDE, pipe_classes, plant
from uem.offline.valley.sizing import SERVICE_PA_M, STREET_PA_M, Sized, diameter, sized
from uem.offline.valley.streets import ACROSS, ALONG, Position, Streets, Way, centres, lines, streets
from uem.territories.dimensions import STEEL
from uem.twin_core.errors import InvalidInput

CUSTOMERS, RINGS = 120, 12  # of a district
LENGTH_M = 38_500.0  # of its lines in streets and to customers; 40 km with those of plant and graphite works
HEAT_KW = 45_000.0  # of its space heating on the design day
MOST_TIMES = 200
SEED = 2  # of the example that ships
VALLEY_FLOOR_M, FALL, RISE_M = 165.0, 0.0008, 14.0  # level at the beginning, fall of the river, of the sides above it
MOST_CRITICAL = 8  # pumps that may look at a customer each; more hold a constant rise
ON_THE_MBUS = ("houses",)  # kinds of customers whose heat meters are
INSTRUMENTED = 70  # crossings of a district
NETWORK = "valley"
EPOCH = datetime(2026, 1, 12, 5, tzinfo=UTC)  # when simulated plants begin: a Monday in January
# EUR per kWh, of no real contract. Who brings waste pays for it; that is no cost of heat.
PRICES = {"gas": 0.05, "wood": 0.03, "waste": 0.0, "electricity": 0.12, "electricity_sold": 0.06}
NO_QUOTATION = "a round figure for a valley that does not exist: no quotation"

Table = dict[str, Any]


@dataclass(frozen=True)
class District:
    """A plant, the lines of its network and its customers; positions are its own, `begin_m` further in the valley."""

    prefix: str
    begin_m: float
    grid: Streets
    ways: list[Way]
    lengths_m: list[float]
    sizes: Sized
    numbers: dict[int, int]  # of crossings with lines, in the order of `sizes`; that of the plant is 0
    customers: list[Customer]

    @property
    def end_m(self) -> float:
        """Where the next one begins."""
        return self.begin_m + 1.08 * max(y for _, y in self.grid.at)

    @property
    def flow_kg_s(self) -> float:
        """On the design day."""
        return sum(customer.design_kg_s for customer in self.customers)


@dataclass(frozen=True)
class Valley:
    """What was drawn: tables as they stand in a territory file, and the districts that they are made of."""

    territory: Table
    districts: list[District]

    @property
    def customers(self) -> list[tuple[str, Customer]]:
        """Each with the prefix of its district."""
        return [(district.prefix, customer) for district in self.districts for customer in district.customers]

    def tag_rows(self) -> Iterator[list[str]]:
        """Rows of the tag table, the header first."""
        network = self.territory["networks"][0]
        units = [(self._prefix(u["name"]), u) for u in network["units"] if u["kind"] != "substation"]
        stations = [(prefix, prefix + c.name, c.kind in ON_THE_MBUS) for prefix, c in self.customers]
        places = [name for district in self.districts for name in _instrumented(district)]
        return tags.rows(stations, places, units, self.territory["factories"])

    def _prefix(self, name: str) -> str:
        return next(district.prefix for district in self.districts if name.startswith(district.prefix))

    def day_rows(self, day: str, *, weekend: bool = False) -> list[list[str]]:
        """Rows of the inputs of a day such as 01-18 for `uem run`, the header first; InvalidInput if there is none."""
        return demand.inputs(self.customers, [d.prefix for d in self.districts], day, weekend=weekend)


def valley(seed: int = SEED, times: int = 1, name: str = "vallee") -> Valley:
    """Draw a valley.

    Raises:
        InvalidInput: `times` is not from 1 to MOST_TIMES.
    """
    if not 1 <= times <= MOST_TIMES:
        raise InvalidInput(f"a valley {times} times as large: 1 to {MOST_TIMES} are possible")
    rng = Random(seed)
    districts: list[District] = []
    for number in range(times):
        begin_m = districts[-1].end_m if districts else 0.0
        districts.append(_district(Random(rng.random()), f"d{number + 1:03d}-" if times > 1 else "", begin_m))
    works = [table for district in districts for table in factories(district.prefix, NETWORK)]
    territory: Table = {
        "name": name,
        "title": "A valley of industry and the towns that it warms",
        "tags": "tags.csv",
        "plants": [*tags.plants([district.prefix for district in districts], works)],
        "simulation": _simulation(districts),
        "prices": [
            {"carrier": carrier, "eur_per_kwh": price, "source": NO_QUOTATION, "date": "2024-01-01"}
            for carrier, price in PRICES.items()
        ],
        "networks": [_network(districts)],
        "factories": works,
    }
    return Valley(territory, districts)


def _simulation(districts: Sequence[District]) -> Table:
    """What drives the plants while they are simulated."""

    def of_group(group: str) -> list[str]:
        each = ((d.prefix + c.name, of_customers.KINDS[c.kind].group) for d in districts for c in d.customers)
        return [name for name, its in each if its == group]

    return {
        "epoch": EPOCH,
        "weather": demand.WEATHER,
        "demand": demand.PROFILES,
        "large": of_group("large"),
        "small": of_group("small"),
    }


def _district(rng: Random, prefix: str, begin_m: float) -> District:
    grid, towns = streets(rng), centres(rng)
    plant_at = ACROSS * (ALONG // 2)  # by the river, in the middle
    drawn = of_customers.customers(rng, grid, towns, CUSTOMERS, HEAT_KW)
    found = lines(grid, plant_at, sorted({c.crossing for c in drawn}), RINGS)
    grid, drawn = _stretched(grid, drawn, (LENGTH_M - sum(c.service_m for c in drawn)) / sum(found.values()))
    ways = sorted(found)
    lengths_m = [round(grid.beside[a][b] * 1.02, 1) for a, b in ways]
    used = sorted({crossing for way in ways for crossing in way}, key=lambda c: (c != plant_at, c))
    numbers = {crossing: number for number, crossing in enumerate(used)}
    taken: dict[int, float] = {}
    for customer in drawn:
        taken[numbers[customer.crossing]] = taken.get(numbers[customer.crossing], 0.0) + customer.design_kg_s
    sizes = sized(len(used), [(numbers[a], numbers[b]) for a, b in ways], lengths_m, taken)
    return District(prefix, begin_m, grid, ways, lengths_m, sizes, numbers, drawn)


def _stretched(grid: Streets, drawn: Sequence[Customer], scale: float) -> tuple[Streets, list[Customer]]:
    """The same streets, `scale` (of the lines, 2 % of bends left out) as long; service pipes stay as they are."""
    scale /= 1.02
    at = [(round(scale * x, 1), round(scale * y, 1)) for x, y in grid.at]
    beside = [{other: scale * length for other, length in some.items()} for some in grid.beside]
    moved = []
    for customer in drawn:
        (x, y), (old_x, old_y) = at[customer.crossing], grid.at[customer.crossing]
        place = (round(customer.at[0] + x - old_x, 1), round(customer.at[1] + y - old_y, 1))
        moved.append(replace(customer, at=place))
    return Streets(at, beside), moved


def _network(districts: Sequence[District]) -> Table:
    parts = [_part(district, len(districts)) for district in districts]
    links = [_link(near, far) for near, far in pairwise(districts)]
    pipes = [pipe for part in parts for pipe in part["pipes"]] + [link["pipe"] for link in links]
    return {
        "name": NETWORK,
        "title": "Heat network of the valley",
        "ambient_c": demand.GROUND_C,
        "outdoor_temperature_tag": "outdoor/temperature",
        "forecast_horizon_s": 86_400.0,
        "mirror": {"exclude": [f"{district.prefix}{name}" for district in districts for name in INSIDE]},
        "nodes": [node for part in parts for node in part["nodes"]] + [link["node"] for link in links],
        "pipe_classes": pipe_classes({pipe["pipe_class"] for pipe in pipes}),
        "pipes": pipes,
        "valves": [valve for link in links for valve in link["valves"]],
        "pumps": [pump for part in parts for pump in part["pumps"]],
        "units": [unit for part in parts for unit in part["units"]],
    }


def _part(district: District, districts: int) -> dict[str, list[Table]]:
    """What a district adds to the network; districts lie one behind the other."""
    prefix, grid = district.prefix, district.grid
    shift_m = district.begin_m
    root = next(iter(district.numbers))
    x, y = grid.at[root]
    plant_at = (round(x - 120.0, 1), round(y + shift_m - 90.0, 1))
    graphite_at = (round(x - 260.0, 1), round(y + shift_m - 1150.0, 1))
    critical = max(district.customers, key=lambda customer: _lost_pa(district, customer))
    lost_pa = 2.0 * _lost_pa(district, critical)
    inside = plant(
        prefix,
        plant_at,
        graphite_at,
        district.flow_kg_s,
        1.15 * lost_pa,  # with fittings
        prefix + critical.name if districts <= MOST_CRITICAL else "",
        _level(plant_at[0], plant_at[1], grid),
    )
    places = [(_crossing(prefix, crossing), grid.at[crossing]) for crossing in district.numbers]
    places += [(prefix + customer.name, customer.at) for customer in district.customers]
    nodes = [_node(name, (x, y + shift_m), grid) for name, (x, y) in places]
    return {
        "nodes": [*nodes, *inside.nodes],
        "pipes": [*_street_pipes(district), *_service_pipes(district), *inside.pipes],
        "pumps": inside.pumps,
        "units": [*inside.units, *(station(customer, prefix) for customer in district.customers)],
    }


def _lost_pa(district: District, customer: Customer) -> float:
    """One way from the plant to a customer, fittings left out."""
    crossing = district.numbers[customer.crossing]
    return float(district.sizes.lost_pa[crossing]) + SERVICE_PA_M * customer.service_m


def _link(near: District, far: District) -> dict[str, Any]:
    """A main between two districts, shut by section valves at its near end."""
    begin = max(near.numbers, key=lambda c: near.grid.at[c][1])
    end = min(far.numbers, key=lambda c: far.grid.at[c][1])
    (x, y), (end_x, end_y) = near.grid.at[begin], far.grid.at[end]
    here, there = near.begin_m, far.begin_m
    name, first = f"{far.prefix}link", _crossing(near.prefix, begin)
    length_m = round(1.05 * ((x + 8.0 - end_x) ** 2 + (y + here + 8.0 - end_y - there) ** 2) ** 0.5, 1)
    dn = min(_widest(near, begin), _widest(far, end))
    shut = {"kind": "control", "inner_diameter_mm": STEEL[dn].inner_mm, "loss_coefficient": 0.5, "opening": 0.0}
    return {
        "node": _node(name, (x + 8.0, y + here + 8.0), near.grid),
        "pipe": _pipe(name, name, _crossing(far.prefix, end), length_m, dn, 5.0),
        "valves": [
            {"name": f"{name}-valve", "start": first, "end": name, **shut},
            {"name": f"{name}-valve-return", "start": f"{name}-return", "end": f"{first}-return", **shut},
        ],
    }


def _widest(district: District, crossing: int) -> int:
    """Of the street pipes at a crossing."""
    return max(dn for way, dn in zip(district.ways, district.sizes.dn, strict=True) if crossing in way)


def _street_pipes(district: District) -> Iterator[Table]:
    prefix, root = district.prefix, next(iter(district.numbers))
    main = max(diameter(district.flow_kg_s, STREET_PA_M), _widest(district, root))
    yield _pipe(f"{prefix}main", f"{prefix}plant", _crossing(prefix, root), 165.0, main, 4.0)
    for (a, b), length_m, dn, flow in zip(
        district.ways, district.lengths_m, district.sizes.dn, district.sizes.flow_kg_s, strict=True
    ):
        start, end = (a, b) if flow >= 0 else (b, a)
        name = f"{_crossing(prefix, start)}-{_crossing('', end)}"
        zeta = round(0.5 + length_m / 100.0, 1)  # bends and expansion loops
        yield _pipe(name, _crossing(prefix, start), _crossing(prefix, end), length_m, dn, zeta)


def _service_pipes(district: District) -> Iterator[Table]:
    for customer in district.customers:
        name, dn = district.prefix + customer.name, diameter(customer.design_kg_s, SERVICE_PA_M, 25)
        start = _crossing(district.prefix, customer.crossing)
        yield _pipe(f"to-{name}", start, name, customer.service_m, dn, 3.0)


def _pipe(name: str, start: str, end: str, length_m: float, dn: int, zeta: float) -> Table:
    return {
        "name": name,
        "start": start,
        "end": end,
        "length_m": length_m,
        "pipe_class": f"dn{dn}",
        "loss_coefficient": zeta,
    }


def _crossing(prefix: str, crossing: int) -> str:
    """Streets along the valley are letters, across it numbers: C07."""
    return f"{prefix}{'ABCDEFG'[crossing % ACROSS]}{crossing // ACROSS + 1:02d}"


def _node(name: str, at: Position, grid: Streets) -> Table:
    return {"name": name, "x_m": round(at[0], 1), "y_m": round(at[1], 1), "elevation_m": _level(*at, grid)}


def _level(x: float, y: float, grid: Streets) -> float:
    """Metres above the sea: down the river, up the sides."""
    width = max(px for px, _ in grid.at)
    return round(max(VALLEY_FLOOR_M - FALL * y, 0.0) + RISE_M * max(x / width, 0.0) ** 2, 1)


def _instrumented(district: District) -> Iterator[str]:
    """Nodes of crossings with instruments, supply and return, spread over the district."""
    crossings = list(district.numbers)
    for k in range(min(INSTRUMENTED, len(crossings))):
        name = _crossing(district.prefix, crossings[k * len(crossings) // INSTRUMENTED])
        yield name
        yield f"{name}-return"
