"""The event engine: conservation, the ledger, bits, conventions, and answers known exactly."""

import _thread
import math
import runpy
import signal
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uem.twin_core.errors import InvalidInput, InvalidTerritory, ModelFailure, UnknownName
from uem.twin_core.plant.production import (
    OUT,
    Buffer,
    Calendar,
    Crew,
    Factory,
    Failure,
    Flow,
    Machine,
    Sleep,
    Utility,
    deterministic,
    empirical,
    erlang,
    exponential,
    source,
)
from uem.twin_core.production import recursion, slotted
from uem.twin_core.production.lines import Tandem, bernoulli
from uem.twin_core.production.plan import STATES, FactoryPlan

_LINES = runpy.run_path(str(Path(__file__).with_name("lines.py")))
breaks, factories, series, z = (_LINES[name] for name in ("breaks", "factories", "series", "z"))


# ---- what holds for any factory ----


@settings(max_examples=60, deadline=None)
@given(factory=factories(), seed=st.integers(0, 2**32))
def test_parts_are_conserved_levels_keep_within_capacity_and_times_add_up(factory, seed):
    plan = FactoryPlan(factory)
    run = plan.initial_run(seed=seed)
    for until_s in (3.0, 50.0, 400.0):
        plan.run(run, until_s)
        found = plan.ledger(run)
        server = run.view["server"][: len(plan._owner)]
        slots = np.array([machine.slots for machine in factory.machines])
        np.testing.assert_allclose(found.time_s.sum(axis=2)[0], slots * until_s, rtol=1e-9)
        assert (found.time_s >= 0).all()
        assert (run.view["buffer"]["level"] >= 0).all()
        for b, buffer in enumerate(factory.buffers):
            if buffer.capacity is not None:
                assert found.level_most[0, b] <= buffer.capacity
                assert found.level[0, b] <= buffer.capacity + 1e-9
            if buffer.name in ("ins", "outs", "rest"):
                continue  # their machines give and take several parts, see below
            givers = [m for m, x in enumerate(factory.machines) if buffer.name in x.gives]
            takers = [m for m, x in enumerate(factory.machines) if buffer.name in x.takes]
            owner = plan._owner
            held = sum(int(server["load"][(owner == m) & (server["phase"] == 3)].sum()) for m in givers)
            given_parts = sum(int(found.made[0, m] - found.scrapped[0, m]) for m in givers)
            begun = sum(
                int(found.made[0, m] + ((owner == m) & (server["phase"] == 2)).dot(server["load"])) for m in takers
            )
            assert given_parts - held == found.level_now[0, b] + begun + found.aged[0, b]
            assert found.entered[0, b] == given_parts - held
        if "furnace" in found.machines:
            at = {name: int(np.flatnonzero(plan._owner == m)[0]) for m, name in enumerate(found.machines)}
            done = {name: int(server["made"][s]) for name, s in at.items()}
            held = {name: int(server["load"][s]) if server["phase"][s] == 3 else 0 for name, s in at.items()}
            begun = {
                name: done[name] + (int(server["load"][s]) if server["phase"][s] == 2 else 0) for name, s in at.items()
            }
            left = {name: done[name] - held[name] for name in at}
            level = dict(zip(found.buffers, found.level_now[0].tolist(), strict=True))
            router_back = left["router"] - int(server["delivered"][at["router"]])
            fast_back = left["fast"] - int(server["delivered"][at["fast"]])
            assert level["ins"] == 2 * left["apart"] + router_back - begun["furnace"]
            assert level["rest"] == left["apart"] + 2 * left["pairs"] - 2 * begun["fast"]
            assert level["outs"] == left["furnace"] + fast_back - begun["router"]


@settings(max_examples=40, deadline=None)
@given(factory=factories(), seed=st.integers(0, 2**32), part=st.floats(0.0, 1.0))
def test_a_run_cut_in_two_is_the_run_in_one_bit_by_bit(factory, seed, part):
    plan = FactoryPlan(factory)
    whole = plan.initial_run(seed=seed)
    plan.run(whole, 200.0)
    cut = plan.initial_run(seed=seed)
    plan.run(cut, 200.0 * part)
    snapshot = cut.block.copy()
    plan.run(cut, 150.0 + 50.0 * part)
    plan.restore(cut, snapshot)
    fork = plan.copy(plan.from_bytes(plan.to_bytes(cut)))
    plan.run(cut, 200.0)
    plan.run(fork, 200.0)
    assert (cut.block == whole.block).all()
    assert (fork.block == whole.block).all()


@settings(max_examples=20, deadline=None)
@given(factory=factories(), slices=st.integers(2, 5))
def test_replications_are_the_same_on_any_number_of_threads(factory, slices):
    plan = FactoryPlan(factory)
    one = plan.replicate(7, 60.0, warmup_s=10.0, seed=4)
    with ThreadPoolExecutor(2) as threads:
        many = plan.replicate(7, 60.0, warmup_s=10.0, seed=4, workers=threads.map, slices=slices)
    assert (one.time_s == many.time_s).all()
    assert (one.made == many.made).all()
    later = plan.replicate(2, 60.0, warmup_s=10.0, seed=4, first=5)
    assert (later.time_s == one.time_s[5:]).all()


