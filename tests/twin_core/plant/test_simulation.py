"""Weather and demand by plant time."""

from datetime import UTC, datetime

import pytest

from uem.twin_core.measurements import NS_PER_S
from uem.twin_core.plant.simulation import Simulation, hour_of_year, load_part

SHAPES = {
    (group, use, day): tuple(0.5 + (hour + shift) % 24 / 24 for hour in range(24))
    for group in ("medium", "large")
    for use in ("heating", "hot_water")
    for shift, day in ((0, "workday"), (6, "weekend"))
}
YEAR = Simulation(
    epoch_ns=0, outdoor_c=tuple(float(k % 24) for k in range(8760)), shapes=SHAPES, groups={"a": "medium", "b": "large"}
)


def ns(*at):
    return round(datetime(*at, tzinfo=UTC).timestamp()) * NS_PER_S


def test_hours_of_the_year_are_counted_from_new_year_and_a_leap_day_is_a_28th_again():
    assert hour_of_year(ns(2026, 1, 1)) == 0.0
    assert hour_of_year(ns(2026, 1, 18, 5, 30)) == 17 * 24 + 5.5
    assert hour_of_year(ns(2028, 2, 29, 7)) == hour_of_year(ns(2028, 2, 28, 7))
    assert hour_of_year(ns(2028, 12, 31, 23)) == 8759.0


def test_outdoor_temperature_is_that_of_the_hour_that_ends_and_linear_between():
    assert YEAR.outdoor_temp_c(ns(2026, 3, 1, 6)) == 5.0  # row 5 of a day is the mean of its sixth hour
    assert YEAR.outdoor_temp_c(ns(2026, 3, 1, 6, 15)) == 5.25
    assert YEAR.outdoor_temp_c(ns(2026, 1, 1)) == 23.0  # the year goes round


@pytest.mark.parametrize("minute", [0, 20])
def test_the_mean_of_a_day_is_that_of_the_24_hours_until_then(minute):
    steps = Simulation(
        epoch_ns=0, outdoor_c=tuple(float(k < 24 * 59) for k in range(8760)), shapes=SHAPES, groups={}
    )  # 1 until the end of February, then 0
    assert steps.mean_of_a_day_c(ns(2026, 2, 28, 12)) == 1.0
    assert steps.mean_of_a_day_c(ns(2026, 3, 1, 6, minute)) == pytest.approx(1.0 - (6 + minute / 60) / 24)
    assert steps.mean_of_a_day_c(ns(2026, 3, 2)) == 0.0


def test_shapes_follow_hour_and_kind_of_day():
    assert YEAR.shape("a", "heating", ns(2026, 1, 12, 6)) == 0.5 + 6 / 24  # a Monday
    assert YEAR.shape("a", "heating", ns(2026, 1, 12, 6, 30)) == pytest.approx(0.5 + 6.5 / 24)
    assert YEAR.shape("b", "hot_water", ns(2026, 1, 17, 6)) == 0.5 + 12 / 24  # a Saturday


def test_the_load_line_is_1_on_the_design_day_and_0_above_the_heating_limit():
    assert [load_part(temp, -10.0, 16.0) for temp in (-15.0, -10.0, 3.0, 16.0, 20.0)] == [1.0, 1.0, 0.5, 0.0, 0.0]
