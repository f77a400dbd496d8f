"""What a day asks of the valley: outdoor temperature of a typical year, demand of measured shape, supply temperatures.

Space heating follows the mean outdoor temperature of the last 24 hours along the load line, and over the day the
shape that stations of the same group had on heating days; hot water has the shape of days without heating. Weather and
shapes: examples/vallee/README.md.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uem.offline.valley.customers import DESIGN_OUTDOOR_C, HEATING_LIMIT_C, KINDS, SUPPLY_C, Customer
from uem.offline.valley.plant import WASTE_KG_S
from uem.territories import climate
from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.simulation import HOURS

Array = NDArray[np.float64]
Row = list[str]

LOWEST_SUPPLY_C = 85.0  # from the heating limit on
SLIDING = ("incinerator", "wood-1", "wood-2", "gas-1", "gas-2")  # units whose supply temperature follows the weather
GROUND_C = 11.0
WEATHER, PROFILES = "lyon_bron.csv", "demand_profiles.csv"  # beside the territory file
EXAMPLE = Path(str(files("uem.examples"))) / "vallee"


def days() -> list[str]:
    """Days of the typical year, as 01-18."""
    return list(dict.fromkeys(day for day, _ in _weather()))


def outdoor_c(day: str) -> tuple[Array, float]:
    """Outdoor temperature at the 25 full hours of a day, and the mean of the 24 hours before it.

    Raises:
        InvalidInput: there is no such day.
    """
    year = _weather()
    first = next((k for k, (of, _) in enumerate(year) if of == day), None)
    if first is None:
        raise InvalidInput(f"day {day!r}: a day of the typical year is like 01-18, from 01-01 to 12-31")
    temps = np.array([temp for _, temp in year])
    # A row is the mean of an hour, told at its end.
    around = np.take(temps, np.arange(first - HOURS - 1, first + HOURS), mode="wrap")
    return around[HOURS:], float(around[1 : HOURS + 1].mean())


def inputs(customers: Sequence[tuple[str, Customer]], prefixes: Sequence[str], day: str, *, weekend: bool) -> list[Row]:
    """Rows of a CSV file for `uem run`, the header first; `customers` as (prefix of their district, customer)."""
    temps, yesterday_c = outdoor_c(day)
    shapes = profiles()
    kind = "weekend" if weekend else "workday"
    smooth = np.array([(yesterday_c * (HOURS - k) + temps[:k].sum()) / HOURS for k in range(HOURS + 1)])
    load = np.clip((HEATING_LIMIT_C - smooth) / (HEATING_LIMIT_C - DESIGN_OUTDOOR_C), 0.0, 1.0)
    supply_c = LOWEST_SUPPLY_C + (SUPPLY_C - LOWEST_SUPPLY_C) * load
    columns: dict[str, Array] = {"time": 3600.0 * np.arange(HOURS + 1.0), "outdoor_temp_c": temps}
    columns["ambient_c"] = np.full(HOURS + 1, GROUND_C)
    heats = (load > 0.0).astype(float)
    for prefix in prefixes:
        # In summer one line of the incinerator is overhauled, and the heat pump stands.
        columns[f"unit/{prefix}incinerator/waste_kg_s"] = WASTE_KG_S * (0.5 + 0.5 * heats)
        columns[f"unit/{prefix}heat-pump/on"] = heats
        columns |= {f"unit/{prefix}{unit}/supply_temp_c": supply_c for unit in SLIDING}
        columns[f"unit/{prefix}graphite-fumes/supply_temp_c"] = supply_c - 5.0
    for prefix, customer in customers:
        group = KINDS[customer.kind].group
        heating = np.append(shapes[group, "heating", kind], shapes[group, "heating", kind][0])
        water = np.append(shapes[group, "hot_water", kind], shapes[group, "hot_water", kind][0])
        name = f"unit/{prefix}{customer.name}"
        columns[f"{name}/heating_kw"] = np.minimum(load * heating, 1.0) * customer.heat_kw
        columns[f"{name}/hot_water_kw"] = water * customer.hot_water_kw
    rows = zip(*columns.values(), strict=True)
    return [list(columns), *([f"{cell:.5g}" for cell in row] for row in rows)]


def profiles() -> dict[tuple[str, str, str], Array]:
    """Shape of a day, mean 1, by (group, use, kind of day)."""
    return {key: np.array(hours) for key, hours in climate.profiles(EXAMPLE / PROFILES).items()}


def _weather() -> list[tuple[str, float]]:
    """(day, mean temperature) of every hour of the typical year."""
    return climate.typical_year(EXAMPLE / WEATHER)
