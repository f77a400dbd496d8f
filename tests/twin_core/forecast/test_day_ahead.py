"""The demand of a network a day ahead, as its quarter hours come in."""

import numpy as np
import pytest

from uem.twin_core.errors import InvalidInput, NotReady
from uem.twin_core.forecast.day_ahead import LEADS, LEVELS, MODEL, SIMPLE, STEP_NS, DayAhead
from uem.twin_core.measurements import GOOD, UNCERTAIN

MONDAY_NS = 1_704_067_200 * 10**9
GROUPS = {"demand": [0, 1, 2], "demand/school": [1, 2]}


def demand(days, seed=1):
    """Outdoor temperature and loads of three stations that follow it, the hour and the workday."""
    rng = np.random.default_rng(seed)
    quarter = np.arange(days * LEADS)
    hour = quarter / 4 % 24
    weather = np.zeros(len(quarter))
    for k in range(1, len(weather)):
        weather[k] = 0.995 * weather[k - 1] + 0.4 * rng.normal()
    outdoor_c = 4.0 + weather - 2.0 * np.cos(2 * np.pi * (hour - 3.0) / 24)
    rest = quarter // LEADS % 7 >= 5
    shape = 1.0 + 0.3 * np.sin(2 * np.pi * hour / 24)
    load = ((22.0 - outdoor_c) * shape)[:, None] * np.array([10e3, 5e3, 2e3])
    load[:, 1:] *= np.where(rest, 0.5, 1.0)[:, None]
    return outdoor_c, load * (1.0 + 0.05 * rng.normal(size=load.shape))


def followed(outdoor_c, load, ahead=None):
    ahead = ahead or DayAhead("net/demand", load.mean(axis=0), GROUPS)
    for k, (temp_c, row) in enumerate(zip(outdoor_c, load, strict=True)):
        ahead.take(MONDAY_NS + (k + 1) * STEP_NS, row, temp_c)
    return ahead


@pytest.fixture(scope="module")
def month():
    outdoor_c, load = demand(30)
    return outdoor_c, load, followed(outdoor_c[: 28 * LEADS], load[: 28 * LEADS])


def test_after_weeks_the_next_day_is_known_by_weather_hour_and_workday(month):
    _, load, ahead = month
    found = ahead.forecast()
    assert found.method.startswith(MODEL)
    assert [series.signal for series in found.series] == [*GROUPS, "outdoor/temperature"]
    for series, members in zip(found.series[:-1], GROUPS.values(), strict=True):
        true = load[28 * LEADS : 29 * LEADS, members].sum(axis=1)
        week_before = load[21 * LEADS : 22 * LEADS, members].sum(axis=1)
        error, naive = (np.sqrt(np.mean((true - told) ** 2)) for told in (series.value, week_before))
        assert error < 0.7 * naive
        low, high = (series.quantile[:, LEVELS.index(level)] for level in (0.1, 0.9))
        assert 0.5 < np.mean((true >= low) & (true <= high)) <= 1.0
        assert (high - low).mean() < 0.5 * true.mean()
        assert series.quality == GOOD
        assert series.valid_time_ns[0] == MONDAY_NS + (28 * LEADS + 1) * STEP_NS


def test_the_weather_that_it_expects_is_told_as_far_as_it_is_measured(month):
    outdoor_c, load, ahead = month
    *_, weather = ahead.forecast().series
    assert (weather.unit, weather.display_unit, weather.quality) == ("K", "Cel", GOOD)
    true_k = outdoor_c[28 * LEADS :][:LEADS] + 273.15
    assert np.abs(weather.value[:4] - true_k[:4]).max() < 2.0
    low, high = (weather.quantile[:, LEVELS.index(level)] for level in (0.05, 0.95))
    assert np.mean((true_k >= low) & (true_k <= high)) > 0.5
    assert (np.diff(weather.quantile, axis=1) > 0.0).all()
    unknown = followed(np.full(8, np.nan), load[:8]).forecast()
    assert [series.signal for series in unknown.series] == list(GROUPS)


def test_before_a_day_is_known_the_weather_is_expected_to_stay():
    outdoor_c, load = demand(1)
    *_, weather = followed(outdoor_c[:20], load[:20]).forecast().series
    np.testing.assert_allclose(weather.value, outdoor_c[19] + 273.15)
    assert weather.quality == UNCERTAIN


def test_before_two_days_the_same_quarter_of_the_day_is_told_with_a_wide_band_and_said_to_be_so():
    outdoor_c, load = demand(2)
    ahead = DayAhead("net/demand", load.mean(axis=0), GROUPS)
    with pytest.raises(NotReady):
        ahead.forecast()
    first = followed(outdoor_c[:6], load[:6], ahead).forecast().series[0]
    assert first.value[0] == pytest.approx(load[2:6].sum(axis=1).mean())
    followed(outdoor_c[:100], load[:100], ahead)
    found = ahead.forecast()
    assert found.method.startswith(SIMPLE)
    total = found.series[0]
    # One day and an hour: the first hour of the day is known twice.
    assert total.value[-1] == pytest.approx((load[99].sum() + load[3].sum()) / 2)
    assert total.value[0] == pytest.approx(load[4].sum())
    assert total.quality == UNCERTAIN
    # A day ahead only two forecasts were judged so far.
    assert total.quantile[-1, -1] - total.quantile[-1, 0] > 0.8 * total.value[-1]


def test_stations_that_tell_nothing_are_made_up_for_while_half_of_the_heat_is_measured():
    outdoor_c, load = demand(3)
    ahead = DayAhead("net/demand", load.mean(axis=0), GROUPS)
    followed(outdoor_c, np.where([False, True, True], np.nan, load), ahead)
    total, schools, _ = ahead.forecast().series
    assert total.value.mean() == pytest.approx(load.sum(axis=1).mean(), rel=0.2)
    assert schools.quality == UNCERTAIN


def test_gaps_are_bridged_and_a_plant_that_goes_back_in_time_begins_anew():
    outdoor_c, load = demand(6)
    ahead = followed(outdoor_c[: 4 * LEADS], load[: 4 * LEADS])
    later_ns = MONDAY_NS + (4 * LEADS + 30) * STEP_NS
    ahead.take(later_ns, load[4 * LEADS + 29], np.nan)
    assert ahead.forecast().issue_time_ns == later_ns
    assert np.isfinite(ahead.forecast().series[0].value).all()
    assert ahead.forecast().method.startswith(MODEL)
    ahead.take(MONDAY_NS + STEP_NS, load[0], outdoor_c[0])
    assert ahead.forecast().method.startswith(SIMPLE)


def test_a_horizon_is_cut_and_one_that_is_longer_than_a_day_is_refused(month):
    *_, ahead = month
    assert len(ahead.forecast(3600.0).series[0].value) == 4
    with pytest.raises(InvalidInput, match="horizon"):
        ahead.forecast(90_000.0)
