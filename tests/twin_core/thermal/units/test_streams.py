"""Industrial waste heat and dump coolers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.twin_core.plant.units import DumpCooler, FlowControl, WasteHeatExchanger
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK as CP
from uem.twin_core.thermal.units.exchanger import exchanged

FLUE = WasteHeatExchanger(
    name="flue",
    start="r",
    end="s",
    nominal_flow_kg_s=8.0,
    ua_w_k=6e3,
    nominal_water_flow_kg_s=8.0,
    nominal_stream_flow_kg_s=10.0,
    stream_heat_capacity_j_kgk=1100.0,
    stream_temp_k=523.15,
    lowest_stream_temp_k=413.15,
    supply_temp_k=363.15,
)
COOLER = DumpCooler(
    name="cooler",
    start="a",
    end="b",
    nominal_flow_kg_s=6.0,
    nominal_heat_w=5e5,
    fan_w=8e3,
    outlet_temp_k=333.15,
    air_temp_k=303.15,
)


def test_at_its_nominal_flows_it_gives_what_its_conductance_says(run):
    result = run(replace(FLUE, supply_temp_k=423.15, lowest_stream_temp_k=300.0)).step(323.15, 8.0)
    assert result["heat_j"] == pytest.approx(exchanged(200.0, 1 / 11e3, 1 / (8 * CP), 1 / 6e3) * 60)
    assert result["bypass"] == 0.0


def test_the_bypass_holds_the_water_at_its_set_point(run):
    result = run(FLUE).tell(supply_temp_k=340.15).step(323.15, 8.0)
    assert result["outlet_temp_k"] == pytest.approx(340.15)
    assert 0 < result["bypass"] < 1
    through = 11e3 * (1 - result["bypass"])
    wall = 0.5 / 6e3 * (1 + (11e3 / through) ** 0.75)
    assert exchanged(200.0, 1 / through, 1 / (8 * CP), wall) * 60 == pytest.approx(result["heat_j"], rel=1e-8)


def test_flue_gas_stays_above_its_dew_point(run):
    result = run(replace(FLUE, ua_w_k=1e6)).step(323.15, 30.0)
    assert result["stream_outlet_temp_k"] == pytest.approx(413.15)


def test_a_pumped_one_asks_for_the_flow_that_leaves_at_its_set_point(run):
    unit = run(replace(FLUE, flow_control=FlowControl.PUMPED, lowest_stream_temp_k=300.0))
    result = unit.step(323.15)
    assert result["outlet_temp_k"] == pytest.approx(363.15, abs=1e-5)
    assert result["bypass"] < 1e-5


@given(
    stream=st.one_of(st.just(0.0), st.floats(0, 50)),
    hot=st.floats(250, 900),
    temp=st.floats(275, 420),
    flow=st.one_of(st.just(0.0), st.floats(-1, 50)),
    fouling=st.floats(0, 3),
    supply=st.floats(280, 420),
)
def test_heat_goes_from_hot_to_cold_only(run, stream, hot, temp, flow, fouling, supply):
    unit = run(FLUE).tell(stream_flow_kg_s=stream, stream_temp_k=hot, fouling=fouling, supply_temp_k=supply)
    assert 0 <= unit.flow(temp) <= 12.0 * (1 + 1e-12)
    result = unit.step(temp, flow)
    assert result["heat_j"] >= 0
    assert temp <= result["outlet_temp_k"] <= max(temp, min(hot, supply)) + 1e-9
    assert min(hot, max(temp, 413.15)) - 1e-9 <= result["stream_outlet_temp_k"] <= hot
    assert 0 <= result["bypass"] <= 1
    assert (hot - result["stream_outlet_temp_k"]) * stream * 1100.0 * 60 == pytest.approx(
        result["heat_j"], rel=1e-9, abs=1e-3
    )


def test_at_its_rating_a_cooler_needs_its_full_fan(run):
    result = run(COOLER).tell(outlet_temp_k=300.0).step(353.15, 6.0)
    assert result["heat_j"] == pytest.approx(-5e5 * 60)
    assert result["fan_speed"] == pytest.approx(1.0)
    assert result["electricity_j"] == pytest.approx(8e3 * 60)


def test_a_cooler_limits_the_temperature_and_saves_its_fan(run):
    result = run(COOLER).tell(outlet_temp_k=343.15).step(353.15, 6.0)
    assert result["outlet_temp_k"] == pytest.approx(343.15)
    assert 0 < result["fan_speed"] < 0.6
    assert result["electricity_j"] == pytest.approx(8e3 * 60 * result["fan_speed"] ** 3)


@given(
    temp=st.floats(275, 420),
    air=st.floats(250, 320),
    flow=st.one_of(st.just(0.0), st.floats(-1, 30)),
    on=st.booleans(),
    limit=st.floats(280, 380),
)
def test_a_cooler_never_heats_and_never_cools_below_the_air(run, temp, air, flow, on, limit):
    cooler = run(COOLER).tell(air_temp_k=air, on=float(on), outlet_temp_k=limit)
    result = cooler.step(temp, flow)
    assert -5e5 * 60 * (1 + 1e-12) <= result["heat_j"] <= 0
    assert min(temp, max(air, limit)) - 1e-9 <= result["outlet_temp_k"] <= temp
    assert 0 <= result["fan_speed"] <= 1 + 1e-12
