"""Substations against the same equations in NumPy.

Both work out the wanted flow, then the step with it, for inlet temperatures that wander as they do in a network: ours
one after the other as the coupled step asks it to, NumPy all at once. Same equations, float64 on both sides.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from uem.twin_core.plant.units import HeatDemand, Substation
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK
from uem.twin_core.thermal.units.compile import CompiledUnit, compile_unit
from uem.twin_core.thermal.units.dispatch import advance_times

Array = NDArray[np.float64]
Compare = Callable[..., None]

STEP_S = 60.0
HEATING_W = 1.2e5
OUTDOOR_K = 273.15
# NumPy's Newton starts from the rating; this many iterations bring all of these inlets to 1e-9.
ITERATIONS = 6

STATION = Substation(
    name="station",
    start="s",
    end="r",
    nominal_heat_w=2e5,
    demand=HeatDemand.COMMAND,
    heating_w=HEATING_W,
    outdoor_temp_k=OUTDOOR_K,
)


def inlets(count: int) -> Array:
    """Inlet temperatures that wander by some hundredths of a kelvin per step."""
    steps = np.random.default_rng(1).normal(0.0, 0.05, count)
    temps: Array = 353.15 + np.clip(np.cumsum(steps), -3.0, 3.0)
    return temps


def resistance(unit: CompiledUnit, a: Array, b: float, fixed: float) -> tuple[Array, Array]:
    """Resistance of the exchanger and its slope over that of the primary stream; equations: docs/models/units.md."""
    primary, wall = unit.parameters[1], unit.parameters[3]
    film = 0.5 * wall * (a / primary) ** 0.75
    r = fixed + film
    z = (a - b) / r
    phi = z / -np.expm1(-z)
    slope = phi * (1.0 - phi + z) / z
    return b + phi * r, slope + 0.75 * film / a * (phi - z * slope)


def numpy_step(unit: CompiledUnit, temps: Array) -> Array:
    """Outlet temperatures."""
    nominal_w, _, secondary, wall = unit.parameters[:4]
    part = (STATION.heating_limit_temp_k - OUTDOOR_K) / (STATION.heating_limit_temp_k - STATION.design_outdoor_temp_k)
    supply = STATION.secondary_lowest_temp_k + part * (
        STATION.secondary_supply_temp_k - STATION.secondary_lowest_temp_k
    )
    rise = 0.5 * (STATION.secondary_supply_temp_k + STATION.secondary_return_temp_k) - STATION.room_temp_k
    mean = STATION.room_temp_k + rise * (HEATING_W / nominal_w) ** (1.0 / STATION.radiator_exponent)
    back = min(2.0 * mean - supply, supply - HEATING_W * secondary)
    b = (supply - back) / HEATING_W
    fixed = 0.5 * wall * (b / secondary) ** 0.75
    total = (temps - back) / HEATING_W
    a = total
    for _ in range(ITERATIONS):
        is_now, slope = resistance(unit, a, b, fixed)
        a = a - (is_now - total) / slope
    flow = 1.0 / (a * HEAT_CAPACITY_J_KGK)
    given = np.minimum((temps - back) / resistance(unit, 1.0 / (flow * HEAT_CAPACITY_J_KGK), b, fixed)[0], HEATING_W)
    outlets: Array = temps - given / (flow * HEAT_CAPACITY_J_KGK)
    return outlets


def kernel_step(unit: CompiledUnit, temps: Array) -> Callable[[], Array]:
    """A call that steps through all inlets; the last result."""
    state, result = unit.state.copy(), np.empty(len(unit.result_names))

    def work() -> Array:
        advance_times(unit.kind, unit.parameters, state, unit.command, temps, STEP_S, result)
        return result

    return work


@pytest.mark.parametrize("count", [1000])
def test_substations(compare: Compare, count: int) -> None:
    unit, temps = compile_unit(STATION), inlets(count)
    ours = kernel_step(unit, temps)
    np.testing.assert_allclose(ours()[0], numpy_step(unit, temps)[-1], rtol=0, atol=1e-6)
    compare(
        ours, lambda: numpy_step(unit, temps), peer="NumPy, all at once", unit="ns/substation-step", scale=1e9 / count
    )
