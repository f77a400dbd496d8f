"""Synchronous lines: closed forms, reversal, limits of the buffers, small chains by hand, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uem.twin_core.errors import InvalidInput
from uem.twin_core.production.analytic import slotted
from uem.twin_core.production.analytic.decomposition import aggregated_bernoulli_rate, ddx_transfer_line

UP = st.floats(0.3, 0.99)
FAIL, REPAIR = st.floats(0.002, 0.2), st.floats(0.05, 0.9)


@given(UP, UP, st.integers(1, 30))
def test_two_bernoulli_machines_have_a_closed_form(p1, p2, buffer):
    found = slotted.bernoulli_line([p1, p2], [buffer])
    assert found.production_rate == pytest.approx(slotted.bernoulli_two_machine_rate(p1, p2, buffer), rel=1e-11)
    assert aggregated_bernoulli_rate([p1, p2], [buffer]) == pytest.approx(found.production_rate, rel=1e-10)
    # what is made is what is up and neither starved nor blocked
    assert p1 - found.blocked[0] == pytest.approx(found.production_rate, rel=1e-11)


@settings(deadline=None, max_examples=40)
@given(st.lists(UP, min_size=3, max_size=4), st.lists(st.integers(1, 3), min_size=3, max_size=3))
def test_a_bernoulli_line_run_backwards_makes_as_much_and_waits_where_it_was_blocked(p, sizes):
    buffers = sizes[: len(p) - 1]
    forward, backward = slotted.bernoulli_line(p, buffers), slotted.bernoulli_line(p[::-1], buffers[::-1])
    assert backward.production_rate == pytest.approx(forward.production_rate, rel=1e-11)
    assert backward.starved[-1] == pytest.approx(forward.blocked[0], rel=1e-9, abs=1e-14)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.7, 0.99), min_size=3, max_size=4), st.lists(st.integers(1, 3), min_size=3, max_size=3))
def test_aggregation_is_near_the_exact_rate_and_never_above_the_worst_machine(p, sizes):
    buffers = sizes[: len(p) - 1]
    exact, found = slotted.bernoulli_line(p, buffers).production_rate, aggregated_bernoulli_rate(p, buffers)
    assert found == pytest.approx(exact, rel=0.04)
    assert found <= min(p)


def test_machines_that_are_always_up():
    assert slotted.bernoulli_two_machine_rate(1.0, 0.7, 3) == pytest.approx(0.7)
    assert slotted.bernoulli_two_machine_rate(0.7, 1.0, 3) == pytest.approx(0.7)
    assert aggregated_bernoulli_rate([1.0, 0.7, 1.0], [1, 1]) == pytest.approx(0.7, rel=1e-12)
    assert slotted.bernoulli_line([0.8], []).production_rate == pytest.approx(0.8)


@settings(deadline=None, max_examples=60)
@given(FAIL, FAIL, REPAIR, REPAIR, st.integers(1, 25))
def test_two_machines_with_geometric_failures_have_a_closed_form(p1, p2, r1, r2, buffer):
    chain = slotted.transfer_line([p1, p2], [r1, r2], [buffer])
    closed = slotted.two_machine_transfer([p1, p2], [r1, r2], buffer)
    assert closed.efficiency == pytest.approx(chain.efficiency, rel=1e-10)
    assert closed.buffer_mean == pytest.approx(chain.buffer_mean[0], rel=1e-9)
    assert closed.empty == pytest.approx(chain.empty[0], rel=1e-8, abs=1e-14)
    assert closed.full == pytest.approx(chain.full[0], rel=1e-8, abs=1e-14)
    # both machines make as much
    assert (1.0 - closed.full) * r1 / (r1 + p1) == pytest.approx(closed.efficiency, rel=1e-10)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(FAIL, REPAIR, st.integers(2, 4)), min_size=3, max_size=3))
def test_a_transfer_line_run_backwards_makes_as_much_with_places_for_parts(machines):
    p, r, n = (list(column) for column in zip(*machines, strict=True))
    forward, backward = slotted.transfer_line(p, r, n[:2]), slotted.transfer_line(p[::-1], r[::-1], n[:2][::-1])
    assert backward.efficiency == pytest.approx(forward.efficiency, rel=1e-10)
    np.testing.assert_allclose(np.array(n[:2]) - backward.buffer_mean[::-1], forward.buffer_mean, rtol=1e-8)
    np.testing.assert_allclose(backward.empty[::-1], forward.full, rtol=1e-8)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(FAIL, REPAIR), min_size=2, max_size=3), st.integers(2, 5))
def test_efficiency_lies_between_the_limits_of_buzacott_and_grows_with_the_buffer(machines, buffer):
    p, r = zip(*machines, strict=True)
    low, high = slotted.buzacott_limits(p, r)
    small, large = (slotted.transfer_line(p, r, [b] * (len(p) - 1)).efficiency for b in (buffer, buffer + 1))
    # The lower limit is for failures that come one at a time; in slots, two may fail at once.
    assert low * 0.9 <= small <= large * (1 + 1e-12) <= high * (1 + 2e-12)


def test_with_a_huge_buffer_the_worst_machine_sets_the_pace():
    p, r = [0.01, 0.02], [0.1, 0.1]
    assert slotted.two_machine_transfer(p, r, 100_000).efficiency == pytest.approx(0.1 / 0.12, rel=1e-12)
    assert slotted.two_machine_transfer(p[::-1], r, 100_000).efficiency == pytest.approx(0.1 / 0.12, rel=1e-12)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.floats(0.005, 0.03), st.floats(0.05, 0.3), st.integers(4, 10)), min_size=3, max_size=3))
def test_ddx_is_near_the_exact_efficiency(machines):
    p, r, n = (list(column) for column in zip(*machines, strict=True))
    found, exact = ddx_transfer_line(p, r, n[:2]), slotted.transfer_line(p, r, n[:2])
    assert found.efficiency == pytest.approx(exact.efficiency, rel=0.02)
    assert found.imbalance < 1e-10


def test_ddx_of_two_machines_is_exact_and_a_long_line_is_the_same_run_backwards():
    assert ddx_transfer_line([0.01, 0.02], [0.1, 0.2], [7]).efficiency == pytest.approx(
        slotted.transfer_line([0.01, 0.02], [0.1, 0.2], [7]).efficiency, rel=1e-12
    )
    rng = np.random.default_rng(5)
    p, r, n = rng.uniform(0.005, 0.02, 15), rng.uniform(0.05, 0.2, 15), rng.integers(4, 20, 14)
    forward, backward = ddx_transfer_line(p, r, n), ddx_transfer_line(p[::-1], r[::-1], n[::-1])
    assert backward.efficiency == pytest.approx(forward.efficiency, rel=1e-9)
    np.testing.assert_allclose(n - backward.buffer_mean[::-1], forward.buffer_mean, rtol=1e-7)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: slotted.bernoulli_line([0.9, 1.1], [1]), "between 0 and 1"),
        (lambda: slotted.bernoulli_line([0.9, 0.0], [1]), "positive"),
        (lambda: slotted.bernoulli_line([0.9, 0.9], [0]), "at least 1"),
        (lambda: slotted.bernoulli_line([0.9] * 12, [9] * 11), "decomposition"),
        (lambda: slotted.transfer_line([0.0, 0.0], [0.1, 0.1], [4]), "able to fail"),
        (lambda: slotted.transfer_line([0.1, 1.0], [0.1, 0.1], [4]), "below 1"),
        (lambda: slotted.transfer_line([0.1, 0.1], [0.1], [4]), "r has shape"),
        (lambda: slotted.transfer_line([0.1] * 8, [0.1] * 8, [9] * 7), "decomposition"),
        (lambda: slotted.buzacott_limits([0.1], [0.0]), "positive"),
        (lambda: ddx_transfer_line([0.1, 0.0], [0.1, 0.1], [4]), "can fail"),
        (lambda: ddx_transfer_line([0.1], [0.1], []), "two or more"),
        (lambda: aggregated_bernoulli_rate([0.9, 0.9], [1, 1]), "buffers"),
    ],
)
def test_what_has_no_answer_is_refused(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
