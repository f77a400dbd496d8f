import math

import numpy as np
import pytest

from uem.twin_core.estimation.residuals import ENOUGH, LEAST_PART, MAD_TO_SD, RunningResiduals


def test_few_residuals_leave_the_prior():
    errors = RunningResiduals(2.0)
    for _ in range(ENOUGH - 1):
        errors.add(5.0)
    assert (errors.bias, errors.standard_deviation, errors.count) == (0.0, 2.0, ENOUGH - 1)


def test_bias_and_spread_of_a_normal_law_are_found_although_a_fifth_is_nonsense():
    rng = np.random.default_rng(3)
    errors = RunningResiduals(2.0, window=2000)
    for residual in rng.normal(1.0, 0.5, 2000):
        errors.add(float(residual) if rng.random() > 0.2 else 1e6 * rng.choice([-1, 1]))
    assert errors.bias == pytest.approx(1.0, abs=0.06)
    assert errors.standard_deviation == pytest.approx(np.hypot(1.0, 0.5), abs=0.1)


@pytest.mark.parametrize("before", [5, ENOUGH - 1, ENOUGH, 40])
def test_a_residual_is_taken_out_again_as_if_it_had_never_been(before):
    errors, never = (RunningResiduals(1.0, window=30) for _ in range(2))
    for k in range(before):
        errors.add(0.1 * k)
        never.add(0.1 * k)
    errors.add(1e6)
    errors.undo()
    assert (errors.bias, errors.standard_deviation, errors.count) == (never.bias, never.standard_deviation, never.count)
    errors.undo()
    errors.add(2.0)
    never.add(2.0)
    assert (errors.bias, errors.standard_deviation, errors.count) == (never.bias, never.standard_deviation, never.count)


def test_the_spread_of_a_normal_law_is_its_standard_deviation():
    errors = RunningResiduals(10.0, window=4000)
    for residual in np.random.default_rng(7).normal(0.0, 1.0, 4000):
        errors.add(float(residual))
    assert errors.standard_deviation == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("count", [ENOUGH, ENOUGH + 1])
@pytest.mark.parametrize("odd", [0.3, np.inf, np.nan])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_bias_and_spread_are_medians_to_the_last_digit(count, odd):
    residuals = [odd, *np.random.default_rng(2).normal(0.0, 1.0, count - 1).tolist()]
    errors = RunningResiduals(1.0)
    for residual in residuals:
        errors.add(residual)
    median = np.median(residuals)
    assert np.array_equal(errors.bias, median, equal_nan=True)
    spread = MAD_TO_SD * np.median(np.abs(np.array(residuals) - median))
    expected = math.hypot(median, max(float(spread), LEAST_PART))
    assert np.array_equal(errors.standard_deviation, expected, equal_nan=True)


def test_only_the_window_counts():
    errors = RunningResiduals(1.0, window=30)
    for residual in [100.0] * 50 + [3.0] * 30:
        errors.add(residual)
    assert errors.bias == 3.0
    assert errors.count == 30


def test_sensors_that_agree_to_the_last_digit_do_not_make_certain():
    errors = RunningResiduals(1.0)
    for _ in range(50):
        errors.add(0.0)
    assert errors.standard_deviation == pytest.approx(0.02)
