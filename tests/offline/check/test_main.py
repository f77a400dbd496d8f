"""Mistakes that engineers make are found by name, with a remedy; a sound network is left in peace."""

import json
import shutil
from dataclasses import replace

import pytest

from uem.offline.check import design, sizes, survey, topology
from uem.offline.check.finding import Severity
from uem.offline.check.main import check, main
from uem.offline.run import run
from uem.territories.load import find, load
from uem.twin_core.plant.network import Network, Node, NodeKind, Pipe, PipeClass, PumpControl, Valve
from uem.twin_core.plant.sides import is_consumer


@pytest.fixture(scope="module")
def quartier():
    return load("quartier")


@pytest.fixture(scope="module")
def ring(quartier):
    return quartier.networks[0]


@pytest.fixture
def changed(tmp_path, capsys):
    """What `uem check --json` says of the shipped district with one text of its file replaced."""

    def make(old, new, *options):
        text = find("quartier").read_text("utf-8")
        assert old in text
        for name in ("tags.csv", "shop.csv"):
            shutil.copy(find("quartier").with_name(name), tmp_path)
        (tmp_path / "territory.toml").write_text(text.replace(old, new, 1))
        code = main([str(tmp_path), "--json", *options])
        (document,) = json.loads(capsys.readouterr().out)["networks"]
        return code, document

    return make


def pipe(name, start, end, length_m=100.0, pipe_class="c"):
    return Pipe(name=name, start=start, end=end, length_m=length_m, pipe_class=pipe_class)


def made(name, inner_m):
    return PipeClass(
        name=name,
        inner_diameter_m=inner_m,
        outer_diameter_m=inner_m * 1.1,
        wall_density_kg_m3=7850.0,
        wall_heat_capacity_j_kgk=480.0,
        loss_resistance_mk_w=4.0,
    )


def open_network(nodes, pipes, **more):
    source = Node(name="s", kind=NodeKind.SOURCE, pressure_pa=5e5)
    classes = (made("c", 0.1), made("thin", 0.05))
    return Network(name="n", nodes=(source, *nodes), pipes=tuple(pipes), pipe_classes=classes, **more)


def told(findings):
    return {(f.check, f.element) for f in findings}


def test_the_shipped_district_has_nothing_to_complain_about(quartier, ring):
    found, figures = check(quartier, ring)
    assert found == []
    assert figures["critical_customer"] == "block-4"
    assert figures["critical_pressure_drop_bar"] == pytest.approx(0.6, abs=0.01)
    assert figures["heat_to_customers_kw"] == pytest.approx(1505.0, rel=1e-3)


def test_a_part_that_hangs_on_nothing_is_an_island():
    network = open_network([Node(name=n) for n in "abc"], [pipe("sa", "s", "a"), pipe("bc", "b", "c")])
    (found,) = topology.islands(network)
    assert (found.severity, found.element) == (Severity.ERROR, "node b")
    assert "b, c" in found.text


def test_a_node_without_a_pipe_is_told_as_such():
    (found,) = topology.islands(open_network([Node(name="a"), Node(name="b")], [pipe("sa", "s", "a")]))
    assert found.text == "nothing leads there"


def test_a_closed_valve_on_the_only_way_makes_a_customer_unreachable():
    valve = Valve(name="v", start="a", end="b", inner_diameter_m=0.1, opening=0.0)
    house = Node(name="b", kind=NodeKind.CONSUMER, demand_kg_s=1.0)
    network = open_network([Node(name="a"), house], [pipe("sa", "s", "a")], valves=(valve,))
    assert told(topology.unreachable(network)) == {("unreachable", "node b")}
    assert not list(topology.unreachable(replace(network, valves=(replace(valve, opening=1.0),))))


def test_an_end_without_customer_and_two_pipes_between_the_same_nodes_are_told():
    house = Node(name="h", kind=NodeKind.CONSUMER, demand_kg_s=1.0)
    pipes = [pipe("sa", "s", "a"), pipe("ah", "a", "h"), pipe("again", "h", "a"), pipe("ax", "a", "x")]
    network = open_network([Node(name="a"), house, Node(name="x")], pipes)
    assert told(topology.findings(network)) == {("dead ends", "pipe ax"), ("duplicates", "pipe ah")}