@settings(max_examples=20, deadline=None)
@given(factory=factories(), seed=st.integers(0, 100))
def test_what_happens_before_and_after_a_new_ledger_adds_up(factory, seed):
    plan = FactoryPlan(factory)
    whole, parts = plan.initial_run(seed=seed), plan.initial_run(seed=seed)
    plan.run(whole, 100.0)
    plan.run(parts, 37.3)
    first = plan.ledger(parts)
    plan.clear_ledger(parts)
    plan.run(parts, 100.0)
    second, all_of_it = plan.ledger(parts), plan.ledger(whole)
    np.testing.assert_array_equal(first.made + second.made, all_of_it.made)
    np.testing.assert_allclose(first.time_s + second.time_s, all_of_it.time_s, rtol=1e-9, atol=1e-9)
    area = first.level * 37.3 + second.level * 62.7
    np.testing.assert_allclose(area, all_of_it.level * 100.0, rtol=1e-9, atol=1e-9)


# ---- against exact answers ----


@pytest.mark.parametrize(
    ("cycles", "capacities", "exact"),
    [
        ([1, 1], [0], 2 / 3),
        ([1, 1], [4], 6 / 7),
        ([1, 1, 1, 1], [0, 0, 0], 0.514775489318),
        ([1, 1, 1], [1, 1], 0.670466158321),
        ([1, 1, 1, 1, 1], [1, 1, 1, 1], 0.607583286106),
    ],
)
def test_throughput_of_exponential_lines(cycles, capacities, exact):
    plan = FactoryPlan(series([exponential(c) for c in cycles], capacities))
    found = plan.replicate(50, 6000.0, warmup_s=500.0, seed=2)
    assert abs(z(found.throughput[:, -1], exact)) < 4


def test_lines_with_failures_and_a_common_crew_first_broken_first_repaired():
    plan = FactoryPlan(
        series([exponential(1.0)] * 3, [3, 3], [(breaks(10.0, 1 / 0.3, crews=("crew",)),)] * 3, (Crew(name="crew"),))
    )
    found = plan.replicate(100, 11_000.0, warmup_s=1000.0, seed=3)
    assert abs(z(found.throughput[:, -1], 0.48514464)) < 4
    down = found.share("down") + found.share("waiting_for_crew")
    assert abs(z(down[:, 0], 0.2013904)) < 4


def test_an_assembly_takes_all_its_parts_at_the_same_time():
    factory = Factory(
        machines=(
            Machine(name="feed1", cycle=exponential(1.0), gives=("b1",)),
            Machine(name="feed2", cycle=exponential(1.0), gives=("b2",)),
            Machine(name="assembler", cycle=exponential(1.0), takes=("b1", "b2")),
        ),
        buffers=(Buffer(name="b1", capacity=3), Buffer(name="b2", capacity=3)),
    )
    found = FactoryPlan(factory).replicate(100, 21_000.0, warmup_s=1000.0, seed=4)
    assert abs(z(found.throughput[:, 2], 0.775742552462)) < 4


def test_a_repair_crew_of_one_for_ten_machines():
    machine = Machine(name="m", cycle=deterministic(math.inf), slots=10, failures=(breaks(50.0, 5.0, crews=("crew",)),))
    found = FactoryPlan(Factory(machines=(machine,), crews=(Crew(name="crew"),))).replicate(
        50, 21_000.0, warmup_s=1000.0, seed=5
    )
    assert abs(z(found.share("down")[:, 0], 0.785417656893)) < 4


def test_a_machine_that_sleeps_when_it_is_idle_and_warms_up():
    factory = Factory(
        machines=(
            source("arrivals", exponential(2.0), ("queue",)),
            Machine(
                name="m",
                cycle=exponential(1.0),
                takes=("queue",),
                sleep=Sleep(after_s=0.0, warm_up=exponential(5.0)),
                power_w={"busy": 20e3, "sleeping": 1e3, "warming_up": 12e3},
            ),
        ),
        buffers=(Buffer(name="queue"),),
    )
    found = FactoryPlan(factory).replicate(60, 51_000.0, warmup_s=1000.0, seed=6)
    assert abs(z(found.power_w, 14_428.5714286)) < 4
    assert abs(z(found.level[:, 0] + found.share("busy")[:, 1], 3.5)) < 4


def test_a_queue_that_loses_what_finds_no_place():
    for places, exact in ((4, 0.12602246), (0, 0.9 / 1.9)):  # M/M/1/5 and M/M/1/1
        factory = Factory(
            machines=(
                source("arrivals", exponential(1 / 0.9), ("queue",), loses=True),
                Machine(name="m", cycle=exponential(1.0), takes=("queue",)),
            ),
            buffers=(Buffer(name="queue", capacity=places),),
        )
        found = FactoryPlan(factory).replicate(60, 21_000.0, warmup_s=1000.0, seed=7)
        assert abs(z(found.lost[:, 0] / found.made[:, 0], exact)) < 4


def test_a_furnace_waits_for_its_least_batch_and_takes_no_more_than_its_most():
    factory = Factory(
        machines=(
            source("arrivals", exponential(1 / 3), ("queue",)),
            Machine(name="furnace", cycle=exponential(1.0), takes=("queue",), batch=(4, 4), gives=("out",)),
            Machine(name="unload", cycle=deterministic(0.01), takes=("out",)),
        ),
        buffers=(Buffer(name="queue"), Buffer(name="out", capacity=4)),
    )
    found = FactoryPlan(factory).replicate(60, 21_000.0, warmup_s=1000.0, seed=8)
    assert abs(z(found.share("busy")[:, 1], 0.75)) < 4
    assert (found.made[:, 1] % 4 == 0).all()


