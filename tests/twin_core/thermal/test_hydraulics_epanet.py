"""Heads and flows against EPANET 2.2 on networks of drinking water that come with wntr.

They are turned to Darcy-Weisbach and to one instant: tanks hold their first head, controls are off, pumps have a
quadratic curve through their working point, and valves that control pressure are replaced by a resistance.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from uem.twin_core.thermal import water
from uem.twin_core.thermal.hydraulic_network import EdgeKind

sys.path.insert(0, str(Path(__file__).parent))
from random_hydraulics import Solved, make_graph

pytestmark = pytest.mark.filterwarnings("ignore")

FT_M = 0.3048
G_EPANET = 32.2 * FT_M  # EPANET rounds the acceleration of gravity
G = 9.80665
TEMP_K = 288.15
DENSITY = water.density_kg_m3(TEMP_K)
ROUGHNESS_M = 1.5e-4


@pytest.fixture(scope="module")
def wntr():
    """It takes seconds, so not while tests are collected."""
    return pytest.importorskip("wntr", reason="wntr is not installed: pip install 'uem[test]'")


def frozen(name, wntr):
    """The network at one instant, with Darcy-Weisbach."""
    net = wntr.network.WaterNetworkModel(name)
    for control in list(net.control_name_list):
        net.remove_control(control)
    for tank in list(net.tank_name_list):
        node = net.get_node(tank)
        head, links = node.elevation + node.init_level, net.get_links_for_node(tank)
        net.add_reservoir(f"{tank}-held", base_head=head)
        for link_name in links:
            link = net.get_link(link_name)
            end = "start_node" if link.start_node_name == tank else "end_node"
            setattr(link, end, net.get_node(f"{tank}-held"))
        net.remove_node(tank)
    for pump_name in net.pump_name_list:
        pump = net.get_link(pump_name)
        if pump.pump_type == "HEAD":
            points = net.get_curve(pump.pump_curve_name).points
            flow, head = points[len(points) // 2]
        else:
            flow, head = 0.05, 40.0
        start, end, status = pump.start_node_name, pump.end_node_name, pump.initial_status
        net.remove_link(pump_name)
        net.add_curve(f"{pump_name}-curve", "HEAD", [(flow, head)])
        net.add_pump(pump_name, start, end, "HEAD", f"{pump_name}-curve", initial_status=status)
    for valve_name in net.valve_name_list:
        valve = net.get_link(valve_name)
        start, end, diameter = valve.start_node_name, valve.end_node_name, valve.diameter
        net.remove_link(valve_name)
        net.add_valve(valve_name, start, end, diameter, "TCV", 0.0, initial_setting=10.0)
    for _, pipe in net.pipes():
        pipe.roughness = ROUGHNESS_M
        pipe.minor_loss = 0.0
    options = net.options
    options.hydraulic.headloss = "D-W"
    options.hydraulic.viscosity = water.viscosity_pa_s(TEMP_K) / DENSITY / (1.1e-5 * FT_M**2)
    options.hydraulic.accuracy = 1e-5
    options.hydraulic.headerror = 1e-6
    options.hydraulic.trials = 500
    options.time.duration = 0
    return net


def ours(net, demand_m3_s):
    """The same with our solver: (heads by node, volume flows by link)."""
    names = net.node_name_list
    index = {name: i for i, name in enumerate(names)}
    ends, kinds, settings, columns, links = [], [], [], [], []
    extra = []
    for name, link in net.links():
        a, b = index[link.start_node_name], index[link.end_node_name]
        closed = str(link.initial_status) == "Closed"
        row = {
            "length_m": 1.0,
            "diameter_m": 0.1,
            "loss_coefficient": 0.0,
            "shutoff_head_m": 0.0,
            "curve_m_s2_kg2": 0.0,
        }
        if link.link_type == "Pipe":
            kind, setting = EdgeKind.PIPE, 0.0
            row |= {"length_m": link.length, "diameter_m": link.diameter}
            if link.check_valve:
                middle = len(names) + len(extra)
                extra.append(a)
                ends.append((a, middle))
                kinds.append(EdgeKind.CHECK)
                settings.append(0.0)
                columns.append(row | {"diameter_m": link.diameter})
                links.append(None)
                a = middle
            if closed:
                continue
        elif link.link_type == "Pump":
            kind, setting = EdgeKind.PUMP_SPEED, 0.0 if closed else 1.0
            ((flow, head),) = net.get_curve(link.pump_curve_name).points
            # EPANET: a single point (q, h) stands for 4/3 h at no flow and none at 2 q.
            row |= {
                "shutoff_head_m": 4 / 3 * head * G_EPANET / G,
                "curve_m_s2_kg2": head / 3 / (flow * DENSITY) ** 2 * G_EPANET / G,
            }
        else:
            kind, setting = EdgeKind.VALVE, 0.0 if closed else 1.0
            row |= {"diameter_m": link.diameter, "loss_coefficient": link.initial_setting}
        ends.append((a, b))
        kinds.append(kind)
        settings.append(setting)
        columns.append(row)
        links.append(name)
    held = list(net.reservoir_name_list)
    elevation = [0.0 if name in held else net.get_node(name).elevation for name in names]
    elevation = np.array(elevation + [elevation[node] for node in extra])
    demand = np.zeros(len(elevation))
    demand[: len(names)] = [0.0 if name in held else demand_m3_s[name] * DENSITY for name in names]
    pressure = np.zeros(len(elevation))
    for name in held:
        pressure[index[name]] = DENSITY * G_EPANET * net.get_node(name).base_head
    graph = make_graph(
        len(elevation),
        ends,
        [index[name] for name in held],
        kinds,
        elevation_m=elevation * G_EPANET / G,
        roughness_m=np.full(len(ends), ROUGHNESS_M),
        **{key: [row[key] for row in columns] for key in columns[0]},
    )
    found = Solved(graph, demand, pressure, settings, TEMP_K, tolerance=1e-10, law="swamee-jain")
    heads = found.pressure / (DENSITY * G_EPANET) + elevation
    flows = {name: flow / DENSITY for name, flow in zip(links, found.flow, strict=True) if name is not None}
    return dict(zip(names, heads, strict=False)), flows, found


@pytest.mark.parametrize("name", ["Net1", "Net3", "ky4", "ky10"])
def test_heads_and_flows_agree_with_epanet(name, tmp_path, monkeypatch, wntr):
    monkeypatch.chdir(tmp_path)
    net = frozen(name, wntr)
    theirs = wntr.sim.EpanetSimulator(net).run_sim(file_prefix=str(tmp_path / "net"), version=2.2)
    demand = theirs.node["demand"].iloc[0]
    heads, flows, found = ours(net, demand)
    assert not found.unsupplied.any()
    their_heads, their_flows = theirs.node["head"].iloc[0], theirs.link["flowrate"].iloc[0]
    head_error = max(abs(heads[node] - their_heads[node]) for node in heads)
    largest = max(abs(flow) for flow in flows.values())
    flow_error = max(abs(flow - their_flows[link]) for link, flow in flows.items()) / largest
    print(name, len(heads), "nodes: heads", head_error, "m, flows", flow_error)
    assert head_error < 1e-3
    assert flow_error < 1e-4
