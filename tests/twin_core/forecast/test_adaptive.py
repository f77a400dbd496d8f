import numpy as np
import pytest

from uem.twin_core.errors import InvalidInput
from uem.twin_core.forecast.adaptive import LEVELS, AdaptiveBands


def judge_each(bands, residuals):
    """One forecast of 0 for each residual; the share within the outer quantiles."""
    inside = []
    for k, residual in enumerate(residuals):
        low, _, high = bands.quantiles(np.zeros((1, 1)))[0, 0]
        inside.append(low <= residual <= high)
        bands.remember(np.array([k]), np.zeros((1, 1)))
        bands.judge(k, np.array([residual]))
    return np.array(inside)


def test_the_band_is_the_wide_prior_before_any_forecast_is_judged():
    quantile = AdaptiveBands(2, np.array([3.0])).quantiles(np.full((3, 1), 10.0))
    assert quantile[2, 0] == pytest.approx([10 - 3 * 1.2816, 10.0, 10 + 3 * 1.2816], abs=1e-3)


@pytest.mark.parametrize("draw", ["normal", "gamma", "laplace"])
def test_exchangeable_residuals_lie_in_the_band_as_often_as_it_says(draw):
    rng = np.random.default_rng(3)
    residuals = rng.gamma(2.0, 2.0, 6000) if draw == "gamma" else getattr(rng, draw)(1.0, 2.0, 6000)
    assert judge_each(AdaptiveBands(1, np.array([20.0])), residuals)[500:].mean() == pytest.approx(0.8, abs=0.02)


def test_the_band_holds_when_residuals_drift_and_grow():
    rng = np.random.default_rng(4)
    residuals = np.linspace(0.0, 10.0, 6000) + np.linspace(1.0, 5.0, 6000) * rng.normal(size=6000)
    assert judge_each(AdaptiveBands(1, np.array([5.0])), residuals)[500:].mean() == pytest.approx(0.8, abs=0.02)


def test_each_lead_learns_by_its_own_gain():
    bands = AdaptiveBands(2, np.array([1.0]), gain=np.array([[0.1], [0.01]]))
    rng = np.random.default_rng(7)

    def width_after(residuals):
        for k, residual in enumerate(residuals):
            bands.remember(np.array([k, k]), np.zeros((2, 1)))
            bands.judge(k, np.array([residual]))
        low, _, high = np.moveaxis(bands.quantiles(np.zeros((2, 1)))[:, 0], -1, 0)
        return high - low

    calm = width_after(rng.normal(size=2000))
    stormy = width_after(5.0 * rng.normal(size=10))
    assert stormy[0] / calm[0] > 1.5
    assert stormy[1] / calm[1] < 1.4


def test_quantiles_rise_with_the_level_whatever_happens():
    rng = np.random.default_rng(5)
    bands = AdaptiveBands(3, np.array([1.0, 4.0]), gain=0.5)
    for k in range(500):
        bands.remember(np.arange(k, k + 3), rng.normal(size=(3, 2)))
        bands.judge(k, rng.standard_cauchy(2))
        assert (np.diff(bands.quantiles(np.zeros((3, 2))), axis=-1) >= 0.0).all()


def test_a_band_is_as_wide_as_the_spread_of_the_forecast_and_what_is_certain_is_not_judged():
    rng = np.random.default_rng(6)
    bands = AdaptiveBands(1, np.array([1.0]))
    inside = []
    for k in range(4000):
        spread = np.array([[rng.choice([1.0, 10.0])]])
        low, _, high = bands.quantiles(np.zeros((1, 1)), spread=spread)[0, 0]
        residual = 2.0 * spread[0, 0] * rng.normal()
        inside.append((spread[0, 0], low <= residual <= high))
        bands.remember(np.array([k]), np.zeros((1, 1)), spread)
        bands.judge(k, np.array([residual]))
    for spread in (1.0, 10.0):
        assert np.mean([hit for s, hit in inside[500:] if s == spread]) == pytest.approx(0.8, abs=0.03)
    count = bands.count
    bands.remember(np.array([9999]), np.zeros((1, 1)), np.zeros((1, 1)))
    bands.judge(9999, np.array([3.0]))
    np.testing.assert_array_equal(bands.count, count)
    assert bands.quantiles(np.full((1, 1), 7.0), spread=np.zeros((1, 1)))[0, 0].tolist() == [7.0, 7.0, 7.0]


def test_a_measurement_teaches_the_lead_that_it_was_forecast_at_and_a_gap_teaches_nothing():
    bands = AdaptiveBands(2, np.array([1.0, 1.0]))
    bands.remember(np.array([10, 20]), np.zeros((2, 2)))
    bands.judge(20, np.array([5.0, np.nan]))
    assert bands.count.tolist() == [[0, 0], [1, 0]]
    bands.forget_waiting()
    bands.judge(10, np.array([5.0, 5.0]))
    assert bands.count.sum() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"gain": 0.0},
        {"gain": np.array([1.0])},
        {"levels": (0.5, 0.1)},
        {"levels": (0.0, 0.5)},
        {"prior_sd": np.array([0.0])},
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(InvalidInput):
        AdaptiveBands(1, **({"prior_sd": np.array([1.0]), "levels": LEVELS} | wrong))


def test_what_was_learned_goes_to_other_bands_and_forecasts_that_wait_stay():
    rng, ours, theirs = np.random.default_rng(6), *(AdaptiveBands(2, np.array([1.0, 4.0])) for _ in range(2))
    for bands in (ours, theirs):
        bands.remember(np.array([100, 101]), np.zeros((2, 2)))
    for k in range(50):
        ours.remember(np.array([k, k]), np.zeros((2, 2)))
        ours.judge(k, rng.normal(size=2))
    record = ours.record()
    theirs.recall(record)
    for bands in (ours, theirs):  # neither writes into what was handed over
        bands.judge(100, np.array([3.0, -3.0]))
    np.testing.assert_array_equal(ours.quantiles(np.zeros((2, 2))), theirs.quantiles(np.zeros((2, 2))))
    np.testing.assert_array_equal(theirs.count, [[51, 51], [50, 50]])
    np.testing.assert_array_equal(record["count"], 50.0)


@pytest.mark.parametrize("wrong", ["shape", "missing", "nan", "negative"])
def test_a_record_of_other_bands_is_refused(wrong):
    bands = AdaptiveBands(2, np.array([1.0]))
    record = (AdaptiveBands(3, np.array([1.0])) if wrong == "shape" else bands).record()
    if wrong == "missing":
        del record["scale"]
    elif wrong in ("nan", "negative"):
        record["scale"][1] = np.nan if wrong == "nan" else -1.0
    with pytest.raises(InvalidInput, match="record of bands"):
        bands.recall(record)
    np.testing.assert_array_equal(bands.count, 0)
