"""Networks in territory files: return lines, dimensions, units, and what is wrong with them."""

import math
import re
from pathlib import Path

import pytest

from uem.territories.dimensions import STEEL
from uem.territories.load import load
from uem.territories.schema_network import Network as Table
from uem.territories.schema_units import build_unit, kind_of, unit_kinds, unit_table
from uem.territories.write import toml
from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.plant import units
from uem.twin_core.plant.network import PumpControl

FILE = """
name = "t"
[[networks]]
name = "n"
ambient_c = 8.0
nodes = [
  { name = "plant", pressure_bar = 6.0, x_m = 0.0, y_m = 0.0, elevation_m = 5.0 },
  { name = "house", elevation_m = 7.0 },
  { name = "inlet" },
]
pipe_classes = [{ name = "street", dn = 80, twin_resistance_mk_w = 9.0 }]
pipes = [{ name = "main", start = "plant", end = "house", length_m = 100.0, pipe_class = "street", loss_coefficient = 2.0 }]
pumps = [
  { name = "pump", start = "plant-return", end = "inlet", shutoff_head_m = 30.0, curve_m_s2_kg2 = 0.1, control = "pressure", pressure_rise_bar = 1.5 },
]
units = [
  { kind = "heat_only_boiler", name = "boiler", start = "inlet", end = "plant", nominal_heat_kw = 200.0, nominal_flow_kg_s = 1.0, ramp_kw_min = 30.0, fuel = "wood" },
  { kind = "substation", name = "house", start = "house", end = "house-return", nominal_heat_kw = 100.0 },
]
[networks.mirror]
exclude = ["inlet"]
"""  # noqa: E501 - a unit on its line, as files have it


@pytest.fixture
def network(tmp_path):
    def read(old="", new=""):
        assert old in FILE
        (tmp_path / "territory.toml").write_text(FILE.replace(old, new, 1))
        return load(tmp_path).networks[0]

    return read


def test_the_return_line_is_the_supply_line_the_other_way(network):
    found = network()
    assert [node.name for node in found.nodes] == ["plant", "house", "inlet", "plant-return", "house-return"]
    main, back = found.pipes
    assert (back.name, back.start, back.end) == ("main-return", "house-return", "plant-return")
    assert (back.length_m, back.loss_coefficient, back.pipe_class) == (main.length_m, 2.0, "street")
    assert found.nodes[4].elevation_m == 7.0
    assert found.nodes[3].pressure_pa is None
    assert main.twin == back.twin == ""


def test_both_lines_may_share_a_casing_or_differ_in_class(network):
    found = network('exclude = ["inlet"]', 'exclude = ["inlet"]\ntwin = true')
    assert [pipe.twin for pipe in found.pipes] == ["main-return", "main"]
    with pytest.raises(InvalidTerritory, match=r"mirror: in the return line, pipes.*class 'street-r' does not exist"):
        network('exclude = ["inlet"]', 'exclude = ["inlet"]\npipe_class_suffix = "-r"')


def test_insulation_stores_heat_where_its_capacity_is_told(network):
    layers = "conductivity_w_mk = 0.03, casing_diameter_mm = 160.0, film_w_m2k = 9.0"
    assert network("dn = 80", f"dn = 80, insulation = {{ {layers} }}").pipe_classes[0].insulation_diameter_m == 0.0
    told = f"dn = 80, insulation = {{ {layers}, heat_capacity_j_m3k = 8.4e4 }}"
    made = network("dn = 80", told).pipe_classes[0]
    assert made.insulation_heat_capacity_j_m3k == 8.4e4
    assert (made.insulation_diameter_m, made.insulation_conductivity_w_mk) == (pytest.approx(0.16), 0.03)
    film = 1.0 / (9.0 * math.pi * 0.16)
    assert made.loss_resistance_mk_w == pytest.approx(made.insulation_resistance_mk_w + film)


def test_a_nominal_diameter_stands_for_a_buried_steel_pipe(network):
    made = network().pipe_classes[0]
    assert (made.outer_diameter_m, made.inner_diameter_m) == (0.0889, pytest.approx(0.0825))
    foam, soil = math.log(160 / 88.9) / (2 * math.pi * 0.027), math.log(3600 / 160) / (2 * math.pi * 1.6)
    assert made.loss_resistance_mk_w == pytest.approx(foam + soil)
    assert all(0 < d.inner_mm < d.outer_mm < d.casing_mm for d in STEEL.values())
    assert list(STEEL) == sorted(STEEL)


