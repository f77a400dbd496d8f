"""Drawn pipes become networks: GeoJSON and CSV tables."""

import json
from math import hypot

import pytest

import uem
from uem.offline.importing import main
from uem.territories.load import load
from uem.twin_core.plant.network import PumpControl


def line(points, **keys):
    geometry = {"type": "LineString", "coordinates": points}
    return {"type": "Feature", "geometry": geometry, "properties": keys}


def place(point, **keys):
    return {"type": "Feature", "geometry": {"type": "Point", "coordinates": point}, "properties": keys}


STREET = [
    line([[0, 0], [100, 0], [100, 50]], id="main", DN="DN 80/160"),
    line([[50.2, 0.1], [50, 30]], id="service", dn=50),  # ends 10 cm beside the main pipe
    line([[100.3, 50.0], [100, 90]], id="far", dn=32),  # 30 cm off the main pipe's end
]
PLACES = [
    place([0, 0], name="plant", kind="plant"),
    place([50, 30], name="school", kind="customer", heat_kw=120),
    place([100, 90], name="house", kind="customer", heat_kw="30"),
]


@pytest.fixture
def imported(tmp_path, capsys):
    def make(features, *options):
        path = tmp_path / "district.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        code = main([str(path), "--coordinates", "metres", "--force", "--json", *options])
        said = capsys.readouterr()
        if code:
            return said.err
        return load(tmp_path / "district.toml").networks[0], json.loads(said.out)["notes"]

    return make


def test_ends_are_snapped_and_tees_are_cut(imported):
    network, _ = imported(STREET)
    ends = {pipe.name: (pipe.start, pipe.end) for pipe in network.pipes}
    assert set(ends) == {"main-1", "main-2", "service", "far"}
    assert ends["main-1"][1] == ends["main-2"][0] == ends["service"][0]
    assert ends["main-2"][1] == ends["far"][0]
    assert sum(p.length_m for p in network.pipes if p.name.startswith("main")) == pytest.approx(150.0)
    assert network.pipe_class("dn80").inner_diameter_m == pytest.approx(0.0825)


def test_the_tolerance_decides_what_is_one_node(imported):
    network, _ = imported(STREET, "--tolerance", "0.05")
    assert len(network.pipes) == 3
    assert len(network.nodes) == 6


def test_customers_in_kilowatts_make_a_closed_network(imported):
    network, notes = imported(STREET + PLACES)
    loads = {unit.start: unit for unit in network.units if unit.name.endswith("load")}
    assert loads["school"].heat_w == 120e3
    assert loads["house"].end == "house-return"
    (pump,) = network.pumps
    assert pump.control is PumpControl.CRITICAL
    assert (pump.start, pump.critical_start) == ("plant-return", "house")
    assert len(network.pipes) == 2 * 4
    back = next(pipe for pipe in network.pipes if pipe.name == "service-return")
    there = next(pipe for pipe in network.pipes if pipe.name == "service")
    assert (back.start, back.end) == (f"{there.end}-return", f"{there.start}-return")
    assert not [note for note in notes if note["severity"] == "lost"]


def test_a_drawn_district_runs_and_everybody_gets_heat(imported, tmp_path):
    imported(STREET + PLACES)
    run = uem.run(tmp_path / "district.toml", hours=0.5)
    assert -run.columns["unit/school-load/heat"][-1] == pytest.approx(120e3, rel=1e-3)
    assert -run.columns["unit/house-load/heat"][-1] == pytest.approx(30e3, rel=1e-3)
    there = {n.name: run.columns[f"node/{n.name}/pressure"][-1] for n in run.network.nodes}
    assert there["house"] - there["house-return"] == pytest.approx(0.6e5, rel=1e-3)


def test_a_customer_far_from_every_pipe_and_unused_columns_are_told(imported):
    _, notes = imported([*STREET, *PLACES, place([500, 500], name="hermit", kind="customer", heat_kw=5, colour="red")])
    told = {note["element"]: note["text"] for note in notes}
    assert told["feature hermit"] == "no pipe within 0.5 m"
    assert told["columns"] == "not used: colour"


def test_degrees_are_turned_into_metres(tmp_path, capsys):
    # A minute of latitude is about a nautical mile, at 45 degrees north 1852.2 m.
    path = tmp_path / "d.geojson"
    features = [line([[4.8, 45.0], [4.8, 45 + 1 / 60]], dn=100)]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert main([str(path), "--json"]) == 0
    capsys.readouterr()
    (pipe,) = load(tmp_path / "d.toml").networks[0].pipes
    assert pipe.length_m == pytest.approx(1852.2, abs=0.3)


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ([line([[0, 0], [10, 0]], id="p")], "feature p: no diameter; name its column by --column dn=NAME or give --dn"),
        ([line([[0, 0], [10, 0]], id="p", dn=83)], "feature p: DN '83' is not in the table; known: 15, 20"),
        ([place([0, 0])], "holds no pipes"),
        ([line([[0, "x"], [10, 0]], id="p", dn=80)], "feature p: coordinates cannot be read"),
        ([line([[0, 0], [10, 0]], id="p", dn=80, length="long")], "feature p: length_m: 'long' is not a number"),
    ],
)
def test_what_is_missing_or_wrong_is_told_with_its_feature(features, said, imported):
    assert said in imported(features)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 20_000 + "]" * 20_000, "nested too deep"),
        ("1" * 5_000, "Exceeds the limit"),
        ('{"type": "FeatureCollection", "features": 1}', "features are no list"),
        ('{"type": "FeatureCollection", "features": [1]}', "feature 0: no GeoJSON feature"),
        ('{"type": "FeatureCollection", "features": [{"geometry": "x"}]}', "feature 0: no GeoJSON feature"),
    ],
    ids=["deep", "long", "number", "numbers", "text"],
)
@pytest.mark.parametrize("ending", ["json", "geojson"])
def test_a_file_that_is_no_geojson_is_told(text, said, ending, tmp_path, capsys):
    path = tmp_path / f"district.{ending}"
    path.write_text(text)
    assert main([str(path)]) == 1
    assert said in capsys.readouterr().err


def test_tables_of_another_office_are_read_by_the_names_of_their_columns(tmp_path, capsys):
    (tmp_path / "pipes.csv").write_text("Name;von;nach;Nennweite;Laenge\nL1;A;B;65;120,5\nL2;B;C;40;30\n")
    (tmp_path / "places.csv").write_text("name;kind;x;y;heat_kw\nA;plant;0;0;\nC;building;150;0;80\n")
    names = ("start=von", "end=nach", "dn=Nennweite", "length_m=Laenge")
    columns = [text for name in names for text in ("--column", name)]
    assert main([str(tmp_path / "pipes.csv"), "--places", str(tmp_path / "places.csv"), *columns]) == 0
    assert "pipes.toml: " in capsys.readouterr().out
    network = load(tmp_path / "pipes.toml").networks[0]
    assert [pipe.length_m for pipe in network.pipes] == [120.5, 30.0, 120.5, 30.0]
    assert [unit.name for unit in network.units] == ["C-load", "A-heat"]
    assert hypot(*next(n.position_m for n in network.nodes if n.name == "C")) == pytest.approx(150.0)


def test_a_column_option_that_names_nothing_is_told(tmp_path, capsys):
    (tmp_path / "pipes.csv").write_text("name,start,end\n")
    assert main([str(tmp_path / "pipes.csv"), "--column", "diameter"]) == 1
    assert "--column diameter: write KEY=NAME, where KEY is one of name, start" in capsys.readouterr().err