def test_chance_routes_parts_and_sends_some_back():
    factory = Factory(
        machines=(
            source("arrivals", exponential(1.0), ("b1",)),
            Machine(
                name="m1",
                cycle=exponential(1 / 3),
                takes=("b1",),
                gives=(Flow(buffer="b2", weight=0.6), Flow(buffer="b3", weight=0.4)),
                give_rule="chance",
            ),
            Machine(
                name="m2",
                cycle=exponential(1 / 2),
                takes=("b2",),
                gives=(Flow(buffer="b1", weight=0.1), Flow(buffer="b3", weight=0.9)),
                give_rule="chance",
            ),
            Machine(name="m3", cycle=exponential(1 / 2.5), takes=("b3",)),
        ),
        buffers=tuple(Buffer(name=f"b{i}") for i in (1, 2, 3)),
    )
    found = FactoryPlan(factory).replicate(60, 21_000.0, warmup_s=1000.0, seed=9)
    parts = found.level.sum(axis=1) + found.share("busy")[:, 1:].sum(axis=1)
    assert abs(z(parts, 1.68486721612)) < 4


def test_a_conwip_line_has_the_throughput_of_the_closed_network():
    """Cards: the first machine takes one with each part, the last gives it back."""
    demands, cards = (1.0, 0.8, 0.6), 5
    factory = Factory(
        machines=(
            Machine(name="m1", cycle=exponential(demands[0]), takes=("cards",), gives=("b2",)),
            Machine(name="m2", cycle=exponential(demands[1]), takes=("b2",), gives=("b3",)),
            Machine(name="m3", cycle=exponential(demands[2]), takes=("b3",), gives=("cards", OUT)),
        ),
        buffers=(Buffer(name="cards", initial=cards), Buffer(name="b2"), Buffer(name="b3")),
    )
    found = FactoryPlan(factory).replicate(60, 11_000.0, warmup_s=1000.0, seed=10)
    assert abs(z(found.throughput[:, 0], 0.858362779741)) < 4
    assert (found.output == found.delivered[:, 2]).all()


def test_the_output_from_an_injected_state_has_its_exact_distribution():
    plan = FactoryPlan(series([exponential(1.0)] * 2, [4], [(breaks(20.0, 5.0),)] * 2))
    run = plan.initial_run()
    plan.inject(run, levels={"b1": 4}, machines={"m0": "busy", "m1": "down"})
    parts = plan.replicate(20_000, 30.0, start=run, seed=11).made[:, 1]
    assert abs(z(parts, 17.8516162)) < 4
    assert abs((parts >= 16).mean() - 0.6568887) < 0.012
    assert [np.quantile(parts, q, method="inverted_cdf") for q in (0.05, 0.5, 0.95)] == pytest.approx(
        [7, 18, 28], abs=1
    )


def test_a_series_has_the_parts_and_the_energy_of_the_ledger_in_bins(monkeypatch):
    monkeypatch.setattr("uem.twin_core.production.plan._CHUNK_BYTES", 10_000)  # several chunks
    line = series([exponential(1.0), deterministic(1.2)], [4], power_w={"busy": 5.0, "starved": 2.0, "blocked": 1.0})
    plan = FactoryPlan(line)
    shares = np.zeros((len(STATES), 2))
    shares[:, 0], shares[STATES.index("busy")] = 1.0, (0.25, 0.75)
    edges = [0.0, 10.0, 25.5, 100.0]
    found = plan.series(9, edges, shares=shares, seed=5)
    whole = plan.replicate(9, 100.0, seed=5)
    np.testing.assert_array_equal(found.output.sum(axis=1), whole.output)
    np.testing.assert_allclose(found.energy_j.sum(axis=(1, 2)), whole.energy_j.sum(axis=(1, 2)), rtol=1e-9)
    busy_j = whole.energy_j[:, :, STATES.index("busy")].sum(axis=1)
    np.testing.assert_allclose(found.energy_j[:, :, 1].sum(axis=1), 0.75 * busy_j, rtol=1e-9)
    first = plan.replicate(9, 10.0, seed=5)
    np.testing.assert_allclose(found.energy_j[:, 0].sum(axis=1), first.energy_j.sum(axis=(1, 2)), rtol=1e-9)
    with pytest.raises(InvalidInput, match="shares"):
        plan.series(1, edges, shares=np.ones((2, 1)))


def test_chunks_are_the_ledgers_of_all_replications_in_bounded_memory(monkeypatch):
    plan = FactoryPlan(series([exponential(1.0), deterministic(1.2)], [4]))
    ends = [10.0, 25.5, 100.0]
    whole = plan.replicate(500, ends, seed=5)
    monkeypatch.setattr("uem.twin_core.production.plan._CHUNK_BYTES", 200_000)
    tracemalloc.start()
    made = [ledger.made.reshape(-1, len(ends), 2) for ledger in plan.chunks(500, ends, seed=5)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(made) > 5
    assert peak < 1_000_000  # the blocks of all are 1.9 MB
    for k, ledger in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate(made)[:, k], ledger.made)