def test_a_customer_drawn_the_wrong_way_round_is_named(changed):
    code, document = changed('start = "hotel", end = "hotel-return"', 'start = "hotel-return", end = "hotel"')
    assert code == 1
    crossed = [f for f in document["findings"] if f["check"] == "crossed"]
    assert [f["element"] for f in crossed] == ["unit hotel"]
    assert crossed[0]["remedy"] == "swap its start and end"


def test_a_pipe_between_supply_and_return_is_named(changed):
    wrong = '  { name = "slip", start = "C", end = "D-return", length_m = 140.0, pipe_class = "dn50" },\n'
    anchor = '  { name = "header"'
    code, document = changed(anchor, wrong + anchor)
    assert code == 1
    assert [f["element"] for f in document["findings"] if f["check"] == "crossed"] == ["pipe slip"]
    assert document["design"] is None


SCHOOL = 'end = "school", length_m = 89.7, pipe_class = "dn50"'
STATION = 'end = "school-return", nominal_heat_kw = 180.0, primary_supply_temp_c = '
BRANCH = 'length_m = 155.0, pipe_class = "dn65"'
PUMP = '"critical", pressure_rise_bar = 0.6'
FREE = 'flow_control = "free", nominal_flow_kg_s = 12.0, nominal_pressure_drop_bar = 0.02, '
MISTAKES = [
    (FREE, "", ("error", "minimum load", "node plant")),
    ("nominal_heat_kw = 1600.0", "nominal_heat_kw = 300.0", ("error", "capacity", "network")),
    (f"{STATION}80.0", f"{STATION}95.0", ("warning", "ratings", "unit school")),
    (SCHOOL, SCHOOL.replace("89.7", "30.0"), ("warning", "lengths", "pipe A-school")),
    (SCHOOL, SCHOOL.replace("dn50", "dn32"), ("error", "deliveries", "unit school")),
    (BRANCH, BRANCH.replace("dn65", "dn32"), ("warning", "velocities", "pipe C-F")),
    (BRANCH, BRANCH.replace("dn65", "dn32"), ("warning", "diameters", "pipe C-F")),
    ("elevation_m = 257.0", "elevation_m = 57.0", ("warning", "elevations", "node C")),
    ("pressure_bar = 2.5", "pressure_bar = 0.3", ("error", "pressures", "node F-return")),
    ("pressure_bar = 2.5", "pressure_bar = 15.5", ("warning", "pressures", "node plant")),
    (PUMP, PUMP.replace("critical", "pressure").replace("0.6", "0.25"), ("error", "deliveries", "unit block-4")),
]


@pytest.mark.parametrize(("old", "new", "finding"), MISTAKES, ids=[" ".join(f[1:]) for _, _, f in MISTAKES])
def test_a_mistake_is_found_by_name(old, new, finding, changed):
    code, document = changed(old, new)
    found = [(f["severity"], f["check"], f["element"]) for f in document["findings"]]
    assert finding in found
    assert code == int(any(severity == "error" for severity, _, _ in found))


def checked(territory, network):
    return check(replace(territory, networks=(network,), factories=()), network)


@pytest.mark.parametrize("control", ["critical", "pressure", "speed"])
def test_a_pump_drawn_the_wrong_way_round_is_the_one_error(control, quartier, ring):
    (pump,) = ring.pumps
    rise_pa = 6e4 if control == "critical" else 2e5
    right = replace(ring, pumps=(replace(pump, control=PumpControl(control), pressure_rise_pa=rise_pa),))
    assert [f for f in checked(quartier, right)[0] if f.severity is Severity.ERROR] == []
    wrong = replace(right, pumps=(replace(right.pumps[0], start=pump.end, end=pump.start),))
    found, figures = checked(quartier, wrong)
    assert [(f.check, f.element, f.remedy) for f in found if f.severity is Severity.ERROR] == [
        ("pumps", "pump pump", "swap its start and end")
    ]
    assert figures == {}


