"""What a territory file says of its simulated plants."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from uem.territories.crosscheck import unsimulated
from uem.territories.load import find, load
from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.measurements import NS_PER_S


@pytest.fixture
def valley(tmp_path):
    """A copy that a test may change; gives what to replace in it by what, and loads it."""
    shutil.copytree(find("vallee").parent, tmp_path / "valley")
    path = tmp_path / "valley" / "territory.toml"

    def changed(file="territory.toml", **texts):
        text = path.with_name(file).read_text("utf-8")
        for old, new in texts.values():
            assert old in text
            text = text.replace(old, new)
        path.with_name(file).write_text(text, "utf-8")
        return load(path)

    return changed


def test_the_valley_begins_on_a_working_day_in_january_with_weather_and_shapes_of_its_files():
    simulation = load("vallee").simulation
    assert simulation.epoch_ns == round(datetime(2026, 1, 12, 5, tzinfo=UTC).timestamp()) * NS_PER_S
    assert simulation.outdoor_c[:2] == (0.0, 2.0)
    assert len(simulation.outdoor_c) == 8760
    assert {*simulation.shapes} >= {
        (group, use, day)
        for group in ("large", "medium", "small")
        for use in ("heating", "hot_water")
        for day in ("workday", "weekend")
    }
    assert len(simulation.groups) == 120
    assert [simulation.groups[name] for name in ("hospital-01", "residence-01", "houses-01")] == [
        "large",
        "medium",
        "small",
    ]
    assert all(plant.simulated and plant.has_own_time for plant in load("vallee").plants)


def test_every_problem_of_a_simulation_is_told_at_once(valley):
    with pytest.raises(InvalidTerritory) as refused:
        valley(
            weather=('weather = "lyon_bron.csv"', 'weather = "nowhere.csv"'),
            demand=('demand = "demand_profiles.csv"', 'demand = "lyon_bron.csv"'),
            group=('small = ["houses-01"', 'small = ["castle"'),
        )
    told = str(refused.value)
    assert "simulation.weather: " in told
    assert "nowhere.csv: No such file" in told
    assert "simulation.demand: " in told
    assert "no column 'group'" in told
    assert "simulation.small: 'castle' is no substation" in told


def test_plants_cannot_be_simulated_by_nothing(valley):
    territory = load("vallee")
    with pytest.raises(InvalidTerritory, match="plant dairy: is simulated, but the territory says nothing of its"):
        replace(territory, simulation=None)


def test_a_replay_is_no_simulated_plant(valley):
    with pytest.raises(InvalidTerritory, match="a simulated plant speaks opcua, modbus, mbus or mqtt"):
        valley(protocol=('protocol = "mbus"', 'protocol = "replay"'))


def test_tags_that_the_simulator_cannot_show_are_told(valley):
    plc = "valley/dairy/plc,Reception/"
    with pytest.raises(InvalidTerritory) as refused:
        valley(
            "tags.csv",
            plain=(f"{plc}State", "valley/dairy/plc,"),
            node=(f"{plc}Good", "valley/dairy,Reception/Good"),
            other=("valley/dairy/plc,Chillers/1/Power", "valley/dairy/plc-2,Chillers/1/Power"),
        )
    told = str(refused.value)
    assert "metric: is missing; a simulated plant of protocol mqtt speaks Sparkplug B" in told
    assert told.count("a simulated plant is one device, whose tags all have the same topic group/node/device") == 2


def test_a_simulated_meter_tells_nothing_of_key_dates():
    plants = [{"name": "meters", "protocol": "mbus", "simulated": True}]
    rows = [("tags.csv line 2", {"plant": "meters", "storage": "1", "function": "maximum", "tariff": "0"})]
    (told,) = unsimulated({"plants": plants}, rows)
    assert told == "tags.csv line 2: storage, function: a simulated meter tells what it measures now, and nothing else"
    assert [*unsimulated({"plants": [{**plants[0], "simulated": False}]}, rows)] == []
