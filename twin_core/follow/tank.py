"""Tanks of a followed network by their sensors: no water is warmer than at the top, none colder than at the foot.

How far the warm water reaches down is not measured by two sensors, so a tank may be filled otherwise than its twin
believes. When the border passes a sensor it shows, and the water that cannot be there is set right; the energy of that
is told. It is no part of the balance of the network's water, of which a tank is a customer or a source. A foot that
shows warmer than the top cannot be: warm water rises. One of the two is wrong, nobody knows which, so neither sets
anything right.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.plant.units import StorageTank
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK
from uem.twin_core.thermal.water import density_kg_m3

Array = NDArray[np.float64]

LEAST_K, MOST_K = 273.15, 473.15  # a sensor that shows anything else is not believed
SLACK_K = 0.5  # that sensors may be off, and layers be mixed


def signal(tank: StorageTank, place: str) -> str:
    """Of a sensor at the `top`, at the `bottom`, or of the `mean` of several."""
    return f"unit/{tank.name}/{place}_temperature"


def fill(tank: StorageTank, numbers: Mapping[str, Array], bottom_k: float, top_k: float, mean_k: float) -> None:
    """Warm water over cold, so much of each that the mean is right; where it cannot be, or is unknown, half of each."""
    warm = tank.layers / 2.0
    if bottom_k < top_k and bottom_k <= mean_k <= top_k:
        warm = tank.layers * (mean_k - bottom_k) / (top_k - bottom_k)
    numbers["fill"][:] = 1.0
    for k in range(tank.layers + 1):
        share = min(max(k + 1.0 - (tank.layers - warm), 0.0), 1.0)
        numbers[_plug(k)][:] = bottom_k + share * (top_k - bottom_k)


def contradict(bottom_k: float, top_k: float) -> bool:
    """Whether the foot shows warmer than the top, by more than both may be off; what cannot be contradicts nothing."""
    are_possible = all(LEAST_K < shown_k < MOST_K for shown_k in (bottom_k, top_k))
    return are_possible and bottom_k - SLACK_K > top_k + SLACK_K


def hold_between(tank: StorageTank, numbers: Mapping[str, Array], bottom_k: float, top_k: float) -> float:
    """Set what is warmer than the top or colder than the bottom to those; a NaN bounds nothing. The energy added, J.

    Sensors that contradict each other bound nothing either.
    """
    if contradict(bottom_k, top_k):
        return 0.0
    low_k = bottom_k - SLACK_K if LEAST_K < bottom_k < MOST_K else -math.inf
    high_k = top_k + SLACK_K if LEAST_K < top_k < MOST_K else math.inf
    added = 0.0  # K times layers
    for k in range(tank.layers + 1):
        plug = numbers[_plug(k)]
        held_k = min(max(float(plug[0]), low_k), high_k)
        part = float(numbers["fill"][0])
        added += (held_k - float(plug[0])) * (part if k == 0 else 1.0 - part if k == tank.layers else 1.0)
        plug[:] = held_k
    mass_kg = tank.volume_m3 * density_kg_m3(0.5 * (tank.top_temp_k + tank.bottom_temp_k))
    return added * mass_kg * HEAT_CAPACITY_J_KGK / tank.layers


def _plug(k: int) -> str:
    return f"plug_{k}_temp_k"
