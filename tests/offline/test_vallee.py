"""The valley that ships, as an engineer would look at it: its design day, a day in January, a day in July."""

import numpy as np
import pytest
from shipped import shipped

import uem
from uem.offline.check import design
from uem.offline.check.factory import findings as factory_findings
from uem.offline.check.finding import Severity
from uem.offline.check.main import check
from uem.offline.run import run
from uem.offline.valley.sizing import SERVICE_PA_M, STREET_PA_M, gradient_pa_m
from uem.territories.load import find
from uem.twin_core.plant.units import Substation

SITE = shipped("vallee")
NETWORK = SITE.networks[0]
STATIONS = [unit.name for unit in NETWORK.units if isinstance(unit, Substation)]
PLANTS = [unit.name for unit in NETWORK.units if not isinstance(unit, Substation)]
FOLDER = find("vallee").parent


def a_day(day, hours, settle_hours):
    return uem.run(SITE, hours=hours, inputs=FOLDER / f"day-{day}.csv", settle_hours=settle_hours)


@pytest.fixture(scope="module")
def january():
    return a_day("01-18", hours=24, settle_hours=12)


@pytest.fixture(scope="module")
def coldest():
    return run(SITE, design.HOURS, settle_hours=design.SETTLE_HOURS, fidelity="planning", with_factories=False)


def mean_mw(day, name):
    return float(day.columns[name].mean()) / 1e6


# --- the design day ---


def test_check_has_nothing_to_say(coldest):
    found, figures = check(SITE, NETWORK)
    assert [str(f) for f in found] == []
    assert figures["highest_pressure_bar"] < 16.0
    assert figures["critical_pressure_drop_bar"] == pytest.approx(0.8, abs=0.01)
    for site in SITE.factories:
        assert [str(f) for f in factory_findings(site)[0] if f.severity is not Severity.NOTE] == []


def test_the_plant_gives_105_degc_and_every_station_its_heat(coldest):
    assert coldest.columns["node/plant/temperature"][-1] - 273.15 == pytest.approx(105.0, abs=0.1)
    heat_w = -sum(coldest.columns[f"unit/{name}/heat"][-1] for name in STATIONS)
    assert heat_w == pytest.approx(49e6, rel=0.01)
    unmet_w = sum(coldest.columns[f"unit/{name}/unmet_heating"][-1] for name in STATIONS)
    assert unmet_w < 1e-3 * heat_w


def test_pipes_are_sized_for_that_day(coldest):
    """Water at the station is a little cooler than at the plant, so that more of it flows than was drawn for."""
    most = {"street": 0.0, "service": 0.0}
    for pipe in NETWORK.pipes:
        inner_m = NETWORK.pipe_class(pipe.pipe_class).inner_diameter_m
        lost_pa_m = gradient_pa_m(float(coldest.columns[f"pipe/{pipe.name}/flow"][-1]), inner_m)
        kind = "service" if pipe.name.startswith("to-") else "street"
        most[kind] = max(most[kind], lost_pa_m)
    assert 0.7 * STREET_PA_M < most["street"] < 1.15 * STREET_PA_M
    assert 0.7 * SERVICE_PA_M < most["service"] < 1.15 * SERVICE_PA_M


def test_the_head_of_the_pumps_is_what_friction_asks_for(coldest):
    rise_bar = (coldest.columns["node/plant/pressure"] - coldest.columns["node/boiler-outlet/pressure"])[-1] / 1e5
    assert 4.0 < rise_bar < 10.0
    assert coldest.columns["pump/pump/flow"][-1] == pytest.approx(49e6 / (4184.0 * 42.0), rel=0.1)


# --- a day in January ---


def test_energy_closes(january):
    assert january.summary()["energy_kwh"]["closure"] < 1e-9


def test_what_plants_give_is_what_customers_take_pipes_lose_and_hold(january):
    given = sum(mean_mw(january, f"unit/{name}/heat") for name in PLANTS)
    taken = -sum(mean_mw(january, f"unit/{name}/heat") for name in STATIONS)
    energy = {key: float(january.columns[f"energy/{key}"][-1]) / 86_400.0 / 1e6 for key in ("loss", "stored_change")}
    # All but the water that the pressure holding makes good or takes out as the pipes warm up and cool down.
    assert given == pytest.approx(taken + energy["loss"] + energy["stored_change"], rel=1e-3)
    assert 0.05 < energy["loss"] / given < 0.15


