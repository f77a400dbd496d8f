"""Two fluid machines: a fine grid, published limits, reversal, growth with the buffer, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uem.twin_core.errors import InvalidInput
from uem.twin_core.production.analytic import chain
from uem.twin_core.production.analytic.fluid import fluid_two_machine

SPEEDS = st.floats(0.5, 2.0)
FAIL, REPAIR = st.floats(0.005, 0.2), st.floats(0.05, 1.0)
MACHINE = st.tuples(SPEEDS, FAIL, REPAIR)


def solved(machines, buffer, operation_dependent):
    return fluid_two_machine(*zip(*machines, strict=True), buffer, operation_dependent=operation_dependent)


@settings(deadline=None)
@given(MACHINE, MACHINE, st.floats(0.0, 200.0), st.booleans())
def test_run_backwards_it_makes_as_much_and_holds_what_was_free(first, second, buffer, law):
    forward, backward = solved([first, second], buffer, law), solved([second, first], buffer, law)
    assert backward.throughput == pytest.approx(forward.throughput, rel=1e-7)
    assert backward.buffer_mean == pytest.approx(buffer - forward.buffer_mean, rel=1e-5, abs=1e-6)
    assert backward.p_empty == pytest.approx(forward.p_full, rel=1e-5, abs=1e-9)
    assert backward.starved == pytest.approx(forward.blocked, rel=1e-5, abs=1e-9)


@settings(deadline=None)
@given(MACHINE, MACHINE, st.floats(0.0, 100.0), st.booleans())
def test_a_larger_buffer_never_makes_less_and_no_more_than_either_machine_alone(first, second, buffer, law):
    small, large = (
        solved([first, second], buffer, law).throughput,
        solved([first, second], buffer + 5.0, law).throughput,
    )
    alone = min(s * r / (r + p) for s, p, r in (first, second))
    assert small <= large * (1 + 1e-7) <= alone * (1 + 2e-7)


def test_equal_machines_without_a_buffer_are_buzacotts():
    found = solved([(1.0, 0.01, 0.1)] * 2, 0.0, True)
    assert found.throughput == pytest.approx(1.0 / 1.2, rel=1e-12)
    assert solved([(1.0, 0.01, 0.1)] * 2, 0.0, False).throughput == pytest.approx((0.1 / 0.11) ** 2, rel=1e-12)
    assert solved([(1.0, 0.01, 0.1)] * 2, 1e-7, True).throughput == pytest.approx(found.throughput, rel=1e-7)


def test_with_a_huge_buffer_the_worse_machine_sets_the_pace():
    found = solved([(1.0, 0.02, 0.1), (1.5, 0.02, 0.1)], 1e6, True)
    assert found.throughput == pytest.approx(1.0 * 0.1 / 0.12, rel=1e-9)
    assert found.p_full == pytest.approx(0.0, abs=1e-12)


def test_equal_machines_hold_half_and_have_the_closed_form():
    """Time-dependent failures, Li & Meerkov: with equal machines E = e (1 - starved), from their chapter 11."""
    p, r, buffer = 0.01, 0.1, 10.0
    found = solved([(1.0, p, r)] * 2, buffer, False)
    assert found.buffer_mean == pytest.approx(buffer / 2.0, rel=1e-10)
    assert found.throughput == pytest.approx(0.855771794188, rel=1e-11)
    assert found.throughput == pytest.approx(r / (r + p) - found.starved, rel=1e-10)


@pytest.mark.parametrize("law", [True, False])
@pytest.mark.parametrize("speeds", [(1.0, 1.0), (1.0, 1.3), (2.0, 1.0)])
def test_a_grid_of_small_steps_comes_to_the_same(speeds, law):
    """Each unit of the level as many steps that come at random: the error goes with the size of a step."""
    fail, repair, buffer = np.array([0.1, 0.05]), np.array([0.4, 0.3]), 4
    exact = solved(list(zip(speeds, fail, repair, strict=True)), float(buffer), law)
    errors = [grid_throughput(speeds, fail, repair, buffer * k, k, law) - exact.throughput for k in (50, 100, 200)]
    assert abs(errors[2]) < 2e-3
    assert abs(2.0 * errors[2] - errors[1]) < 1e-4  # of first order, to nothing else than the exact figure


def grid_throughput(speeds, fail, repair, levels, steps, law):
    """Upwind: the net rate moves the level by one step, up and down times as they are."""
    source, target, rate, made = [], [], [], np.zeros(4 * (levels + 1))
    for n in range(levels + 1):
        for s, (a, b) in enumerate([(1, 1), (1, 0), (0, 1), (0, 0)]):
            i = 4 * n + s
            first, second = speeds[0] * a, speeds[1] * b
            if n == 0:
                second = min(second, first)
            if n == levels:
                first = min(first, second)
            made[i] = second
            moves = [(a, first / speeds[0], fail[0], repair[0], 2), (b, second / speeds[1], fail[1], repair[1], 1)]
            for up, share, p, r, bit in moves:
                source.append(i)
                target.append(4 * n + (s + bit if up else s - bit))
                rate.append((p * share if law else p) if up else r)
            net = first - second
            if net:
                source.append(i)
                target.append(i + (4 if net > 0 else -4))
                rate.append(abs(net) * steps)
    links = chain.Chain(len(made), np.array(source), np.array(target), np.array(rate))
    return chain.stationary(links, [np.arange(len(made)) // 4]) @ made


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        (([1.0], [0.1, 0.1], [0.1, 0.1], 1.0), "speeds"),
        (([1.0, 1.0], [0.0, 0.1], [0.1, 0.1], 1.0), "failure_rate"),
        (([1.0, 1.0], [0.1, 0.1], [0.1, np.nan], 1.0), "repair_rate"),
        (([1.0, 1.0], [0.1, 0.1], [0.1, 0.1], -1.0), "buffer"),
    ],
)
def test_what_has_no_answer_is_refused(given_, words):
    with pytest.raises(InvalidInput, match=words):
        fluid_two_machine(*given_, operation_dependent=True)
