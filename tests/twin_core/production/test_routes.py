"""Routing by table: deterministic routes, re-entrant ones against Kelly's networks, refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uem.twin_core.errors import InvalidTerritory, ModelFailure
from uem.twin_core.plant.production import (
    OUT,
    Buffer,
    Factory,
    Failure,
    Machine,
    Order,
    Route,
    Step,
    deterministic,
    exponential,
    order_book,
    source,
)
from uem.twin_core.production.plan import FactoryPlan


def station(name, outputs, cycle, **fields):
    return Machine(name=name, cycle=cycle, takes=(name,), gives=outputs, give_rule="table", **fields)


def job_shop(orders, routes, cycles, *, capacity=None, between=deterministic(1.0), **fields):  # noqa: B008
    """Stations that take from the buffer of their name, and a book of orders."""
    names = tuple(cycles)
    book = replace(order_book("orders", orders, names, between=between), give_rule="table")
    stations = tuple(station(name, (*names, OUT), cycle, **fields) for name, cycle in cycles.items())
    return Factory(
        machines=(book, *stations), buffers=tuple(Buffer(name=n, capacity=capacity) for n in names), routes=routes
    )


def route(product, *names):
    return Route(product=product, steps=tuple(Step(buffer=name) for name in names))


def test_parts_take_the_steps_of_their_product_in_turn():
    """a: lathe 10 s, mill 4 s, lathe 3 s again; b: mill 4 s alone. Released at 1 and 2 s."""
    routes = (
        Route(
            product="a",
            steps=(Step(buffer="lathe"), Step(buffer="mill"), Step(buffer="lathe", cycle=deterministic(3.0))),
        ),
        route("b", "mill"),
    )
    orders = (Order(name="a", product="a", quantity=1), Order(name="b", product="b", quantity=1))
    plan = FactoryPlan(job_shop(orders, routes, {"lathe": deterministic(10.0), "mill": deterministic(4.0)}))
    run = plan.initial_run()
    plan.run(run, 100.0)
    found = plan.ledger(run)
    assert found.order_finished_s[0].tolist() == [1.0 + 10.0 + 4.0 + 3.0, 2.0 + 4.0]
    assert found.made[0].tolist() == [2, 2, 2]
    assert found.delivered[0].tolist() == [0, 1, 1]


def test_a_step_that_finds_no_place_blocks_its_machine_alone():
    """Two products from one lathe to two mills of one place each; the mill of a is slow."""
    cycles = {"lathe": deterministic(1.0), "slow": deterministic(100.0), "fast": deterministic(1.0)}
    routes = (route("a", "lathe", "slow"), route("b", "lathe", "fast"))
    orders = (Order(name="b", product="b", quantity=3), Order(name="a", product="a", quantity=9))
    plan = FactoryPlan(job_shop(orders, routes, cycles, capacity=1))
    run = plan.initial_run()
    plan.run(run, 50.0)
    found = plan.ledger(run)
    assert found.order_finished_s[0, 0] == pytest.approx(5.0)
    assert found.share("blocked")[0].round(2).tolist()[1] > 0.8  # the lathe with the third a
    assert found.level_now[0].tolist() == [1, 1, 0]


def test_routes_that_come_back_are_a_network_of_kelly():
    """Exponential stations, one service time each, first come first served: product form by the load of all visits."""
    service = {"x": 0.5, "y": 0.8, "z": 0.4}
    rates = {"a": 0.35, "b": 0.25}
    routes = (route("a", "x", "y", "x", "z"), route("b", "y", "x"))
    visits = {n: sum(rates[r.product] * sum(step.buffer == n for step in r.steps) for r in routes) for n in service}
    stations = tuple(station(n, (*service, OUT), exponential(s)) for n, s in service.items())
    sources = tuple(
        replace(source(p, exponential(1 / rate), tuple(service), product=p), give_rule="table")
        for p, rate in rates.items()
    )
    factory = Factory(machines=(*sources, *stations), buffers=tuple(Buffer(name=n) for n in service), routes=routes)
    found = FactoryPlan(factory).replicate(300, 4_000.0, warmup_s=500.0)

    def z(samples, exact):
        return (samples.mean() - exact) / (samples.std(ddof=1) / math.sqrt(len(samples)))

    in_all = 0.0
    for k, (n, s) in enumerate(service.items()):
        rho = visits[n] * s
        in_all += rho / (1 - rho)
        assert abs(z(found.share("busy")[:, 2 + k], rho)) < 4
        assert abs(z(found.level[:, k], rho**2 / (1 - rho))) < 4
    assert abs(z(found.flow_s, in_all / sum(rates.values()))) < 4  # Little
    assert abs(z(found.output / 3_500.0, sum(rates.values()))) < 4


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_every_part_goes_its_way_and_none_is_lost(data, seed):
    names = ("u", "v", "w")
    routes = tuple(
        route(product, *data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=4))) for product in "ab"
    )
    quantities = data.draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
    orders = tuple(Order(name=p, product=p, quantity=q) for p, q in zip("ab", quantities, strict=True))
    failures = (Failure(to_fail=exponential(20.0), to_repair=exponential(2.0)),)
    factory = job_shop(orders, routes, dict.fromkeys(names, exponential(1.0)), failures=failures)
    plan = FactoryPlan(factory)
    run, other = plan.initial_run(seed=seed), plan.initial_run(seed=seed)
    plan.run(run, 10_000.0)
    found = plan.ledger(run)
    assert found.output[0] == sum(quantities)
    assert np.isfinite(found.order_finished_s).all()
    wanted = [
        sum(q * sum(step.buffer == n for step in r.steps) for q, r in zip(quantities, routes, strict=True))
        for n in names
    ]
    assert found.made[0, 1:].tolist() == wanted
    plan.run(other, 33.3)
    other = plan.from_bytes(plan.to_bytes(other))
    plan.run(other, 10_000.0)
    assert other.block.tobytes() == run.block.tobytes()


def test_routes_that_cannot_be_are_refused_with_their_reason():
    orders = (Order(name="a", product="a", quantity=1),)
    cycles = {"x": deterministic(1.0), "y": deterministic(1.0)}
    good = job_shop(orders, (route("a", "x", "y"),), cycles)
    for routes, said in (
        ((), "has no route"),
        ((route("a", "x"), route("a", "y")), "2 routes"),
        ((route("a"),), "a step"),
        ((route("a", "z"),), "'z' does not exist"),
        ((Route(product="a", steps=(Step(buffer="x", cycle=exponential(-1.0)),)),), "mean"),
    ):
        with pytest.raises(InvalidTerritory, match=said):
            replace(good, routes=routes)
    stuck = replace(good.machines[1], gives=("x",))
    with pytest.raises(InvalidTerritory, match="has no output 'y'"):
        replace(good, machines=(good.machines[0], stuck, good.machines[2]))


def test_a_part_without_a_way_is_told():
    """Behind a station that does not give by table the steps are not where the route says."""
    orders = (Order(name="a", product="a", quantity=1),)
    good = job_shop(orders, (route("a", "x"),), {"x": deterministic(1.0), "y": deterministic(1.0)})
    plain = replace(good.machines[1], gives=("y",), give_rule="split")
    stuck = replace(good.machines[2], gives=("x",))
    plan = FactoryPlan(replace(good, machines=(good.machines[0], plain, stuck)))
    run = plan.initial_run()
    with pytest.raises(ModelFailure, match="next step"):
        plan.run(run, 10.0)
