"""The event engine: events per second by number of machines, replications, threads, snapshots."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from uem.twin_core.plant.furnace import Furnace, Segment
from uem.twin_core.plant.production import Buffer, Factory, batch_furnace, exponential
from uem.twin_core.production.plan import FactoryPlan, FactoryRun

Compare = Callable[..., None]


def note(benchmark: Any, work: Callable[[], object], figure: float, unit: str) -> None:
    benchmark.pedantic(work, rounds=1, iterations=1)
    benchmark.extra_info.update(figure=figure, unit=unit)


def cpu_s(work: Callable[[], object], rounds: int) -> float:
    """Median processor time of a call."""
    found = []
    for _ in range(rounds):
        began = time.thread_time()
        work()
        found.append(time.thread_time() - began)
    return statistics.median(found)


def rerun(plan: FactoryPlan, start: FactoryRun, until_s: float) -> None:
    plan.run(plan.copy(start), until_s)


@pytest.mark.parametrize("law", ["fixed", "exponential"])
def test_a_thousand_machines_against_ten(compare: Compare, production_lines: Any, short: bool, law: str) -> None:
    """Both handle as many events; the ratio is what is left of the events per second."""
    cycle = exponential(production_lines.CYCLE_S) if law == "exponential" else None
    works: list[Callable[[], object]] = []
    events = 20_000 if short else 200_000
    for machines in (1000, 10):
        plan = FactoryPlan(production_lines.line(machines, cycle=cycle, initial=5))
        start = plan.initial_run(seed=1)
        plan.run(start, 20_000.0)
        plan.clear_ledger(start)
        probe = plan.copy(start)
        plan.run(probe, 20_000.0 + 1e6 / machines)
        until_s = 20_000.0 + 1e6 / machines * events / float(plan.ledger(probe).events[0])
        works.append(partial(rerun, plan, start, until_s))
    compare(*works, peer="10 machines", unit="ns per event of 1,000 machines", scale=1e9 / events)


def test_a_hundred_weeks_of_ten_machines(benchmark: Any, production_lines: Any, short: bool) -> None:
    plan = FactoryPlan(production_lines.line(10))
    count = 10 if short else 100

    def work() -> object:
        return plan.replicate(count, production_lines.WEEK_S)

    note(benchmark, work, cpu_s(work, 3) * 100 / count, "s for 100 weeks, one core")


def test_a_thousand_days_of_ten_machines(benchmark: Any, production_lines: Any, short: bool) -> None:
    plan = FactoryPlan(production_lines.line(10))
    count = 100 if short else 1000

    def work() -> object:
        return plan.replicate(count, 86_400.0)

    note(benchmark, work, cpu_s(work, 3) * 1000 / count, "s for 1,000 forecasts of 24 h, one core")


def test_two_threads(benchmark: Any, production_lines: Any, short: bool) -> None:
    """Wall clock: other work on the machine spoils it."""
    plan = FactoryPlan(production_lines.line(10))
    count = 20 if short else 200
    with ThreadPoolExecutor(2) as threads:

        def seconds(**how: Any) -> float:
            began = time.perf_counter()
            plan.replicate(count, production_lines.WEEK_S, **how)
            return time.perf_counter() - began

        ratios = [seconds() / seconds(workers=threads.map, slices=2) for _ in range(5)]
        note(benchmark, seconds, statistics.median(ratios), "times as fast on two threads")


def test_snapshot_and_restore_of_a_hundred_machines(benchmark: Any, production_lines: Any) -> None:
    plan = FactoryPlan(production_lines.line(100))
    run = plan.initial_run()
    plan.run(run, 20_000.0)

    def work() -> None:
        plan.restore(run, run.block.copy())

    def many() -> None:
        for _ in range(1000):
            work()

    note(benchmark, work, cpu_s(many, 5) * 1e3, "us for snapshot and restore of 100 machines")


def test_a_scan_of_a_furnace(benchmark: Any, short: bool) -> None:
    """Batch after batch: control, three nodes and the ledger of heat once a minute of the furnace's time."""
    furnace = Furnace(
        recipe=(Segment(to_k=1173.0, duration_s=7200.0), Segment(to_k=700.0, duration_s=3600.0, cooling=True)),
        power_w=400e3,
        heating="fuel",
        fumes_kg_per_j=4e-7,
        chamber_j_per_k=4e5,
        lining_j_per_k=8e6,
        lining_w_per_k=300.0,
        wall_w_per_k=60.0,
        part_j_per_k=25e3,
        part_w_per_k=15.0,
        cooling_w_per_k=800.0,
        levels_k=(333.15,),
    )
    machine = batch_furnace("furnace", furnace, takes=("in",), batch=(10, 10))
    plan = FactoryPlan(Factory(machines=(machine,), buffers=(Buffer(name="in", initial=1_000_000),)))
    start = plan.initial_run()
    scans = 10_000 if short else 100_000

    def work() -> None:
        plan.run(plan.copy(start), scans * furnace.scan_s)

    note(benchmark, work, cpu_s(work, 5) / scans * 1e9, "ns per scan of a furnace")
