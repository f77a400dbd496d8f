"""Chains of every shape: blocks give what a dense solution gives, counting gives what is known in closed form."""

import math

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import poisson

from uem.twin_core.errors import InvalidInput
from uem.twin_core.production.analytic import chain


def dense(links):
    matrix = np.zeros((links.n, links.n))
    np.add.at(matrix, (links.source, links.target), links.rate)
    np.fill_diagonal(matrix, 0.0)
    return matrix - np.diag(matrix.sum(axis=1))


def random_chain(seed, widths):
    """A chain in levels of these widths, connected for sure."""
    rng = np.random.default_rng(seed)
    level = np.repeat(np.arange(len(widths)), widths)
    n = len(level)
    near = np.abs(level[:, None] - level[None, :]) <= 1
    chosen = near & (rng.random((n, n)) < 0.5) | (np.abs(np.subtract.outer(np.arange(n), np.arange(n))) == 1) & near
    source, target = np.nonzero(chosen)
    shuffled = rng.permutation(n)  # states come in any order
    rate = rng.exponential(size=len(source)) * 10.0 ** rng.uniform(-3, 3, len(source))
    levels = np.empty(n, dtype=np.intp)
    levels[shuffled] = level
    return chain.Chain(n, shuffled[source], shuffled[target], rate), levels


@pytest.mark.parametrize("widths", [[5], [1, 1, 1, 1], [3, 7, 2, 4], [1, 9, 1], [20, 30, 20]])
def test_blocks_give_the_distribution_that_a_dense_solution_gives(widths):
    links, level = random_chain(len(widths), widths)
    found = chain.stationary(links, [level])
    assert found.sum() == pytest.approx(1.0, abs=1e-14)
    assert (found >= 0).all()
    flows = dense(links)
    np.testing.assert_allclose(found @ flows, 0.0, atol=1e-12 * np.abs(flows).max())
    by_hand = np.linalg.lstsq(np.vstack([flows.T, np.ones(links.n)]), np.r_[np.zeros(links.n), 1.0], rcond=None)[0]
    np.testing.assert_allclose(found, by_hand, atol=1e-9)


def test_any_of_the_levels_gives_the_same():
    sizes = (4, 3)
    grid = np.stack(np.unravel_index(np.arange(12), sizes), axis=1)
    rng = np.random.default_rng(1)
    moves = [(i, j) for i in range(12) for j in range(12) if i != j and np.abs(grid[i] - grid[j]).max() == 1]
    source, target = np.array(moves).T
    links = chain.Chain(12, source, target, rng.exponential(size=len(moves)))
    first, second = (chain.stationary(links, [grid[:, k]]) for k in (0, 1))
    np.testing.assert_allclose(first, second, rtol=1e-12)


def test_small_probabilities_keep_their_digits():
    """A birth-death chain over sixty decades."""
    n = 61
    up, down = np.arange(n - 1), np.arange(1, n)
    links = chain.Chain(n, np.r_[up, down], np.r_[down, up], np.r_[np.full(n - 1, 0.1), np.full(n - 1, 1.0)])
    found = chain.stationary(links, [np.arange(n)])
    np.testing.assert_allclose(found, 0.9 * 0.1 ** np.arange(n), rtol=1e-12)


def test_two_parts_that_do_not_meet_are_refused():
    links = chain.Chain(4, np.array([0, 1, 2, 3]), np.array([1, 0, 3, 2]), np.ones(4))
    with pytest.raises(InvalidInput, match="never leaves"):
        chain.stationary(links, [np.array([0, 0, 1, 1])])


def test_a_chain_beyond_the_limit_is_refused():
    n = 10_000
    links = chain.Chain(n, np.arange(n), np.roll(np.arange(n), 1), np.ones(n))
    with pytest.raises(InvalidInput, match="too large"):
        chain.stationary(links, [np.zeros(n, dtype=np.intp)])


def test_a_poisson_process_is_counted():
    links = chain.Chain(1, np.array([0]), np.array([0]), np.array([2.5]))
    found = chain.transient_counts(links, np.array([True]), 0, 8.0)
    np.testing.assert_allclose(found, poisson.pmf(np.arange(len(found)), 20.0), atol=1e-15)


def test_what_is_not_counted_moves_the_state_only():
    """Against the exponential of the joint chain of state and count."""
    source, target = np.array([0, 0, 1, 2, 2]), np.array([1, 2, 2, 0, 1])
    rate, counted = np.array([1.0, 0.3, 0.7, 2.0, 0.1]), np.array([True, False, False, True, False])
    most = 40
    joint = np.zeros((3 * most, 3 * most))
    for s, t, r, c in zip(source, target, rate, counted, strict=True):
        for k in range(most):
            joint[3 * k + s, 3 * k + s] -= r
            if k + c < most:
                joint[3 * k + s, 3 * (k + c) + t] += r
    expected = expm(joint * 4.0)[1].reshape(most, 3).sum(axis=1)
    found = chain.transient_counts(chain.Chain(3, source, target, rate), counted, 1, 4.0)
    assert math.fsum(found) == pytest.approx(1.0, abs=1e-13)
    np.testing.assert_allclose(found[:most], expected[: len(found)], atol=1e-13)


def test_nothing_happens_in_no_time():
    links = chain.Chain(1, np.array([0]), np.array([0]), np.array([2.5]))
    assert chain.transient_counts(links, np.array([True]), 0, 0.0).tolist() == [1.0]


def test_a_horizon_without_end_is_refused():
    links = chain.Chain(1, np.array([0]), np.array([0]), np.array([2.5]))
    with pytest.raises(InvalidInput, match="jumps to follow"):
        chain.transient_counts(links, np.array([True]), 0, 1e6)
