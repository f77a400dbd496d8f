"""Bands of forecasts by futures of a follower."""

from dataclasses import replace

import numpy as np
import pytest

from uem.twin_core.errors import InvalidInput, ModelFailure
from uem.twin_core.follow.follower import ForecastSignal
from uem.twin_core.forecast.adaptive import GAIN
from uem.twin_core.forecast.bands import Forecast, ForecastSeries
from uem.twin_core.forecast.forks import LEVELS, ForkForecaster
from uem.twin_core.measurements import GOOD, UNCERTAIN
from uem.twin_core.state import Signal, Source

STEP_NS = 900 * 10**9


class Drawn:
    """A follower whose reality parts from its futures twice as far as they say."""

    name = "drawn"
    forecast_method, forecast_band, forecast_fresh_s = "Drawn", "band: learned", 0.0
    forecast_step_s, forecast_horizon_s = 900.0, 3600.0

    def __init__(self):
        self.rng = np.random.default_rng(1)
        self.forecast_signals = tuple(
            ForecastSignal(signal=Signal(name, "W", Source.ESTIMATED), prior_sd=1.0, low=0.0)
            for name in ("heat", "unmeasured")
        )
        self.forks = 0
        self.refused = False
        self.known = set()

    def hear(self, asset, signal, valid_ns, values):
        """Only demand matters to it."""
        is_new = signal == "demand" and (asset, signal) not in self.known
        self.known.add((asset, signal))
        return is_new

    def fork(self, intake, time_ns, step_s, count):
        if self.refused:
            raise InvalidInput("no")
        self.forks += 1
        spread = np.where(np.arange(count) == 1, 0.0, 5.0)
        return lambda: (np.full((count, 2), 100.0), np.stack([spread, spread], axis=1))

    def observe(self, intake, time_ns):
        return np.array([100.0 + 10.0 * self.rng.normal(), np.nan])


@pytest.fixture(scope="module")
def learned():
    follower = Drawn()
    forecaster = ForkForecaster(follower, every_s=900.0)
    forecaster.start(0)
    for k in range(3000):
        forecaster.tick(None, k * STEP_NS)
    return follower, forecaster


def test_the_band_is_what_reality_was_off_by_and_a_point_where_nothing_can_come_otherwise(learned):
    _, forecaster = learned
    heat, _ = forecaster.forecast(None, 3000 * STEP_NS, None)().series
    low, high = (heat.quantile[:, LEVELS.index(level)] for level in (0.1, 0.9))
    assert high[0] - low[0] == pytest.approx(2 * 1.2816 * 10.0, rel=0.15)
    assert (low[1], high[1]) == (100.0, 100.0)


def test_what_is_not_measured_is_uncertain_and_so_is_what_reaches_beyond_the_horizon(learned):
    _, forecaster = learned
    # The second lead of each hour is certain, so nothing was learned of it: the others are told by themselves.
    short = forecaster.forecast(None, 3000 * STEP_NS, 900.0)()
    assert [series.quality for series in short.series] == [GOOD, UNCERTAIN]
    assert short.series[0].residual_count > 1000
    assert {series.quality for series in forecaster.forecast(None, 3000 * STEP_NS, 7200.0)().series} == {UNCERTAIN}


def test_futures_are_run_once_an_hour_and_the_last_ones_are_told_again():
    follower = Drawn()
    forecaster = ForkForecaster(follower)
    forecaster.start(0)
    assert [forecaster.tick(None, k * STEP_NS) for k in range(9)] == [k % 4 == 0 for k in range(9)]
    assert follower.forks == 3
    assert not forecaster.tick(None, 8 * STEP_NS + 1)
    told = forecaster.issued(None, 8 * STEP_NS)
    assert follower.forks == 3
    assert told.series[0].valid_time_ns.tolist() == [k * STEP_NS for k in range(9, 13)]


def test_the_further_ahead_the_slower_bands_learn_where_weather_matters():
    follower = Drawn()
    weathered, other = follower.forecast_signals
    follower.forecast_signals = replace(weathered, weather_s=1800.0), other
    gains = ForkForecaster(follower)._bands._gain
    np.testing.assert_allclose(gains[:, 0], GAIN / (1.0 + np.arange(1, 5) / 2.0))
    np.testing.assert_array_equal(gains[:, 1], GAIN)


def test_one_that_is_still_fresh_is_given_again():
    follower = Drawn()
    follower.forecast_fresh_s = 60.0
    forecaster = ForkForecaster(follower)
    forecaster.start(0)
    times = [forecaster.forecast(None, k * 10**9, 1800.0)().issue_time_ns for k in (5, 65, 66)]
    assert times == [5 * 10**9, 5 * 10**9, 66 * 10**9]
    assert follower.forks == 2
    assert len(forecaster.forecast(None, 66 * 10**9, 900.0)().series[0].value) == 1
    forecaster.start(10**12)
    forecaster.forecast(None, 66 * 10**9, 900.0)()
    assert follower.forks == 4


def test_futures_that_end_after_a_new_beginning_are_not_given_again():
    follower = Drawn()
    follower.forecast_fresh_s = 60.0
    forecaster = ForkForecaster(follower)
    forecaster.start(0)
    before = forecaster.forecast(None, 0, 1800.0)
    forecaster.start(10**9)
    before()
    assert forecaster.forecast(None, 10**9, 1800.0)().issue_time_ns == 10**9


def of_others(*signals):
    at, values = np.array([STEP_NS]), np.array([1.0])
    series = [ForecastSeries(signal, "W", "kW", at, values, values[:, None], 0, GOOD) for signal in signals]
    return Forecast("others", 0, "guess", (0.5,), tuple(series))


def test_one_that_was_given_before_it_was_heard_of_customers_is_not_given_again():
    follower = Drawn()
    follower.forecast_fresh_s = 60.0
    forecaster = ForkForecaster(follower)
    forecaster.start(0)
    before = forecaster.forecast(None, 0, 1800.0)  # its futures run when they are heard of
    for heard, forks in [(("price",), 1), (("price", "demand"), 2), (("demand",), 2)]:
        forecaster.hear(of_others(*heard))
        before()
        forecaster.forecast(None, 10**9, 1800.0)()
        assert follower.forks == forks


@pytest.mark.parametrize("horizon_s", [0.0, 90_000.0])
def test_a_horizon_that_cannot_be_is_refused(learned, horizon_s):
    with pytest.raises(InvalidInput, match="horizon"):
        learned[1].forecast(None, 0, horizon_s)()


def test_a_model_that_refuses_to_go_on_is_told_as_its_own_failure():
    follower = Drawn()
    follower.refused = True
    forecaster = ForkForecaster(follower)
    forecaster.start(0)
    with pytest.raises(ModelFailure, match="asset drawn: no"):
        forecaster.tick(None, 0)