def test_bands_of_forecasts_hold_as_many_outcomes_as_they_say():
    """The day of a line, forecast from its state without what nobody can see, 250 times over."""
    plan = FactoryPlan(series([deterministic(60.0)] * 3, [5, 5], [(breaks(6000.0, 600.0),)] * 3))
    truth = plan.initial_run(seed=99)
    plan.run(truth, 86_400.0)
    inside = 0
    days = 250
    for day in range(days):
        seen = plan.copy(truth)
        plan.forget(seen)
        until_s = truth.now_s + 86_400.0
        forecast = plan.replicate(200, until_s, start=seen, seed=day).made[:, -1]
        plan.clear_ledger(truth)
        plan.run(truth, until_s)
        low, high = np.quantile(forecast, [0.05, 0.95])
        inside += int(low <= plan.ledger(truth).made[0, -1] <= high)
    assert abs(inside / days - 0.9) < 4 * math.sqrt(0.9 * 0.1 / days)


# ---- conventions ----


def test_with_fixed_times_every_moment_is_known():
    plan = FactoryPlan(series([deterministic(1.0), deterministic(2.0), deterministic(1.0)], [1, 0]))
    run = plan.initial_run()
    plan.run(run, 9.0)
    found = plan.ledger(run)
    # Events at the end belong to what comes later: the part that m1 finishes at 9 s is not counted.
    assert found.made[0].tolist() == [6, 3, 3]
    share = {state: found.time_s[0, :, STATES.index(state)].tolist() for state in ("busy", "blocked", "starved")}
    assert share == {"busy": [6.0, 8.0, 3.0], "blocked": [3.0, 0.0, 0.0], "starved": [0.0, 1.0, 6.0]}
    plan.run(run, math.nextafter(9.0, 10.0))
    assert plan.ledger(run).made[0].tolist() == [6, 4, 3]


def test_machines_in_step_neither_wait_nor_block_for_no_time():
    # At each full second all end a part: the first one before the second, which finds a part that just came.
    plan = FactoryPlan(series([deterministic(1.0)] * 4, [1, 2, 1]))
    run = plan.initial_run()
    plan.run(run, 100.5)
    assert plan.ledger(run).made.tolist() == [[100, 99, 98, 97]]
    assert plan.ledger(run).passed.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("shift", [None, "shift"])
def test_equal_fixed_cycles_make_the_parts_that_they_make_one_by_one(shift):
    failures = [(breaks(20.0, 3.0, kind=kind),) for kind in ("operating", "calendar", "operating", "operating")]

    def found(cycle):
        line = series([cycle] * 4, [2, 0, 3], failures)
        shifts = (Calendar(name="shift", period_s=30.0, shifts=((0.0, 4.25), (9.25, 22.5))),)
        machines = tuple(replace(machine, calendar=shift, pauses=shift is not None) for machine in line.machines)
        return FactoryPlan(replace(line, machines=machines, calendars=shifts)).replicate(20, 500.0, seed=3)

    # Values that are drawn are not known to be equal, though these are.
    together, one_by_one = found(deterministic(1.0)), found(empirical([1.0]))
    assert (together.made == one_by_one.made).all()
    assert (together.failures == one_by_one.failures).all()
    assert (together.failures > 0).all()
    np.testing.assert_allclose(together.time_s, one_by_one.time_s, rtol=1e-9, atol=1e-9)


def test_a_part_stays_on_a_machine_that_breaks_and_work_resumes():
    failure = breaks(1.0, 1.0)
    plan = FactoryPlan(
        Factory(
            machines=(
                Machine(
                    name="m",
                    cycle=deterministic(10.0),
                    failures=(type(failure)(to_fail=deterministic(4.0), to_repair=deterministic(3.0)),),
                ),
            )
        )
    )
    run = plan.initial_run()
    plan.run(run, 16.5)  # fails at 4 and 11, done at 16
    found = plan.ledger(run)
    assert found.made[0, 0] == 1
    assert found.failures[0, 0] == 2
    assert found.time_s[0, 0, STATES.index("down")] == 6.0


def test_failures_by_the_clock_happen_to_idle_machines_too():
    calendar = breaks(1.0, 1.0, kind="calendar")
    failure = type(calendar)(to_fail=deterministic(5.0), to_repair=deterministic(1.0), kind="calendar")
    operating = type(calendar)(to_fail=deterministic(5.0), to_repair=deterministic(1.0))
    for kind, failures in ((failure, 8), (operating, 0)):
        factory = Factory(
            machines=(
                source("arrivals", deterministic(1000.0), ("b",)),
                Machine(name="m", cycle=deterministic(1.0), takes=("b",), failures=(kind,)),
            ),
            buffers=(Buffer(name="b"),),
        )
        found = FactoryPlan(factory).replicate(1, 50.0)
        assert found.failures[0, 1] == failures


def test_maintenance_waits_until_the_machine_has_no_part():
    job = breaks(1.0, 1.0)
    job = type(job)(to_fail=deterministic(2.5), to_repair=deterministic(1.0), kind="maintenance")
    plan = FactoryPlan(Factory(machines=(Machine(name="m", cycle=deterministic(1.0), failures=(job,)),)))
    found = plan.replicate(1, 8.5)
    # Three cycles, then the job from 3 to 4, and again from 7 to 8.
    assert found.made[0, 0] == 6
    assert found.failures[0, 0] == 0
    assert found.time_s[0, 0, STATES.index("maintenance")] == 2.0


