"""A tank that is filled and set right by its sensors."""

import math

import numpy as np
import pytest
from shipped import shipped

from uem.twin_core.follow import tank
from uem.twin_core.plant.units import StorageTank
from uem.twin_core.thermal.network import NetworkPlan

NETWORK = shipped("vallee").networks[0]
(TANK,) = (unit for unit in NETWORK.units if isinstance(unit, StorageTank))


@pytest.fixture
def numbers():
    """Of the tank in a fresh state of its network."""
    plan = NetworkPlan(NETWORK)
    return plan.unit_states(plan.initial_state(343.15))[TANK.name]


def plugs(numbers):
    return np.array([numbers[f"plug_{k}_temp_k"][0] for k in range(TANK.layers + 1)])


def mean_k(numbers):
    fill = numbers["fill"][0]
    weights = np.ones(TANK.layers + 1)
    weights[0], weights[-1] = fill, 1.0 - fill
    return float(weights @ plugs(numbers)) / TANK.layers


def test_the_border_lies_where_the_mean_says(numbers):
    tank.fill(TANK, numbers, 330.0, 370.0, 343.7)
    assert mean_k(numbers) == pytest.approx(343.7, abs=1e-9)
    assert (np.diff(plugs(numbers)) >= 0.0).all()
    assert len(np.unique(plugs(numbers).round(6))) <= 3


@pytest.mark.parametrize("unknown", [math.nan, 300.0, 400.0])
def test_half_of_it_is_warm_where_the_mean_is_unknown_or_cannot_be(numbers, unknown):
    tank.fill(TANK, numbers, 330.0, 370.0, unknown)
    assert mean_k(numbers) == pytest.approx(350.0, abs=1e-9)


def test_water_warmer_than_the_top_is_taken_out_and_its_energy_told(numbers):
    tank.fill(TANK, numbers, 330.0, 370.0, 350.0)
    before_k = mean_k(numbers)
    added_j = tank.hold_between(TANK, numbers, 330.0, 335.0)
    assert plugs(numbers).max() == 335.0 + tank.SLACK_K
    mass_kg = added_j / 4190.0 / (mean_k(numbers) - before_k)
    assert added_j < 0.0
    assert mass_kg == pytest.approx(TANK.volume_m3 * 970.0, rel=0.02)


def test_water_colder_than_the_foot_is_warmed(numbers):
    tank.fill(TANK, numbers, 330.0, 370.0, 350.0)
    assert tank.hold_between(TANK, numbers, 340.0, math.nan) > 0.0
    assert plugs(numbers).min() == 340.0 - tank.SLACK_K
    assert plugs(numbers).max() == 370.0


@pytest.mark.parametrize("shown", [math.nan, 0.0, 1e4])
def test_a_sensor_that_shows_nothing_that_can_be_changes_nothing(numbers, shown):
    tank.fill(TANK, numbers, 330.0, 370.0, 350.0)
    before = plugs(numbers)
    assert tank.hold_between(TANK, numbers, shown, shown) == 0.0
    np.testing.assert_array_equal(plugs(numbers), before)


@pytest.mark.parametrize(("bottom_k", "top_k"), [(372.0, 370.0), (420.0, 290.0)])
def test_sensors_of_which_the_foot_shows_warmer_set_nothing_right(numbers, bottom_k, top_k):
    tank.fill(TANK, numbers, 330.0, 370.0, 350.0)
    before = plugs(numbers)
    assert tank.contradict(bottom_k, top_k)
    assert tank.hold_between(TANK, numbers, bottom_k, top_k) == 0.0
    np.testing.assert_array_equal(plugs(numbers), before)


@pytest.mark.parametrize("bottom_k", [math.nan, 1e4, 370.0 + 2 * tank.SLACK_K])
def test_a_foot_that_is_not_known_or_as_warm_as_sensors_allow_contradicts_nothing(bottom_k):
    assert not tank.contradict(bottom_k, 370.0)
