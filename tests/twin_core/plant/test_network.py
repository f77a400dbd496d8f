"""A network is checked as a whole: every problem is told, with its key and value."""

from dataclasses import replace

import pytest

from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.plant.network import (
    Network,
    Node,
    NodeKind,
    Pipe,
    PipeClass,
    Pump,
    PumpControl,
    Valve,
    ValveKind,
)

STEEL = PipeClass(
    name="steel",
    inner_diameter_m=0.08,
    outer_diameter_m=0.09,
    wall_density_kg_m3=7850.0,
    wall_heat_capacity_j_kgk=480.0,
    loss_resistance_mk_w=4.0,
)


def pipe(name, start, end, **more):
    return Pipe(name=name, start=start, end=end, length_m=50.0, pipe_class="steel", **more)


# Supply a - b, return c - d, a valve from b to c and a pump from d to a; the pressure is held at d.
CLOSED = {
    "name": "closed",
    "nodes": (Node(name="a"), Node(name="b"), Node(name="c"), Node(name="d", pressure_pa=3e5)),
    "pipes": (pipe("ab", "a", "b"), pipe("cd", "c", "d")),
    "pipe_classes": (STEEL,),
    "valves": (Valve(name="v", start="b", end="c", inner_diameter_m=0.05, kind=ValveKind.FLOW, flow_kg_s=1.0),),
    "pumps": (Pump(name="p", start="d", end="a", shutoff_head_m=30.0, curve_m_s2_kg2=0.1),),
}


def problems(**changed):
    with pytest.raises(InvalidTerritory) as caught:
        Network(**{**CLOSED, **changed})
    return caught.value.problems


def test_a_closed_network_needs_no_source_and_no_tags():
    network = Network(**CLOSED)
    assert not network.flows_are_imposed


def test_loops_and_islands_are_allowed_where_a_pressure_is_held():
    nodes = (*CLOSED["nodes"], Node(name="e"), Node(name="f"))
    pipes = (*CLOSED["pipes"], pipe("ab2", "a", "b"), pipe("ef", "e", "f"))
    assert len(Network(**{**CLOSED, "nodes": nodes, "pipes": pipes}).pipes) == 4


def test_a_tree_with_a_source_has_imposed_flows_until_a_pressure_is_held():
    source = Node(name="a", kind=NodeKind.SOURCE, temperature_tag="t")
    parts = {"name": "t", "nodes": (source, Node(name="b")), "pipes": (pipe("ab", "a", "b"),), "pipe_classes": (STEEL,)}
    assert Network(**parts).flows_are_imposed
    held = replace(source, pressure_pa=5e5)
    assert not Network(**{**parts, "nodes": (held, Node(name="b"))}).flows_are_imposed


def test_a_network_without_any_pressure_is_told_so():
    nodes = tuple(replace(node, pressure_pa=None) for node in CLOSED["nodes"])
    (problem,) = problems(nodes=nodes)
    assert "none has a pressure_pa" in problem


def test_a_source_in_a_network_with_pressures_holds_one():
    nodes = (replace(CLOSED["nodes"][0], kind=NodeKind.SOURCE), *CLOSED["nodes"][1:])
    (problem,) = problems(nodes=nodes)
    assert problem.startswith("nodes[0].pressure_pa: missing")


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("valves", {"opening": 1.5}, "valves[0].opening: 1.5"),
        ("valves", {"inner_diameter_m": 0.0}, "valves[0].inner_diameter_m: 0.0"),
        ("valves", {"flow_kg_s": -1.0}, "valves[0].flow_kg_s: -1.0"),
        ("valves", {"end": "x"}, "valves[0].end: node 'x' does not exist"),
        ("valves", {"end": "b"}, "valves[0].end: node 'b' is where valve v starts"),
        ("pumps", {"shutoff_head_m": float("nan")}, "pumps[0].shutoff_head_m: nan"),
        ("pumps", {"parallel": 0}, "pumps[0].parallel: 0"),
        ("pumps", {"efficiency": 1.2}, "pumps[0].efficiency: 1.2"),
        ("pumps", {"control": PumpControl.CRITICAL, "critical_end": "a"}, "pumps[0].critical_start: node ''"),
        ("pipes", {"length_m": -1.0}, "pipes[0].length_m: -1.0"),
        ("pipes", {"loss_coefficient": float("inf")}, "pipes[0].loss_coefficient: inf"),
        ("pipes", {"pipe_class": "lead"}, "pipes[0].pipe_class: pipe class 'lead'"),
        ("pipes", {"twin": "ab"}, "pipes[0].twin: 'ab' is not another pipe"),
        ("pipes", {"twin": "cd"}, "pipes[0].twin: pipe cd names 'no pipe' as its twin"),
        ("pipe_classes", {"twin_resistance_mk_w": 0.0}, "pipe_classes[0].twin_resistance_mk_w: 0.0"),
        ("pipe_classes", {"insulation_heat_capacity_j_m3k": -1.0}, "pipe_classes[0].insulation_heat_capacity_j_m3k"),
        ("pipe_classes", {"insulation_heat_capacity_j_m3k": 1e5}, "pipe_classes[0].insulation_conductivity_w_mk: 0.0"),
        (
            "pipe_classes",
            {
                "insulation_heat_capacity_j_m3k": 1e5,
                "insulation_conductivity_w_mk": 0.03,
                "insulation_diameter_m": 0.01,
            },
            "pipe_classes[0].insulation_diameter_m: 0.01",
        ),
        (
            "pipe_classes",
            {"insulation_heat_capacity_j_m3k": 1e5, "insulation_conductivity_w_mk": 1e-3, "insulation_diameter_m": 0.9},
            "pipe_classes[0].loss_resistance_mk_w:",
        ),
        ("nodes", {"pressure_pa": -1.0}, "nodes[0].pressure_pa: -1.0"),
        ("nodes", {"elevation_m": float("nan")}, "nodes[0].elevation_m: nan"),
    ],
)
def test_a_wrong_value_is_told_with_its_key(part, changes, said):
    first, *others = CLOSED[part]
    (problem,) = problems(**{part: (replace(first, **changes), *others)})
    assert problem.startswith(said)


def test_twins_are_of_one_length_and_of_a_class_for_twins():
    ab, cd = (replace(p, twin=other) for p, other in zip(CLOSED["pipes"], ("cd", "ab"), strict=True))
    assert all("twin_resistance_mk_w" in problem for problem in problems(pipes=(ab, cd)))
    twins = (replace(STEEL, twin_resistance_mk_w=3.0),)
    found = problems(pipes=(replace(ab, length_m=51.0), cd), pipe_classes=twins)
    assert all("long, its twin" in problem for problem in found)
    assert Network(**{**CLOSED, "pipes": (ab, cd), "pipe_classes": twins}).pipes[0].twin == "cd"