def test_the_more_urgent_machine_is_repaired_first():
    found = {}
    for priority in (0, 1):
        machines = tuple(
            Machine(
                name=name,
                cycle=deterministic(math.inf),
                failures=(
                    type(breaks(1.0, 1.0))(
                        to_fail=deterministic(at),
                        to_repair=deterministic(10.0),
                        crews=("crew",),
                        priority=priority if name == "c" else 0,
                    ),
                ),
            )
            for name, at in (("a", 1.0), ("b", 2.0), ("c", 3.0))
        )
        plan = FactoryPlan(Factory(machines=machines, crews=(Crew(name="crew"),)))
        run = plan.initial_run()
        plan.run(run, 12.0)
        found[priority] = [STATES[k] for k in run.view["server"]["shown"]]
    assert found[0] == ["busy", "down", "waiting_for_crew"]
    assert found[1] == ["busy", "waiting_for_crew", "down"]


def test_the_shortest_and_the_first_free_way_are_taken():
    for rule, expected in (("first", [3, 0]), ("shortest", [2, 1])):
        factory = Factory(
            machines=(
                Machine(name="m", cycle=deterministic(1.0), gives=("a", "b"), give_rule=rule),
                Machine(name="slow", cycle=deterministic(100.0), takes=("never",)),
            ),
            buffers=(Buffer(name="a", capacity=5), Buffer(name="b", capacity=5), Buffer(name="never")),
        )
        assert FactoryPlan(factory).replicate(1, 3.5).level_now[0, :2].tolist() == expected


def test_a_machine_that_takes_the_first_of_several_serves_the_urgent_queue_first():
    """M/M/1 with two classes, non-preemptive: Cobham."""
    factory = Factory(
        machines=(
            source("urgent", exponential(1 / 0.3), ("q1",)),
            source("other", exponential(1 / 0.4), ("q2",)),
            Machine(name="m", cycle=exponential(1.0), takes=("q1", "q2"), take_rule="first"),
        ),
        buffers=(Buffer(name="q1"), Buffer(name="q2")),
    )
    found = FactoryPlan(factory).replicate(60, 31_000.0, warmup_s=1000.0, seed=12)
    assert abs(z(found.level[:, 0] / 0.3, 1.0)) < 4
    assert abs(z(found.level[:, 1] / 0.4, 10 / 3)) < 4


def test_a_change_of_one_machine_leaves_the_random_numbers_of_the_others():
    def failures_of_last(mean):
        plan = FactoryPlan(series([exponential(mean), exponential(1.0)], [None], [(), (breaks(10.0, 1.0),)]))
        run = plan.initial_run(seed=3)
        plan.inject(run, levels={"b1": 100_000})
        plan.run(run, 1000.0)
        return plan.ledger(run).failures[0, 1], plan.ledger(run).made[0, 1]

    assert failures_of_last(1.0) == failures_of_last(2.0)


def times_of(plan, run, machine=0):
    found = plan.ledger(run).time_s[0, machine]
    return {state: float(seconds) for state, seconds in zip(STATES, found, strict=True) if seconds > 0}


@pytest.mark.parametrize(("pauses", "made", "times"), [(False, 6, (18.0, 6.0)), (True, 5, (15.0, 9.0))])
def test_at_the_end_of_a_shift_the_part_is_finished_or_waits_for_the_next_shift(pauses, made, times):
    calendar = Calendar(name="day", period_s=12.0, shifts=((1.0, 5.0), (6.0, 9.5)))
    machine = Machine(name="m", cycle=deterministic(3.0), calendar="day", pauses=pauses)
    plan = FactoryPlan(Factory(machines=(machine,), calendars=(calendar,)))
    run = plan.initial_run()
    plan.run(run, 24.0)
    assert times_of(plan, run) == {"busy": times[0], "off": times[1]}
    assert plan.ledger(run).made[0, 0] == made


def test_a_crew_off_shift_begins_no_repair():
    job = type(breaks(1.0, 1.0))(to_fail=deterministic(2.0), to_repair=deterministic(1.0), crews=("crew",))
    plan = FactoryPlan(
        Factory(
            machines=(Machine(name="m", cycle=deterministic(math.inf), failures=(job,)),),
            crews=(Crew(name="crew", calendar="day"),),
            calendars=(Calendar(name="day", period_s=10.0, shifts=((5.0, 10.0),)),),
        )
    )
    run = plan.initial_run()
    plan.run(run, 7.0)
    assert times_of(plan, run) == {"busy": 3.0, "waiting_for_crew": 3.0, "down": 1.0}


def test_machines_wait_for_a_utility_and_stop_when_it_gives_less():
    machines = tuple(Machine(name=name, cycle=deterministic(2.0), uses={"steam": 3.0}) for name in "abc")
    plan = FactoryPlan(Factory(machines=machines, utilities=(Utility(name="steam", limit=6.0),)))
    run = plan.initial_run()
    plan.run(run, 60.0)
    found = plan.ledger(run)
    # Two of three at any time; who waits longest is next, so nobody is left out.
    assert found.share("busy")[0].sum() == pytest.approx(2.0)
    assert found.share("busy")[0].min() > 0.4
    plan.set_limit(run, "steam", 4.0)
    assert [STATES[k] for k in run.view["server"]["shown"]].count("busy") == 1
    plan.clear_ledger(run)
    plan.run(run, 90.0)
    assert plan.ledger(run).share("busy")[0].sum() == pytest.approx(1.0)
    plan.set_limit(run, "steam", 9.0)
    assert [STATES[k] for k in run.view["server"]["shown"]].count("busy") == 3
    with pytest.raises(UnknownName, match="unknown utility 'air'"):
        plan.set_limit(run, "air", 1.0)
    with pytest.raises(InvalidInput, match="limit -1"):
        plan.set_limit(run, "steam", -1.0)


