import numpy as np
import pytest
from rich.console import Console

from uem.clients import convert, display
from uem.clients.cli import view
from uem.clients.cli.screen import Scene, screen
from uem.twin_core import measurements, units
from uem.v1 import prediction_pb2, twin_pb2


@pytest.fixture
def states(kit):
    pairs = ((kit.branch_state(), kit.BRANCH), (kit.washer_state(), kit.WASHER))
    return [convert.state(state, convert.asset(asset)) for state, asset in pairs]


def named(states):
    return {state.asset.name: state for state in states}


def drawn(group, width):
    console = Console(width=width, force_terminal=False, no_color=True)
    with console.capture() as capture:
        console.print(group)
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_view_fits_its_width(states, width):
    scene = Scene("uem up pongau", states=named(states), forecasts={"branch": "x" * 200})
    lines = drawn(screen(scene, width, 24), width)
    assert all(len(line) <= width for line in lines)
    (pair,) = [line for line in lines if line.startswith("node/2/temperature")]
    assert pair.split() == ["node/2/temperature", "°C", "88.5", "89.0", "-0.5", "0.5", "0.050", "uncertain", "60", "s"]
    assert "node/2/flow" not in "\n".join(lines)
    assert any(line.split() == ["state", "operational", "operational", "5", "min", "2.00", "kWh"] for line in lines)


def test_a_narrow_terminal_still_shows_which_row_is_which(states):
    lines = drawn(screen(Scene("uem up pongau", states=named(states)), 40, 24, ["gateway: " + "x" * 50]), 40)
    assert all(len(line) <= 40 for line in lines)
    (pair,) = [line for line in lines if line.startswith("node/2")]
    assert pair.split()[1:3] == ["88.5", "89.0"]
    assert lines[1].startswith("! gateway: ")
    assert sum(line.count("x") for line in lines[1:4]) == 50  # a note is folded, not cut


def test_a_long_name_gives_way_to_the_numbers(kit, states):
    message = twin_pb2.Asset()
    message.CopyFrom(kit.BRANCH)
    message.signals[1].compared_with = message.signals[2].name = (
        "a/very/long/name/of/a/place/in/the/territory/temperature"
    )
    state = convert.state(kit.branch_state(), convert.asset(message))
    lines = drawn(screen(Scene(states=named([state])), 80, 24), 80)
    (pair,) = [line for line in lines if line.startswith("a/very")]
    assert "… " in pair
    assert pair.split()[1:] == ["88.5", "89.0", "-0.5", "0.5", "uncertain", "60", "s"]


def test_a_value_that_is_not_known_is_a_dash(kit):
    message = kit.branch_state()
    message.value[1] = kit.NAN
    row = view.rows(convert.state(message, convert.asset(kit.BRANCH)))[1]
    assert row.cells()[1:5] == ("88.5", "-", "-", "0.5")
    assert not row.is_remarkable


def test_a_state_without_a_name_is_shown_by_its_number(kit):
    message = kit.washer_state()
    message.value[0] = 7.0
    rows = view.rows(convert.state(message, convert.asset(kit.WASHER)))
    assert rows[0].cells()[1] == "state 7"
    message.value[0] = kit.NAN
    assert view.rows(convert.state(message, convert.asset(kit.WASHER)))[0].cells()[1] == "-"


def test_a_forecast_without_band_is_shown_without_one():
    series = prediction_pb2.ForecastSeries(
        signal="power/twin", unit="W", display_unit="kW", valid_time_ns=[900 * 10**9], value=[1500.0]
    )
    forecast = convert.forecast(prediction_pb2.Forecast(asset="a", series=[series]))
    assert view.forecast_lines(forecast) == ["power in 15 min ▄ 1.50 kW"]


def test_display_units_are_those_of_the_core():
    for name, unit in units.UNITS.items():
        assert display.shown(units.to_si(12.5, name), name) == pytest.approx(12.5), name
        assert display.shown_difference(unit.scale * 2.0, name) == pytest.approx(2.0), name


def test_qualities_are_named_as_in_the_core():
    for quality in (0, 0x40900000, 0x80000000, 0x803C0000, 0xC0000000):
        assert display.quality_name(quality) == measurements.quality_name(quality)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (float("nan"), "-")],
)
def test_spans_read_well(seconds, text):
    assert display.duration(seconds) == text


def test_numbers_read_well():
    assert display.number(-0.04, "Cel", sign=True) == "0.0"
    assert display.number(0.04, "Cel", sign=True) == "0.0"
    assert display.difference(0.04, "Cel", sign=True) == "+0.04"
    assert display.difference(-0.04, "Cel", sign=True) == "-0.04"
    assert display.difference(0.004, "Cel", sign=True) == "0.00"
    assert display.difference(0.0, "Cel", sign=True) == "0.0"
    assert display.difference(0.5, "Cel") == "0.5"
    assert display.difference(0.04, "kW") == "0.04"
    assert display.number(1234.5678, "bar") == "1234.568"


def test_times_keep_their_digits_for_machines():
    assert display.iso_time(1_232_668_800_000_000_001) == "2009-01-23T00:00:00.000000001Z"
    assert display.iso_time(1_232_668_800_500_000_000) == "2009-01-23T00:00:00.5Z"


def test_a_sparkline_shows_the_course():
    assert display.sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert display.sparkline([1.0, float("nan"), 2.0]) == "▁ █"
    assert display.sparkline([5.0, 5.0]) == "▄▄"
    assert display.sparkline([float("nan")]) == ""
    assert len(display.sparkline(np.arange(1000.0), 24)) == 24
    assert display.sparkline([6.0, 7.0], low=0.0) == "▇█"
    assert display.sparkline([0.0, 0.0], low=0.0) == "▄▄"


def test_short_texts_share_lines():
    assert view.packed(["aa", "b", "cc", "d"], 10) == ["aa  b   cc", "d"]
    assert view.packed([], 80) == []
    assert view.packed(["x" * 100], 80) == ["x" * 100]
