"""Demand of many days: what a day asks (`demand.py`), with weather that is not the typical one and with noise.

Noise is autocorrelated: of all stations together (people and wind), of each alone, and a slow drift of each level.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uem.offline.valley.customers import DESIGN_OUTDOOR_C, HEATING_LIMIT_C, KINDS, Customer
from uem.offline.valley.demand import profiles

Array = NDArray[np.float64]

STEPS_PER_HOUR = 4
STEP_S = 900.0
TOGETHER_SD, TOGETHER_H = 0.03, 12.0  # relative
ALONE_SD, ALONE_H = 0.12, 3.0
DRIFT_SD, DRIFT_H = 0.08, 30 * 24.0
WEATHER_SD_K, WEATHER_H = 2.0, 48.0  # away from the typical year


@dataclass(frozen=True, slots=True)
class Season:
    """Quarter hours: `hour` of the day, `rest` on weekends, `outdoor_c`, all (steps,); `load_kw` (steps, customers)."""

    hour: Array
    rest: NDArray[np.bool_]
    outdoor_c: Array
    load_kw: Array


def season(customers: Sequence[Customer], typical_c: Array, seed: int) -> Season:
    """A season whose hours have the typical temperatures `typical_c`, from a midnight to a midnight, a Monday first."""
    rng = np.random.default_rng(seed)
    count = STEPS_PER_HOUR * len(typical_c)
    quarter = np.arange(count) / STEPS_PER_HOUR
    outdoor_c = np.interp(quarter, np.arange(len(typical_c)) + 0.5, typical_c)
    outdoor_c += _noise(rng, count, 1, WEATHER_SD_K, WEATHER_H)[:, 0]
    day_steps = 24 * STEPS_PER_HOUR
    total = np.concatenate(([0.0], np.cumsum(np.concatenate([np.repeat(outdoor_c[0], day_steps), outdoor_c]))))
    smooth = (total[day_steps + 1 :] - total[1:-day_steps]) / day_steps
    line = np.clip((HEATING_LIMIT_C - smooth) / (HEATING_LIMIT_C - DESIGN_OUTDOOR_C), 0.0, 1.0)
    hour = quarter % 24.0
    rest = (quarter // 24.0) % 7 >= 5
    shapes = profiles()
    load_kw = np.empty((count, len(customers)))
    for i, customer in enumerate(customers):
        heating, water = (_shape(shapes, customer.kind, use, hour, rest) for use in ("heating", "hot_water"))
        load_kw[:, i] = np.minimum(line * heating, 1.0) * customer.heat_kw + water * customer.hot_water_kw
    noise = 1.0 + _noise(rng, count, 1, TOGETHER_SD, TOGETHER_H)
    noise = noise + _noise(rng, count, len(customers), ALONE_SD, ALONE_H)
    noise = noise + _noise(rng, count, len(customers), DRIFT_SD, DRIFT_H)
    return Season(hour, rest, outdoor_c, load_kw * np.maximum(noise, 0.0))


def _shape(
    shapes: dict[tuple[str, str, str], Array], kind: str, use: str, hour: Array, rest: NDArray[np.bool_]
) -> Array:
    work, off = (shapes[KINDS[kind].group, use, day] for day in ("workday", "weekend"))
    at = np.floor(hour).astype(np.intp)
    return np.where(rest, off[at], work[at])


def _noise(rng: np.random.Generator, count: int, columns: int, sd: float, fade_h: float) -> Array:
    """A first-order process, shape (count, columns), of that standard deviation and time constant."""
    keep = np.exp(-1.0 / (STEPS_PER_HOUR * fade_h))
    found = rng.normal(0.0, sd, (count, columns))
    found[1:] *= np.sqrt(1.0 - keep * keep)
    for row in range(1, count):
        found[row] += keep * found[row - 1]
    return found