def test_keys_of_units_are_turned_into_si(network):
    boiler, house = network().units
    assert (boiler.nominal_heat_w, boiler.ramp_w_s, boiler.fuel) == (200e3, pytest.approx(500.0), units.Fuel.WOOD)
    assert house.primary_supply_temp_k == pytest.approx(363.15)
    pump = network().pumps[0]
    assert (pump.control, pump.pressure_rise_pa) == (PumpControl.PRESSURE, pytest.approx(1.5e5))
    assert network().ambient_temp_k == pytest.approx(281.15)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"heat_only_boiler"',
            '"boiler"',
            r"units\[0\]\.kind: 'boiler' is no kind of unit; kinds are .*chp",
        ),
        ("ramp_kw_min", "ramp_w_s", r"units\[0\]\.ramp_w_s: unknown key; allowed: kind, name, .*ramp_kw_min"),
        ("nominal_heat_kw = 200.0", "nominal_heat_kw = 0", r"units\[0\]\.nominal_heat_kw: 0\.0 must be positive"),
        (
            "nominal_heat_kw = 200.0",
            "nominal_heat_kw = 200.0, minimum_heat_kw = 250",
            r": 1 problem\n  networks\[0\]\.units\[0\]\.minimum_heat_kw: 250\.0 must not exceed nominal_heat_kw 200",
        ),
        (
            "nominal_heat_kw = 200.0",
            "nominal_heat_kw = 200.0, supply_temp_c = 165.0",
            r"units\[0\]\.supply_temp_c: 165\.0 must be from 0 to 150\n.*supply_temp_c: 165\.0 must not exceed",
        ),
        (
            "nominal_heat_kw = 100.0",
            "nominal_heat_kw = 100.0, design_outdoor_temp_c = 20.0",
            r"units\[1\]\.design_outdoor_temp_c: 20\.0 must be below heating_limit_temp_c 15",
        ),
        ("pressure_bar = 6.0", "pressure_bar = -0.5", r"nodes\[0\]\.pressure_bar: .*greater than 0 \(got -0\.5\)"),
        (
            'end = "house-return", nom',
            'end = "hut", nom',
            r"units\[1\]\.end: node 'hut' does not exist; nodes are",
        ),
        ("pressure_bar = 6.0, ", "", r"nodes: none has a pressure_bar"),
        (", y_m = 0.0", "", r"nodes\[0\]: Value error, give x_m and y_m together"),
        ("dn = 80", "dn = 81", r"pipe_classes\[0\]\.dn: Value error, DN 81 is not in the table; known: 15, 20"),
        ("dn = 80", "dn = 80, inner_diameter_mm = 80", r"give either dn or inner_diameter_mm"),
        ("dn = 80, ", "", r"give inner_diameter_mm and outer_diameter_mm, or dn"),
        ('exclude = ["inlet"]', 'exclude = ["outlet"]', r"mirror\.exclude: node 'outlet' does not exist"),
        ("shutoff_head_m = 30.0", "shutoff_head_m = 0", r"pumps\[0\]\.shutoff_head_m: .*greater than 0 \(got 0\)"),
    ],
)
def test_what_is_wrong_is_told_by_the_keys_of_the_file(old, new, said, network):
    with pytest.raises(InvalidTerritory, match=said):
        network(old, new)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("length_m = 100.0", 'length_m = "100.0"', r"pipes\[0\]\.length_m: .*valid number \(got '100\.0'\)"),
        ("dn = 80", 'dn = "80"', r"pipe_classes\[0\]\.dn: .*valid integer \(got '80'\)"),
        ("nominal_heat_kw = 200.0", 'nominal_heat_kw = "200"', r"units\[0\]\.nominal_heat_kw: .*valid number"),
        ("nominal_heat_kw = 200.0", "nominal_heat_kw = true", r"units\[0\]\.nominal_heat_kw: .*valid number"),
        ('exclude = ["inlet"]', 'exclude = ["inlet"]\ntwin = "yes"', r"mirror\.twin: .*valid boolean \(got 'yes'\)"),
    ],
)
def test_a_text_is_no_number(old, new, said, network):
    with pytest.raises(InvalidTerritory, match=said):
        network(old, new)


def test_a_tag_without_a_tag_table_is_told(network):
    with pytest.raises(InvalidTerritory, match=r"networks\[0\]\.nodes\[1\]\.flow_tag: tag 'x' is not in the tag table"):
        network('name = "house", elevation_m', 'name = "house", flow_tag = "x", elevation_m')


