import numpy as np
import pytest

from uem.twin_core.follow.follower import ForecastSignal
from uem.twin_core.forecast.bands import LEVELS, WINDOW, Bands
from uem.twin_core.measurements import GOOD, UNCERTAIN
from uem.twin_core.state import Signal, Source

X = ForecastSignal(signal=Signal("x", "W", Source.MEASURED), prior_sd=2.0)
Y = ForecastSignal(signal=Signal("y", "W", Source.MEASURED), prior_sd=2.0, low=0.0)


def feed(bands, truth, values):
    """One forecast per time for the next time."""
    for k, (measured, value) in enumerate(zip(truth, values, strict=True)):
        bands.remember(np.array([k], np.int64), np.array([[value, value]]))
        bands.judge(k, np.array([measured, measured]))


def test_the_band_is_a_normal_prior_while_few_forecasts_are_judged():
    bands = Bands((X, Y), 1)
    quantile = bands.quantiles(np.array([[10.0, 1.0]]))
    assert quantile[0, 0] == pytest.approx([6.710, 8.651, 10.0, 11.349, 13.290], abs=1e-3)
    assert quantile[0, 1, 0] == 0.0
    assert bands.quality(0, 1) == UNCERTAIN


def test_the_band_is_the_quantiles_of_the_past_residuals():
    bands = Bands((X, Y), 1)
    feed(bands, np.arange(99.0), np.zeros(99))
    assert bands.quantiles(np.array([[0.0, 0.0]]))[0, 0] == pytest.approx([100 * q - 1 for q in LEVELS])
    assert bands.quality(0, 1) == GOOD
    assert bands.count(0, 1) == 99


def test_the_band_covers_new_residuals_as_often_as_it_says():
    rng = np.random.default_rng(5)
    bands, inside = Bands((X, Y), 1), []
    for k, residual in enumerate(rng.gamma(2.0, 3.0, 4000)):
        quantile = bands.quantiles(np.zeros((1, 2)))[0, 0]
        if k >= 100:
            inside.append(quantile[0] <= residual <= quantile[-1])
        feed(bands, [residual], [0.0])
    assert np.mean(inside) == pytest.approx(0.9, abs=0.015)


def test_memory_is_bounded():
    bands = Bands((X, Y), 1)
    feed(bands, [100.0] * WINDOW + [1.0] * WINDOW, np.zeros(2 * WINDOW))
    assert bands.quantiles(np.zeros((1, 2)))[0, 0] == pytest.approx(1.0)
    assert bands.count(0, 1) == WINDOW


def test_what_was_not_measured_or_not_forecast_teaches_nothing():
    bands = Bands((X, Y), 1)
    feed(bands, [np.nan] * 30, np.zeros(30))
    feed(bands, np.zeros(30), [np.nan] * 30)
    assert bands.count(0, 1) == 0


def test_leads_beyond_those_that_are_learned_take_the_last_band_and_are_uncertain():
    bands = Bands((X, Y), 2)
    for k in range(60):
        bands.remember(np.array([k, k + 1], np.int64), np.zeros((2, 2)))
        bands.judge(k, np.array([float(k % 10), 0.0]))
    quantile = bands.quantiles(np.zeros((4, 2)))
    np.testing.assert_array_equal(quantile[1], quantile[3])
    assert bands.quality(0, 2) == GOOD
    assert bands.quality(0, 4) == UNCERTAIN


def test_forecasts_on_the_way_are_dropped_when_the_plant_starts_anew():
    bands = Bands((X, Y), 1)
    bands.remember(np.array([5], np.int64), np.zeros((1, 2)))
    bands.forget_waiting()
    bands.judge(5, np.ones(2))
    assert bands.count(0, 1) == 0
