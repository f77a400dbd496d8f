"""A network runs by itself, told by names, and its columns close."""

import csv
import json
import sys

import numpy as np
import pytest

import uem
from uem.offline.run import main, run, warnings
from uem.offline.run_inputs import bind
from uem.territories.load import load
from uem.twin_core.errors import InvalidInput, UnknownName
from uem.twin_core.thermal.network import NetworkPlan


@pytest.fixture(scope="module")
def day():
    return uem.run("quartier", hours=4, inputs={"outdoor_temp_c": -5.0}, every_s=600.0)


@pytest.fixture
def bound():
    plan = NetworkPlan(load("quartier").networks[0])
    inputs = plan.inputs()

    def at(name, value, time_s=0.0, step_s=60.0):
        for item in bind(plan, inputs, {name: value}, step_s):
            item.apply(time_s)
        return plan, inputs

    return at


def test_columns_have_a_row_per_interval_and_a_unit_each(day):
    assert day.time_s.tolist() == [600.0 * (k + 1) for k in range(24)]
    assert set(day.units) == set(day.columns)
    assert all(column.shape == (24,) for column in day.columns.values())
    assert {day.units[f"unit/boiler/{name}"] for name in ("heat", "fuel", "electricity")} == {"W"}
    assert day.units["node/clinic/temperature"] == "K"


def test_energy_closes_and_every_customer_gets_what_its_rating_says(day):
    summary = day.summary()
    assert summary["energy_kwh"]["closure"] < 1e-9
    assert summary["unsupplied_nodes"] == []
    for unit in day.network.units:
        if unit.name in ("boiler", "tank", "waste-heat"):
            continue
        # A straight line from the design temperature outdoors to the heating limit.
        wanted_w = unit.nominal_heat_w * (288.15 - 268.15) / (288.15 - 263.15)
        assert -day.columns[f"unit/{unit.name}/heat"][-1] == pytest.approx(wanted_w, rel=2e-3)


def test_what_plants_give_is_what_customers_take_losses_and_what_is_stored(day):
    interval_s = 600.0
    # From the first interval on: in its first step water comes to the plants that was there before anything ran.
    heat_j = {u.name: day.columns[f"unit/{u.name}/heat"][1:].sum() * interval_s for u in day.network.units}
    stored_j, lost_j = (
        day.columns[f"energy/{part}"][-1] - day.columns[f"energy/{part}"][0] for part in ("stored_change", "loss")
    )
    made = heat_j["boiler"] + heat_j["waste-heat"] + heat_j["tank"]
    taken = -sum(q for name, q in heat_j.items() if name not in ("boiler", "waste-heat", "tank"))
    # Water that waits before a plant is counted when it comes, as much as went in the step before.
    assert made == pytest.approx(taken + lost_j + stored_j, rel=1e-3)


def test_flows_meet_at_a_node(day):
    came = dict.fromkeys(("E",), 0.0)
    for pipe in day.network.pipes:
        flow = day.columns[f"pipe/{pipe.name}/flow"][-1]
        came["E"] += flow * ((pipe.end == "E") - (pipe.start == "E"))
    assert came["E"] == pytest.approx(0.0, abs=1e-6)


def test_a_settled_run_begins_warm(day):
    start = {n.name: day.columns[f"node/{n.name}/temperature"][0] - 273.15 for n in day.network.nodes}
    assert 70.0 < start["block-4"] < 80.0
    assert 30.0 < start["block-4-return"] < 50.0


@pytest.mark.parametrize(
    ("value", "time_s", "expected"),
    [
        (1.5, 0.0, 1.5),
        ([1.0, 2.0, 3.0], 119.0, 2.0),
        ([1.0, 2.0, 3.0], 9e9, 3.0),
        (([0.0, 100.0], [1.0, 2.0]), 50.0, 1.5),
        (lambda time_s: time_s / 10.0, 30.0, 3.0),
    ],
)
def test_a_value_may_be_a_number_a_series_points_or_a_function(value, time_s, expected, bound):
    _, inputs = bound("unit/tank/flow_kg_s", value, time_s)
    assert inputs.unit_commands["tank"]["flow_kg_s"][0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "value", "row", "expected"),
    [
        ("ambient_c", 8.0, lambda i, p: i.ambient_temp_k, 281.15),
        ("node/suction/pressure_bar", 3.0, lambda i, p: i.fixed_pressure_pa[p.nodes.index("suction")], 3e5),
        ("node/A/demand_kg_s", 0.1, lambda i, p: i.node_demand_kg_s[p.nodes.index("A")], 0.1),
        ("pump/pump/pressure_rise_bar", 0.8, lambda i, p: i.pump_pressure_rise_pa[0], 8e4),
        ("unit/boiler/supply_temp_c", 85.0, lambda i, p: i.unit_commands["boiler"]["supply_temp_k"], 358.15),
        ("unit/boiler/heat_kw", 900.0, lambda i, p: i.unit_commands["boiler"]["heat_w"], 9e5),
        ("outdoor_temp_c", -7.0, lambda i, p: i.unit_commands["gym"]["outdoor_temp_k"], 266.15),
        ("outdoor_temp_k", 270.0, lambda i, p: i.unit_commands["gym"]["outdoor_temp_k"], 270.0),
    ],
)
def test_names_set_what_they_say_in_the_unit_behind_them(name, value, row, expected, bound):
    plan, inputs = bound(name, value)
    np.testing.assert_allclose(row(inputs, plan), expected)


