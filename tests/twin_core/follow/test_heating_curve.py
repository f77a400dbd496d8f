"""How supply temperatures follow the weather, as it is learned."""

import numpy as np
import pytest

from uem.twin_core.errors import InvalidInput
from uem.twin_core.follow.heating_curve import HeatingCurve

DAY = 96  # steps
STEP_S = 900.0
SLOPE = -0.75  # of the supply temperature on the mean outdoor temperature of the last day


def weather(days, seed=1):
    """Outdoor temperature, K: days that differ, and hours."""
    rng = np.random.default_rng(seed)
    slow, steps = np.zeros(days * DAY), np.arange(days * DAY)
    for k in range(1, len(slow)):
        slow[k] = 0.996 * slow[k - 1] + 0.35 * rng.normal()
    return 275.0 + slow - 3.0 * np.cos(2.0 * np.pi * (steps / 4.0 - 3.0) / 24.0)


def supply(outdoor_k):
    """By a controller that takes the mean of a day."""
    padded = np.concatenate([np.full(DAY, outdoor_k[0]), outdoor_k])
    total = np.concatenate([[0.0], np.cumsum(padded)])
    return 365.0 + SLOPE * ((total[DAY + 1 :] - total[1:-DAY]) / DAY - 275.0)


def seen(outdoor_k, supply_k, step_s=STEP_S, curve=None):
    curve = curve or HeatingCurve()
    for outdoor, told in zip(outdoor_k.tolist(), supply_k.tolist(), strict=True):
        curve = curve.see(outdoor, told, step_s)
    return curve


def test_after_two_weeks_the_supply_temperature_of_the_next_day_follows_its_weather():
    outdoor_k = weather(40)
    supply_k = supply(outdoor_k)
    off_k, changes_k = [], []
    curve = seen(outdoor_k[: 14 * DAY], supply_k[: 14 * DAY])
    for day in range(14, 39):
        now, ahead = day * DAY, slice(day * DAY, (day + 1) * DAY)
        change_k = supply_k[ahead] - supply_k[now - 1]
        off_k.append(curve.change_k(outdoor_k[ahead], STEP_S) - change_k)
        changes_k.append(change_k)
        curve = seen(outdoor_k[ahead], supply_k[ahead], curve=curve)
    rms_off_k, rms_k = (np.sqrt(np.mean(np.square(some))) for some in (off_k, changes_k))
    assert rms_k > 1.0
    assert rms_off_k < 0.4 * rms_k
    assert curve.slopes.sum() == pytest.approx(SLOPE, rel=0.15)


def test_until_something_was_seen_nothing_changes():
    ahead_k = np.linspace(270.0, 280.0, DAY)
    assert not HeatingCurve().change_k(ahead_k, STEP_S).any()
    of_weather_alone = seen(weather(3), np.full(3 * DAY, np.nan))
    assert not of_weather_alone.slopes.any()
    assert not of_weather_alone.change_k(ahead_k, STEP_S).any()


def test_one_that_is_held_is_forecast_to_stay():
    curve = seen(weather(10), np.full(10 * DAY, 363.15))
    np.testing.assert_allclose(curve.change_k(np.linspace(270.0, 280.0, DAY), STEP_S), 0.0, atol=1e-6)


def test_an_hour_of_scatter_is_no_curve():
    rng = np.random.default_rng(1)
    curve = seen(275.0 + 0.1 * rng.normal(size=60), 360.0 + 3.0 * rng.normal(size=60), 60.0)
    assert np.abs(curve.slopes).max() < 0.01


def test_the_lags_do_not_depend_on_the_step():
    held_k = np.full(60, 280.0)
    start = HeatingCurve().see(270.0, 360.0, 1.0)
    fine, coarse = seen(held_k, held_k + 80.0, 60.0, start), seen(held_k[:1], held_k[:1] + 80.0, 3600.0, start)
    np.testing.assert_allclose(fine.outdoor_k, coarse.outdoor_k, rtol=1e-12)


def test_what_was_learned_goes_to_another_and_lags_go_on_by_what_is_told_after_a_pause():
    outdoor_k = weather(20)
    curve = seen(outdoor_k, supply(outdoor_k))
    again = HeatingCurve.recalled(curve.record())
    np.testing.assert_array_equal(again.slopes, curve.slopes)
    np.testing.assert_array_equal(again.change_k(outdoor_k[:DAY], STEP_S), curve.change_k(outdoor_k[:DAY], STEP_S))
    # Half a day later: as if it had been as cold as now all the time, and nothing else is learned of that.
    late = again.after(43_200.0 - STEP_S).see(270.0, np.nan, STEP_S)
    np.testing.assert_allclose(late.outdoor_k, curve.see(270.0, np.nan, 43_200.0).outdoor_k)
    np.testing.assert_array_equal(late.seen, curve.seen)
    assert set(again.after(np.inf).see(270.0, np.nan, STEP_S).outdoor_k) == {270.0}
    assert HeatingCurve.recalled(HeatingCurve().record()).outdoor_k is None


@pytest.mark.parametrize("wrong", [{}, {"outdoor": np.zeros(3)}, {"seen": np.full((8, 8), np.nan)}])
def test_what_is_no_record_of_a_curve_is_refused(wrong):
    record = HeatingCurve().record() | wrong if wrong else {}
    with pytest.raises(InvalidInput, match="record of a heating curve"):
        HeatingCurve.recalled(record)
