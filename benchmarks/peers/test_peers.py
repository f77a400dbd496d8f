"""Peers on the same task, in the same run. Each is an optional install: `pip install uem[peers]`.

They solve more than we do here (pandapipes the pressures, SimPy any process), which the table says.
"""

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uem.twin_core.plant.machine import Machine, MachineState
from uem.twin_core.plant.network import Network, Node, NodeKind, Pipe, PipeClass
from uem.twin_core.production.machine import MachinePlan
from uem.twin_core.thermal.network import NetworkInputs, NetworkPlan, NetworkState

Compare = Callable[..., None]

pytestmark = pytest.mark.filterwarnings("ignore")

SUPPLY_K, GROUND_K = 353.15, 283.15
U_W_M2K = 1.0  # of the outer surface
DT_S = 60.0
DENSITY_KG_M3 = 972.0
CLASSES_MM = (25, 50, 80, 100, 150, 200, 300, 400)


def tree(pipes: int, seed: int = 1) -> tuple[list[int], list[float], list[float], list[int]]:
    """A random tree: parents, lengths in m, flows in kg/s and inner diameters in mm, one per pipe; demands at the ends.

    Node 0 is the source; pipe i goes from `parents[i]` to node i + 1.
    """
    rnd = random.Random(seed)
    parents = [rnd.randrange(max(0, i - 8), i + 1) for i in range(pipes)]
    lengths = [rnd.uniform(20.0, 80.0) for _ in range(pipes)]
    demands = [rnd.uniform(0.05, 0.3) for _ in range(pipes)]
    flows = list(demands)
    for i in reversed(range(pipes)):
        if parents[i]:
            flows[parents[i] - 1] += flows[i]
    wanted_mm = [1000 * math.sqrt(4 * flow / DENSITY_KG_M3 / math.pi / 1.0) for flow in flows]
    diameters = [next((d for d in CLASSES_MM if d >= wanted), CLASSES_MM[-1]) for wanted in wanted_mm]
    return parents, lengths, demands, diameters


def our_network(pipes: int) -> tuple[NetworkPlan, NetworkState, NetworkInputs]:
    """Plan, state and filled inputs of the tree."""
    parents, lengths, demands, diameters = tree(pipes)
    network = Network(
        name="tree",
        ambient_temperature_tag="ground",
        nodes=(
            Node(name="0", kind=NodeKind.SOURCE, temperature_tag="supply"),
            *(Node(name=str(i + 1), kind=NodeKind.CONSUMER, flow_tag=f"flow/{i}") for i in range(pipes)),
        ),
        pipes=tuple(
            Pipe(
                name=f"p{i}", start=str(parents[i]), end=str(i + 1), length_m=lengths[i], pipe_class=f"d{diameters[i]}"
            )
            for i in range(pipes)
        ),
        pipe_classes=tuple(
            PipeClass(
                name=f"d{d}",
                inner_diameter_m=d * 1e-3,
                outer_diameter_m=d * 1e-3 + 0.006,
                wall_density_kg_m3=7850.0,
                wall_heat_capacity_j_kgk=480.0,
                loss_resistance_mk_w=1.0 / (U_W_M2K * math.pi * (d * 1e-3 + 0.006)),
            )
            for d in CLASSES_MM
        ),
    )
    plan = NetworkPlan(network)
    inputs = plan.inputs()
    inputs.node_supply_temp_k[:] = SUPPLY_K
    inputs.node_demand_kg_s[1:, 0] = demands
    inputs.ambient_temp_k[:] = GROUND_K
    return plan, plan.initial_state(SUPPLY_K), inputs


def settled(pipes: int) -> tuple[NetworkPlan, NetworkState, NetworkInputs]:
    """Our network after the water has gone through it several times."""
    plan, state, inputs = our_network(pipes)
    for _ in range(400):
        plan.step(state, 600.0, inputs)
    return plan, state, inputs


def test_thermal_step_beside_epanet_hydraulics(compare: Compare, short: bool, tmp_path: Path) -> None:
    wntr = pytest.importorskip("wntr", reason="wntr is not installed: pip install 'uem[peers]'")
    from wntr.epanet.toolkit import ENepanet

    pipes = 100 if short else 1000
    parents, lengths, demands, diameters = tree(pipes)
    net = wntr.network.WaterNetworkModel()
    net.options.hydraulic.headloss = "D-W"
    net.options.time.duration = 0
    net.add_reservoir("0", base_head=1000.0)
    for i in range(pipes):
        net.add_junction(str(i + 1), base_demand=demands[i] / DENSITY_KG_M3)
    for i in range(pipes):
        net.add_pipe(f"p{i}", str(parents[i]), str(i + 1), lengths[i], diameters[i] * 1e-3, roughness=1e-4)
    file = str(tmp_path / "tree.inp")
    wntr.network.write_inpfile(net, file)
    epanet = ENepanet()
    epanet.ENopen(file, f"{file}.rpt", f"{file}.bin")
    plan, state, inputs = settled(pipes)
    compare(
        lambda: plan.step(state, DT_S, inputs),
        epanet.ENsolveH,
        peer=f"EPANET in wntr {wntr.__version__}, pressures only",
        unit=f"ms per {DT_S:.0f} s step of {pipes} pipes",
        scale=1e3,
    )
    epanet.ENclose()


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
