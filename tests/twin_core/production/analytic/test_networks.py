"""Networks and crews: known closed forms, limits, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.twin_core.errors import InvalidInput
from uem.twin_core.production.analytic import crew, networks, queues


def mean_value_analysis(demands, pallets, think):
    """Reiser & Lavenberg 1980, single servers: the plain recursion over pallets."""
    number = np.zeros(len(demands))
    for n in range(1, pallets + 1):
        time = np.array(demands) * (1.0 + number)
        throughput = n / (think + time.sum())
        number = throughput * time
    return throughput, number


@given(st.lists(st.floats(0.05, 20.0), min_size=1, max_size=5), st.integers(1, 60), st.floats(0.0, 50.0))
def test_convolution_gives_what_mean_value_analysis_gives(demands, pallets, think):
    found = networks.closed_network(demands, pallets, think=think)
    throughput, number = mean_value_analysis(demands, pallets, think)
    assert found.throughput == pytest.approx(throughput, rel=1e-10)
    np.testing.assert_allclose(found.L, number, rtol=1e-9)


def test_equal_stations_share_the_pallets():
    found = networks.closed_network([1.0] * 4, 9)
    assert found.throughput == pytest.approx(9.0 / 12.0, rel=1e-13)
    np.testing.assert_allclose(found.L, 9.0 / 4.0, rtol=1e-13)
    assert found.cycle_time == pytest.approx(12.0, rel=1e-13)


def test_pallets_before_a_station_of_several_servers_are_a_repair_crew():
    """Machines that fail are pallets that think: the same chain by two formulas."""
    closed = networks.closed_network([1.0 / 0.5], 20, [3], think=1.0 / 0.05)
    repaired = crew.repair_crew(20, 3, 0.05, 0.5)
    assert closed.L[0] == pytest.approx(repaired.mean_down, rel=1e-12)
    assert closed.throughput == pytest.approx(20 * 0.05 * repaired.availability, rel=1e-12)


def test_as_many_workers_as_machines_leave_each_alone():
    found = crew.repair_crew(7, 7, 0.02, 0.2)
    assert found.availability == pytest.approx(1.0 / 1.1, rel=1e-13)
    assert found.mean_wait_for_crew == pytest.approx(0.0, abs=1e-12)
    assert crew.repair_crew(2000, 3, 0.02, 0.2).crew_busy == pytest.approx(1.0, abs=1e-9)


@given(st.integers(1, 30), st.integers(1, 5), st.floats(0.001, 2.0))
def test_another_worker_never_makes_it_worse(machines, workers, failure_rate):
    few = crew.repair_crew(machines, workers, failure_rate, 1.0)
    more = crew.repair_crew(machines, workers + 1, failure_rate, 1.0)
    assert few.availability <= more.availability + 1e-12
    assert more.mean_downtime <= few.mean_downtime * (1.0 + 1e-12)


def test_an_open_line_is_its_queues_in_a_row():
    found = networks.jackson([0.5, 0.0], [[0.0, 1.0], [0.0, 0.0]], [1.0, 0.4], [1, 2])
    expected = [queues.mm1(0.5, 1.0).L, queues.mmc(0.5, 0.4, 2).L]
    np.testing.assert_allclose(found.L, expected, rtol=1e-13)
    assert found.W_total == pytest.approx(sum(expected) / 0.5, rel=1e-13)


def test_rework_adds_to_the_arrivals():
    found = networks.jackson([0.4], [[0.25]], [1.0], [1])
    assert found.arrival[0] == pytest.approx(0.4 / 0.75, rel=1e-14)


def test_a_station_that_nothing_reaches_is_empty():
    found = networks.jackson([0.4, 0.0], [[0.0, 0.0], [0.0, 0.0]], [1.0, 1.0], [1, 1])
    assert found.L[1] == found.arrival[1] == 0.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: networks.jackson([0.4], [[1.0]], [1.0], [1]), "for ever"),
        (lambda: networks.jackson([0.4], [[1.1]], [1.0], [1]), "at most 1"),
        (lambda: networks.jackson([0.4, 0.1], [[0.0]], [1.0], [1]), "gamma"),
        (lambda: networks.jackson([0.0], [[0.0]], [1.0], [1]), "must arrive"),
        (lambda: networks.jackson([1.4], [[0.0]], [1.0], [1]), "below 1"),
        (lambda: networks.jackson([0.4], [[0.0]], [1.0], [1.5]), "whole"),
        (lambda: networks.closed_network([1.0], 0), "pallets"),
        (lambda: networks.closed_network([1.0, 0.0], 2), "demands"),
        (lambda: networks.closed_network([1.0], 2, think=-1.0), "think"),
        (lambda: networks.closed_network([1.0, 1.0], 2, [1]), "servers"),
        (lambda: networks.closed_network([1.0], 2, [0.5]), "whole"),
        (lambda: crew.repair_crew(0, 1, 0.1, 1.0), "machines"),
        (lambda: crew.repair_crew(3, 1, 0.1, math.inf), "repair_rate"),
    ],
)
def test_what_has_no_answer_is_refused(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
