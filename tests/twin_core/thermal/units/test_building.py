"""Buildings against a plain integration of their equations, their ledger and their thermostat."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from uem.twin_core.plant.units import Building, HeatDemand, Substation

HEAVY = Building(
    air_capacity_j_k=3e7,
    wall_capacity_j_k=5e8,
    mass_capacity_j_k=3e8,
    outdoor_w_k=800.0,
    wall_inside_w_k=6000.0,
    wall_outside_w_k=900.0,
    mass_w_k=5000.0,
    solar_area_m2=30.0,
)
LIGHT = replace(HEAVY, mass_capacity_j_k=0.0, mass_w_k=0.0)
NODES = ("air_temp_k", "wall_temp_k", "mass_temp_k")


def house(building):
    return Substation(
        name="house", start="s", end="r", nominal_heat_w=1e5, demand=HeatDemand.BUILDING, building=building
    )


def exact(b, temps, outdoor_k, air_w, mass_w, dt_s):
    """Node temperatures after dt by the matrix exponential of the equations as they are written."""
    count = 3 if b.mass_capacity_j_k else 2
    c = np.array([b.air_capacity_j_k, b.wall_capacity_j_k, b.mass_capacity_j_k])[:count]
    a = np.zeros((count + 1, count + 1))
    a[0, 0] = -(b.outdoor_w_k + b.wall_inside_w_k + b.mass_w_k)
    a[0, 1] = a[1, 0] = b.wall_inside_w_k
    a[1, 1] = -(b.wall_inside_w_k + b.wall_outside_w_k)
    a[0, count] = b.outdoor_w_k * outdoor_k + air_w
    a[1, count] = b.wall_outside_w_k * outdoor_k
    if count == 3:
        a[0, 2] = a[2, 0] = b.mass_w_k
        a[2, 2] = -b.mass_w_k
        a[2, count] = mass_w
    else:
        a[0, count] += mass_w
    a[:count] /= c[:, None]
    return (expm(a * dt_s) @ np.append(temps[:count], 1.0))[:count]


@pytest.mark.parametrize("building", [HEAVY, LIGHT], ids=["three nodes", "two nodes"])
@pytest.mark.parametrize("dt_s", [1.0, 60.0, 900.0, 86400.0])
def test_temperatures_are_those_of_the_matrix_exponential(run, building, dt_s):
    unit = run(house(building)).tell(
        outdoor_temp_k=268.15, solar_w_m2=200.0, internal_gains_w=3000.0, room_set_temp_k=200.0
    )
    temps = [294.15, 285.15, 292.15]
    unit.put(**dict(zip(NODES, temps, strict=True)))
    unit.step(353.15, 0.0, dt_s)
    expected = exact(building, np.array(temps), 268.15, 3000.0, 6000.0, dt_s)
    np.testing.assert_allclose([unit.now(n) for n in NODES][: len(expected)], expected, rtol=0, atol=1e-9)
    if building is LIGHT:
        assert unit.now("mass_temp_k") == pytest.approx(temps[2])  # stands alone


@pytest.mark.parametrize("building", [HEAVY, LIGHT], ids=["three nodes", "two nodes"])
@settings(max_examples=60)
@given(
    dt=st.floats(0.01, 86400),
    outdoor=st.floats(240, 310),
    sun=st.floats(0, 900),
    gains=st.floats(0, 2e4),
    set_k=st.floats(280, 300),
    temps=st.tuples(st.floats(270, 310), st.floats(260, 310), st.floats(270, 310)),
)
def test_what_comes_in_is_lost_or_stored(run, building, dt, outdoor, sun, gains, set_k, temps):
    unit = run(house(building)).tell(
        outdoor_temp_k=outdoor, solar_w_m2=sun, internal_gains_w=gains, room_set_temp_k=set_k
    )
    unit.put(**dict(zip(NODES, temps, strict=True)))
    result = unit.step(363.15, dt_s=dt)
    capacity = (building.air_capacity_j_k, building.wall_capacity_j_k, building.mass_capacity_j_k)
    stored = sum(c * (unit.now(n) - t) for c, n, t in zip(capacity, NODES, temps, strict=True))
    came = result["heating_j"] + result["gains_j"]
    content = sum(c * 300 for c in capacity)
    assert came - result["building_loss_j"] - stored == pytest.approx(
        0, abs=1e-9 * (came + abs(result["building_loss_j"])) + 1e-14 * content
    )


def test_one_long_step_is_many_short_ones(run):
    commands = {"outdoor_temp_k": 270.15, "solar_w_m2": 100.0, "internal_gains_w": 2000.0, "room_set_temp_k": 200.0}
    long, short = (run(house(HEAVY)).tell(**commands) for _ in range(2))
    once = long.step(353.15, 0.0, 7200.0)
    lost = sum(short.step(353.15, 0.0, 60.0)["building_loss_j"] for _ in range(120))
    np.testing.assert_allclose([short.now(n) for n in NODES], [long.now(n) for n in NODES], atol=1e-9)
    assert lost == pytest.approx(once["building_loss_j"], rel=1e-10)


@pytest.mark.parametrize("dt_s", [10.0, 60.0, 900.0])
def test_the_thermostat_holds_its_set_point_whatever_the_step(run, dt_s):
    unit = run(house(HEAVY)).tell(outdoor_temp_k=268.15, room_set_temp_k=294.15)
    for _ in range(int(2 * 86400 / dt_s)):
        result = unit.step(363.15, dt_s=dt_s)
    assert result["room_temp_k"] == pytest.approx(294.15, abs=0.05)


def test_gains_and_sun_take_the_place_of_heating(run):
    without, with_sun = (run(house(HEAVY)).tell(outdoor_temp_k=273.15, solar_w_m2=s) for s in (0.0, 300.0))
    for _ in range(9 * 96):
        cold, sunny = without.step(363.15, dt_s=900.0), with_sun.step(363.15, dt_s=900.0)
    assert sunny["heating_j"] == pytest.approx(cold["heating_j"] - 300.0 * 30.0 * 900.0, rel=0.02)


def test_a_warm_house_asks_for_nothing(run):
    assert run(replace(house(HEAVY), outdoor_temp_k=298.15)).flow(363.15) == 0.0