def test_heat_comes_from_what_must_run_first_then_wood_then_gas(january):
    assert mean_mw(january, "unit/incinerator/heat") == pytest.approx(10.56, abs=0.02)
    assert 1.5 < mean_mw(january, "unit/graphite-fumes/heat") < 4.5
    assert 4.0 < mean_mw(january, "unit/heat-pump/heat") <= 4.5
    wood = mean_mw(january, "unit/wood-1/heat") + mean_mw(january, "unit/wood-2/heat")
    gas = mean_mw(january, "unit/gas-1/heat") + mean_mw(january, "unit/gas-2/heat")
    assert 1.0 < wood < 16.0
    assert gas < 0.05 * wood
    assert mean_mw(january, "unit/dump-cooler/heat") > -0.1
    recovered = sum(mean_mw(january, f"unit/{name}/heat") for name in ("graphite-fumes", "heat-pump"))
    assert 0.2 < recovered / 22.0 < 0.5


def test_supply_slides_with_the_weather_and_reaches_every_station(january):
    plant_c = january.columns["node/plant/temperature"] - 273.15
    assert (plant_c > 90.0).all()
    assert (plant_c < 96.0).all()
    at_stations_c = np.array([january.columns[f"node/{name}/temperature"] for name in STATIONS]) - 273.15
    assert at_stations_c.min() > 70.0
    assert (at_stations_c.max(axis=0) <= plant_c.max() + 0.1).all()
    back_c = january.columns["node/plant-return/temperature"] - 273.15
    assert (back_c > 25.0).all()
    assert (back_c < 65.0).all()


def test_stations_get_what_they_ask_for(january):
    units = january.summary()["units"]
    asked_kwh = -sum(units[name]["heat_kwh"] for name in STATIONS)
    assert 400e3 < asked_kwh < 700e3
    assert sum(units[name]["unmet_kwh"] for name in STATIONS) < 1e-3 * asked_kwh


def test_flows_and_pressures_are_those_of_a_mild_day(january):
    flow = january.columns["pump/pump/flow"]
    assert (flow > 50.0).all()
    assert (flow < 200.0).all()
    assert 1.3 < flow.max() / flow.min() < 3.0  # the morning
    rise_bar = (january.columns["node/plant/pressure"] - january.columns["node/boiler-outlet/pressure"]) / 1e5
    assert (rise_bar > 1.0).all()
    assert (rise_bar < 5.0).all()
    pressures = np.array([january.columns[f"node/{node.name}/pressure"] for node in NETWORK.nodes]) / 1e5
    assert pressures.min() > 1.0
    assert pressures.max() < 12.0


def test_the_heat_pump_takes_what_the_cooling_water_loses(january):
    columns = january.columns
    taken = columns["heat/chemical-site/cooling-water/taken"]
    np.testing.assert_allclose(columns["unit/heat-pump/source_heat"], taken, rtol=1e-9)
    used = columns["unit/heat-pump/electricity"] + columns["unit/heat-pump/source_heat"]
    np.testing.assert_allclose(columns["unit/heat-pump/heat"], used, rtol=1e-9)
    assert 3.0 < columns["unit/heat-pump/cop"][-1] < 7.0
    assert columns["heat/chemical-site/cooling-water/temperature"].max() - 273.15 < 72.0


@pytest.mark.parametrize(("stream", "content_m3", "begin_c"), [("fumes", 60.0, 120.0), ("cooling-water", 120.0, 70.0)])
def test_heat_of_factories_is_taken_thrown_away_or_in_the_loop(january, stream, content_m3, begin_c):
    works = {"fumes": "graphite-works", "cooling-water": "chemical-site"}[stream]
    columns, prefix = january.columns, f"heat/{works}/{stream}"
    produced, taken, dumped = (columns[f"{prefix}/{part}"].sum() * 300.0 for part in ("produced", "taken", "dumped"))
    stored = content_m3 * 4080e3 * (columns[f"{prefix}/temperature"][-1] - 273.15 - begin_c)
    assert produced == pytest.approx(taken + dumped + stored, rel=1e-9)
    assert columns[f"{prefix}/alarm"].max() == 0.0


def test_fumes_come_and_go_with_the_batches(january):
    produced = january.columns["heat/graphite-works/fumes/produced"] / 1e6
    assert produced.max() > 1.4 * produced.min()
    assert 1.0 < produced.min() < produced.max() < 5.0


# --- a day in July ---


def test_in_summer_what_must_run_is_too_much_and_the_cooler_throws_the_rest_away():
    july = a_day("07-18", hours=8, settle_hours=24)
    assert mean_mw(july, "unit/dump-cooler/heat") < -1.0
    assert mean_mw(july, "unit/heat-pump/heat") == 0.0
    assert july.columns["unit/incinerator/heat"][-1] == pytest.approx(5.28e6, rel=0.01)
    plant_c = july.columns["node/plant/temperature"] - 273.15
    np.testing.assert_allclose(plant_c, 85.0, atol=1.0)
    taken = -sum(mean_mw(july, f"unit/{name}/heat") for name in STATIONS)
    assert 2.0 < taken < 6.0
    assert july.summary()["energy_kwh"]["closure"] < 1e-9