def test_an_unknown_name_and_a_value_that_is_none_are_told(bound):
    with pytest.raises(UnknownName, match=r"unknown input 'unit/boiler/pover_kw'.*units stand behind"):
        bound("unit/boiler/pover_kw", 1.0)
    with pytest.raises(InvalidInput, match="input outdoor_temp_c: neither a number"):
        bound("outdoor_temp_c", "cold")
    with pytest.raises(InvalidInput, match="not finite"):
        bound("outdoor_temp_c", float("nan"))
    with pytest.raises(InvalidInput, match=r"times of shape \(2,\) for values of shape \(3,\)"):
        bound("outdoor_temp_c", ([0.0, 1.0], [1.0, 2.0, 3.0]))


@pytest.mark.parametrize("outdoor_c", [-15.0, 0.0, 10.0, 30.0])
def test_the_shipped_district_runs_in_any_weather(outdoor_c):
    summary = run("quartier", 1.0, inputs={"outdoor_temp_c": outdoor_c}, fidelity="planning").summary()
    assert summary["unsupplied_nodes"] == []
    taken = -sum(u["heat_kwh"] for u in summary["units"].values() if u["kind"] == "Substation")
    unmet = sum(u["unmet_kwh"] for u in summary["units"].values())
    assert unmet <= 0.01 * taken + 1e-9
    assert taken > 0 or outdoor_c > 15.0


@pytest.mark.parametrize("hours", [-1.0, float("inf"), float("nan")])
def test_hours_to_settle_must_be_possible(hours):
    with pytest.raises(InvalidInput, match="h to settle"):
        run("quartier", 1.0, settle_hours=hours)


def test_an_input_beyond_what_can_be_is_told_in_its_own_unit(bound):
    with pytest.raises(InvalidInput, match=r"outdoor_temp_c: 300 at 0 s must be from -60 to 60"):
        bound("outdoor_temp_c", 300.0)
    with pytest.raises(InvalidInput, match="flow_kg_s: 1e\\+09"):
        bound("unit/tank/flow_kg_s", 1e9)


def test_standing_parts_and_unmet_heat_are_warned_of():
    units = {"house": {"heat_kwh": -90.0, "unmet_kwh": 10.0}}
    said = list(warnings({"unsupplied_nodes": ["a", "b"], "units": units}))
    assert said == ["2 nodes without pressure, nothing flows there: a, b", "10.0 kWh of customers not met"]
    units["house"]["unmet_kwh"] = 0.0
    assert list(warnings({"unsupplied_nodes": [], "units": units})) == []


def test_inputs_in_a_file_are_read_over_time(tmp_path):
    path = tmp_path / "winter.csv"
    path.write_text("time,outdoor_temp_c\n2026-01-01T00:00:00Z,0\n2026-01-01T01:00:00Z,-10\n")
    found = run("quartier", 1.0, inputs=path, settle_hours=0.5)
    heat = -found.columns["unit/school/heat"]
    assert heat[0] == pytest.approx(180e3 * 15 / 25, rel=0.05)
    assert heat[-1] == pytest.approx(180e3 * (15 + 9.7) / 25, rel=0.05)
    path.write_text("time,outdoor_temp_c\n0,0\n0,1\n")
    with pytest.raises(InvalidInput, match="times must increase"):
        run("quartier", 1.0, inputs=path)
    path.write_text("time,outdoor_temp_c\n0,cold\n")
    with pytest.raises(InvalidInput, match="line 2, column outdoor_temp_c: 'cold' is not a number"):
        run("quartier", 1.0, inputs=path)


