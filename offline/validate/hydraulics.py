"""Flows and heads against EPANET, run here and now on networks that come with wntr.

The networks are turned to Darcy-Weisbach with one roughness and looked at in their first moment: tanks hold their
heads, pumps and valves pass what they pass there, closed links are left out. Both programs get the same friction law
(Swamee-Jain), kinematic viscosity, gravity and litre; the core's water is taken at the temperature of that viscosity.
"""

import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uem.offline.validate.case import Calculation, Result, peer
from uem.twin_core.thermal import water
from uem.twin_core.thermal.hydraulic_network import EdgeKind, FrictionLaw, HydraulicGraph
from uem.twin_core.thermal.hydraulics import HydraulicPlan

Array = NDArray[np.float64]

SUITE: Final = "hydraulics"
NETWORKS: Final = ("Net1", "Net3", "ky4", "ky10")
ROUGHNESS_M: Final = 1e-4
VISCOSITY_M2_S: Final = 1.1e-5 * 0.3048**2  # EPANET's water: 1.1e-5 ft2/s
GRAVITY_M_S2: Final = 32.2 * 0.3048  # EPANET's gravity: 32.2 ft/s2
LPS_M3_S: Final = 0.3048**3 / 28.317  # EPANET's litre per second: 1/28.317 ft3/s
ACCURACY: Final = 1e-8
HEAD_BAR_M: Final = 1e-3
FLOW_BAR: Final = 1e-4
# Smaller flows are judged as a part of this part of the largest: EPANET leaves up to 1e-7 m3/s in pipes without flow.
SMALL_FLOW: Final = 1e-2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What EPANET found: heads in m by node, flows in m3/s by link, demands in m3/s by node."""

    head_m: dict[str, float]
    demand_m3_s: dict[str, float]
    flow_m3_s: dict[str, float]
    open_links: list[str]


def compare(name: str) -> Iterator[Result]:
    """One network: the largest differences of heads and flows."""
    wntr = peer("wntr")
    net = wntr.network.WaterNetworkModel(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of roughnesses, which are all set below
        net.options.hydraulic.headloss = "D-W"
    net.options.hydraulic.viscosity = 1.0
    net.options.hydraulic.accuracy = ACCURACY
    net.options.hydraulic.trials = 200
    net.options.hydraulic.inpfile_units = "LPS"
    net.options.time.duration = 0
    for _, pipe in net.pipes():
        pipe.roughness = ROUGHNESS_M
    theirs = snapshot(net)
    head_m, flow_m3_s, edges = ours(net, theirs)
    error_m = max(abs(head_m[node] - head) for node, head in theirs.head_m.items() if node in head_m)
    expected = np.array([theirs.flow_m3_s[edge] for edge in edges])
    floor = SMALL_FLOW * np.abs(expected).max()
    error = float((np.abs(flow_m3_s - expected) / np.maximum(np.abs(expected), floor)).max())
    case = f"{name}, {len(edges)} links"
    yield Result(suite=SUITE, case=case, metric="head, largest difference", value=error_m, unit="m", bar=HEAD_BAR_M)
    yield Result(suite=SUITE, case=case, metric="flow, largest difference", value=error, unit="1", bar=FLOW_BAR)


def snapshot(net: Any) -> Snapshot:
    """The first moment of a network of wntr, by EPANET's toolkit."""
    toolkit = peer("wntr.epanet.toolkit")
    codes = peer("wntr.epanet.util").EN
    wntr = peer("wntr")
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "net.inp")
        wntr.network.write_inpfile(net, file, units="LPS")
        epanet = toolkit.ENepanet()
        epanet.ENopen(file, f"{file}.rpt", f"{file}.bin")
        epanet.ENopenH()
        epanet.ENinitH(0)
        epanet.ENrunH()
        nodes = {node: epanet.ENgetnodeindex(node) for node in net.node_name_list}
        links = {link: epanet.ENgetlinkindex(link) for link in net.link_name_list}
        found = Snapshot(
            {node: epanet.ENgetnodevalue(i, codes.HEAD) for node, i in nodes.items()},
            {node: epanet.ENgetnodevalue(i, codes.DEMAND) * LPS_M3_S for node, i in nodes.items()},
            {link: epanet.ENgetlinkvalue(i, codes.FLOW) * LPS_M3_S for link, i in links.items()},
            [link for link, i in links.items() if epanet.ENgetlinkvalue(i, codes.STATUS) > 0],
        )
        epanet.ENcloseH()
        epanet.ENclose()
    return found


