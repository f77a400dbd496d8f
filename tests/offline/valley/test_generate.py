"""A valley by chance: the same from the same seed, of the sizes that were asked for, and larger by a factor."""

import csv
import tomllib
from pathlib import Path

import numpy as np
import pytest

import uem.examples
from uem.offline.generating import DAYS, files
from uem.offline.valley import demand
from uem.offline.valley.customers import KINDS
from uem.offline.valley.generate import CUSTOMERS, HEAT_KW, NETWORK, valley
from uem.territories.load import load
from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.units import Substation
from uem.twin_core.twin import make_twins

EXAMPLE = Path(uem.examples.__path__[0]) / "vallee"


@pytest.fixture(scope="module")
def drawn():
    return valley()


@pytest.fixture(scope="module")
def site():
    return load("vallee")


def test_the_example_that_ships_is_what_its_seed_draws(drawn):
    made_by = (EXAMPLE / "territory.toml").read_text("utf-8").splitlines()[1].removeprefix("# Made by ")
    for name, text in files(drawn, made_by=made_by).items():
        assert (EXAMPLE / name).read_text("utf-8") == text, f"{name}: run uem generate --out examples/vallee --force"


def test_another_seed_draws_another_valley(drawn):
    other = valley(seed=7)
    assert other.districts[0].ways != drawn.districts[0].ways
    assert valley(seed=7).territory == other.territory


def test_there_are_120_customers_on_40_km_of_meshed_lines_and_four_factories(drawn, site):
    (network,) = site.networks
    assert network.name == NETWORK
    stations = [unit for unit in network.units if isinstance(unit, Substation)]
    assert len(stations) == CUSTOMERS == 120
    assert sum(unit.nominal_heat_w for unit in stations) == pytest.approx(1e3 * HEAT_KW, rel=0.01)
    assert sum(pipe.length_m for pipe in network.pipes) / 2.0 == pytest.approx(40_000.0, rel=0.01)
    district = drawn.districts[0]
    assert len(district.ways) - len(district.numbers) + 1 == 12  # rings
    assert {type(unit).__name__ for unit in network.units} == {
        "Substation",
        "WasteIncinerator",
        "HeatPump",
        "HeatOnlyBoiler",
        "WasteHeatExchanger",
        "StorageTank",
        "DumpCooler",
    }
    assert len(site.factories) == 4
    assert all(len(factory.factory.machines) >= 5 for factory in site.factories)
    assert any(machine.orders for factory in site.factories for machine in factory.factory.machines)
    assert len(site.tags) == pytest.approx(2000, rel=0.05)


def test_every_machine_of_the_four_factories_is_followed(site):
    twins = {twin.name: twin for twin in make_twins(site)}
    for factory in site.factories:
        assert set(factory.machine_tags) == {machine.name for machine in factory.factory.machines}
        assert set(factory.level_tags) == {buffer.name for buffer in factory.factory.buffers}
        assert factory.name in twins
    furnace = site.factories[0].machine_tags["furnace-2"]
    assert furnace.temperature_tag == "graphite-works/furnace-2/chamber_temperature"
    assert furnace.batch_tag == "graphite-works/furnace-2/batch"


def test_customers_are_of_every_kind_and_of_its_sizes(drawn):
    customers = drawn.districts[0].customers
    assert {customer.kind for customer in customers} == set(KINDS)
    assert len({customer.name for customer in customers}) == len(customers)
    for customer in customers:
        low, high = KINDS[customer.kind].heat_kw
        assert 0.5 * low < customer.heat_kw < 2.0 * high
        assert customer.hot_water_kw == pytest.approx(KINDS[customer.kind].hot_water * customer.heat_kw, abs=0.1)


def test_a_column_of_a_tag_is_one_that_a_run_has_or_what_only_instruments_have(site):
    import uem

    run = uem.run(site, hours=0.25, settle_hours=0.5, every_s=900.0, step_s=300.0)
    with (EXAMPLE / "tags.csv").open() as file:
        columns = [row["column"] for row in csv.DictReader(file) if row["column"]]
    alone = ("machining-shop", "dairy")  # give no heat to the network, so they are not run beside it
    truth_alone = [f"{kind}/{name}/" for name in alone for kind in ("factory", "heat")]
    truth_alone += [f"factory/{site.name}/{what}/" for site in site.factories for what in ("power", "fuel")]
    unknown = {name for name in columns if name not in run.columns and not name.startswith(tuple(truth_alone))}
    assert len(columns) > 1300
    of_instruments = ("/energy", "/volume", "/running")
    assert {name for name in unknown if not name.endswith(of_instruments)} == {"outdoor/temperature"}


