"""Nets of pandapipes become territories that load."""

import json

import numpy as np
import pytest

import uem
from uem.offline.importing import main
from uem.territories.importers.pandapipes import draft
from uem.territories.load import load
from uem.territories.write import toml
from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.network import NodeKind, ValveKind
from uem.twin_core.plant.units import HeatLoad

pytestmark = pytest.mark.filterwarnings("ignore")

WATER = [
    "heat_transfer_delta",
    "heat_transfer_heights",
    "heat_transfer_one_source",
    "schutterwald_heat",
    "water_combined_versatility",
    "water_meshed_2valves",
    "water_meshed_pumps",
    "water_strand_net_2pumps",
    "water_tcross_valves",
]


@pytest.fixture(scope="module")
def pandapipes():
    import pandapipes  # takes a second, so not while tests are collected
    import pandapipes.networks

    return pandapipes


@pytest.fixture
def networks(pandapipes):
    return pandapipes.networks


@pytest.fixture
def imported(tmp_path):
    def make(net, name="net"):
        made = draft(net, name)
        path = tmp_path / f"{name}.toml"
        path.write_text(toml(made.territory()))
        return load(path).networks[0], made.notes

    return make


@pytest.mark.parametrize("name", WATER)
def test_an_example_net_keeps_its_parts(name, imported, networks):
    net = getattr(networks, name)()
    network, _ = imported(net, name)
    of_pipes = int((net.valve.et == "pi").sum()) if len(net.valve) else 0
    circulation = len(net.circ_pump_pressure)
    assert len(network.pipes) == len(net.pipe)
    assert len(network.nodes) == len(net.junction) + of_pipes + circulation
    assert len(network.valves) == len(net.valve)
    assert len(network.pumps) == len(net.pump) + circulation
    assert len(network.units) == len(net.heat_consumer) + circulation
    assert sum(pipe.length_m for pipe in network.pipes) == pytest.approx(
        net.pipe.length_km.sum() * 1e3, rel=1e-6, abs=4
    )
    demand = sum(node.demand_kg_s for node in network.nodes)
    assert demand == pytest.approx(net.sink.mdot_kg_per_s.sum() - net.source.mdot_kg_per_s.sum(), abs=1e-9)


def test_pressures_temperatures_and_losses_keep_their_values(imported, pandapipes):
    net = pandapipes.create_empty_network(fluid="water")
    a = pandapipes.create_junction(net, pn_bar=5, tfluid_k=350, height_m=12.5, name="plant", geodata=(10.0, 20.0))
    b = pandapipes.create_junction(net, pn_bar=5, tfluid_k=350, name="plant", geodata=(110.0, 20.0))
    pandapipes.create_ext_grid(net, a, p_bar=5.5, t_k=353.15)
    pandapipes.create_pipe_from_parameters(
        net, a, b, 0.1, inner_diameter_mm=80, k_mm=0.1, u_w_per_m2k=2.0, text_k=281.15, loss_coefficient=1.5
    )
    pandapipes.create_sink(net, b, 2.0, scaling=0.5)
    network, notes = imported(net)
    plant, end = network.nodes
    assert (plant.name, end.name) == ("plant", "plant-2")
    assert (plant.kind, plant.elevation_m, plant.position_m) == (NodeKind.SOURCE, 12.5, (10.0, 20.0))
    assert plant.pressure_pa == pytest.approx(5.5e5)
    assert plant.supply_temp_k == pytest.approx(353.15)
    assert end.demand_kg_s == pytest.approx(1.0)
    (pipe,), (made,) = network.pipes, network.pipe_classes
    assert (pipe.length_m, pipe.loss_coefficient) == (100.0, 1.5)
    assert made.roughness_m == pytest.approx(1e-4)
    assert network.ambient_temp_k == pytest.approx(281.15)
    # As much heat per kelvin as pandapipes counts: u over the surface of the diameter that it knows.
    assert 1.0 / made.loss_resistance_mk_w == pytest.approx(2.0 * 3.14159265 * 0.08)
    assert [note.text for note in notes] == ["1 without a wall: steel of 3 mm"]