# ---- the fast ways of lines ----


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 6),
    capacity=st.sampled_from([0, 1, 2, 10]),
    cycle=st.sampled_from([deterministic(1.0), exponential(1.0), erlang(1.0, 3)]),
    fails=st.booleans(),
    seed=st.integers(0, 1000),
    warmup=st.sampled_from([0.0, 55.5]),
)
def test_the_recursion_makes_the_parts_of_the_event_engine(n, capacity, cycle, fails, seed, warmup):
    factory = series([cycle] * n, [capacity] * (n - 1), [(breaks(15.0, 4.0),) if fails else ()] * n)
    events = FactoryPlan(factory).replicate(3, 500.7, warmup_s=warmup, seed=seed)
    parts = Tandem(factory).replicate(3, 500.7, warmup_s=warmup, seed=seed)
    np.testing.assert_array_equal(events.made, parts.made)
    np.testing.assert_array_equal(events.failures, parts.failures)
    for state in ("starved", "busy", "blocked", "down"):
        theirs = getattr(parts, f"{state}_s")
        np.testing.assert_allclose(events.share(state) * (500.7 - warmup), theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [40, 300])
def test_the_recursion_makes_the_parts_of_the_event_engine_in_long_lines_too(n):
    factory = series([exponential(1.0)] * n, [2] * (n - 1), [(breaks(15.0, 4.0),)] * n)
    events, parts = FactoryPlan(factory).replicate(1, 2000.0), Tandem(factory).replicate(1, 2000.0)
    np.testing.assert_array_equal(events.made, parts.made)
    np.testing.assert_array_equal(events.failures, parts.failures)
    np.testing.assert_allclose(events.share("starved") * 2000.0, parts.starved_s, rtol=1e-9, atol=1e-9)


def test_the_recursion_refuses_what_is_not_a_plain_line():
    line = series([exponential(1.0)] * 2, [1], scrap=0.1)
    with pytest.raises(InvalidInput, match="m0 is not part of a line of plain machines"):
        Tandem(line)
    with pytest.raises(InvalidInput, match="runs from"):
        Tandem(series([exponential(1.0)], [])).replicate(1, math.inf)


@pytest.mark.parametrize(
    ("p", "places", "rate"),
    [((0.9, 0.9), (1,), 0.818181818182), ((0.9, 0.9, 0.9), (2, 2), 0.83188727249)],
)
def test_bernoulli_lines(p, places, rate):
    found = bernoulli(p, places, count=60, slots=20_000, seed=3)
    assert abs(z(found.production_rate, rate)) < 4
    assert abs(z(found.starved[:, -1], p[-1] - rate)) < 4


def test_bernoulli_lines_out_of_range_are_refused():
    with pytest.raises(InvalidInput, match="Bernoulli line"):
        bernoulli((0.9, 1.2), (1,), count=1, slots=10)
    with pytest.raises(InvalidInput, match="Bernoulli line"):
        bernoulli((0.9, 0.9), (0,), count=1, slots=10)


# ---- refusals ----


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"takes": ("nowhere",)}, "buffer 'nowhere' does not exist"),
        ({"gives": (Flow(buffer="b", amount=9),)}, "9 parts at a time do not fit"),
        ({"cycle": exponential(-1.0)}, "must be positive"),
        ({"slots": 0}, "0 slots"),
        ({"scrap": 1.5}, "scrap 1.5"),
        ({"take_rule": "any"}, "take_rule 'any'"),
        ({"give_rule": "any"}, "give_rule 'any'"),
        ({"gives": (Flow(buffer="b", weight=0.4),), "give_rule": "chance"}, "add up to 0.4"),
        ({"failures": (breaks(1.0, 1.0, crews=("nobody",)),)}, "crew 'nobody' does not exist"),
        ({"failures": (breaks(1.0, 1.0, kind="odd"),)}, "kind 'odd'"),
        ({"batch": (3, 2)}, "batch of 3 to 2"),
        ({"sleep": Sleep(after_s=-1.0, warm_up=exponential(1.0))}, "sleep needs"),
        ({"name": ""}, "machine name ''"),
        ({"calendar": "night"}, "calendar 'night' does not exist"),
        ({"uses": {"steam": 1.0}}, "1.0 of utility 'steam'"),
    ],
)
def test_a_machine_that_cannot_be_is_refused(changes, message):
    machine = {"name": "m", "cycle": exponential(1.0), "gives": ("b",)} | changes
    with pytest.raises(InvalidTerritory, match=message):
        Factory(machines=(Machine(**machine),), buffers=(Buffer(name="b", capacity=4),))


def test_shifts_that_overlap_are_refused():
    machine = Machine(name="m", cycle=exponential(1.0))
    for shifts in ((), ((3.0, 2.0),), ((0.0, 5.0), (4.0, 6.0)), ((0.0, 11.0),)):
        with pytest.raises(InvalidTerritory, match="must rise within"):
            Factory(machines=(machine,), calendars=(Calendar(name="c", period_s=10.0, shifts=shifts),))


