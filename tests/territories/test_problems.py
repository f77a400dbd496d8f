"""All problems of a territory at once, each by key and value."""

import shutil
from pathlib import Path

import pytest

import uem.examples
from uem.territories.load import load
from uem.twin_core.errors import InvalidTerritory, UnknownName
from uem.twin_core.plant.territory import Plant, Territory


@pytest.fixture
def pongau(tmp_path):
    """A copy of the shipped territory: change(file, old, new) changes it, problems() are those of loading it."""
    folder = tmp_path / "pongau"
    shutil.copytree(Path(uem.examples.__file__).parent / "pongau", folder)

    class Copy:
        def change(self, file, old, new, count=1):
            text = (folder / file).read_text()
            assert old in text
            (folder / file).write_text(text.replace(old, new, count))

        def problems(self):
            with pytest.raises(InvalidTerritory) as told:
                load(folder)
            return list(told.value.problems)

    return Copy()


def told(problems, beginning):
    return [problem for problem in problems if problem.startswith(beginning)]


def test_problems_of_every_kind_are_told_in_one_round(pongau):
    pongau.change("territory.toml", "length_m = 20.0", 'length_m = "long"')  # a type
    pongau.change("territory.toml", 'end = "B"', 'end = "Q"')  # in the same network
    pongau.change("territory.toml", 'pipe_class = "service"', 'pipe_class = "rubber"')
    pongau.change("territory.toml", 'temperature_tag = "washer/tank/temperature"', 'temperature_tag = "washer/tonk"')
    pongau.change("territory.toml", "thermostat_on_c = 59.5", "thermostat_on_c = 69.5")  # against another key
    pongau.change("territory.toml", 'name = "machine"', 'name = "branch"')
    pongau.change("territory.toml", 'file = "ait_151218.csv"', 'file = "gone.csv"')
    pongau.change("tags.csv", "branch/2/temperature,branch,", "branch/2/temperature,brunch,")
    pongau.change("tags.csv", "263.15,423.15,100,T3_K", "463.15,423.15,100,T3_K")
    problems = pongau.problems()
    for beginning in (
        "networks[0].pipes[0].length_m: ",
        "machines[0].bath.temperature_tag: tag 'washer/tonk' is not in the tag table",
        "machines[0].bath.thermostat_on_c: 69.5 must not exceed thermostat_off_c 61.",
        "networks[0].pipes[1].end: node 'Q' does not exist; nodes are 1, 2, 3, 4, A, B, C",
        "networks[0].pipes[2].pipe_class: pipe class 'rubber' does not exist; classes are service, trunk",
        'plants: name "branch" is defined 2 times',
        "plants[0].recording.file: ",
        "tags.csv line 3: plant: 'brunch' does not exist; plants are branch",
        "tags.csv line 4: tag branch/3/temperature: low 463.15 must be below high 423.15",
    ):
        assert len(told(problems, beginning)) == 1, (beginning, problems)


def test_what_a_network_names_and_does_not_have_is_told_by_key_and_value(pongau):
    pongau.change("territory.toml", 'end = "B"', 'end = "Q"')
    pongau.change("territory.toml", 'pipe_class = "service"', 'pipe_class = "rubber"')
    pongau.change("territory.toml", "casing_diameter_mm = 180.0", "casing_diameter_mm = 80.0")
    problems = pongau.problems()
    assert "networks[0].pipes[1].end: node 'Q' does not exist; nodes are 1, 2, 3, 4, A, B, C" in problems
    assert "networks[0].pipes[2].pipe_class: pipe class 'rubber' does not exist; classes are service, trunk" in problems
    assert len(told(problems, "networks[0].pipe_classes[0]: ")) == 1
    assert len(problems) == 3


def test_pipes_that_close_loops_are_named(pongau):
    pongau.change(
        "territory.toml",
        "[[machines]]",
        '[[networks.pipes]]\nname = "4-2"\nstart = "4"\nend = "2"\nlength_m = 9.0\npipe_class = "trunk"\n[[machines]]',
    )
    (problem,) = pongau.problems()
    assert problem.startswith("networks[0].pipes: ")
    assert problem.endswith(" close loops; without a pressure_bar held somewhere this must be a tree")
    assert "4-2" in problem or "B-4" in problem or "C-2" in problem