@pytest.mark.parametrize("times", [3, 10])
def test_a_larger_valley_has_as_many_of_everything_and_loads(times, tmp_path):
    drawn = valley(seed=4, times=times, name="large")
    for name, text in files(drawn, ("01-18",), made_by="a test").items():
        (tmp_path / name).write_text(text)
    site = load(tmp_path)
    network = site.networks[0]
    assert sum(isinstance(unit, Substation) for unit in network.units) == times * CUSTOMERS
    assert len(site.factories) == 4 * times
    assert sum(pipe.length_m for pipe in network.pipes) / 2.0 == pytest.approx(40_000.0 * times, rel=0.05)
    links = [pipe.length_m for pipe in network.pipes if pipe.name.endswith("-link")]
    assert len(links) == times - 1
    assert max(links) < 4000.0
    assert [valve.opening for valve in network.valves] == [0.0] * 2 * (times - 1)
    assert len({node.name for node in network.nodes}) == len(network.nodes)


def test_only_sizes_that_can_be_are_drawn():
    with pytest.raises(InvalidInput, match="0 times as large: 1 to 200"):
        valley(times=0)


# --- days ---


def column(rows, name):
    return np.array([float(row[rows[0].index(name)]) for row in rows[1:]])


def test_outdoor_temperatures_are_those_of_the_typical_year():
    with (EXAMPLE / "lyon_bron.csv").open() as file:
        year = [float(row["t_db_c"]) for row in csv.DictReader(file)]
    assert len(year) == 8760
    assert (min(year), max(year)) == (-5.6, 37.7)
    assert np.mean(year) == pytest.approx(13.0, abs=0.05)
    temps, before_c = demand.outdoor_c("01-18")
    begin = 17 * 24
    np.testing.assert_array_equal(temps, year[begin - 1 : begin + 24])
    assert before_c == pytest.approx(np.mean(year[begin - 24 : begin]))
    first, before_c = demand.outdoor_c("01-01")
    assert (first[0], before_c) == (year[-1], pytest.approx(np.mean(year[-24:])))
    with pytest.raises(InvalidInput, match="a day of the typical year is like 01-18"):
        demand.outdoor_c("02-30")
    assert len(demand.days()) == 365


def test_shapes_of_a_day_have_the_mean_1_and_those_of_schools_peak_in_the_morning():
    for shape in demand.profiles().values():
        assert shape.mean() == pytest.approx(1.0, abs=1e-3)
    large = demand.profiles()["large", "heating", "workday"]
    assert large.argmax() == 7
    assert large.max() > 1.4 > 1.2 > demand.profiles()["medium", "heating", "workday"].max()


def test_demand_of_a_day_is_load_line_times_measured_shape(drawn):
    rows = drawn.day_rows("01-18")
    temps, before_c = demand.outdoor_c("01-18")
    school = next(customer for customer in drawn.districts[0].customers if customer.kind == "school")
    shape = demand.profiles()["large", "heating", "workday"]
    smooth_c = (before_c * 17 + temps[:7].sum()) / 24
    expected_kw = school.heat_kw * (16.0 - smooth_c) / 26.0 * shape[7]
    assert column(rows, f"unit/{school.name}/heating_kw")[7] == pytest.approx(expected_kw, rel=1e-3)
    assert column(rows, f"unit/{school.name}/hot_water_kw").mean() == pytest.approx(school.hot_water_kw, rel=0.03)
    supply_c = column(rows, "unit/gas-1/supply_temp_c")
    assert (supply_c > 85.0).all()
    assert (supply_c < 100.0).all()


def test_in_summer_nobody_heats_and_one_line_of_the_incinerator_stands(drawn):
    rows = drawn.day_rows("07-18")
    heating = [name for name in rows[0] if name.endswith("heating_kw")]
    assert len(heating) == CUSTOMERS
    assert all((column(rows, name) == 0.0).all() for name in heating)
    assert set(column(rows, "unit/incinerator/waste_kg_s")) == {1.1}
    assert set(column(rows, "unit/heat-pump/on")) == {0.0}


def test_the_weekend_has_shapes_of_its_own(drawn):
    name = f"unit/{drawn.districts[0].customers[0].name}/heating_kw"
    workday, weekend = (column(drawn.day_rows("01-18", weekend=flag), name) for flag in (False, True))
    assert not np.allclose(workday, weekend, rtol=0.02)


def test_the_days_that_ship_are_there():
    assert {path.name for path in EXAMPLE.glob("day-*.csv")} == {f"day-{day}.csv" for day in DAYS}
    assert tomllib.loads((EXAMPLE / "territory.toml").read_text("utf-8"))["name"] == "vallee"
