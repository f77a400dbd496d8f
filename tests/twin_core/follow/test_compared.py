"""What sensors say of a model: biases go by the time of samples, who is too far off is not believed."""

import math

import numpy as np
import pytest

from uem.twin_core.follow.compared import BIAS_S, LONGEST_S, MOST_OFF_K, PRIOR_SD_K, Compared
from uem.twin_core.measurements import NS_PER_S


def take(compared, time_s, warmer_k, *, explained_k=(0.0, 0.0), in_doubt=False, stands=False, settled=True):
    warmer_k = np.array([warmer_k])
    bounds = tuple(np.array([bound]) for bound in explained_k)
    now_ns = round(time_s * NS_PER_S)
    return compared.take(
        warmer_k,
        np.array([now_ns]),
        explained_k=bounds,
        in_doubt=np.array([in_doubt]),
        stands=np.array([stands]),
        judged_at_ns=now_ns if settled else None,
    )


@pytest.mark.parametrize("every_s", [1, 10, 60, 300])
def test_a_bias_comes_as_near_however_often_a_sensor_is_read(every_s):
    compared = Compared(["a"], 0)
    for time_s in range(every_s, 601, every_s):
        take(compared, time_s, 2.0)
    assert compared.bias_k[0] == pytest.approx(2.0 * -math.expm1(-600.0 / BIAS_S), rel=1e-9)


def test_a_sample_after_a_long_silence_speaks_for_ten_minutes_only():
    compared = Compared(["a"], 0)
    teaches_k, since_s = take(compared, 86_400.0, 2.0)
    assert (teaches_k[0], since_s[0]) == (2.0, LONGEST_S)


def test_without_a_new_sample_nothing_changes():
    compared = Compared(["a"], 0)
    take(compared, 60.0, 2.0)
    before = compared.bias_k[0], compared.seen_ns[0], compared.errors[0].count
    teaches_k, _ = take(compared, 120.0, math.nan)
    assert np.isnan(teaches_k[0])
    assert (compared.bias_k[0], compared.seen_ns[0], compared.errors[0].count) == before


def test_who_is_further_off_than_a_model_may_be_is_believed_no_more_unless_something_explains_it():
    far = MOST_OFF_K + 1.0
    compared = Compared(["a"], 0)
    take(compared, 60.0, 2.0)
    held_k, count = compared.bias_k[0], compared.errors[0].count
    teaches_k, _ = take(compared, 120.0, far)
    assert compared.is_far[0]
    assert np.isnan(teaches_k[0])
    assert compared.errors[0].count == count
    assert 0.0 < compared.bias_k[0] < held_k
    teaches_k, _ = take(compared, 180.0, far, explained_k=(0.0, 15.0))
    assert not compared.is_far[0]
    assert teaches_k[0] == far


def test_in_doubt_a_sensor_is_followed_but_says_nothing_of_the_model():
    compared = Compared(["a"], 0)
    teaches_k, _ = take(compared, 600.0, MOST_OFF_K + 5.0, in_doubt=True)
    assert np.isnan(teaches_k[0])
    assert not compared.is_far[0]
    assert compared.errors[0].count == 0
    assert compared.bias_k[0] == MOST_OFF_K + 5.0
    take(compared, 601.0, -40.0, in_doubt=True)
    assert compared.bias_k[0] == -40.0
    assert compared.model_sd_k(np.array([True])) == PRIOR_SD_K


def test_where_water_stands_a_bias_fades_whatever_the_sensor_shows():
    compared = Compared(["a"], 0)
    take(compared, 600.0, 2.0)
    for time_s in range(601, 1201):
        take(compared, time_s, -30.0, in_doubt=True, stands=True)
    assert compared.bias_k[0] == pytest.approx(0.0, abs=1e-3)


def test_residuals_nearer_than_a_minute_and_those_of_an_unsettled_model_are_not_judged():
    compared = Compared(["a"], 0)
    take(compared, 60.0, 1.0, settled=False)
    assert compared.errors[0].count == 0
    for time_s in range(61, 241):
        take(compared, time_s, 1.0)
    assert compared.errors[0].count == 3


def test_what_was_seen_since_it_was_kept_is_forgotten():
    compared = Compared(["a"], 0)

    def known():
        arrays = compared.bias_k, compared.is_far, compared.seen_ns, compared.judged_ns
        return [*(array[0] for array in arrays), compared.errors[0].count]

    take(compared, 60.0, 1.0)
    compared.keep()
    before = known()
    take(compared, 120.0, 1.5)
    assert known()[-1] == before[-1] + 1
    compared.roll_back()
    assert known() == before