def test_states_from_outside_that_cannot_be_are_refused():
    plan = FactoryPlan(series([exponential(1.0)] * 2, [4]))
    run = plan.initial_run()
    with pytest.raises(UnknownName, match="unknown buffer 'x'"):
        plan.inject(run, levels={"x": 1})
    with pytest.raises(InvalidInput, match="5 parts, capacity 4"):
        plan.inject(run, levels={"b1": 5})
    with pytest.raises(InvalidInput, match="has no failures"):
        plan.inject(run, machines={"m0": "down"})
    with pytest.raises(InvalidInput, match="state 'lazy'"):
        plan.inject(run, machines={"m0": "lazy"})
    with pytest.raises(InvalidInput, match="until"):
        plan.run(run, -1.0)
    with pytest.raises(InvalidInput, match="replications"):
        plan.replicate(0, 10.0)
    with pytest.raises(InvalidInput, match="not the state of a factory"):
        plan.from_bytes(b"something else entirely")
    with pytest.raises(InvalidInput, match="damaged"):
        plan.from_bytes(plan.to_bytes(run)[:-1] + b"\x01")
    with pytest.raises(UnknownName, match="unknown state"):
        FactoryPlan(Factory(machines=(Machine(name="m", cycle=exponential(1.0), power_w={"lazy": 1.0}),)))


def test_a_saved_state_is_that_of_its_factory_with_any_times_and_of_no_other():
    def line(cycle_s=1.0, batch=2, name="oven", kind="operating"):
        failures = (breaks(20.0, 2.0, kind=kind),)
        oven = Machine(name=name, cycle=deterministic(cycle_s), takes=("b",), batch=(1, batch), failures=failures)
        feeder = source("s", exponential(1.0), gives=("b",))
        return FactoryPlan(Factory(machines=(feeder, oven), buffers=(Buffer(name="b"),)))

    plan = line()
    run = plan.initial_run(seed=3)
    plan.run(run, 50.0)
    saved = plan.to_bytes(run)
    slower = line(cycle_s=2.0)
    assert slower.to_bytes(slower.from_bytes(saved)) == saved
    for other in (line(batch=1), line(name="kiln"), line(kind="calendar")):
        assert len(other.to_bytes(other.initial_run())) == len(saved)
        with pytest.raises(InvalidInput, match="another factory"):
            other.from_bytes(saved)


def test_events_at_one_moment_without_end_are_told():
    tiny = Factory(machines=(Machine(name="m", cycle=deterministic(1e-300)),))
    plan = FactoryPlan(tiny)
    run = plan.initial_run()
    run.view["head"]["now"] = 1.0  # where 1e-300 s is no time at all
    with pytest.raises(ModelFailure, match="without end"):
        plan.run(run, 2.0)


