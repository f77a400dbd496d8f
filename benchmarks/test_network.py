"""The whole step of a closed town: flows, pressures and temperatures of supply and return, customers and plant.

Flows change from step to step. A pair is a supply pipe and its return pipe.
"""

import math
import time
from itertools import cycle
from typing import Any

import numpy as np
import pytest

from uem.twin_core.thermal.network import NetworkPlan

LOOPS = 0.05
CHANGES = (1.0, 1.02, 0.99, 1.01, 0.98)


class Running:
    """A town whose water has been renewed, and the step from one instant to the next."""

    def __init__(self, networks: Any, pairs: int, dt_s: float, **options: Any) -> None:
        town = networks.town(pairs, LOOPS)
        self.plan = NetworkPlan(networks.closed_network(town), **options)
        self.inputs = self.plan.inputs()
        self.state = self.plan.initial_state(networks.SUPPLY_K - 0.5 * networks.DROP_K)
        self.dt_s = dt_s
        commands = self.inputs.unit_commands
        self._flows = np.array([commands[unit]["flow_kg_s"][0] for unit in self.inputs.units_with["flow_kg_s"]])
        self._changes = cycle(CHANGES)
        for _ in range(3):
            self.demand()
            self.step()

    def demand(self) -> None:
        """Other demands than before."""
        flows = next(self._changes) * self._flows
        self.inputs.set_commands("flow_kg_s", np.repeat(flows[:, None], self.plan.members, axis=1))

    def step(self) -> None:
        """What is timed."""
        self.plan.step(self.state, self.dt_s, self.inputs)

    def seconds(self, steps: int) -> float:
        """Processor time of a step, the median of three series; setting the demands does not count."""
        series = []
        for _ in range(3):
            spent = 0.0
            for _ in range(steps):
                self.demand()
                began = time.thread_time()
                self.step()
                spent += time.thread_time() - began
            series.append(spent / steps)
        return sorted(series)[1]


@pytest.mark.parametrize("fidelity", ["full", "planning"])
@pytest.mark.parametrize("dt_s", [1.0, 10.0])
@pytest.mark.parametrize("pairs", [100, 1_000, 10_000])
def test_step_of_a_town(benchmark: Any, networks: Any, short: bool, pairs: int, dt_s: float, fidelity: str) -> None:
    if short and pairs > 1_000:
        pytest.skip("step of a town: large towns are left out of the short run")
    running = Running(networks, pairs, dt_s, fidelity=fidelity)
    found = running.seconds(max(3, 30_000 // pairs))
    benchmark.pedantic(running.step, rounds=1, iterations=1)
    benchmark.extra_info.update(figure=1e3 * found, unit=f"ms per {dt_s:.0f} s step of {pairs} pipe pairs")


def test_growth_of_the_step_from_100_to_10000_pairs(benchmark: Any, networks: Any, short: bool) -> None:
    large = 1_000 if short else 10_000
    towns = {pairs: Running(networks, pairs, 1.0) for pairs in (100, large)}
    found = {pairs: running.seconds(max(3, 30_000 // pairs)) for pairs, running in towns.items()}
    benchmark.pedantic(towns[100].step, rounds=1, iterations=1)
    exponent = math.log(found[large] / found[100]) / math.log(large / 100)
    benchmark.extra_info.update(figure=exponent, unit="exponent of the time over the number of pipes")


def test_forecast_of_24_hours(benchmark: Any, networks: Any, short: bool) -> None:
    running = Running(networks, 500, 60.0, fidelity="planning")
    steps = 144 if short else 1_440
    found = running.seconds(steps) * 1_440
    benchmark.pedantic(running.step, rounds=1, iterations=1)
    benchmark.extra_info.update(figure=1e3 * found, unit="ms for 24 h at 60 s of 500 pipe pairs, planning")


def ensemble(networks: Any, members: int) -> Running:
    return Running(networks, 500, 60.0, fidelity="planning", members=members)


def test_ensemble_of_24_hours(benchmark: Any, networks: Any, short: bool) -> None:
    """In runs of an hour, every member with flows of its own, told at five nodes every quarter of an hour."""
    members, steps = 100, 8 if short else 60
    running = ensemble(networks, members)
    own = running._flows[:, None] * np.random.default_rng(1).uniform(0.8, 1.2, (len(running._flows), members))
    course = {"flow_kg_s": np.resize(CHANGES, steps)[:, None, None] * own}
    records = running.plan.records(steps, {"node_temp_k": running.plan.nodes[:5]}, every=min(15, steps))
    series = []
    for _ in range(3):
        began = time.thread_time()
        running.plan.run(running.state, 60.0, running.inputs, steps, course, records)
        series.append((time.thread_time() - began) / steps * 1_440)
    benchmark.pedantic(running.step, rounds=1, iterations=1)
    unit = f"s for 24 h at 60 s of 500 pipe pairs and {members} members, planning"
    benchmark.extra_info.update(figure=sorted(series)[1], unit=unit)


def test_ensemble_of_24_hours_step_by_step(benchmark: Any, networks: Any, short: bool) -> None:
    """Everything told after every step."""
    members = 100
    running = ensemble(networks, members)
    found = running.seconds(4 if short else 24) * 1_440
    benchmark.pedantic(running.step, rounds=1, iterations=1)
    unit = f"s for 24 h at 60 s of 500 pipe pairs and {members} members, planning"
    benchmark.extra_info.update(figure=found, unit=unit)
