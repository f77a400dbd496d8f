"""What drives simulated plants, from the table `simulation` of a territory file and the CSV files that it names."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from uem.territories import climate, schema
from uem.twin_core.errors import InvalidInput, InvalidTerritory
from uem.twin_core.plant.simulation import Simulation
from uem.twin_core.plant.units import Substation, Unit

YEAR_HOURS = 8760
DAYS = ("workday", "weekend")
R = TypeVar("R")


def simulation(told: schema.Simulation, folder: Path, epoch_ns: int, units: Iterable[Unit]) -> Simulation:
    """`folder` has the files; `units` are those of all networks. InvalidTerritory lists what is wrong."""
    problems: list[str] = []
    year = _read("weather", climate.typical_year, folder / told.weather, problems) or []
    shapes = _read("demand", climate.profiles, folder / told.demand, problems) or {}
    if year and len(year) != YEAR_HOURS:
        problems.append(f"weather: {told.weather} has {len(year)} hours; a typical year has {YEAR_HOURS}")
    stations = [unit.name for unit in units if isinstance(unit, Substation)]
    groups = dict.fromkeys(stations, "medium")
    for group, names in (("large", told.large), ("small", told.small)):
        problems += [f"{group}: {name!r} is no substation" for name in names if name not in groups]
        groups |= dict.fromkeys(names, group)
    wanted = [(g, use, day) for g in sorted({*groups.values()}) for use in ("heating", "hot_water") for day in DAYS]
    problems += [f"demand: {told.demand} has no row {', '.join(key)}" for key in wanted if shapes and key not in shapes]
    if problems:
        raise InvalidTerritory("simulation", problems)
    return Simulation(
        epoch_ns=epoch_ns, seed=told.seed, outdoor_c=tuple(t for _, t in year), shapes=shapes, groups=groups
    )


def _read(key: str, read: Callable[[Path], R], path: Path, problems: list[str]) -> R | None:
    try:
        return read(path)
    except InvalidInput as error:
        problems.append(f"{key}: {error}")
    return None
