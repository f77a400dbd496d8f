"""What customers take whose meters are dead."""

import numpy as np
import pytest

from uem.twin_core.follow.customers import PRIOR_PART, Customers

KINDS = ["heating", "heating", "heating", "hot_water", "hot_water"]
FILE_W = [100.0, 100.0, 200.0, 50.0, 50.0]


def test_one_that_never_spoke_takes_its_part_of_the_file_at_the_load_of_the_others():
    customers = Customers(KINDS, FILE_W)
    customers.take(np.array([60.0, 60.0, np.nan, 10.0, np.nan]), 60.0)
    np.testing.assert_allclose(customers.heat_w, [60.0, 60.0, 120.0, 10.0, 10.0])
    np.testing.assert_allclose(customers.standard_deviation_w, [0, 0, PRIOR_PART * 120.0, 0, PRIOR_PART * 10.0])
    assert customers.told_part == pytest.approx(130.0 / 260.0)


def test_one_that_died_takes_its_usual_part_as_wrong_as_it_scattered_about_that():
    rng, customers = np.random.default_rng(1), Customers(KINDS, FILE_W)
    loads = 0.5 + 0.3 * np.sin(np.arange(300) / 50.0)
    parts = np.array([50.0, 150.0, 200.0, 80.0, 20.0])  # not as the file says
    for load in loads:
        shown_w = load * parts * (1.0 + np.array([0.0, 0.1, 0.0, 0.0, 0.0]) * rng.normal(size=5))
        customers.take(shown_w, 60.0)
    customers.take(np.array([50.0, np.nan, 200.0, 80.0, 20.0]) * 0.9, 60.0)
    assert customers.heat_w[1] == pytest.approx(150.0 * 0.9, rel=0.05)
    assert customers.standard_deviation_w[1] == pytest.approx(15.0 * 0.9, rel=0.3)


def test_without_most_of_the_meters_the_load_stays_as_it_was():
    customers = Customers(KINDS, FILE_W)
    customers.take(0.5 * np.array(FILE_W), 60.0)
    customers.take(np.array([200.0, np.nan, np.nan, np.nan, np.nan]), 60.0)
    np.testing.assert_allclose(customers.heat_w, [200.0, 50.0, 100.0, 25.0, 25.0])


def test_a_copy_stays_as_it_was():
    customers = Customers(KINDS, FILE_W)
    customers.take(np.array(FILE_W), 60.0)
    kept = customers.copy()
    before = kept.usual_w.copy()
    for _ in range(5):
        customers.take(np.array([10.0, 500.0, np.nan, 3.0, 0.0]), 60.0)
    np.testing.assert_array_equal(kept.usual_w, before)
    np.testing.assert_array_equal(kept.heat_w, FILE_W)


def test_a_summer_without_heating_is_no_division_by_zero():
    customers = Customers(KINDS, FILE_W)
    for _ in range(3):
        customers.take(np.array([0.0, 0.0, np.nan, 5.0, 5.0]), 60.0)
    np.testing.assert_array_equal(customers.heat_w[:3], 0.0)