@contextmanager
def interrupted():
    """What stands in it does not end by itself. Shells let what runs in the background ignore interrupts: not here."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, _thread.interrupt_main)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_stops_a_long_run_between_events_and_it_runs_on_bit_by_bit():
    plan = FactoryPlan(Factory(machines=(Machine(name="m", cycle=deterministic(1.0)),)))
    run, whole = plan.initial_run(), plan.initial_run()
    with interrupted():
        plan.run(run, 4e9)
    assert 0.0 < run.now_s < 4e9
    end_s = run.now_s + 100.5
    plan.run(run, end_s)
    plan.run(whole, end_s)
    assert plan.ledger(run).made[0, 0] == math.floor(end_s)
    np.testing.assert_array_equal(run.block, whole.block)


def test_an_interrupt_stops_many_short_replications():
    plan = FactoryPlan(Factory(machines=(Machine(name="m", cycle=deterministic(1.0)),)))
    blocks = np.zeros((4000, plan.initial_run().block.size), np.uint8)
    with interrupted():
        plan._engine.replicate(plan.initial_run().block, 0, 0, 0.0, np.array([1e5]), blocks, True)
    assert blocks[0].any()
    assert not blocks[-1].any()


def test_an_interrupt_stops_the_fast_ways_of_lines():
    counts = np.zeros((4000, 4, 1), np.int64)
    with interrupted():
        slotted.replicate(np.array([0.9]), np.array([], np.int64), 0, 100_000, 0, 0, counts)
    assert counts[0].any()
    assert not counts[-1].any()
    line = Tandem(series([deterministic(1.0)], []))
    times, counts = np.zeros((8000, 1, 4)), np.zeros((8000, 1, 2), np.int64)
    with interrupted():
        recursion.replicate(
            line._laws, np.array([]), line._places, np.zeros(1, np.uint64), 0, 0, 0.0, 1e5, times, counts
        )
    assert counts[0].any()
    assert not counts[-1].any()


# ---- batches that wait only so long ----


def kiln(parts, wait_s, **fields):
    return Factory(
        machines=(
            source("parts", deterministic(10.0), ("in",)),
            Machine(name="kiln", cycle=deterministic(5.0), takes=("in",), batch=(3, 4), batch_wait_s=wait_s, **fields),
        ),
        buffers=(Buffer(name="in", initial=parts),),
    )


@pytest.mark.parametrize(
    ("parts", "wait_s", "begins", "batch"),
    [
        (0, 25.0, 30.0, 3),
        (0, 20.0, 30.0, 3),
        (0, 19.0, 29.0, 2),
        (1, 3.0, 3.0, 1),
        (2, math.inf, 10.0, 3),
        (4, 1.0, 0.0, 4),
    ],
)
def test_a_batch_begins_with_enough_parts_or_when_the_first_has_waited_so_long(parts, wait_s, begins, batch):
    """Parts come at 10, 20, 30 s; at the same instant the source comes first."""
    plan = FactoryPlan(kiln(parts, wait_s))
    run = plan.initial_run()
    plan.run(run, begins + 5.0 + 1e-6)
    found = plan.ledger(run)
    assert found.made[0, 1] == batch
    assert found.time_s[0, 1, STATES.index("starved")] == pytest.approx(begins, abs=1e-5)


def test_a_batch_takes_every_part_that_waits_in_front_of_it_where_there_are_no_places():
    """Three saws of different cycles, no buffer: the kiln takes from all of them that are blocked."""
    saws = tuple(Machine(name=f"saw{k}", cycle=deterministic(1.0 + k), gives=("in",)) for k in range(3))
    oven = Machine(name="kiln", cycle=deterministic(50.0), takes=("in",), batch=(1, 3))
    plan = FactoryPlan(Factory(machines=(*saws, oven), buffers=(Buffer(name="in", capacity=0),)))
    run = plan.initial_run()
    plan.run(run, 101.5)  # one part at 1 s, then three at 51 s
    found = plan.ledger(run)
    assert found.output[0] == 4
    assert found.made[0, :3].tolist() == [3, 2, 2]
    assert found.entered[0, 0] == 7


def test_how_long_parts_wait_for_a_batch_of_two_that_is_in_a_hurry():
    """Poisson arrivals, no time for the work: one part waits for min(exponential, d) of 1 / rate + that."""
    rate, d = 0.5, 1.2
    factory = Factory(
        machines=(
            source("parts", exponential(1 / rate), ("in",)),
            Machine(name="kiln", cycle=deterministic(1e-9), takes=("in",), batch=(2, 2), batch_wait_s=d),
        ),
        buffers=(Buffer(name="in"),),
    )
    found = FactoryPlan(factory).replicate(300, 3_000.0, warmup_s=100.0)
    late = math.exp(-rate * d)
    assert abs(z(found.level[:, 0], (1 - late) / (2 - late))) < 4
    assert abs(z(found.throughput[:, 1], rate)) < 4


def test_a_wait_is_only_for_batches():
    with pytest.raises(InvalidTerritory, match="more than one part"):
        Factory(machines=(Machine(name="m", cycle=deterministic(1.0), batch_wait_s=3.0),))
    with pytest.raises(InvalidTerritory, match="must not be negative"):
        kiln(1, -1.0)
    with pytest.raises(InvalidTerritory, match="never sleep"):
        kiln(1, 5.0, sleep=Sleep(after_s=1.0, warm_up=deterministic(1.0)))


def test_a_state_of_a_plan_without_utilities_goes_on_by_the_rules_of_the_plan_that_it_is_brought_to():
    """As a forecast does, that goes on from the state of a shadow, whose machines are watched and ask for nothing."""

    def line(**uses):
        machines = (
            Machine(name="saw", cycle=deterministic(60.0), gives=("cut",)),
            Machine(name="press", cycle=deterministic(50.0), takes=("cut",), uses=uses),
        )
        buffers, utilities = (Buffer(name="cut", capacity=10),), (Utility(name="air", limit=0.5),)
        return FactoryPlan(Factory(name="line", machines=machines, buffers=buffers, utilities=utilities))

    free, bound = line(), line(air=1.0)
    run, brought, back = free.initial_run(), bound.initial_run(), free.initial_run()
    free.run(run, 1000.0)
    made = int(run.view["server"]["made"][1])
    bound.restore(brought, run.block)
    bound.run(brought, 10_000.0)
    assert brought.view["server"]["made"][1] <= made + 1  # the part that it was busy with; there is too little air
    assert brought.view["buffer"]["level"][0] == 10
    free.restore(back, bound.initial_run().block)
    free.run(back, 10_000.0)
    fresh = free.initial_run()
    free.run(fresh, 10_000.0)
    np.testing.assert_array_equal(back.view["server"]["made"], fresh.view["server"]["made"])


def test_a_machine_that_is_stopped_goes_on_with_its_part_where_it_was():
    stop = Failure(to_fail=deterministic(math.inf), to_repair=deterministic(math.inf), kind="calendar")
    saw = Machine(name="saw", cycle=deterministic(10.0), failures=(stop,))
    plan = FactoryPlan(Factory(machines=(saw,)))
    run = plan.initial_run()
    plan.run(run, 14.0)
    plan.stop(run, "saw", 0)
    plan.run(run, 100.0)
    assert STATES[run.view["server"]["shown"][0]] == "down"
    assert plan.ledger(run).made[0, 0] == 1
    plan.resume(run, "saw", 0)
    plan.run(run, 105.9)  # four seconds were done, six are left
    assert plan.ledger(run).made[0, 0] == 1
    plan.run(run, 106.1)
    assert plan.ledger(run).made[0, 0] == 2
    plan.run(run, 1000.0)
    assert plan.ledger(run).made[0, 0] == 2 + 89


def test_a_machine_under_repair_is_stopped_when_it_is_repaired_unless_that_was_taken_back():
    stop = Failure(to_fail=deterministic(math.inf), to_repair=deterministic(math.inf), kind="calendar")
    fails = Failure(to_fail=deterministic(50.0), to_repair=deterministic(30.0))
    for taken_back in (False, True):
        plan = FactoryPlan(Factory(machines=(Machine(name="saw", cycle=deterministic(10.0), failures=(fails, stop)),)))
        run = plan.initial_run()
        plan.run(run, 60.0)
        plan.stop(run, "saw", 1)
        if taken_back:
            plan.resume(run, "saw", 1)
        plan.run(run, 90.0)
        assert STATES[run.view["server"]["shown"][0]] == ("busy" if taken_back else "down")
    with pytest.raises(InvalidInput, match="no failure 0 of kind 'calendar'"):
        plan.stop(run, "saw", 0)