def ours(net: Any, theirs: Snapshot) -> tuple[dict[str, float], Array, list[str]]:
    """Heads in m by node, flows in m3/s and the names of the links they belong to."""
    temp_k = temperature_of(VISCOSITY_M2_S)
    density = water.density_kg_m3(temp_k)
    nodes, edges = list(net.node_name_list), theirs.open_links
    at = {node: i for i, node in enumerate(nodes)}
    links = [net.get_link(edge) for edge in edges]
    pipes = [link if link.link_type == "Pipe" else None for link in links]
    count = len(edges)
    fixed = np.array([net.get_node(node).node_type != "Junction" for node in nodes])
    ends = [(at[link.start_node_name], at[link.end_node_name]) for link, pipe in zip(links, pipes, strict=True) if pipe]
    fixed[_first_of_loose_parts(ends, fixed)] = True
    graph = HydraulicGraph(
        name=net.name or "network",
        nodes=nodes,
        edges=edges,
        kind=np.array([EdgeKind.PIPE if pipe else EdgeKind.PUMPED for pipe in pipes], np.intp),
        start=np.array([at[link.start_node_name] for link in links], np.intp),
        end=np.array([at[link.end_node_name] for link in links], np.intp),
        length_m=np.array([pipe.length if pipe else 0.0 for pipe in pipes]),
        diameter_m=np.array([pipe.diameter if pipe else 0.0 for pipe in pipes]),
        roughness_m=np.array([ROUGHNESS_M if pipe else 0.0 for pipe in pipes]),
        loss_coefficient=np.array([pipe.minor_loss if pipe else 0.0 for pipe in pipes]),
        resistance_pa_s2_kg2=np.zeros(count),
        shutoff_head_m=np.zeros(count),
        curve_m_s2_kg2=np.zeros(count),
        parallel=np.ones(count),
        critical_start=np.full(count, -1, np.intp),
        critical_end=np.full(count, -1, np.intp),
        # Pressures stand for whole heads, in EPANET's gravity.
        elevation_m=np.zeros(len(nodes)),
        fixed=fixed,
    )
    plan = HydraulicPlan(graph, FrictionLaw.SWAMEE_JAIN.value)
    head_pa = density * GRAVITY_M_S2
    setting = np.array(
        [0.0 if pipe else density * theirs.flow_m3_s[edge] for pipe, edge in zip(pipes, edges, strict=True)]
    )
    flow, pressure = np.zeros(count), np.zeros(len(nodes))
    unsupplied = np.zeros(len(nodes), np.uint8)
    plan.solve(
        np.array(
            [0.0 if held else density * theirs.demand_m3_s[node] for node, held in zip(nodes, fixed, strict=True)]
        ),
        np.array([head_pa * theirs.head_m[node] for node in nodes]),
        setting,
        np.full(count, temp_k),
        flow,
        pressure,
        np.zeros(plan.memory_width),
        unsupplied,
        plan.room(),
        1e-10,
    )
    heads = {node: float(p) / head_pa for node, p, alone in zip(nodes, pressure, unsupplied, strict=True) if not alone}
    return heads, flow / density, edges


def _first_of_loose_parts(ends: list[tuple[int, int]], fixed: NDArray[np.bool_]) -> list[int]:
    """A node of each part that pipes do not connect to a held head: pumps and valves with given flows pass none on."""
    part = list(range(len(fixed)))

    def root(node: int) -> int:
        while part[node] != node:
            part[node] = part[part[node]]
            node = part[node]
        return node

    for a, b in ends:
        part[root(a)] = root(b)
    held = {root(node) for node in np.flatnonzero(fixed).tolist()}
    return [node for node in range(len(fixed)) if part[node] == node and node not in held]


def temperature_of(viscosity_m2_s: float) -> float:
    """Where water has this kinematic viscosity, by bisection."""
    low, high = 273.15, 373.15
    for _ in range(60):
        middle = 0.5 * (low + high)
        thick = water.viscosity_pa_s(middle) / water.density_kg_m3(middle) > viscosity_m2_s
        low, high = (middle, high) if thick else (low, middle)
    return 0.5 * (low + high)


def _case(name: str) -> Calculation:
    return lambda: compare(name)


CALCULATIONS: Final[dict[str, Calculation]] = {name: _case(name) for name in NETWORKS}
