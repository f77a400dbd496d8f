"""Electricity of pumps."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def pump_electricity_w(flow_kg_s: Array, pressure_rise_pa: Array, density_kg_m3: Array, efficiency: float) -> Array:
    """Electric power of a pump in W: hydraulic power over the efficiency of pump, motor and drive.

    Nothing where water flows backwards or the pressure falls: a pump gives no electricity back.
    """
    return np.maximum(flow_kg_s, 0.0) * np.maximum(pressure_rise_pa, 0.0) / (density_kg_m3 * efficiency)
