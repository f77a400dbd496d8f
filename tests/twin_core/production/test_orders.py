"""Parts that are followed: orders, changeovers, the order in buffers, transport and dwell times, flow times."""

import math
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from uem.twin_core.errors import InvalidTerritory, ModelFailure
from uem.twin_core.plant.production import (
    Buffer,
    Factory,
    Machine,
    Order,
    deterministic,
    exponential,
    order_book,
    source,
)
from uem.twin_core.production.plan import STATES, FactoryPlan

_LINES = runpy.run_path(str(Path(__file__).with_name("lines.py")))
factories = _LINES["factories"]
# Each second two cycles end, and whether a part waits for the other slot depends on which of them ended first.
in_step = Factory(
    machines=(
        Machine(name="m0", cycle=deterministic(1.0), gives=("b1",)),
        Machine(name="m1", cycle=deterministic(1.0), takes=("b1",), slots=2, failures=(_LINES["breaks"](5.0, 1.0),)),
    ),
    buffers=(Buffer(name="b1", capacity=1),),
)
# A machine that is maintained asks for that first, so it is not plain; no part that it gives ever waits.
passing = Factory(
    machines=(
        Machine(
            name="m0",
            cycle=deterministic(1.0),
            gives=("b1",),
            failures=(_LINES["breaks"](5.0, 1.0, kind="maintenance"),),
        ),
        Machine(name="m1", cycle=deterministic(0.5), takes=("b1",)),
    ),
    buffers=(Buffer(name="b1", capacity=1),),
)


@settings(max_examples=60, deadline=None)
@given(factory=factories(), seed=st.integers(0, 2**32))
@example(factory=in_step, seed=0)
@example(factory=in_step, seed=1)
@example(factory=passing, seed=0)
def test_to_follow_parts_changes_nothing_that_they_do(factory, seed):
    counted = FactoryPlan(factory).replicate(2, 150.0, seed=seed)
    plan = FactoryPlan(replace(factory, follows=True, room=400))
    run = plan.initial_run()
    try:
        followed = plan.replicate(2, 150.0, seed=seed)
        plan.run(run, 150.0)
    except ModelFailure as failure:  # an unlimited buffer took more
        assert "room" in str(failure)  # noqa: PT017
        return
    counts = "made", "scrapped", "delivered", "failures", "entered", "passed", "level_now", "level_most"
    for name in (*counts, "time_s", "level"):
        np.testing.assert_array_equal(getattr(counted, name), getattr(followed, name), name)
    # Every record is in a buffer, on a machine or free; none is lost.
    view = run.view
    after = view["part"]["next"]

    def length(first):
        n = 0
        while first >= 0:
            n, first = n + 1, after[first]
        return n

    assert [length(q) for q in view["queue"]["first"]] == view["buffer"]["level"].tolist()
    held = sum(length(h) for h in view["held"]["first"])
    assert held == view["server"]["load"].sum()
    assert held + int(view["buffer"]["level"].sum()) + length(view["head"]["free_part"][0]) == 400


def test_the_mean_flow_time_is_that_of_littles_law():
    factory = Factory(
        machines=(
            source("arrivals", exponential(2.0), ("queue",)),
            Machine(name="m", cycle=exponential(1.0), takes=("queue",)),
        ),
        buffers=(Buffer(name="queue"),),
        follows=True,
    )
    found = FactoryPlan(factory).replicate(60, 21_000.0, warmup_s=1000.0, seed=1)
    assert abs(found.flow_s.mean() - 2.0) < 4 * found.flow_s.std() / math.sqrt(60)


def shop(orders, **machine):
    """Orders of one part per second through one machine of ten seconds."""
    return Factory(
        machines=(
            order_book("book", orders, ("wait",), between=deterministic(1.0)),
            Machine(name="m", cycle=deterministic(10.0), takes=("wait",), power_w={"busy": 100.0}, **machine),
        ),
        buffers=(Buffer(name="wait", order="priority"),),
    )


def test_orders_are_finished_when_their_last_part_is_and_carry_the_energy_of_their_work():
    orders = (
        Order(name="first", product="a", quantity=2),
        Order(name="second", product="b", quantity=3, release_s=100.0),
    )
    found = FactoryPlan(shop(orders, recipes={"b": deterministic(4.0)})).replicate(1, 1000.0)
    assert found.orders == ("first", "second")
    # Parts come at 1 and 2 s; the second order is released at 100 s, its first part a second later.
    assert found.order_finished_s[0].tolist() == [21.0, 113.0]
    assert found.order_energy_j[0].tolist() == [2000.0, 1200.0]
    early = FactoryPlan(shop(orders)).replicate(1, 15.0)
    assert early.order_finished_s[0].tolist() == [math.inf, math.inf]


