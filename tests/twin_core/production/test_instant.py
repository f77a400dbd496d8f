"""Instant answers about a factory: those of the chain, near those of the engine, or a reason why there is none."""

from dataclasses import replace

import pytest

from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.production import (
    Buffer,
    Crew,
    Factory,
    Failure,
    Machine,
    deterministic,
    exponential,
    lognormal,
)
from uem.twin_core.production.instant import DECOMPOSED, EXACT, instant_answer
from uem.twin_core.production.plan import FactoryPlan


def line(n, cycle, capacity, crews=(), mttf=100.0):
    failure = Failure(to_fail=exponential(mttf), to_repair=exponential(10.0), crews=crews)
    machines = tuple(
        Machine(
            name=f"m{k}",
            cycle=cycle,
            takes=(f"b{k - 1}",) if k else (),
            gives=(f"b{k}",) if k < n - 1 else (),
            failures=(failure,),
            power_w={"busy": 1000.0},
        )
        for k in range(n)
    )
    buffers = tuple(Buffer(name=f"b{k}", capacity=capacity) for k in range(n - 1))
    return Factory(machines=machines, buffers=buffers, crews=tuple(Crew(name=name) for name in crews))


def changed(factory, k, **what):
    machines = list(factory.machines)
    machines[k] = replace(machines[k], **what)
    return replace(factory, machines=tuple(machines))


def test_exponential_lines_are_exact():
    common = {"failures": (Failure(to_fail=exponential(20.0), to_repair=exponential(5.0)),)}
    two = changed(changed(line(2, exponential(1.0), 4), 0, **common), 1, **common)
    found = instant_answer(two)
    assert found.throughput == pytest.approx(0.631094231016, rel=1e-11)
    assert (found.method, found.error_percent) == (EXACT, 0.0)
    assert (
        instant_answer(line(3, exponential(1.0), 2, crews=("c",))).throughput
        < instant_answer(line(3, exponential(1.0), 2)).throughput
    )


def test_the_slow_machine_is_the_bottleneck():
    assert instant_answer(changed(line(3, exponential(1.0), 2), 1, cycle=exponential(1.5))).bottlenecks == ("m1",)
    assert instant_answer(changed(line(4, deterministic(1.0), 5), 2, cycle=deterministic(1.3))).bottlenecks[0] == "m2"


def test_an_assembly_is_exact_too():
    machines = (
        Machine(name="feed1", cycle=exponential(1.0), gives=("b1",)),
        Machine(name="feed2", cycle=exponential(1.0), gives=("b2",)),
        Machine(name="assembler", cycle=exponential(1.0), takes=("b1", "b2")),
    )
    found = instant_answer(Factory(machines=machines, buffers=tuple(Buffer(name=b, capacity=3) for b in ("b1", "b2"))))
    assert found.throughput == pytest.approx(0.775742552462, rel=1e-11)


@pytest.mark.parametrize(("n", "slow"), [(2, None), (3, 1), (6, 4), (10, None)])
def test_fixed_cycles_are_as_near_to_the_engine_as_is_said(n, slow):
    factory = line(n, deterministic(1.0), 10)
    if slow is not None:
        factory = changed(factory, slow, cycle=deterministic(1.1))
    found = instant_answer(factory)
    made = FactoryPlan(factory).replicate(200, 11_000.0, warmup_s=1000.0, seed=3).throughput[:, -1]
    error = made.std() / len(made) ** 0.5
    assert found.method == DECOMPOSED
    assert abs(found.throughput - made.mean()) <= found.error_percent / 100.0 * made.mean() + 4 * error


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (line(2, lognormal(1.0, 0.5), 4), "neither exponential nor fixed"),
        (line(2, deterministic(1.0), 4, crews=("c",)), "without crews"),
        (changed(line(2, deterministic(1.0), 4), 0, failures=()), "m0 never fail"),
        (changed(line(2, exponential(1.0), 4), 0, slots=2), "more than a plain machine"),
        (changed(line(2, exponential(1.0), 4), 0, scrap=0.1), "more than a plain machine"),
        (line(2, exponential(1.0), None), "unlimited"),
        (line(9, exponential(1.0), 9), "decomposition"),
        (
            changed(
                line(2, exponential(1.0), 4),
                1,
                failures=(Failure(to_fail=exponential(9.0), to_repair=exponential(1.0), kind="calendar"),),
            ),
            "not exponential in operating time",
        ),
    ],
)
def test_what_has_no_instant_answer_is_refused_with_the_reason(factory, words):
    with pytest.raises(InvalidInput, match=words):
        instant_answer(factory)
