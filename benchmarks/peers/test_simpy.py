"""Machines against SimPy, which solves any process: `pip install 'uem[peers]'`."""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from uem.twin_core.plant.machine import Machine, MachineState
from uem.twin_core.production.machine import MachinePlan

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
