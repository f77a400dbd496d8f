"""Queues: known values, limits that join the formulas, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.twin_core.errors import InvalidInput
from uem.twin_core.production.analytic import chain, queues

LOADS = st.floats(0.01, 0.97)


@given(LOADS)
def test_one_server_is_the_same_by_every_formula(load):
    expected = load / (1.0 - load)
    transform = queues.erlang_transform(1.0 / load, 1)
    for q in (
        queues.mm1(load, 1.0),
        queues.mmc(load, 1.0, 1),
        queues.mg1(load, 1.0, 1.0),
        queues.gim1(transform, load, 1.0),
        queues.batch_server(load, 1, 1.0),
    ):
        assert pytest.approx(expected, rel=1e-9) == q.L
        assert q.Wq == pytest.approx(expected / load - 1.0, rel=1e-9)
        assert q.Lq == pytest.approx(load * q.Wq)


def test_erlang_c_of_a_textbook():
    assert queues.mmc(1.6, 1.0, 2).p_wait == pytest.approx(32.0 / 45.0, rel=1e-14)


@given(LOADS, st.integers(1, 40))
def test_more_servers_of_the_same_total_speed_wait_less_and_stay_longer(load, servers):
    few = queues.mmc(load, 1.0 / servers, servers)
    more = queues.mmc(load, 1.0 / (servers + 1), servers + 1)
    assert more.Wq <= few.Wq * (1 + 1e-12)
    assert few.W * (1 - 1e-12) <= more.W


def test_many_places_lose_nobody_and_few_lose_as_erlang_says():
    assert pytest.approx(1.0, rel=1e-12) == queues.mm1k(0.5, 1.0, 200).L
    assert queues.mm1k(0.7, 1.0, 1).p_loss == pytest.approx(queues.erlang_b(0.7, 1), rel=1e-14)
    assert queues.mm1k(1.0, 1.0, 9).p_loss == pytest.approx(0.1, rel=1e-12)
    assert queues.mm1k(50.0, 1.0, 800).throughput == pytest.approx(1.0, rel=1e-12)


@given(LOADS)
def test_kingman_lies_above_the_exact_wait(load):
    for transform, scv in (
        (queues.deterministic_transform(1.0 / load), 0.0),
        (queues.erlang_transform(1.0 / load, 3), 1.0 / 3.0),
        (queues.hyperexponential_transform(1.0 / load, 4.0), 4.0),
    ):
        assert queues.gim1(transform, load, 1.0).Wq <= queues.kingman_bound(load, scv, 1.0, 1.0) * (1 + 1e-9)


@pytest.mark.parametrize("scv", [1.0, 2.0, 9.0])
def test_the_hyperexponential_transform_has_its_moments(scv):
    transform, h = queues.hyperexponential_transform(2.0, scv), 1e-4
    first = -(transform(h) - transform(-h)) / (2 * h)
    second = (transform(h) - 2.0 + transform(-h)) / h**2
    assert first == pytest.approx(2.0, rel=1e-5)
    assert second == pytest.approx(4.0 * (1.0 + scv), rel=1e-4)


def test_priorities_share_the_wait_of_all():
    """What one class gains another loses (Kleinrock's conservation law)."""
    rates, means, seconds = [0.2, 0.3, 0.1], [1.0, 0.5, 2.0], [2.0, 0.5, 5.0]
    waits = queues.priority_waits(rates, means, seconds)
    assert (np.diff(waits) > 0).all()
    load = np.array(rates) * means
    one = 0.5 * np.dot(rates, seconds) / (1.0 - load.sum())
    assert load @ waits == pytest.approx(load.sum() * one, rel=1e-14)


def test_a_machine_that_hardly_ever_fails_is_as_one_that_never_does():
    time = queues.completion_time(2.0, 0.3, 1e12, 1.0)
    assert (time.availability, time.mean, time.scv) == pytest.approx((1.0, 2.0, 0.3), rel=1e-9)


def test_completion_times_have_the_moments_of_a_drawn_sample():
    rng = np.random.default_rng(3)
    mttf, mttr, work, n = 5.0, 2.0, 1.5, 400_000
    failures = rng.poisson(work / mttf, n)
    times = work + rng.gamma(np.maximum(failures, 1e-9), mttr) * (failures > 0)
    found = queues.completion_time(work, 0.0, mttf, mttr)
    assert times.mean() == pytest.approx(found.mean, abs=5 * times.std() / math.sqrt(n))
    assert times.var() / times.mean() ** 2 == pytest.approx(found.scv, rel=0.02)


@pytest.mark.parametrize(("arrival", "size", "rate"), [(3.0, 4, 1.0), (0.1, 2, 1.0), (8.0, 10, 1.0)])
def test_batches_against_the_truncated_chain(arrival, size, rate):
    most = 1200
    waiting = np.r_[np.arange(most), np.arange(size)]  # running with n waiting, then idle with n waiting
    source, target, rates = [], [], []
    for n in range(most):
        if n + 1 < most:
            source, target, rates = [*source, n], [*target, n + 1], [*rates, arrival]
        source, rates = [*source, n], [*rates, rate]
        target.append(n - size if n >= size else most + n)
    for n in range(size):
        source, rates = [*source, most + n], [*rates, arrival]
        target.append(most + n + 1 if n + 1 < size else 0)
    links = chain.Chain(most + size, np.array(source), np.array(target), np.array(rates))
    p = chain.stationary(links, [np.zeros(most + size, dtype=np.intp)])
    found = queues.batch_server(arrival, size, rate)
    assert found.Lq == pytest.approx(p @ waiting, rel=1e-9)
    assert found.utilisation == pytest.approx(p[:most].sum(), rel=1e-9)


def test_a_furnace_that_starts_at_once_after_a_fast_warm_up_is_a_plain_queue():
    found = queues.switched_off_when_empty(0.6, 1.0, 1e9)
    assert pytest.approx(queues.mm1(0.6, 1.0).L, rel=1e-8) == found.L
    assert (found.p_off, found.p_warmup) == pytest.approx((0.4, 0.0), abs=1e-9)
    assert found.mean_power(busy=10.0, off=1.0, warmup=5.0) == pytest.approx(6.4, rel=1e-8)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: queues.mm1(1.0, 1.0), "below 1"),
        (lambda: queues.mm1(-0.1, 1.0), "arrival"),
        (lambda: queues.mm1(math.nan, 1.0), "arrival"),
        (lambda: queues.mmc(0.1, 1.0, 1.5), "whole"),
        (lambda: queues.mm1k(0.1, 1.0, 0), "places"),
        (lambda: queues.mg1(0.5, 1.0, -1.0), "service_scv"),
        (lambda: queues.mg1(0.5, 2.0, 1.0), "below 1"),
        (lambda: queues.gim1(queues.deterministic_transform(0.5), 0.5, 1.0), "mean 1 / arrival"),
        (lambda: queues.hyperexponential_transform(1.0, 0.5), "at least 1"),
        (lambda: queues.priority_waits([0.1, 0.2], [1.0], [1.0, 1.0]), "service_means"),
        (lambda: queues.priority_waits([0.1], [1.0], [0.5]), "squares"),
        (lambda: queues.priority_waits([0.6, 0.5], [1.0, 1.0], [2.0, 2.0]), "below 1"),
        (lambda: queues.completion_time(1.0, 0.0, 0.0, 1.0), "mttf"),
        (lambda: queues.batch_server(5.0, 4, 1.0), "below 1"),
        (lambda: queues.switched_off_when_empty(0.5, 1.0, 0.0), "warmup_rate"),
        (lambda: queues.kingman_bound(0.5, -1.0, 1.0, 1.0), "interarrival_scv"),
    ],
)
def test_what_has_no_answer_is_refused(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
