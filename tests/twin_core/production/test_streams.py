"""Random numbers: uniform, exponential, normal, and the laws made of them, against their distributions."""

import numpy as np
import pytest
from scipy import stats

from uem.twin_core.production import streams

N = 200_000


@pytest.mark.parametrize(
    ("kind", "law"), [("uniform", stats.uniform()), ("exponential", stats.expon()), ("normal", stats.norm())]
)
def test_numbers_follow_their_distribution(kind, law):
    numbers = streams.draws(kind, N, seed=5)
    assert stats.kstest(numbers, law.cdf).pvalue > 1e-3


def test_tails_beyond_the_ziggurat_are_there_in_the_right_number():
    numbers = streams.draws("exponential", 4_000_000, seed=6)
    beyond = int((numbers > 7.69711747013104972).sum())
    assert abs(beyond - 4e6 * np.exp(-7.69711747013104972)) < 5 * np.sqrt(4e6 * np.exp(-7.69711747013104972))
    bell = streams.draws("normal", 4_000_000, seed=6)
    expected = 4e6 * 2 * stats.norm.sf(3.6541528853610088)
    assert abs(int((abs(bell) > 3.6541528853610088).sum()) - expected) < 5 * np.sqrt(expected)


def test_streams_of_other_seeds_replications_and_keys_are_other_numbers_and_not_correlated():
    first = streams.draws("uniform", N)
    for key in ({"seed": 1}, {"replication": 1}, {"key": 1}):
        other = streams.draws("uniform", N, **key)
        assert abs(np.corrcoef(first, other)[0, 1]) < 5 / np.sqrt(N)
    np.testing.assert_array_equal(first, streams.draws("uniform", N))
