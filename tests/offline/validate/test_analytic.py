"""The exact solutions: the model meets them, they are what they say, and another model would miss them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from uem.offline.validate import analytic


@pytest.fixture(scope="module")
def found():
    return {(r.case, r.metric): r for case in analytic.CALCULATIONS.values() for r in case()}


def test_every_exact_solution_is_met(found):
    assert len(found) == len({*found}) >= 15
    assert not [r for r in found.values() if not r.passed]


def test_the_bars_are_the_promised_ones(found):
    bars = {metric: {r.bar for (_, m), r in found.items() if m == metric and np.isfinite(r.bar)} for _, metric in found}
    assert bars["outlet error"] == bars["water error"] == {1e-6}
    assert bars["arrival error"] == {1.0}
    assert bars["overshoot"] == bars["area error"] == {1e-9}
    assert bars["outlet RMSE"] == {0.1}


def test_schumann_is_the_solution_of_the_two_equations():
    """Against lines along the pipe: water that moves without capacity of its own over a wall."""
    cells, length = 800, 5.0
    dy = length / cells

    def rates(_, wall):
        # dT/dy = W - T with T = 1 at the inlet, exact over a cell of one wall temperature; dW/dz = T - W.
        decay, mean = np.exp(-dy), (1.0 - np.exp(-dy)) / dy
        water, out = 1.0, np.empty(cells)
        for k in range(cells):
            out[k] = wall[k] + (water - wall[k]) * mean
            water = wall[k] + (water - wall[k]) * decay
        rates.outlet = water
        return out - wall

    times = np.array([0.5, 3.0, 6.0])
    walls = solve_ivp(rates, (0.0, 6.0), np.zeros(cells), t_eval=times, rtol=1e-7, atol=1e-9).y.T
    outlets = []
    for wall in walls:
        rates(0.0, wall)
        outlets.append(rates.outlet)
    np.testing.assert_allclose(analytic.schumann(length, times), outlets, rtol=0, atol=1e-4)


def test_a_wall_of_another_weight_misses_the_step(monkeypatch):
    """The exact solution is asked for the right wall, the model runs with a wall a tenth heavier."""
    heavier = replace(analytic.LOSSLESS, wall_density_kg_m3=8580.0)
    right = analytic.Rig
    monkeypatch.setattr(analytic, "Rig", lambda length, _, *rest: right(length, heavier, *rest))
    assert not next(analytic.step_with_wall()).passed
