"""The hydraulic step against EPANET through its toolkit: the same network, warm, demands up and down by 2 %.

Both solve to a change of flows of 1e-3; both start from the flows of the step before.
"""

import ctypes
import importlib.util
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uem.twin_core.plant.network import Network
from uem.twin_core.thermal import water
from uem.twin_core.thermal.hydraulic_network import hydraulic_graph
from uem.twin_core.thermal.hydraulics import HydraulicPlan

Compare = Callable[..., None]
TEMP_K = 353.15
FT_M = 0.3048

pytestmark = pytest.mark.filterwarnings("ignore")


def _networks() -> Any:
    name = "uem_benchmarks_networks"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "networks.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def grid(side: int) -> Network:
    """A town of side x side crossings with every street laid."""
    networks = _networks()
    rnd = np.random.default_rng(3)
    streets = [
        networks.Street(x + y * side, other, float(rnd.uniform(20.0, 80.0)), int(rnd.choice([100, 150, 200])))
        for y in range(side)
        for x in range(side)
        for other in ([x + 1 + y * side] if x + 1 < side else []) + ([x + (y + 1) * side] if y + 1 < side else [])
    ]
    demand = [0.0, *rnd.uniform(0.05, 0.3, side * side - 1).tolist()]
    town = networks.Town(streets, demand, [(0.0, 0.0)] * (side * side))
    found: Network = networks.supply_network(town)
    return found


def our_step(network: Network, factors: "itertools.cycle[float]") -> tuple[Callable[[], object], Any]:
    plan = HydraulicPlan(hydraulic_graph(network))
    room = plan.room()
    base = np.array([node.demand_kg_s for node in network.nodes])
    fixed = np.array([node.pressure_pa or 0.0 for node in network.nodes])
    setting, temp = np.zeros(plan.edges), np.full(plan.edges, TEMP_K)
    flow, pressure, memory = np.zeros(plan.edges), np.zeros(plan.nodes), np.zeros(plan.memory_width)
    unsupplied = np.zeros(plan.nodes, np.uint8)
    demands = {factor: base * factor for factor in (0.98, 1.0, 1.02)}

    def step() -> None:
        demand = demands[next(factors)]
        plan.solve(demand, fixed, setting, temp, flow, pressure, memory, unsupplied, room, 1e-3)

    return step, flow


def epanet_step(network: Network, file: str, factors: "itertools.cycle[float]") -> tuple[Callable[[], object], Any]:
    """Calls into the toolkit itself, through ctypes, as cheap as Python can make them."""
    wntr = pytest.importorskip("wntr", reason="wntr is not installed: pip install 'uem[peers]'")
    from wntr.epanet.toolkit import ENepanet

    density = water.density_kg_m3(TEMP_K)
    net = wntr.network.WaterNetworkModel()
    net.options.hydraulic.headloss = "D-W"
    net.options.hydraulic.viscosity = water.viscosity_pa_s(TEMP_K) / density / (1.1e-5 * FT_M**2)
    net.options.hydraulic.accuracy = 1e-3
    net.options.time.duration = 0
    for node in network.nodes:
        if node.pressure_pa is not None:
            net.add_reservoir(node.name, base_head=node.pressure_pa / (density * 32.2 * FT_M))
        else:
            net.add_junction(node.name, base_demand=node.demand_kg_s / density)
    classes = {c.name: c for c in network.pipe_classes}
    for pipe in network.pipes:
        made = classes[pipe.pipe_class]
        net.add_pipe(pipe.name, pipe.start, pipe.end, pipe.length_m, made.inner_diameter_m, roughness=made.roughness_m)
    wntr.network.write_inpfile(net, file)
    epanet = ENepanet(version=2.2)
    epanet.ENopen(file, f"{file}.rpt", f"{file}.bin")
    epanet.ENopenH()
    epanet.ENinitH(0)
    epanet.ENrunH()
    lib, project = epanet.ENlib, epanet._project
    multiplier = 4  # EN_DEMANDMULT
    time_s = ctypes.c_long()
    epanet.ENinitH(0)

    def step() -> None:
        lib.EN_setoption(project, multiplier, ctypes.c_double(next(factors)))
        lib.EN_initH(project, 0)
        lib.EN_runH(project, ctypes.byref(time_s))

    def flows() -> Any:
        value = ctypes.c_double()
        found = []
        for i in range(len(network.pipes)):
            lib.EN_getlinkvalue(project, i + 1, 8, ctypes.byref(value))  # EN_FLOW
            found.append(value.value)
        return np.array(found)

    return step, flows


@pytest.mark.parametrize("kind", ["town-1000", "town-10000", "grid-960"])
def test_warm_hydraulic_step_against_epanet(compare: Compare, short: bool, kind: str, tmp_path: Path) -> None:
    networks = _networks()
    if short and kind == "town-10000":
        pytest.skip("hydraulic step: large sizes are left out of the short run")
    shape, count = kind.split("-")
    network = networks.supply_network(networks.town(int(count), 0.05)) if shape == "town" else grid(31)
    ours, flow = our_step(network, itertools.cycle([0.98, 1.02]))
    theirs, their_flows = epanet_step(network, str(tmp_path / "net.inp"), itertools.cycle([0.98, 1.02]))
    ours(), theirs()
    share = flow / np.abs(flow).max()
    their_share = their_flows() / np.abs(their_flows()).max()
    assert np.abs(share - their_share).max() < 5e-3  # the same task
    compare(
        ours,
        theirs,
        peer="EPANET 2.2, Darcy-Weisbach",
        unit=f"us per warm solve of {len(network.pipes)} pipes, {shape}",
        scale=1e6,
    )