EXAMPLES = [
    units.HeatSource(name="a", start="x", end="y", supply_temp_k=350.0, nominal_flow_kg_s=1.0),
    units.HeatLoad(name="a", start="x", end="y", heat_w=5e3, temperature_drop_k=30.0, nominal_flow_kg_s=1.0),
    units.Substation(
        name="a",
        start="x",
        end="y",
        nominal_heat_w=5e4,
        demand=units.HeatDemand.BUILDING,
        building=units.Building(
            air_capacity_j_k=1e7,
            wall_capacity_j_k=3e8,
            outdoor_w_k=120.0,
            wall_inside_w_k=900.0,
            wall_outside_w_k=300.0,
        ),
    ),
    units.Chp(
        name="a",
        start="x",
        end="y",
        nominal_heat_w=1e6,
        nominal_flow_kg_s=5.0,
        kind=units.ChpKind.EXTRACTION,
        nominal_electricity_w=2e6,
    ),
    units.HeatPump(
        name="a",
        start="x",
        end="y",
        nominal_heat_w=1e5,
        nominal_flow_kg_s=1.0,
        source_flow_kg_s=2.0,
        table_source_temp_k=(275.15, 285.15),
        table_outlet_temp_k=(323.15, 333.15),
        table_cop=((3.0, 2.5), (4.0, 3.2)),
    ),
    units.StorageTank(name="a", start="x", end="y", volume_m3=50.0, height_m=8.0, maximum_flow_kg_s=4.0),
]


@pytest.mark.parametrize("unit", EXAMPLES, ids=kind_of)
def test_a_unit_written_to_a_file_is_read_as_the_same(unit, tmp_path):
    assert list(unit.problems()) == []
    table = {"name": "n", "nodes": [{"name": "x", "pressure_bar": 5.0}, {"name": "y"}], "units": [unit_table(unit)]}
    table |= {"pipe_classes": [{"name": "c", "dn": 50}]}
    table |= {"pipes": [{"name": "p", "start": "y", "end": "x", "length_m": 1.0, "pipe_class": "c"}]}
    (tmp_path / "territory.toml").write_text(toml({"name": "t", "networks": [table]}))
    (found,) = load(tmp_path).networks[0].units
    assert type(found) is type(unit)
    assert unit_table(found) == unit_table(unit)


def test_every_unit_of_the_core_has_a_table():
    named = {cls.__name__ for cls in unit_kinds().values()}
    assert {"HeatSource", "Substation", "HeatPump", "StorageTank", "DumpCooler"} <= named
    assert not {"Unit", "Producer", "Building"} & named
    table = Table.model_validate(
        {
            "name": "n",
            "nodes": [],
            "pipe_classes": [],
            "pipes": [],
            "units": [{"kind": "heat_source", "name": "s", "start": "a", "end": "b", "supply_temp_c": 80}],
        }
    )
    assert build_unit(table.units[0]) == units.HeatSource(name="s", start="a", end="b", supply_temp_k=353.15)


def test_the_network_and_the_factory_of_the_guide_load(tmp_path):
    page = (Path(__file__).resolve().parents[2] / "docs" / "guide" / "model-files.md").read_text("utf-8")
    network, factory, _ = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "territory.toml").write_text(network + factory)
    found = load(tmp_path)
    assert [unit.name for unit in found.networks[0].units] == ["boiler", "house"]
    assert [machine.name for machine in found.factories[0].factory.machines] == ["lathe", "furnace"]


PRICE = """
[[prices]]
carrier = "wood"
eur_per_kwh = 0.03
source = "contract of 2024"
date = 2024-01-01
"""


def test_prices_of_a_territory_are_those_of_its_networks(network):
    (price,) = network('name = "t"\n', f'name = "t"\n{PRICE}').prices
    assert (price.carrier, price.eur_per_kwh) == ("wood", 0.03)
    assert (price.source, price.date) == ("contract of 2024", "2024-01-01")
    assert network().prices == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"wood"', '"peat"', "prices[0].carrier"),
        ("0.03", "1e9", "prices[0].eur_per_kwh"),
        ('source = "contract of 2024"\n', "", "prices[0].source"),
        ("2024-01-01", '"some day"', "prices[0].date"),
        ("2024-01-01\n", f"2024-01-01\n{PRICE}", 'prices: carrier "wood" is defined 2 times'),
    ],
)
def test_a_price_that_cannot_be_is_told(network, old, new, told):
    with pytest.raises(InvalidTerritory) as error:
        network('name = "t"\n', f'name = "t"\n{PRICE.replace(old, new, 1)}')
    assert any(told in problem for problem in error.value.problems)
