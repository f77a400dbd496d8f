import numpy as np
import pytest

from uem.twin_core.errors import InvalidInput
from uem.twin_core.forecast import demand

STEP_S, DAY = 3600.0, 24
RNG = np.random.default_rng(11)
HOUR = np.arange(40.0 * DAY) % DAY
REST = np.arange(40 * DAY) // DAY % 7 >= 5
OUTDOOR_C = 5.0 + 6.0 * np.sin(np.arange(40 * DAY) / 60.0) + RNG.normal(size=40 * DAY)
LAGGED = demand.lagged(OUTDOOR_C, STEP_S)
ROWS = demand.design(HOUR, REST, OUTDOOR_C, LAGGED)
LOAD = ROWS @ RNG.uniform(0.5, 1.5, (ROWS.shape[1], 3)) + RNG.normal(size=(40 * DAY, 3))


def test_the_lag_halves_a_step_of_temperature_in_its_half_life():
    found = demand.lagged(np.full(24, 10.0), STEP_S, np.zeros(3))
    assert 10.0 - found[5, 0] == pytest.approx(5.0)
    assert 10.0 - found[23, 1] == pytest.approx(5.0)


def test_the_weights_are_those_of_the_normal_equations_of_weighted_ridge_regression(monkeypatch):
    monkeypatch.setattr(demand, "CLIP", 1e9)
    found = demand.fit(ROWS, LOAD, STEP_S, DAY)
    weight = np.diag(0.5 ** (np.arange(len(ROWS) - 1, -1, -1.0) / (40 * DAY)))
    normal = ROWS.T @ weight @ ROWS
    ridge = np.diag(demand.RIDGE * np.diag(normal) + 1e-9 * np.trace(normal) / len(normal))
    np.testing.assert_allclose(
        found.weight, np.linalg.inv(normal + ridge) @ ROWS.T @ weight @ LOAD, rtol=1e-7, atol=1e-9
    )


def test_stations_do_not_touch_each_other():
    together, alone = (demand.fit(ROWS, load, STEP_S, DAY) for load in (LOAD, LOAD[:, 1:2]))
    np.testing.assert_allclose(together.weight[:, 1:2], alone.weight, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(together.recent[..., 1:2], alone.recent, rtol=1e-7, atol=1e-9)


def test_a_day_is_forecast_better_than_by_the_week_before():
    now = 38 * DAY
    model = demand.fit(ROWS[:now], LOAD[:now], STEP_S, DAY)
    found = model.forecast(ROWS[now : now + DAY], model.residuals(ROWS[now - DAY : now], LOAD[now - DAY : now]))
    truth, naive = LOAD[now : now + DAY], demand.seasonal_naive(LOAD[:now], 7 * DAY, DAY)
    assert np.sqrt(np.mean((found - truth) ** 2)) < min(1.5, 0.3 * np.sqrt(np.mean((naive - truth) ** 2)))


def test_a_spike_of_the_last_day_and_a_gap_hardly_change_the_forecast():
    now, broken = 38 * DAY, LOAD.copy()
    broken[now - 3] *= 100.0
    broken[now - 9 : now - 5] = np.nan
    found = []
    for load in (LOAD, broken):
        model = demand.fit(ROWS[:now], load[:now], STEP_S, DAY)
        found.append(
            model.forecast(ROWS[now : now + DAY], model.residuals(ROWS[now - DAY : now], load[now - DAY : now]))
        )
    assert np.abs(found[1] / found[0] - 1.0).max() < 0.05


def test_weather_that_is_not_delivered_fades_from_now_to_a_typical_course():
    lead_s = np.array([0.0, demand.WEATHER_FADE_S, 1e9])
    assert demand.persisted(np.zeros(3), 2.0, lead_s) == pytest.approx([2.0, 2.0 / np.e, 0.0])
    assert demand.persisted_sd(3.0, lead_s)[[0, 2]] == pytest.approx([0.0, 3.0])


def test_too_little_to_learn_from_is_refused():
    with pytest.raises(InvalidInput, match="two days"):
        demand.fit(ROWS[:30], LOAD[:30], STEP_S, DAY)
    with pytest.raises(InvalidInput, match="no value"):
        demand.fit(ROWS, np.full((len(ROWS), 1), np.nan), STEP_S, DAY)
