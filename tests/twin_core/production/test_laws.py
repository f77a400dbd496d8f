"""Laws of times: distribution, mean and variance as they are said, and what is refused."""

import math

import numpy as np
import pytest
from scipy import stats

from uem.twin_core.plant import production
from uem.twin_core.production import laws

N = 100_000
EXAMPLES = {
    "exponential": (production.exponential(3.0), stats.expon(scale=3.0)),
    "erlang": (production.erlang(6.0, 4), stats.gamma(4, scale=1.5)),
    "gamma": (production.gamma(5.0, 0.3), stats.gamma(1 / 0.3, scale=1.5)),
    "gamma below shape 1": (production.gamma(5.0, 2.0), stats.gamma(0.5, scale=10.0)),
    "lognormal": (
        production.lognormal(2.0, 2.0),
        stats.lognorm(math.sqrt(math.log(3)), scale=2.0 / math.sqrt(3)),
    ),
    "weibull": (production.weibull(4.0, 2.5), stats.weibull_min(2.5, scale=4.0 / math.gamma(1.4))),
    "uniform": (production.uniform(2.0, 5.0), stats.uniform(2.0, 3.0)),
    "triangular": (production.triangular(1.0, 2.0, 6.0), stats.triang(0.2, 1.0, 5.0)),
}


def draw(law, n=N):
    row = np.array([(*law.parameters, laws.KINDS.index(law.kind), law.n, 0)], laws.LAW)
    return laws.draws(row, np.array(law.table, float), n, seed=11)


@pytest.mark.parametrize(("law", "distribution"), EXAMPLES.values(), ids=EXAMPLES)
def test_times_follow_the_law(law, distribution):
    assert stats.kstest(draw(law), distribution.cdf).pvalue > 1e-3
    assert law.mean == pytest.approx(distribution.mean(), rel=1e-12)
    assert law.scv == pytest.approx(distribution.var() / distribution.mean() ** 2, rel=1e-9)


@pytest.mark.parametrize("law", [law for law, _ in EXAMPLES.values()], ids=EXAMPLES)
def test_a_stretched_law_draws_the_same_times_all_longer_alike(law):
    longer = production.stretched(law, 1.3)
    np.testing.assert_allclose(draw(longer, 1000), 1.3 * draw(law, 1000), rtol=1e-12)
    assert (longer.mean, longer.scv) == (pytest.approx(1.3 * law.mean), law.scv)


def test_times_of_a_table_and_of_two_exponentials_are_stretched_too():
    for law in (production.empirical([1.0, 2.0, 4.0]), production.hyperexponential(2.0, 5.0)):
        np.testing.assert_allclose(draw(production.stretched(law, 0.7), 100), 0.7 * draw(law, 100), rtol=1e-12)


def test_a_deterministic_law_draws_nothing_else():
    assert set(draw(production.deterministic(7.0), 100)) == {7.0}


def test_measured_times_come_equally_often():
    values, counts = np.unique(draw(production.empirical([1.0, 2.0, 4.0])), return_counts=True)
    assert list(values) == [1.0, 2.0, 4.0]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_two_exponentials_have_the_mean_and_variance_that_were_asked_for():
    law = production.hyperexponential(2.0, 5.0)
    times = draw(law, 1_000_000)
    assert times.mean() == pytest.approx(2.0, rel=0.02)
    assert times.var() / times.mean() ** 2 == pytest.approx(5.0, rel=0.1)


@pytest.mark.parametrize(
    "law",
    [
        production.deterministic(0.0),
        production.exponential(-1.0),
        production.exponential(math.inf),
        production.erlang(1.0, 0),
        production.gamma(1.0, 0.0),
        production.lognormal(-1.0, 1.0),
        production.weibull(1.0, 0.0),
        production.weibull(1.0, 1e-3),
        production.uniform(3.0, 2.0),
        production.triangular(1.0, 5.0, 4.0),
        production.empirical([]),
        production.empirical([1.0, -2.0]),
        production.hyperexponential(1.0, 0.5),
    ],
    ids=str,
)
def test_laws_out_of_range_have_problems(law):
    assert [*law.problems()]
