"""EPANET files become territories that load, with the hydraulics of their first instant."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import uem
from uem.offline.importing import main
from uem.territories.importers.epanet import WATER_KG_M3, draft
from uem.territories.load import load
from uem.territories.write import toml
from uem.twin_core.plant.network import NodeKind, ValveKind

WNTR = find_spec("wntr")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(WNTR is None, reason="wntr is not installed: pip install 'uem[test]'"),
]
LIBRARY = Path(WNTR.origin if WNTR else "").parent / "library" / "networks"

SMALL = """
[JUNCTIONS]
 J1 10 5
 J2 12 0
 J3 9 2
[RESERVOIRS]
 R 60
[PIPES]
 P1 J1 J2 100 200 0.1 0 Open
 P2 J2 J3 50 150 0.1 2.5 CV
 P3 J1 J3 80 100 0.1 0 Closed
[PUMPS]
 PU R J1 HEAD C
[CURVES]
 C 50 40
[OPTIONS]
 UNITS LPS
 HEADLOSS D-W
[COORDINATES]
 J1 1 2
[END]
"""


@pytest.fixture(scope="module")
def wntr():
    return pytest.importorskip("wntr")  # takes seconds, so not while tests are collected


@pytest.fixture
def imported(tmp_path, wntr):
    def make(path):
        made = draft(wntr.network.WaterNetworkModel(str(path)), path.stem)
        target = tmp_path / f"{path.stem}.toml"
        target.write_text(toml(made.territory()))
        return load(target).networks[0], made.notes

    return make


@pytest.mark.parametrize("name", ["Net1", "Net3"])
def test_a_network_of_the_library_keeps_its_parts(name, imported, wntr):
    model = wntr.network.WaterNetworkModel(str(LIBRARY / f"{name}.inp"))
    network, _ = imported(LIBRARY / f"{name}.inp")
    closed = sum(pipe.check_valve or str(pipe.initial_status) == "Closed" for _, pipe in model.pipes())
    assert len(network.pipes) == model.num_pipes
    assert len(network.pumps) == model.num_pumps
    assert len(network.nodes) == model.num_nodes + closed
    assert len(network.valves) == model.num_valves + closed
    demand = sum(sum(d.at(0.0) for d in j.demand_timeseries_list) for _, j in model.junctions())
    assert sum(n.demand_kg_s for n in network.nodes) == pytest.approx(demand * WATER_KG_M3, rel=1e-5)
    tanks_and_reservoirs = [n for n in network.nodes if n.kind is NodeKind.SOURCE]
    assert len(tanks_and_reservoirs) == model.num_tanks + model.num_reservoirs


def test_heads_pumps_and_valves_keep_their_values(tmp_path, imported):
    (tmp_path / "small.inp").write_text(SMALL)
    network, notes = imported(tmp_path / "small.inp")
    node = {n.name: n for n in network.nodes}
    head_m = node["R"].elevation_m + node["R"].pressure_pa / (WATER_KG_M3 * 9.80665)
    assert head_m == pytest.approx(60.0)
    assert node["J1"].position_m == (1.0, 2.0)
    assert node["J1"].demand_kg_s == pytest.approx(5e-3 * WATER_KG_M3)
    (pump,) = network.pumps
    # A curve of one point (50 l/s, 40 m) is 4/3 of its head at rest.
    assert pump.shutoff_head_m == pytest.approx(4 / 3 * 40.0)
    assert pump.shutoff_head_m - pump.curve_m_s2_kg2 * (0.05 * WATER_KG_M3) ** 2 == pytest.approx(40.0)
    check, shut = network.valves
    assert (check.kind, check.end) == (ValveKind.CHECK, "J3")
    assert (shut.kind, shut.opening, shut.end) == (ValveKind.CONTROL, 0.0, "J3")
    assert network.pipes[1].loss_coefficient == 2.5
    assert network.pipe_classes[0].roughness_m == pytest.approx(1e-4)
    assert [note.severity for note in notes] == ["info"] * 3


@pytest.mark.parametrize("name", ["Net1", "Net3"])
def test_a_network_of_the_library_runs_and_what_flows_in_is_taken_out(name, imported, tmp_path):
    imported(LIBRARY / f"{name}.inp")
    run = uem.run(tmp_path / f"{name}.toml", hours=0.1, every_s=60.0, settle_hours=0.0)
    network, balance = run.network, {node.name: -node.demand_kg_s for node in run.network.nodes}
    for kind, edges in (("pipe", network.pipes), ("valve", network.valves), ("pump", network.pumps)):
        for edge in edges:
            flow = run.columns[f"{kind}/{edge.name}/flow"][-1]
            balance[edge.start] -= flow
            balance[edge.end] += flow
    wanted = sum(node.demand_kg_s for node in network.nodes)
    junctions = [balance[node.name] for node in network.nodes if node.kind is not NodeKind.SOURCE]
    assert max(map(abs, junctions)) < 1e-6 * wanted
    assert run.summary()["unsupplied_nodes"] == []


def test_another_friction_law_gives_the_same_loss_at_a_usual_velocity(imported):
    network, notes = imported(LIBRARY / "Net1.inp")
    assert any("H-W" in note.text for note in notes)
    made = network.pipe_class(network.pipes[0].pipe_class)
    diameter = made.inner_diameter_m
    # Hazen-Williams with C = 100 at 1 m/s, against Colebrook.
    flow = 3.14159265 / 4 * diameter**2
    wanted = 10.667 * flow**1.852 / (100.0**1.852 * diameter**4.871)
    friction = 0.02
    for _ in range(60):
        friction = (-2 * __import__("math").log10(
            made.roughness_m / 3.7 / diameter + 2.51 * 1.004e-6 / diameter / friction**0.5
        )) ** -2  # fmt: skip
    assert friction / diameter / 2 / 9.80665 == pytest.approx(wanted, rel=2e-3)


def test_what_stays_behind_is_told(imported):
    _, notes = imported(LIBRARY / "Net1.inp")
    assert {n.element for n in notes if n.severity == "lost"} == {"patterns", "controls", "quality"}


def test_a_missing_package_is_told_with_the_way_to_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wntr", None)
    (tmp_path / "small.inp").write_text(SMALL)
    assert main([str(tmp_path / "small.inp")]) == 1
    assert "needs the package wntr, which is not installed: pip install 'uem[epanet]'" in capsys.readouterr().err


def test_a_file_that_is_none_is_told(tmp_path, capsys):
    (tmp_path / "small.inp").write_text("[PIPES]\n P1 A B x\n")
    assert main([str(tmp_path / "small.inp")]) == 1
    assert "EPANET file cannot be read" in capsys.readouterr().err