def test_the_header_of_the_tag_table_is_checked_once(pongau):
    pongau.change("tags.csv", "browse_path", "brows")
    (problem,) = pongau.problems()
    assert problem.startswith("tags.csv: column browse_path is missing; unknown column brows; columns are tag, plant, ")


def test_what_a_recording_lacks_is_told_at_load(pongau):
    pongau.change("territory.toml", 'time_column = "time_s"', 'time_column = "zeit"')
    pongau.change("tags.csv", "T2_K", "T9_K")
    pongau.change("tags.csv", "T3_K", "T8_K")
    problems = pongau.problems()
    assert (
        len(told(problems, "plants[0].recording.time_column: 'zeit' is no column of ait_151218.csv; columns are")) == 1
    )
    assert len(told(problems, "tags.csv line 3: column: 'T9_K' is no column of ait_151218.csv")) == 1
    assert len(told(problems, "tags.csv line 4: column: 'T8_K' is no column of ait_151218.csv")) == 1
    assert len(problems) == 3


def test_a_recording_without_rows_is_told_at_load(pongau, tmp_path):
    path = tmp_path / "pongau" / "ait_151218.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    (problem,) = pongau.problems()
    assert problem.startswith("plants[0].recording.file: ")
    assert problem.endswith("has no rows")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("length_m = 20.0", "length_m = 1e300", "networks[0].pipes[0].length_m: "),
        ("length_m = 20.0", "length_m = 1e-300", "networks[0].pipes[0].length_m: "),
        ("inner_diameter_mm = 82.5", "inner_diameter_mm = 0.5", "networks[0].pipe_classes[0].inner_diameter_mm: "),
        ("outer_diameter_mm = 88.9", "outer_diameter_mm = 5001", "networks[0].pipe_classes[0].outer_diameter_mm: "),
        ("speed = 450.0", "speed = 1e7", "plants[0].recording.speed: "),
        ("2009-01-23T00:00:00Z", "2009-01-23T00:00:00", "plants[0].recording.epoch: "),
        ("2009-01-23T00:00:00Z", "0001-01-01T00:00:00Z", "plants[0].recording.epoch: "),
        ("2009-01-23T00:00:00Z", "9999-01-01T00:00:00Z", "plants[0].recording.epoch: "),
        ("step_s = 60.0", "step_s = 0.1", "networks[0].forecast_horizon_s: Value error, at most 20000 steps"),
        ("step_s = 60.0", "step_s = 60.0\nforecast_step_s = 1", "networks[0].forecast_step_s: Value error, "),
        (
            'power_tag = "washer/power"',
            'power_tag = "washer/power"\nforecast_horizon_s = 86400',
            "machines[0].forecast_s",
        ),
        ('name = "pongau"', 'name = ".."', "name: "),
        ('name = "pongau"', 'name = "-x"', "name: "),
    ],
)
def test_values_that_cannot_be_meant_are_refused(pongau, old, new, key):
    pongau.change("territory.toml", old, new)
    problems = pongau.problems()
    assert len(told(problems, key)) == 1, problems


@pytest.mark.parametrize(
    ("value", "why"),
    [("[" * 20_000 + "]" * 20_000, "nested too deep"), ("1" * 5_000, "not a TOML file: "), ("[", "not a TOML file: ")],
    ids=["deep", "long", "broken"],
)
def test_what_no_toml_reader_takes_is_told_as_a_problem(pongau, value, why):
    pongau.change("territory.toml", "step_s = 60.0", f"step_s = {value}")
    (problem,) = pongau.problems()
    assert why in problem


def test_a_territory_of_the_core_refuses_two_plants_of_one_name():
    with pytest.raises(InvalidTerritory, match='plants: name "a" is defined 2 times'):
        Territory(name="t", plants=(Plant(name="a", endpoint="opc.tcp://x"),) * 2)


def test_an_unknown_territory_is_told_with_the_known_ones_and_the_way_to_others():
    with pytest.raises(UnknownName) as told:
        load("atlantis")
    known = "known: pongau, quartier, vallee; or give the path of a territory.toml"
    assert str(told.value) == f"unknown territory 'atlantis'; {known}"
