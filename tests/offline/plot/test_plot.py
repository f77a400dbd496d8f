"""Drawings show every pipe, tell supply from return, and have a scale with its unit."""

import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from uem.offline.plot.main import main
from uem.offline.plot.scene import RAMPS, Values, draw, ramp
from uem.offline.plot.svg import svg
from uem.offline.plot.values import Moment, values_of
from uem.territories.load import load
from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.layout import positions
from uem.twin_core.plant.network import Network, Node
from uem.twin_core.plant.sides import Side, is_consumer, sides

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def ring():
    return load("quartier").networks[0]


def moment(network, temp_k=350.0):
    return Moment(
        node_temp_k={n.name: temp_k for n in network.nodes},
        node_pressure_pa={n.name: 3e5 for n in network.nodes},
        pipe_flow_kg_s={p.name: 2.0 for p in network.pipes},
        time_s=3600.0,
    )


def test_customers_and_plants_tell_the_sides(ring):
    side = sides(ring)
    assert {n for n, s in side.items() if s is Side.RETURN} == {n for n in side if n.endswith("-return")} | {
        "suction",
    }


def test_every_pipe_is_drawn_once_and_return_is_dashed(ring):
    root = ET.fromstring(svg(draw(ring, values_of(ring, "diameter"))))
    titled = [line for line in root.iter(f"{SVG}polyline") if line.find(f"{SVG}title") is not None]
    lines = {line.find(f"{SVG}title").text.split(":")[0]: line for line in titled}
    assert lines.keys() == {pipe.name for pipe in ring.pipes}
    dashed = {name for name, line in lines.items() if "stroke-dasharray" in line.attrib}
    assert dashed == {name for name in lines if name.endswith("-return")} | {"header"}


def test_supply_and_return_of_one_trench_lie_beside_each_other(ring):
    strokes = {s.tip.split(":")[0]: s.points for s in draw(ring, values_of(ring, "diameter")).strokes if s.tip}
    there, back = np.array(strokes["A-B"]), np.array(strokes["A-B-return"])[::-1]
    assert np.hypot(*(there - back).T) == pytest.approx([5.2, 5.2], abs=0.1)


@pytest.mark.parametrize("by", ["temperature", "pressure", "flow", "diameter"])
def test_a_legend_names_the_quantity_and_its_unit(by, ring):
    texts = {t.text for t in draw(ring, values_of(ring, by, moment(ring))).texts}
    legends = {"temperature": "°C", "pressure": "bar", "flow": "kg/s", "diameter": "mm"}
    assert {f"{name}, {unit}" for name, unit in legends.items()} & texts == {f"{by}, {legends[by]}"}
    assert {"supply", "return", "customer", "plant", "clinic", "waste-heat"} <= texts


def test_the_scale_goes_from_the_lowest_to_the_highest_value(ring):
    pipe = {p.name: float(k) for k, p in enumerate(ring.pipes)}
    scene = draw(ring, Values(by="flow", pipe=pipe, node={}))
    strokes = {s.tip.split(":")[0]: s.colour for s in scene.strokes if s.tip}
    assert strokes[ring.pipes[0].name] == ramp("flow", 0.0) == RAMPS["flow"][0]
    assert strokes[ring.pipes[-1].name] == RAMPS["flow"][-1]


def test_what_is_not_known_is_grey_and_said_to_be(ring):
    scene = draw(ring, Values(by="pressure", pipe={}, node={}))
    assert {s.colour for s in scene.strokes if s.tip} == {"#b8c0c8"}
    assert "grey: not known" in {t.text for t in scene.texts}


def test_positions_are_kept_and_everything_lies_on_the_paper(ring):
    assert positions(ring)["C"] == (300.0, 190.0)
    scene = draw(ring, values_of(ring, "diameter"))
    points = np.array([p for s in scene.strokes for p in s.points])
    assert (points >= 0).all()
    assert (points[:, 0] <= scene.width).all()
    assert (points[:, 1] <= scene.height).all()


