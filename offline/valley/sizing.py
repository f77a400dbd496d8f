"""Diameters of the lines for the flows of the design day, and the pressure that these lose.

Friction by Darcy and Weisbach with the factor of Swamee and Jain (1976, J. Hydraul. Div. 102:657-664); flows in rings
by linear theory (Wood and Charles 1972, J. Hydraul. Div. 98:1157-1170): resistances linear with the flows of the round
before, until those of two rounds agree. SI.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uem.territories.dimensions import STEEL

Array = NDArray[np.float64]

DENSITY_KG_M3, VISCOSITY_PA_S = 968.0, 0.33e-3  # of water at 85 degC, between supply and return
ROUGHNESS_M = 5e-5
# Usual limits of design: streets and service pipes (Pa/m), and velocities by inner diameter (m, m/s).
STREET_PA_M, SERVICE_PA_M = 90.0, 150.0
VELOCITIES = ((0.030, 0.8), (0.045, 1.0), (0.075, 1.3), (0.110, 1.6), (0.180, 2.0), (0.350, 2.6), (10.0, 3.0))
SMALLEST_STREET_DN = 50
MOST_LOST_PA = 3.8e5  # one way, so that pumps and held pressure stay below what PN 16 bears
ROUNDS = 60


@dataclass(frozen=True)
class Sized:
    """Of every line: nominal diameter and flow; of every node: pressure lost since the root, one way, Pa."""

    dn: list[int]
    flow_kg_s: Array
    lost_pa: Array


def gradient_pa_m(flow_kg_s: float, inner_m: float) -> float:
    """Pressure lost per metre."""
    if flow_kg_s == 0.0:
        return 0.0
    speed = abs(flow_kg_s) / (DENSITY_KG_M3 * math.pi / 4.0 * inner_m**2)
    reynolds = max(DENSITY_KG_M3 * speed * inner_m / VISCOSITY_PA_S, 4000.0)
    factor = 0.25 / math.log10(ROUGHNESS_M / (3.7 * inner_m) + 5.74 / reynolds**0.9) ** 2
    return factor / inner_m * DENSITY_KG_M3 / 2.0 * speed**2


def diameter(flow_kg_s: float, most_pa_m: float, smallest: int = 20) -> int:
    """The smallest nominal diameter that keeps both limits."""
    for dn, steel in STEEL.items():
        inner_m = steel.inner_mm / 1e3
        speed = abs(flow_kg_s) / (DENSITY_KG_M3 * math.pi / 4.0 * inner_m**2)
        fast = next(v for d, v in VELOCITIES if inner_m <= d)
        if dn >= smallest and speed <= fast and gradient_pa_m(flow_kg_s, inner_m) <= most_pa_m:
            return dn
    raise ValueError(f"no pipe carries {flow_kg_s:.0f} kg/s at {most_pa_m:g} Pa/m")


def sized(nodes: int, ways: Sequence[tuple[int, int]], length_m: Sequence[float], taken: Mapping[int, float]) -> Sized:
    """Lines between nodes 0 .. nodes - 1; node 0 feeds, `taken` says how much leaves at others (kg/s).

    Where ways are long, pipes are so wide that nobody is further than MOST_LOST_PA from the plant.
    """
    most_pa_m = STREET_PA_M
    while True:
        found = _sized(nodes, ways, length_m, taken, most_pa_m)
        if found.lost_pa.max() <= MOST_LOST_PA:
            return found
        most_pa_m *= 0.9


def _sized(
    nodes: int,
    ways: Sequence[tuple[int, int]],
    length_m: Sequence[float],
    taken: Mapping[int, float],
    most_pa_m: float,
) -> Sized:
    lengths = np.array(length_m)
    dn = [SMALLEST_STREET_DN] * len(ways)
    flow = np.ones(len(ways))
    for round_ in range(ROUNDS):
        slope = [gradient_pa_m(m, STEEL[d].inner_mm / 1e3) for m, d in zip(flow, dn, strict=True)]
        linear = lengths * np.maximum(slope, 1e-3) / np.maximum(np.abs(flow), 1e-3)
        if round_ == 0:
            linear = lengths.copy()
        pressure = _pressures(nodes, ways, linear, taken)
        new = np.array([(pressure[a] - pressure[b]) / linear[k] for k, (a, b) in enumerate(ways)])
        settled = round_ > 0 and np.allclose(new, flow, rtol=1e-6, atol=1e-6)
        flow = new if round_ == 0 else 0.5 * (flow + new)
        # Only ever wider: else two lines of a ring could take turns for ever.
        wider = [max(d, diameter(m, most_pa_m, SMALLEST_STREET_DN)) for m, d in zip(flow, dn, strict=True)]
        if settled and wider == dn:
            break
        dn = wider
    return Sized(dn, flow, pressure[0] - pressure)


def _pressures(nodes: int, ways: Sequence[tuple[int, int]], linear: Array, taken: Mapping[int, float]) -> Array:
    """Pressures above that of node 0, from conductances 1 / `linear`."""
    matrix = np.zeros((nodes, nodes))
    for (a, b), resistance in zip(ways, linear, strict=True):
        for i, j in ((a, b), (b, a)):
            matrix[i, i] += 1.0 / resistance
            matrix[i, j] -= 1.0 / resistance
    right = np.zeros(nodes)
    for node, flow in taken.items():
        right[node] -= flow
    pressure = np.zeros(nodes)
    pressure[1:] = np.linalg.solve(matrix[1:, 1:], right[1:])
    return pressure
