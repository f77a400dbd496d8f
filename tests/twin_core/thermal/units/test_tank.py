"""Stratified tanks: water moves without mixing, warm rises, and every joule is accounted for."""

from dataclasses import replace
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from uem.twin_core.plant.units import StorageTank
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK as CP

TANK = StorageTank(
    name="tank", start="r", end="s", volume_m3=100.0, height_m=8.0, layers=20, top_temp_k=363.15, bottom_temp_k=323.15
)
# No loss and no conduction: only what moves the water.
STILL = replace(TANK, loss_w_m2k=0.0, conductivity_w_mk=0.0)


def mass_kg(tank):
    return tank.rows.parameters[1] / CP


def stored_j(tank):
    """Heat above 0 degC."""
    parts, temps = plugs(tank)
    return tank.rows.parameters[1] * float((parts * (temps - 273.15)).sum() / tank.unit.layers)


def plugs(tank):
    """Parts of a layer and temperatures from the bottom to the top."""
    fill, temps = tank.state[0], tank.state[1:]
    parts = np.ones(len(temps))
    parts[0], parts[-1] = fill, 1 - fill
    return parts[parts > 1e-12], temps[parts > 1e-12]


def plain_move(parts, temps, layers, temp_in):
    """Push water in at the bottom of a list of (part, temperature); what left."""
    queue = [(layers, temp_in), *zip(parts, temps, strict=True)]
    left, heat = layers, 0.0
    while left > 1e-15:
        part, temp = queue.pop()
        out = min(part, left)
        heat += out * temp
        left -= out
        if out < part:
            queue.append((part - out, temp))
    return queue, heat / layers


def test_what_was_on_top_leaves_first_and_the_thermocline_stays_sharp(run):
    tank = run(STILL)
    outlets = []
    for _ in range(30):
        outlets.append(tank.step(313.15, mass_kg(tank) / 20 / 60)["outlet_temp_k"])
    assert outlets == pytest.approx([363.15] * 10 + [323.15] * 10 + [313.15] * 10, abs=1e-9)


def test_charged_and_discharged_again_it_gives_back_what_it_got(run):
    tank = run(STILL)
    start = stored_j(tank)
    charged = sum(tank.step(363.15, -7.3)["heat_j"] for _ in range(60))
    assert charged < 0
    for _ in range(60):
        tank.step(323.15, 7.3)
    assert stored_j(tank) == pytest.approx(start, rel=1e-9)


@given(flow=st.floats(0.1, 300.0))
def test_what_leaves_is_what_a_list_of_plugs_gives(run, flow):
    tank = run(STILL)
    tank.state[1:] = np.linspace(320.0, 360.0, 21)
    parts, temps = plugs(tank)
    content = flow * 60 / mass_kg(tank) * 20
    _, expected = plain_move(parts, temps, content, 310.0)
    assert tank.step(310.0, flow)["outlet_temp_k"] == pytest.approx(expected, abs=1e-9)


def test_one_long_step_moves_as_many_short_ones(run):
    long, short = run(STILL), run(STILL)
    once = long.step(310.0, 20.0, 3600.0)
    given_j = sum(short.step(310.0, 20.0, 1.0)["heat_j"] for _ in range(3600))
    assert given_j == pytest.approx(once["heat_j"], rel=1e-9)


def test_a_tank_at_rest_cools_as_an_exponential(run):
    tank = run(replace(TANK, top_temp_k=343.15, bottom_temp_k=343.15, layers=2, conductivity_w_mk=0.0))
    p = tank.rows.parameters
    ua = 2 * p[3] + 2 * p[4]
    surface = 2 * 12.5 + np.sqrt(4 * np.pi * 12.5) * 8.0
    assert ua == pytest.approx(0.3 * surface)
    lost = sum(tank.step(320.0, 0.0, 900.0)["loss_j"] for _ in range(96))
    expected = 283.15 + 60.0 * exp(-ua * 86400 / p[1])
    assert plugs(tank)[1] == pytest.approx([expected] * 2, abs=1e-6)
    assert lost == pytest.approx(p[1] * (343.15 - expected), rel=1e-9)


