"""Machines against SimPy, which solves any process: `pip install 'uem[peers]'`."""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from uem.twin_core.plant.machine import Machine, MachineState
from uem.twin_core.production.lines import Tandem
from uem.twin_core.production.machine import MachinePlan
from uem.twin_core.production.plan import FactoryPlan

Compare = Callable[..., None]

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("members", [1, 64])
def test_machine_states_against_simpy(compare: Compare, short: bool, members: int) -> None:
    simpy = pytest.importorskip("simpy", reason="simpy is not installed: pip install 'uem[peers]'")
    changes = 1_000 if short else 10_000
    rnd = random.Random(7)
    powers = (240.0, 5_000.0, 11_000.0)
    dwells = [(rnd.randrange(3), rnd.uniform(1.0, 60.0)) for _ in range(changes)]
    machine = Machine(
        name="m",
        states=tuple(MachineState(number=i, name=f"s{i}", power_w=p) for i, p in enumerate(powers)),
        state_tag="state",
        power_tag="power",
    )
    plan = MachinePlan(machine, members)
    inputs = plan.inputs()

    def ours() -> Any:
        run = plan.initial_state(math.nan, 0)
        for number, seconds in dwells:
            inputs.state_number[:] = number
            plan.step(run, seconds, inputs)
        return run.energy_j[:3, -1]

    def theirs() -> list[float]:
        environment = simpy.Environment()
        energy_j = [0.0, 0.0, 0.0]

        def process() -> Iterator[Any]:
            for number, seconds in dwells:
                yield environment.timeout(seconds)
                energy_j[number] += powers[number] * seconds

        environment.process(process())
        environment.run()
        return energy_j

    np.testing.assert_allclose(ours(), theirs(), rtol=1e-9)
    compare(
        ours,
        theirs,
        peer=f"SimPy {simpy.__version__}, one process",
        unit="us per state change of a machine, with energy ledger",
        scale=1e6 / changes,
        times=members,
    )


def simpy_line(simpy: Any, lines: Any, machines: int, seed: int, until_s: float) -> int:
    """The same line in SimPy, as its users write it; returns the parts made."""
    rnd = random.Random(seed)
    environment = simpy.Environment()
    buffers = [simpy.Store(environment, lines.PLACES) for _ in range(machines - 1)]
    made = 0

    def machine(i: int) -> Iterator[Any]:
        nonlocal made
        to_failure = rnd.expovariate(1 / lines.TO_FAIL_S)
        while True:
            if i > 0:
                yield buffers[i - 1].get()
            left = lines.CYCLE_S
            while to_failure < left:
                yield environment.timeout(to_failure)
                left -= to_failure
                yield environment.timeout(rnd.expovariate(1 / lines.TO_REPAIR_S))
                to_failure = rnd.expovariate(1 / lines.TO_FAIL_S)
            yield environment.timeout(left)
            to_failure -= left
            if i < machines - 1:
                yield buffers[i].put(1)
            else:
                made += 1

    for i in range(machines):
        environment.process(machine(i))
    environment.run(until=until_s)
    return made


@pytest.mark.parametrize("way", ["events", "recursion"])
def test_line_of_ten_machines_against_simpy(compare: Compare, production_lines: Any, short: bool, way: str) -> None:
    """A week with the ledger of states and energy, which SimPy's program does not keep."""
    simpy = pytest.importorskip("simpy", reason="simpy is not installed: pip install 'uem[peers]'")
    until_s = production_lines.WEEK_S / (7 if short else 1)
    factory = production_lines.line(10)
    plan, tandem, runs = FactoryPlan(factory), Tandem(factory), 20 if way == "events" else 100
    seeds = iter(range(1_000_000))

    def ours() -> Any:
        if way == "events":
            return plan.replicate(runs, until_s, seed=next(seeds)).output
        return tandem.replicate(runs, until_s, seed=next(seeds)).made[:, -1]

    def theirs() -> int:
        return simpy_line(simpy, production_lines, 10, next(seeds), until_s)

    parts = plan.replicate(200, until_s).output
    assert abs(theirs() - parts.mean()) < 5 * parts.std()
    compare(
        ours,
        theirs,
        peer=f"SimPy {simpy.__version__}, without ledger",
        unit="ms per simulated week of 10 machines" if not short else "ms per simulated day of 10 machines",
        scale=1e3,
        times=runs,
        rounds=7,
    )
