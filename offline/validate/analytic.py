"""The pipe model against exact solutions: no data, no other program, only mathematics.

Each case is one pipe driven through the plan that everything else uses. Where an exact solution needs constant
properties of water, the change of temperature is small and the error is scaled to the change that the bar speaks of.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import cbrt, exp, log, pi, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.offline.validate.case import Calculation, Result
from uem.offline.validate.thermal import single_pipe
from uem.twin_core.plant.network import PipeClass
from uem.twin_core.thermal import water
from uem.twin_core.thermal.network import NetworkPlan
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK, MAX_CELLS_OF_A_PIPE

Array = NDArray[np.float64]

SUITE: Final = "analytic"
AMBIENT_K: Final = 283.15
STEEL: Final = PipeClass(
    name="steel",
    inner_diameter_m=0.1,
    outer_diameter_m=0.107,
    wall_density_kg_m3=7800.0,
    wall_heat_capacity_j_kgk=480.0,
    loss_resistance_mk_w=3.0,
    dispersion_factor=0.0,
)
LOSSLESS: Final = replace(STEEL, loss_resistance_mk_w=1e15)
# Transport and nothing else.
IDEAL: Final = replace(LOSSLESS, wall_density_kg_m3=1e-9)


class Rig:
    """One pipe with water of one temperature, and what comes out of it."""

    def __init__(self, length_m: float, pipe_class: PipeClass, start_k: float, cells: int | None = None) -> None:
        self._plan = NetworkPlan(single_pipe(length_m, pipe_class), cells=cells)
        self._inlet, self._outlet = (self._plan.nodes.index(name) for name in ("in", "out"))
        self._inputs = self._plan.inputs()
        self._state = self._plan.initial_state(start_k)

    def step(self, flow_kg_s: float, temp_k: float, dt_s: float, ambient_k: float = AMBIENT_K) -> float:
        """The mean temperature over the step of what leaves the pipe, K; of what stands in it when nothing flows.

        A negative flow goes in at the end of the pipe and comes out at its start.
        """
        self._inputs.node_supply_temp_k[:] = temp_k
        self._inputs.node_demand_kg_s[self._outlet] = flow_kg_s
        self._inputs.ambient_temp_k[:] = ambient_k
        self._plan.step(self._state, dt_s, self._inputs)
        if flow_kg_s == 0.0:
            return float(self._state.pipe_outlet_temp_k[0, 0])
        return float(self._state.node_temp_k[self._outlet if flow_kg_s > 0.0 else self._inlet, 0])

    def outflow_j(self) -> float:
        """What left in the last step, heat above 0 degC, less what came in."""
        return float(self._state.energy_out_j[0] - self._state.energy_in_j[0])


def film_w_mk(pipe_class: PipeClass, flow_kg_s: float, temp_k: float) -> float:
    """Conductance from water to wall per metre of pipe: Gnielinski above Re 4000, 3.66 below 2300, linear between.

    Properties are those at the nearest whole kelvin, as in the model.
    """
    temp_k = round(temp_k)
    mu, k = water.viscosity_pa_s(temp_k), water.conductivity_w_mk(temp_k)
    reynolds = 4.0 * flow_kg_s / (pi * pipe_class.inner_diameter_m * mu)
    turbulent = max(reynolds, 4000.0)
    prandtl = HEAT_CAPACITY_J_KGK * mu / k
    eighth = 1.0 / (8.0 * (0.79 * log(turbulent) - 1.64) ** 2)
    gnielinski = eighth * (turbulent - 1000.0) * prandtl / (1.0 + 12.7 * sqrt(eighth) * (cbrt(prandtl**2) - 1.0))
    share = min(max((reynolds - 2300.0) / 1700.0, 0.0), 1.0)
    return (3.66 + share * (gnielinski - 3.66)) * k * pi


def transit_s(length_m: float, pipe_class: PipeClass, flow_kg_s: float, temp_k: float) -> float:
    """How long water that came in at one temperature takes to the other end."""
    return pi / 4.0 * pipe_class.inner_diameter_m**2 * length_m * water.density_kg_m3(temp_k) / flow_kg_s


def steady_drop() -> Iterator[Result]:
    """Outlet of a steady stream: Ta + (Tin - Ta) exp(-L / (R m cp)), with the film in series in R."""
    for length_m, flow_kg_s, dt_s, cells in (
        (100.0, 2.0, 1.0, None),
        (1000.0, 0.3, 60.0, None),
        (1000.0, 0.3, 60.0, 8),
        (50.0, 20.0, 900.0, None),
    ):
        inlet_k = 363.15
        mean_k = inlet_k
        for _ in range(20):  # the film goes by the mean temperature of the water, which goes by the film
            resistance = STEEL.loss_resistance_mk_w + 1.0 / film_w_mk(STEEL, flow_kg_s, mean_k)
            exponent = length_m / (resistance * flow_kg_s * HEAT_CAPACITY_J_KGK)
            mean_k = AMBIENT_K + (inlet_k - AMBIENT_K) * (1.0 - exp(-exponent)) / exponent
        outlet_k = AMBIENT_K + (inlet_k - AMBIENT_K) * exp(-exponent)
        rig = Rig(length_m, STEEL, mean_k, cells)
        for _ in range(int(12.0 * transit_s(length_m, STEEL, flow_kg_s, inlet_k) / dt_s) + 3000):
            out_k = rig.step(flow_kg_s, inlet_k, dt_s)
        drop = f"steady drop of {inlet_k - outlet_k:.3g} K, {cells or 'default'} cells, steps of {dt_s:.0f} s"
        yield _result(drop, "outlet error", abs(out_k - outlet_k), "K", 1e-6)


def standstill() -> Iterator[Result]:
    """Water and wall that cool together: the exponential of a 2x2 matrix, after 12 h."""
    # So near to the ambient that the film stays that of 350 K.
    start_k, ambient_k, duration_s = 350.0, 349.55, 12 * 3600.0
    pipe_class = replace(STEEL, loss_resistance_mk_w=0.5)
    film, loss = film_w_mk(pipe_class, 0.0, start_k), 1.0 / pipe_class.loss_resistance_mk_w
    inner, outer = pipe_class.inner_diameter_m, pipe_class.outer_diameter_m
    water_j_mk = HEAT_CAPACITY_J_KGK * water.density_kg_m3(start_k) * pi / 4.0 * inner**2
    wall_j_mk = pipe_class.wall_density_kg_m3 * pipe_class.wall_heat_capacity_j_kgk * pi / 4.0 * (outer**2 - inner**2)
    rates = np.array([[-film, film], [film, -film - loss]]) / np.array([[water_j_mk], [wall_j_mk]])
    values, vectors = np.linalg.eig(rates)
    modes = np.linalg.solve(vectors, np.full(2, start_k - ambient_k))
    expected_k = ambient_k + float((vectors @ (np.exp(values * duration_s) * modes))[0])
    for dt_s in (1.0, 60.0, 900.0):
        rig = Rig(100.0, pipe_class, start_k)
        for _ in range(int(duration_s / dt_s)):
            out_k = rig.step(0.0, start_k, dt_s, ambient_k)
        yield _result(f"12 h of standstill, steps of {dt_s:.0f} s", "water error", abs(out_k - expected_k), "K", 1e-6)


def front() -> Iterator[Result]:
    """A front without wall and dispersion: it comes in time, and nothing goes beyond it."""
    length_m, flow_kg_s, low_k, high_k, cells = 100.0, 2.0, 300.0, 340.0, 16
    arrives_s = transit_s(length_m, IDEAL, flow_kg_s, high_k)
    plug_s = arrives_s / cells
    for dt_s in (1.0, 7.0, 90.0):
        rig = Rig(length_m, IDEAL, low_k, cells)
        out_k = np.array([rig.step(flow_kg_s, high_k, dt_s, low_k) for _ in range(int(2.5 * arrives_s / dt_s))])
        # When the outflow has carried half of the jump.
        found_s = dt_s * float(np.sum(high_k - out_k)) / (high_k - low_k)
        case = f"front without wall, steps of {dt_s:.0f} s"
        yield _result(case, "arrival error", abs(found_s - arrives_s) / max(plug_s, dt_s), "plugs", 1.0)
        yield _result(case, "overshoot", max(float(out_k.max()) - high_k, low_k - float(out_k.min()), 0.0), "K", 1e-9)
        growth = float(np.abs(np.diff(out_k, prepend=low_k)).sum()) - (high_k - low_k)
        yield _result(case, "growth of the total variation", max(growth, 0.0), "K", 1e-9)


def step_with_wall() -> Iterator[Result]:
    """A step through a pipe with a heavy wall, against the solution of Anzelius and Schumann."""
    length_m, flow_kg_s, low_k, jump_k, dt_s = 200.0, 2.0, 333.0, 0.2, 1.0
    pipe_class = LOSSLESS
    film = film_w_mk(pipe_class, flow_kg_s, low_k)
    inner, outer = pipe_class.inner_diameter_m, pipe_class.outer_diameter_m
    wall_j_mk = pipe_class.wall_density_kg_m3 * pipe_class.wall_heat_capacity_j_kgk * pi / 4.0 * (outer**2 - inner**2)
    arrives_s = transit_s(length_m, pipe_class, flow_kg_s, low_k + jump_k)
    time_s = dt_s * np.arange(0.5, int(3.0 * arrives_s / dt_s))
    behind_s = np.maximum(time_s - arrives_s, 0.0)
    exact = schumann(film * length_m / (flow_kg_s * HEAT_CAPACITY_J_KGK), film * behind_s / wall_j_mk)
    exact[time_s < arrives_s] = 0.0
    for cells, bar in ((MAX_CELLS_OF_A_PIPE, 0.1), (None, np.inf)):
        rig = Rig(length_m, pipe_class, low_k, cells)
        out_k = np.array([rig.step(flow_kg_s, low_k + jump_k, dt_s) for _ in time_s])
        error_k = 30.0 * ((out_k - low_k) / jump_k - exact)
        case = f"step with wall, {cells or 'default'} cells, scaled to 30 K"
        yield _result(case, "outlet RMSE", float(np.sqrt(np.mean(error_k**2))), "K", bar)


def schumann(water_length: float, wall_time: Array) -> Array:
    """Water temperature at the outlet after a unit step at the inlet of a pipe with a wall and without loss.

    `water_length`: film conductance of the pipe per heat capacity rate; `wall_time` (times,): film conductance per heat
    capacity of the wall, times the time since the water of the step arrived. Anzelius 1926, Schumann 1929:
    1 - exp(-z) integral from 0 to y of exp(-s) I0(2 sqrt(z s)) ds.
    """
    nodes, weights = np.polynomial.legendre.leggauss(200)
    s = 0.5 * water_length * (nodes + 1.0)
    inside = np.exp(-wall_time[:, None] - s) * np.i0(2.0 * np.sqrt(wall_time[:, None] * s))
    return 1.0 - 0.5 * water_length * (inside @ weights)


def pulse() -> Iterator[Result]:
    """A warm pulse sent half way, turned round, and back out where it came in."""
    length_m, flow_kg_s, low_k, high_k, dt_s = 100.0, 4.0, 300.0, 330.0, 1.0
    rig = Rig(length_m, IDEAL, low_k, cells=32)
    sent_j, out_k, back_j = 0.0, [], 0.0
    for k in range(80):
        temp_k = high_k if 10 <= k < 50 else low_k
        rig.step(flow_kg_s, temp_k, dt_s, low_k)
        sent_j -= rig.outflow_j()
    for _ in range(200):
        out_k.append(rig.step(-flow_kg_s, low_k, dt_s, low_k))
        back_j += rig.outflow_j()
    yield _result("pulse half way and back", "peak error", abs(max(out_k) - high_k), "K", 0.05)
    yield _result("pulse half way and back", "area error", abs(back_j / sent_j - 1.0), "1", 1e-9)


def _result(case: str, metric: str, value: float, unit: str, bar: float) -> Result:
    return Result(suite=SUITE, case=case, metric=metric, value=value, unit=unit, bar=bar)


CALCULATIONS: Final[dict[str, Calculation]] = {
    case.__name__.replace("_", " "): case for case in (steady_drop, standstill, front, step_with_wall, pulse)
}
