"""Bottlenecks and buffer sizes: against what changing every machine and trying every design shows."""

import itertools

import numpy as np
import pytest

from uem.twin_core.errors import InvalidInput
from uem.twin_core.production.analytic.decomposition import ddx_transfer_line, decomposed_fluid_line
from uem.twin_core.production.analytic.design import bottlenecks, smallest_buffers
from uem.twin_core.production.analytic.fluid import fluid_two_machine
from uem.twin_core.production.analytic.slotted import bernoulli_line


def test_the_bottleneck_is_mostly_the_machine_whose_improvement_helps_most():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(40):
        p, buffers = rng.uniform(0.7, 0.95, 4), rng.integers(1, 4, 3)
        line = bernoulli_line(p, buffers)
        better = [bernoulli_line(p + 0.005 * (np.arange(4) == k), buffers).production_rate for k in range(4)]
        hits += int(np.argmax(better)) == bottlenecks(line.blocked, line.starved).machines[0]
    assert hits >= 30


def test_arrows_point_at_the_machine_that_all_wait_for():
    found = bottlenecks([0.3, 0.1, 0.0, 0.0], [0.0, 0.0, 0.2, 0.25])
    assert found.machines == (1,)
    np.testing.assert_allclose(found.severity, [0.0, 0.3 + 0.1, 0.25, 0.0])


def test_two_bottlenecks_come_worst_first():
    found = bottlenecks([0.0, 0.2, 0.0, 0.0], [0.0, 0.1, 0.0, 0.3])
    assert found.machines == (2, 0)


def test_one_machine_is_its_own_bottleneck_and_equal_ones_are_all():
    assert bottlenecks([0.0], [0.0]).machines == (0,)
    assert bottlenecks([0.1, 0.0], [0.0, 0.1]).machines == (0, 1)


@pytest.mark.parametrize("seed", range(12))
def test_no_smaller_sum_of_places_reaches_the_target(seed):
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.7, 0.95, 3 + seed % 2)
    target = float(min(p) * rng.uniform(0.85, 0.95))

    def rate(buffers):
        return bernoulli_line(p, buffers).production_rate

    found = smallest_buffers(rate, target, len(p) - 1, least=1, most=30)
    assert found.throughput == rate(found.buffers) >= target
    fewer = (b for b in itertools.product(range(1, 9), repeat=len(p) - 1) if sum(b) == sum(found.buffers) - 1)
    assert all(rate(b) < target for b in fewer)


def test_a_long_symmetric_line_gets_larger_buffers_in_the_middle():
    found = smallest_buffers(lambda b: ddx_transfer_line([0.01] * 5, [0.1] * 5, b).efficiency, 0.78, 4, least=2)
    first, second, third, fourth = found.buffers
    assert min(second, third) > max(first, fourth)


def test_a_target_that_needs_nothing_and_one_that_no_buffer_reaches():
    assert smallest_buffers(lambda b: 1.0, 0.5, 3).buffers == (0, 0, 0)
    with pytest.raises(InvalidInput, match="20 places"):
        smallest_buffers(lambda b: bernoulli_line([0.8, 0.9], b).production_rate, 0.81, 1, least=1, most=20)
    with pytest.raises(InvalidInput, match="buffers"):
        smallest_buffers(lambda b: 1.0, 0.5, 0)


def test_two_fluid_machines_are_not_decomposed_and_a_long_line_is_the_same_run_backwards():
    two = decomposed_fluid_line([1.0, 1.2], [0.02, 0.05], [0.2, 0.3], [6.0])
    exact = fluid_two_machine([1.0, 1.2], [0.02, 0.05], [0.2, 0.3], 6.0, operation_dependent=True)
    assert two.efficiency == pytest.approx(exact.throughput, rel=1e-12)
    rng = np.random.default_rng(2)
    speed, fail, repair = rng.uniform(0.8, 1.3, 6), rng.uniform(0.005, 0.03, 6), rng.uniform(0.05, 0.3, 6)
    buffers = rng.uniform(3.0, 15.0, 5)
    forward = decomposed_fluid_line(speed, fail, repair, buffers)
    backward = decomposed_fluid_line(speed[::-1], fail[::-1], repair[::-1], buffers[::-1])
    assert backward.efficiency == pytest.approx(forward.efficiency, rel=1e-7)
    np.testing.assert_allclose(buffers - backward.buffer_mean[::-1], forward.buffer_mean, rtol=1e-4)
    assert forward.efficiency < (speed * repair / (repair + fail)).min()


def test_a_fluid_line_that_hardly_fails_runs_at_its_slowest_speed():
    found = decomposed_fluid_line([1.3, 1.0, 1.2], [1e-7] * 3, [0.1] * 3, [5.0, 5.0])
    assert found.efficiency == pytest.approx(1.0, rel=1e-5)
    assert found.buffer_mean == pytest.approx([5.0, 0.0], abs=1e-3)


def test_three_fluid_machines_are_within_half_a_percent_of_a_simulation():
    """0.8246 +- 0.0012: max-plus recursion, parts of a quarter of a unit, 800 replications of 10,000 parts."""
    assert decomposed_fluid_line([1.0] * 3, [0.01] * 3, [0.1] * 3, [10.0] * 2).efficiency == pytest.approx(
        0.8246, rel=0.005
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: decomposed_fluid_line([1.0], [0.1], [0.1], []), "one or more"),
        (lambda: decomposed_fluid_line([1.0, 1.0], [0.1, 0.1], [0.1, 0.1], [-1.0]), "not negative"),
        (lambda: decomposed_fluid_line([1.0, 1.0], [0.1], [0.1, 0.1], [1.0]), "failure_rate"),
        (lambda: bottlenecks([0.1, 1.2], [0.0, 0.0]), "between 0 and 1"),
        (lambda: bottlenecks([], []), "at least one"),
    ],
)
def test_what_has_no_answer_is_refused(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