def test_warm_water_below_cold_water_rises_and_mixes(run):
    tank = run(STILL)
    tank.state[1:] = np.linspace(350.0, 330.0, 21)
    before = stored_j(tank)
    mean = tank.step(330.0, 0.0)["mean_temp_k"]
    _, temps = plugs(tank)
    assert temps == pytest.approx([mean] * 20)
    assert stored_j(tank) == pytest.approx(before)


def test_hot_water_at_the_bottom_mixes_only_as_far_as_it_must(run):
    tank = run(STILL)
    result = tank.step(343.15, mass_kg(tank) / 20 / 60)
    _, temps = plugs(tank)
    # One layer of 343.15 K rises through ten of 323.15 K; the hot half above is left alone.
    assert temps[0] == pytest.approx(323.15 + 20.0 / 11)
    assert result["top_temp_k"] == pytest.approx(363.15)


def test_conduction_wears_the_thermocline_down(run):
    tank = run(replace(TANK, loss_w_m2k=0.0, conductivity_w_mk=2.0, layers=64))
    first = stored_j(tank)
    for _ in range(24 * 7):
        tank.step(320.0, 0.0, 3600.0)
    assert stored_j(tank) == pytest.approx(first, rel=1e-12)
    temps = plugs(tank)[1]
    # The middle of an endless slab: erf of the distance over twice the root of a t.
    a = 2.0 / (mass_kg(tank) / 100.0 * CP)
    x = (np.arange(64) + 0.5) / 8.0 - 4.0
    expected = 343.15 + 20.0 * erf(x / (2 * np.sqrt(a * 7 * 86400)))
    np.testing.assert_allclose(temps, expected, atol=0.08)


def test_it_neither_discharges_cold_nor_charges_when_full(run):
    tank = run(replace(TANK, lowest_discharge_temp_k=364.0, highest_charge_temp_k=320.0, maximum_flow_kg_s=5.0))
    assert tank.tell(flow_kg_s=9.0).flow(320.0) == 0.0
    assert tank.tell(flow_kg_s=-9.0).flow(320.0) == 0.0
    tank = run(replace(TANK, maximum_flow_kg_s=5.0))
    assert tank.tell(flow_kg_s=9.0).flow(320.0) == 5.0
    assert tank.tell(flow_kg_s=-9.0).flow(320.0) == -5.0


flows = st.one_of(st.just(0.0), st.sampled_from([5e-324, -1e-300, 1e-12]), st.floats(-400, 400), st.floats(-2, 2))


@settings(max_examples=150)
@given(
    layers=st.integers(2, 64),
    steps=st.lists(st.tuples(flows, st.floats(275, 420), st.floats(1, 3600)), min_size=1, max_size=15),
)
def test_whatever_flows_nothing_leaves_the_range_and_no_joule_is_lost(run, layers, steps):
    tank = run(replace(TANK, layers=layers))
    before = stored_j(tank)
    low, high = 283.15, 363.15
    for flow, temp, dt in steps:
        if flow:
            low, high = min(low, temp), max(high, temp)
        result = tank.step(temp, flow, dt)
        moved = abs(result["heat_j"]) + abs(result["loss_j"])
        throughput = abs(flow) * dt * CP * (temp - 273.15)
        change = stored_j(tank) - before
        assert change == pytest.approx(
            -result["heat_j"] - result["loss_j"], abs=1e-9 * (moved + throughput) + 1e-12 * before
        )
        before = stored_j(tank)
        parts, temps = plugs(tank)
        assert parts.sum() == pytest.approx(layers, rel=1e-12)
        assert low - 1e-9 <= temps.min() <= temps.max() <= high + 1e-9
        assert np.all(np.diff(temps) >= -1e-9)
        assert low - 1e-9 <= result["outlet_temp_k"] <= high + 1e-9 or abs(flow) * dt < 1e-9