@pytest.mark.parametrize(
    ("hours", "step_s", "every_s", "said"),
    [
        (0.0, 60.0, 300.0, "positive and finite"),
        (float("inf"), 60.0, 300.0, "positive and finite"),
        (1.0, 60.0, 90.0, "no multiple"),
        (1e9, 1.0, 1.0, "fit"),
        (1.0, 600.0, 300.0, "every a multiple of step"),
    ],
)
def test_times_that_do_not_fit_are_told(hours, step_s, every_s, said):
    with pytest.raises(InvalidInput, match=said):
        run("quartier", hours, step_s, every_s=every_s)


def test_a_network_is_named_where_there_is_a_choice():
    with pytest.raises(UnknownName, match="asset 'tree'"):
        run("quartier", 1.0, network="tree")
    with pytest.raises(InvalidInput, match="asset washer is no network"):
        run("pongau", 1.0, network="washer")


def test_columns_go_to_pandas_and_to_a_file_in_the_units_of_people(day, tmp_path):
    pytest.importorskip("pandas")
    frame = day.to_pandas()
    assert frame["node/clinic/temperature [Cel]"].iloc[-1] == pytest.approx(
        day.columns["node/clinic/temperature"][-1] - 273.15
    )
    assert frame["unit/boiler/heat [kW]"].iloc[-1] == pytest.approx(day.columns["unit/boiler/heat"][-1] / 1e3)
    day.write_csv(tmp_path / "day.csv")
    with (tmp_path / "day.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert float(rows[-1]["pipe/A-B/flow [kg/s]"]) == pytest.approx(day.columns["pipe/A-B/flow"][-1])


def test_a_missing_pandas_is_told_with_the_way_to_it(day, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InvalidInput, match="pip install pandas"):
        day.to_pandas()


def test_the_command_tells_the_balance_and_writes_the_columns(tmp_path, capsys):
    out = tmp_path / "run.csv"
    assert main(["quartier", "--hours", "1", "--set", "outdoor_temp_c=-5", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "energy closes to" in said
    assert "boiler" in said
    assert out.read_text().startswith("time,node/plant/temperature [K]")
    assert main(["quartier", "--hours", "1", "--settle", "0.5", "--json", "--fidelity", "planning"]) == 0
    assert json.loads(capsys.readouterr().out)["energy_kwh"]["closure"] < 1e-9


def test_wrong_options_of_the_command_are_one_message(capsys):
    assert main(["quartier", "--set", "outdoor_temp_c"]) == 1
    assert "--set outdoor_temp_c: write NAME=NUMBER" in capsys.readouterr().err
    assert main(["quartier", "--out", "-", "--json"]) == 1
    assert "both want stdout" in capsys.readouterr().err
    assert main(["atlantis"]) == 1
    assert "unknown territory 'atlantis'" in capsys.readouterr().err


def test_the_heat_of_a_factory_comes_into_the_network_as_its_shop_works():
    week = uem.run("quartier", hours=26, step_s=60.0, every_s=3600.0, fidelity="planning", begin_hour=5.0)
    produced, taken = (week.columns[f"heat/hardening-shop/quench-loop/{kind}"] for kind in ("produced", "taken"))
    assert produced[6:16].mean() > 200e3  # by day both furnaces are at work
    assert produced[20:].mean() < 150e3  # at night they are empty
    np.testing.assert_allclose(taken, week.columns["unit/waste-heat/heat"], rtol=1e-9)
    shop = week.summary()["factories"]["hardening-shop"]
    heat = shop["heat"]["quench-loop"]
    assert 800 < shop["parts"] < 1200
    assert heat["taken_kwh"] + heat["dumped_kwh"] == pytest.approx(heat["produced_kwh"], rel=0.02)  # the rest: the loop
    alone = uem.run("quartier", hours=1, fidelity="planning", with_factories=False)
    assert not [name for name in alone.columns if name.startswith(("heat/", "factory/"))]
    assert "factories" not in alone.summary()


def test_what_a_factory_sets_cannot_be_told_from_outside_too():
    with pytest.raises(InvalidInput, match="hardening-shop/quench-loop sets it"):
        run("quartier", 1.0, inputs={"unit/waste-heat/stream_temp_c": 90.0})
    with pytest.raises(InvalidInput, match="0 to 168"):
        run("quartier", 1.0, begin_hour=200.0)
    run("quartier", 0.1, inputs={"unit/waste-heat/stream_temp_c": 90.0}, settle_hours=0.1, with_factories=False)