def test_a_weak_pump_beside_a_strong_one_stands(quartier, ring):
    (pump,) = ring.pumps
    weak = replace(pump, name="weak", control=PumpControl.SPEED, critical_start="", critical_end="", shutoff_head_m=1.0)
    found, _ = checked(quartier, replace(ring, pumps=(pump, weak)))
    assert [(f.severity, f.check, f.element) for f in found] == [(Severity.WARNING, "pumps", "pump weak")]


def test_a_network_of_customers_alone_lacks_heat_and_says_so_once(quartier, ring):
    alone = replace(ring, units=tuple(unit for unit in ring.units if is_consumer(unit)))
    found, figures = checked(quartier, alone)
    (lack,) = [f for f in found if f.check in ("feeds", "unreachable")]
    assert (lack.severity, lack.element) == (Severity.ERROR, "network")
    assert lack.text == "12 customers (school, gym, town-hall, hotel, clinic and 7 more), and nothing that gives heat"
    assert figures == {}


def test_water_that_is_fed_in_at_a_node_reaches_customers():
    nodes = [Node(name="a", demand_kg_s=-1.0), Node(name="b", kind=NodeKind.CONSUMER, demand_kg_s=1.0)]
    network = open_network([*nodes, Node(name="c")], [pipe("ab", "a", "b"), pipe("sc", "s", "c")])
    assert not list(topology.unreachable(network))


def test_ends_that_missed_each_other_are_told():
    nodes = [Node(name="a", position_m=(10.0, 0.0)), Node(name="b", position_m=(10.01, 0.0)), Node(name="c")]
    network = open_network(nodes, [pipe("sa", "s", "a"), pipe("bc", "b", "c")])
    assert told(survey.same_places(network)) == {("same place", "node a")}


def test_lengths_are_not_judged_by_a_drawing_that_is_not_to_scale():
    nodes = [Node(name=n, position_m=(10.0 * k, 0.0)) for k, n in enumerate("abcd")]
    network = open_network(nodes, [pipe("ab", "a", "b", 900.0), pipe("bc", "b", "c", 900.0), pipe("cd", "c", "d", 1.0)])
    (found,) = survey.lengths(network)
    assert (found.severity, found.element) == (Severity.NOTE, "network")


def test_a_ring_may_have_any_diameters():
    pipes = [pipe("sa", "s", "a", pipe_class="thin"), pipe("ab", "a", "b"), pipe("bs", "b", "s"), pipe("bc", "b", "c")]
    network = open_network([Node(name=n) for n in "abc"], pipes)
    assert list(sizes.narrowing(network)) == []
    cut = replace(network, pipes=(pipes[0], pipes[1], pipes[3]))
    assert [f.element for f in sizes.narrowing(cut)] == ["pipe sa"]


def test_the_design_day_of_water_without_heat_has_no_thermal_notes(quartier):
    house = Node(name="h", kind=NodeKind.CONSUMER, demand_kg_s=0.05)
    network = open_network([house], [pipe("sh", "s", "h")])
    day = run(replace(quartier, networks=(network,), factories=()), 0.1, settle_hours=0.0, every_s=60.0)
    assert list(design.velocities(day)) == []


def test_the_command_shows_findings_with_their_remedies(tmp_path, capsys):
    assert main(["quartier", "--no-design"]) == 0
    network, shop, *week = capsys.readouterr().out.splitlines()
    assert network == "network ring: 0 errors, 0 warnings, 0 notes"
    assert shop == "factory hardening-shop: 0 errors, 0 warnings, 0 notes"
    assert len(week) == 2
    assert main(["quartier"]) == 0
    assert "critical customer block-4: 0.60 bar across it" in capsys.readouterr().out
    assert main(["atlantis"]) == 1
    assert "unknown territory" in capsys.readouterr().err