def test_an_urgent_order_overtakes_in_a_buffer_by_priority():
    orders = (
        Order(name="usual", product="a", quantity=5),
        Order(name="urgent", product="a", quantity=1, priority=1),
    )
    found = FactoryPlan(shop(orders)).replicate(1, 1000.0)
    # At 6 s the urgent part comes; the first usual one is on the machine until 11 s.
    assert found.order_finished_s[0].tolist() == [61.0, 21.0]


def test_a_change_of_product_costs_its_changeover():
    orders = tuple(Order(name=f"o{k}", product="ab"[k % 2], quantity=2) for k in range(3))
    change = {("a", "b"): 7.0, ("b", "a"): 3.0}
    plan = FactoryPlan(shop(orders, changeover_s=change))
    run = plan.initial_run()
    plan.run(run, 1000.0)
    found = plan.ledger(run)
    assert found.order_finished_s[0].tolist() == [21.0, 48.0, 71.0]
    assert found.time_s[0, 1, STATES.index("setup")] == 10.0


@pytest.mark.parametrize(("order", "finished"), [("fifo", [11.0, 21.0, 31.0]), ("lifo", [11.0, 31.0, 21.0])])
def test_parts_are_taken_in_the_order_of_the_buffer(order, finished):
    orders = tuple(Order(name=f"o{k}", product="a", quantity=1) for k in range(3))
    factory = replace(shop(orders), buffers=(Buffer(name="wait", order=order),))
    assert FactoryPlan(factory).replicate(1, 100.0).order_finished_s[0].tolist() == finished


def test_transport_takes_its_time_and_holds_a_place():
    factory = Factory(
        machines=(
            Machine(name="m1", cycle=deterministic(1.0), gives=("belt",)),
            Machine(name="m2", cycle=deterministic(1.0), takes=("belt",)),
        ),
        buffers=(Buffer(name="belt", capacity=3, delay_s=5.5),),
    )
    plan = FactoryPlan(factory)
    run = plan.initial_run()
    plan.run(run, 6.4)
    assert plan.ledger(run).made[0].tolist() == [4, 0]  # three on the belt, the fourth waits for a place
    plan.run(run, 7.6)
    assert plan.ledger(run).made[0].tolist() == [5, 1]  # the first part was taken at 6.5 s
    plan.run(run, 1000.0)
    # Three parts per round of 5.5 s on the belt, and what a blocked part waits for.
    assert plan.ledger(run).throughput[0, 1] == pytest.approx(3 / 5.5, rel=0.01)


def test_parts_that_wait_too_long_are_thrown_away_and_make_place():
    factory = Factory(
        machines=(
            Machine(name="m1", cycle=deterministic(1.0), gives=("hot",)),
            Machine(name="m2", cycle=deterministic(100.0), takes=("hot",)),
        ),
        buffers=(Buffer(name="hot", capacity=2, longest_s=4.0),),
    )
    plan = FactoryPlan(factory)
    run = plan.initial_run()
    plan.run(run, 50.5)
    found = plan.ledger(run)
    assert found.aged[0, 0] > 10
    server = run.view["server"]
    blocked = int(server["phase"][0] == 3)
    assert found.made[0, 0] == 1 + found.aged[0, 0] + found.level_now[0, 0] + blocked


def test_more_parts_than_there_is_room_for_are_told():
    factory = Factory(
        machines=(Machine(name="m", cycle=deterministic(1.0), gives=("b",)),),
        buffers=(Buffer(name="b"),),
        follows=True,
        room=10,
    )
    plan = FactoryPlan(factory)
    with pytest.raises(ModelFailure, match="more than 10 parts"):
        plan.replicate(1, 100.0)
    run = plan.initial_run()
    with pytest.raises(ModelFailure, match="more than 10 parts"):
        plan.run(run, 100.0)
    assert run.view["server"]["made"][0] == 10  # nothing happens behind that moment


def test_levels_from_outside_make_and_take_parts():
    plan = FactoryPlan(replace(shop((Order(name="o", product="a", quantity=1),)), room=50))
    run = plan.initial_run()
    plan.inject(run, levels={"wait": 4}, machines={"m": "busy"}, left_s={"m": 2.0})
    plan.run(run, 3.0)
    plan.inject(run, levels={"wait": 1})
    plan.run(run, 100.0)
    assert plan.ledger(run).made[0, 1] >= 3
    np.testing.assert_array_equal(run.view["buffer"]["level"], [0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"buffers": (Buffer(name="wait", order="random"),)}, "order 'random'"),
        ({"buffers": (Buffer(name="wait", order="lifo", delay_s=1.0),)}, "need places and the order fifo"),
        ({"buffers": (Buffer(name="wait", delay_s=2.0, longest_s=1.0),)}, "out of range"),
        ({"room": 0}, "room for 0 parts"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(InvalidTerritory, match=message):
        replace(shop((Order(name="o", product="a", quantity=1),)), **changes)
    with pytest.raises(InvalidTerritory, match="order name 'o' is used 2 times"):
        shop((Order(name="o", product="a", quantity=1), Order(name="o", product="a", quantity=0)))