def test_a_valve_at_a_pipe_and_a_flow_control_stand_between_nodes(imported, pandapipes):
    net = pandapipes.create_empty_network(fluid="water")
    a, b, c = pandapipes.create_junctions(net, 3, pn_bar=5, tfluid_k=300)
    pipe = pandapipes.create_pipe_from_parameters(net, a, b, 0.1, inner_diameter_mm=80)
    pandapipes.create_valve(net, b, pipe, "pi", inner_diameter_mm=80, opened=False)
    pandapipes.create_flow_control(net, b, c, controlled_mdot_kg_per_s=0.7)
    pandapipes.create_ext_grid(net, a, p_bar=5, t_k=300)
    network, _ = imported(net)
    shut, held = network.valves
    assert shut.opening == 0.0
    assert network.pipes[0].end == shut.end != shut.start == network.nodes[1].name
    assert (held.kind, held.flow_kg_s) == (ValveKind.FLOW, 0.7)


def test_an_imported_net_runs_to_the_pressures_that_pandapipes_finds(tmp_path, pandapipes, networks):
    net = networks.water_district_grid()
    pandapipes.pipeflow(net, friction_model="colebrook")
    path = tmp_path / "net.toml"
    path.write_text(toml(draft(net, "net").territory()))
    run = uem.run(path, hours=0.1, every_s=60.0, settle_hours=0.0)
    found = [run.columns[f"node/{node.name}/pressure"][-1] / 1e5 for node in run.network.nodes]
    # pandapipes counts from the air pressure at each height, 0.12 % of a column of water.
    np.testing.assert_allclose(found, net.res_junction.p_bar, rtol=5e-3)
    flow = [run.columns[f"pipe/{pipe.name}/flow"][-1] for pipe in run.network.pipes]
    np.testing.assert_allclose(flow, net.res_pipe.mdot_from_kg_per_s, atol=0.01 * np.abs(flow).max())


def test_an_imported_closed_net_delivers_its_heat(tmp_path, networks):
    path = tmp_path / "net.toml"
    path.write_text(toml(draft(networks.schutterwald_heat(), "net").territory()))
    run = uem.run(path, hours=0.5, settle_hours=2.0, fidelity="planning")
    loads = [u for u in run.network.units if isinstance(u, HeatLoad)]
    heat = [-run.columns[f"unit/{u.name}/heat"][-1] for u in loads]
    np.testing.assert_allclose(heat, [u.heat_w for u in loads], rtol=1e-3)
    assert run.summary()["energy_kwh"]["closure"] < 1e-9


def test_what_stays_behind_is_told(imported, networks):
    net = networks.schutterwald_heat()
    net.pipe.loc[net.pipe.index[3], "in_service"] = False
    _, notes = imported(net)
    lost = {note.element: note.text for note in notes if note.severity == "lost"}
    assert lost.keys() == {"substation", f"pipe {net.pipe.index[3]}"}
    assert "out of service" in lost[f"pipe {net.pipe.index[3]}"]


def test_gas_is_refused(networks):
    with pytest.raises(InvalidInput, match="carries STANET_fluid, a gas"):
        draft(networks.gas_one_pipe1())


def test_the_command_writes_a_file_with_its_notes_and_never_over_another(tmp_path, capsys, pandapipes, networks):
    pandapipes.to_json(networks.heat_transfer_delta(), str(tmp_path / "delta.json"))
    assert main([str(tmp_path / "delta.json"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"nodes": 3, "pipes": 3, "valves": 0, "pumps": 0, "units": 0}
    text = (tmp_path / "delta.toml").read_text()
    assert all(note["text"] in text for note in told["notes"])
    assert main([str(tmp_path / "delta.json")]) == 1
    assert "exists; name another file or say --force" in capsys.readouterr().err
    assert main([str(tmp_path / "delta.json"), "--force"]) == 0


def test_a_file_of_something_else_is_told(tmp_path, capsys):
    (tmp_path / "x.json").write_text('{"a": 1}')
    assert main([str(tmp_path / "x.json")]) == 1
    assert "pandapipes net cannot be read" in capsys.readouterr().err
