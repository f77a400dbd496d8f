"""Lines and assemblies: published values, limits of buffers, reversal, growth with capacity, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uem.twin_core.errors import InvalidInput
from uem.twin_core.production.analytic import lines
from uem.twin_core.production.analytic.lines import ExponentialLine, line_figures, output_distribution

RATES = st.floats(0.3, 3.0)
FAILURES = st.floats(0.01, 0.3)


@st.composite
def unreliable_lines(draw, crews=False):
    n = draw(st.integers(2, 3))
    return ExponentialLine(
        mu=draw(st.lists(RATES, min_size=n, max_size=n)),
        buffers=draw(st.lists(st.integers(0, 3), min_size=n - 1, max_size=n - 1)),
        failure_rate=draw(st.lists(FAILURES, min_size=n, max_size=n)),
        repair_rate=draw(st.lists(RATES, min_size=n, max_size=n)),
        repair_workers=draw(st.integers(1, 2)) if crews else None,
    )


@pytest.mark.parametrize(("stations", "rate"), [(2, 0.6667), (3, 0.5641), (4, 0.5148), (5, 0.4858), (6, 0.4667)])
def test_lines_without_buffers_are_those_of_hillier_and_boling(stations, rate):
    found = line_figures(ExponentialLine(mu=[1.0] * stations, buffers=[0] * (stations - 1)))
    assert found.throughput == pytest.approx(rate, abs=5e-5)


@given(st.integers(0, 60), RATES)
def test_two_equal_machines_have_a_closed_form(buffer, mu):
    found = line_figures(ExponentialLine(mu=[mu, mu], buffers=[buffer]))
    assert found.throughput == pytest.approx(lines.two_machine_throughput(buffer, mu), rel=1e-12)


@settings(deadline=None, max_examples=30)
@given(unreliable_lines() | unreliable_lines(crews=True))
def test_time_adds_up_and_every_machine_makes_as_much(line):
    found = line_figures(line)
    np.testing.assert_allclose(found.starved + found.busy + found.down + found.blocked, 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.array(line.mu) * found.busy, found.throughput, rtol=1e-10)
    assert found.starved[0] == found.blocked[-1] == 0.0
    if line.repair_workers is None:
        # who fails while working is down in proportion to the work
        np.testing.assert_allclose(found.down, found.busy * line.failure_rate / np.array(line.repair_rate), rtol=1e-10)


@settings(deadline=None, max_examples=30)
@given(unreliable_lines())
def test_a_line_run_backwards_makes_as_much(line):
    """Who waits at one end is blocked at the other; machines between hold their part while blocked, so they differ."""
    forward, backward = line_figures(line), line_figures(line.reversed)
    assert backward.throughput == pytest.approx(forward.throughput, rel=1e-10)
    assert backward.starved[-1] == pytest.approx(forward.blocked[0], rel=1e-9)


@settings(deadline=None, max_examples=30)
@given(unreliable_lines(), st.data())
def test_a_place_more_or_a_faster_machine_never_makes_less(line, data):
    before = line_figures(line).throughput
    k = data.draw(st.integers(0, len(line.buffers) - 1))
    roomier = [b + (i == k) for i, b in enumerate(line.buffers)]
    faster = [m * (1.3 if i == k else 1.0) for i, m in enumerate(line.mu)]
    shared = {"failure_rate": line.failure_rate, "repair_rate": line.repair_rate}
    assert line_figures(ExponentialLine(mu=line.mu, buffers=roomier, **shared)).throughput >= before * (1 - 1e-12)
    assert line_figures(ExponentialLine(mu=faster, buffers=line.buffers, **shared)).throughput >= before * (1 - 1e-12)


def test_with_ever_larger_buffers_the_slowest_machine_sets_the_pace():
    """Alone, a machine makes mu r / (r + p)."""
    line = {"mu": [1.5, 1.0], "failure_rate": [0.05, 0.1], "repair_rate": [0.5, 0.4]}
    alone = 1.0 * 0.4 / 0.5
    found = [line_figures(ExponentialLine(buffers=[b], **line)).throughput for b in (0, 5, 40, 400)]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(alone, rel=1e-9)


def test_one_machine_alone_makes_what_its_availability_leaves():
    found = line_figures(ExponentialLine(mu=[2.0], buffers=[], failure_rate=[0.1], repair_rate=[0.4]))
    assert found.throughput == pytest.approx(2.0 * 0.8, rel=1e-14)
    assert found.wip_total == pytest.approx(1.0, rel=1e-14)


def test_a_crew_that_shares_its_time_would_be_another_line():
    """First broken, first repaired gives 0.4851; a crew working on all at once would give 0.4829."""
    common = {"mu": [1.0] * 3, "buffers": [3, 3], "failure_rate": [0.1] * 3, "repair_rate": [0.3] * 3}
    crewed = line_figures(ExponentialLine(repair_workers=1, **common))
    assert crewed.throughput == pytest.approx(0.485144624879, rel=1e-10)
    assert crewed.states == 342
    full = [line_figures(ExponentialLine(repair_workers=c, **common)).throughput for c in (2, 3, None)]
    assert full[0] < full[1] == pytest.approx(full[2], rel=1e-12)


def test_an_assembler_takes_both_parts_at_the_same_time():
    """Taking one while waiting for the other would own one more place: 0.7771."""
    assembly = ExponentialLine(mu=[1.0] * 3, buffers=[3, 3], into=[2, 2])
    found = line_figures(assembly)
    assert found.throughput == pytest.approx(0.775742552462, rel=1e-10)
    assert found.states == 34
    assert found.wip_total == pytest.approx(found.buffer_mean.sum() + 2.0 + found.busy[2], rel=1e-12)


def test_a_feeder_that_never_waits_leaves_a_line_of_two():
    fast = line_figures(ExponentialLine(mu=[1.0, 1e7, 1.0], buffers=[3, 3], into=[2, 2]))
    assert fast.throughput == pytest.approx(lines.two_machine_throughput(3), rel=1e-5)


def test_assemblies_without_buffers_hand_over_at_once():
    """Two feeders and an assembler, all of rate 1, by a chain of five states written by hand."""
    found = line_figures(ExponentialLine(mu=[1.0] * 3, buffers=[0, 0], into=[2, 2]))
    rates = np.array(
        [
            # the assembler works with 0, 1, 2 feeders waiting; it waits with 0, 1
            [0, 2, 0, 1, 0],
            [0, 0, 1, 0, 1],
            [1, 0, 0, 0, 0],
            [0, 0, 0, 0, 2],
            [1, 0, 0, 0, 0],
        ],
        dtype=float,
    )
    balance = np.vstack([(rates - np.diag(rates.sum(axis=1))).T, np.ones(5)])
    by_hand = np.linalg.lstsq(balance, np.array([0.0] * 5 + [1.0]), rcond=None)[0]
    assert found.throughput == pytest.approx(by_hand[:3].sum(), rel=1e-12)


def test_power_is_that_of_the_states():
    found = line_figures(ExponentialLine(mu=[1, 1], buffers=[4], failure_rate=[0.05] * 2, repair_rate=[0.2] * 2))
    assert found.mean_power(busy=1.0, down=1.0, idle=1.0) == pytest.approx(2.0, rel=1e-12)
    assert found.mean_power(busy=10.0, down=1.5, idle=4.0) == pytest.approx(14.7842629834, rel=1e-10)


def test_a_forecast_of_a_machine_without_failures_is_a_poisson_count():
    found = output_distribution(ExponentialLine(mu=[2.0], buffers=[]), 5.0, ["busy"], [])
    assert (found.mean, found.sd) == pytest.approx((10.0, math.sqrt(10.0)), rel=1e-12)
    assert found.quantile(0.5) == 10
    assert found.at_least(0) == pytest.approx(1.0, abs=1e-13)
    assert found.at_least(10_000) == 0.0


def test_far_ahead_the_start_is_forgotten():
    line = ExponentialLine(mu=[1.0, 1.2], buffers=[2], failure_rate=[0.05, 0.1], repair_rate=[0.5, 0.5])
    good, bad = (
        [output_distribution(line, t, states, levels).mean for t in (300.0, 400.0)]
        for states, levels in ((["busy", "busy"], [2]), (["down", "down"], [0]))
    )
    pace = line_figures(line).throughput
    assert good[1] - good[0] == pytest.approx(100.0 * pace, rel=1e-6)
    assert bad[1] - bad[0] == pytest.approx(100.0 * pace, rel=1e-6)
    assert good[0] > bad[0]


def test_a_part_that_waits_before_an_idle_machine_goes_in_before_the_clock_starts():
    line = ExponentialLine(mu=[1.0, 1.0], buffers=[2])
    waiting = output_distribution(line, 3.0, ["busy", "starved"], [1])
    working = output_distribution(line, 3.0, ["busy", "busy"], [0])
    np.testing.assert_allclose(waiting.probability, working.probability, rtol=1e-13)


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"mu": [], "buffers": []}, "at least one machine"),
        ({"mu": [1.0, 0.0], "buffers": [1]}, "mu"),
        ({"mu": [1.0, 1.0], "buffers": [1, 1]}, "buffers"),
        ({"mu": [1.0, 1.0], "buffers": [-1]}, "buffers"),
        ({"mu": [1.0, 1.0], "buffers": [0.5]}, "buffers"),
        ({"mu": [1.0, 1.0], "buffers": [1], "failure_rate": [0.1, -0.1]}, "failure_rate"),
        ({"mu": [1.0, 1.0], "buffers": [1], "failure_rate": [0.1, 0.1]}, "repair_rate"),
        ({"mu": [1.0, 1.0], "buffers": [1], "repair_workers": 0}, "repair_workers"),
        ({"mu": [1.0, 1.0], "buffers": [1], "into": [0]}, "later one"),
        ({"mu": ["x", 1.0], "buffers": [1]}, "numbers"),
    ],
)
def test_a_line_that_cannot_be_is_refused(given_, words):
    with pytest.raises(InvalidInput, match=words):
        ExponentialLine(**given_)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ((1.0, ["busy"], [0]), "machines"),
        ((1.0, ["busy", "asleep"], [0]), "machines"),
        ((1.0, ["busy", "busy"], [3]), "above the capacities"),
        ((1.0, ["busy", "down"], [0]), "no repair_rate"),
        ((-1.0, ["busy", "busy"], [0]), "horizon"),
    ],
)
def test_a_start_that_is_none_of_the_line_is_refused(start, words):
    with pytest.raises(InvalidInput, match=words):
        output_distribution(ExponentialLine(mu=[1.0, 1.0], buffers=[2]), *start)


def test_a_line_with_too_many_states_is_refused_in_time():
    with pytest.raises(InvalidInput, match="decomposition"):
        line_figures(ExponentialLine(mu=[1.0] * 9, buffers=[9] * 8))


def test_an_assembly_is_not_reversed():
    with pytest.raises(InvalidInput, match="assembly"):
        _ = ExponentialLine(mu=[1.0] * 3, buffers=[3, 3], into=[2, 2]).reversed


@pytest.mark.parametrize("q", [0.0, 1.0])
def test_a_quantile_outside_is_refused(q):
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        output_distribution(ExponentialLine(mu=[1.0], buffers=[]), 1.0, ["busy"], []).quantile(q)