def test_without_positions_the_graph_is_laid_out(ring):
    bare = Network(
        name="bare",
        nodes=tuple(
            Node(name=n.name, kind=n.kind, pressure_pa=n.pressure_pa, elevation_m=n.elevation_m) for n in ring.nodes
        ),
        pipes=ring.pipes,
        pipe_classes=ring.pipe_classes,
        pumps=ring.pumps,
        units=ring.units,
    )
    place = positions(bare)
    assert set(place) == {n.name for n in ring.nodes}
    assert np.isfinite(np.array(list(place.values()))).all()
    houses = [place[u.start] for u in ring.units[3:]]
    assert len(set(houses)) == 12
    assert place["clinic"] == place["clinic-return"]


def test_plants_side_by_side_share_a_square_and_no_name_lies_on_another():
    valley = load("vallee").networks[0]
    scene = draw(valley, values_of(valley, "diameter"))
    names = {unit.name for unit in valley.units if not is_consumer(unit)}
    told = [text for text in scene.texts if text.text.removesuffix(" (storage)") in names]
    assert len(told) == len(names) == 9
    for one, other in combinations(told, 2):
        assert abs(one.y - other.y) > 12.0 or abs(one.x - other.x) > 120.0, f"{one.text} and {other.text}"
    squares = [shape for shape in scene.shapes if shape.tip and set(shape.tip.split(", ")) & names]
    assert len(squares) == 2


def test_names_are_escaped():
    tame = load("quartier").networks[0]
    wild = Network(name="n", title="a < b & c", nodes=tame.nodes, pipes=tame.pipes, pipe_classes=tame.pipe_classes,
                   pumps=tame.pumps, units=tame.units)  # fmt: skip
    root = ET.fromstring(svg(draw(wild, values_of(wild, "diameter"))))
    assert "a < b & c" in {text.text for text in root.iter(f"{SVG}text")}


def test_the_command_draws_a_run(tmp_path, capsys):
    out = tmp_path / "t.svg"
    arguments = ["quartier", "--by", "temperature", "--hours", "0.5", "--set", "outdoor_temp_c=-5", "--out", str(out)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert "coloured by temperature; after 0.5 h" in out.read_text()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_picture_of_dots_needs_matplotlib(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    assert main(["quartier", "--out", str(tmp_path / "t.png"), "--json"]) == 0
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["quartier", "--out", str(tmp_path / "u.png")]) == 1
    assert "needs matplotlib: pip install 'uem[plot]'" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told(tmp_path, ring):
    from uem.offline.plot.paper import save

    with pytest.raises(InvalidInput, match="No such file or directory"):
        save(ring, values_of(ring, "diameter"), tmp_path / "nowhere" / "t.svg")


def test_names_at_the_edge_stay_on_the_paper(ring):
    """Long names at the westernmost, easternmost and southernmost node, more producers than there is room below."""
    long = "the-very-long-name-of-a-customer-at-the-edge-of-the-town"
    west, east = (choose(ring.nodes, key=lambda n: n.position_m or (0.0, 0.0)).name for choose in (min, max))
    units = tuple(replace(u, name=f"{u.name}-{long}") for u in ring.units)
    assert {west, east} <= {u.start for u in units if is_consumer(u)}
    many = tuple(replace(units[0], name=f"boiler-{k}", end="school") for k in range(40))
    values = replace(values_of(ring, "diameter"), note="; ".join(50 * ["outdoor_temp_c=-5"]))
    drawn = draw(replace(ring, title=5 * long, units=units + many), values)
    legend = next(text for text in drawn.texts if text.text.startswith("diameter"))
    for text in drawn.texts:
        assert text.left >= 0.0
        assert text.left + text.width <= drawn.width
        assert text.y - text.size >= 0.0
        assert text.y <= drawn.height
    names = [text for text in drawn.texts if text.text.endswith(long)]
    assert len(names) >= 12
    assert all(text.left + text.width < legend.x for text in names)


def test_a_drawing_with_short_names_keeps_its_size(ring):
    assert draw(ring, values_of(ring, "diameter")).width == pytest.approx(1000.0, abs=60.0)
