"""Boilers, CHP and incinerators: how their heat moves, what they burn, and their ledgers."""

from dataclasses import replace
from math import exp, inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uem.twin_core.plant.units import Chp, ChpKind, FlowControl, HeatOnlyBoiler, HeatPump, WasteIncinerator
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK as CP

ENDS = {"name": "u", "start": "r", "end": "s", "nominal_flow_kg_s": 6.0}
BOILER = HeatOnlyBoiler(
    **ENDS,
    nominal_heat_w=1e6,
    minimum_heat_w=3e5,
    ramp_w_s=1e3,
    start_up_s=300.0,
    start_up_fuel_j=2e7,
    standby_loss_w=5e3,
    auxiliary_w=4e3,
    efficiency=((0.3, 0.85), (0.6, 0.92), (1.0, 0.90)),
)
EXTRACTION = Chp(
    **ENDS,
    kind=ChpKind.EXTRACTION,
    nominal_heat_w=2e7,
    power_to_heat=0.5,
    power_loss=0.15,
    electric_efficiency=0.42,
    nominal_electricity_w=1.6e7,
    minimum_electricity_w=4e6,
)
FIRE = WasteIncinerator(**ENDS, nominal_waste_kg_s=2.0, lag_s=600.0)


def flow_for(heat_w, rise_k=40.0):
    return heat_w / (CP * rise_k)


def warm(run, unit, heat_w=0.0):
    return run(unit).put(stage=2.0, heat_w=heat_w)


def test_a_boiler_warms_the_water_to_its_set_point(run):
    result = warm(run, replace(BOILER, ramp_w_s=inf)).step(323.15, flow_for(6e5))
    assert result["outlet_temp_k"] == pytest.approx(363.15)
    assert result["fuel_j"] == pytest.approx(6e5 * 60 / 0.92)
    assert result["electricity_j"] == pytest.approx(0.6 * 4e3 * 60)


def test_the_efficiency_is_linear_between_its_points(run):
    result = warm(run, replace(BOILER, ramp_w_s=inf)).step(323.15, flow_for(4.5e5))
    assert result["fuel_j"] == pytest.approx(4.5e5 * 60 / 0.885)


def test_a_start_takes_its_time_and_its_fuel(run):
    boiler = run(replace(BOILER, on=False)).tell(on=1.0)
    results = [boiler.step(323.15, 5.0) for _ in range(6)]
    assert [r["heat_j"] for r in results[:5]] == [0.0] * 5
    assert sum(r["fuel_j"] for r in results[:5]) == pytest.approx(2e7)
    # Then from the minimum, up the ramp.
    assert results[5]["heat_j"] == pytest.approx((3e5 + 0.5 * 1e3 * 60) * 60)


def test_a_start_that_ends_within_a_step_heats_for_the_rest_of_it(run):
    boiler = run(replace(BOILER, on=False)).tell(on=1.0)
    result = boiler.step(323.15, 5.0, 360.0)
    assert result["heat_j"] == pytest.approx((3e5 + 0.5 * 1e3 * 60) * 60)
    assert result["running_s"] == pytest.approx(60.0)


@pytest.mark.parametrize("dt_s", [1.0, 10.0, 60.0, 300.0])
def test_heat_climbs_and_falls_at_the_ramp_whatever_the_step(run, dt_s):
    boiler = warm(run, BOILER, 4e5)
    given = sum(boiler.step(323.15, 10.0, dt_s)["heat_j"] for _ in range(int(300 / dt_s)))
    assert boiler.now("heat_w") == pytest.approx(7e5)
    assert given == pytest.approx(5.5e5 * 300)
    given = sum(boiler.step(323.15, flow_for(5e5), dt_s)["heat_j"] for _ in range(int(300 / dt_s)))
    assert boiler.now("heat_w") == pytest.approx(5e5)
    assert given == pytest.approx(6e5 * 200 + 5e5 * 100)


def test_below_its_minimum_a_cycling_boiler_runs_for_a_part_of_the_time(run):
    result = warm(run, BOILER).step(323.15, flow_for(1e5))
    assert result["heat_j"] == pytest.approx(1e5 * 60)
    assert result["running_s"] == pytest.approx(20.0)
    assert result["fuel_j"] == pytest.approx(1e5 * 60 / 0.85 + 5e3 * 40)


def test_below_its_minimum_a_boiler_that_cannot_cycle_stops(run):
    boiler = warm(run, replace(BOILER, cycling=False), 3e5)
    boiler.step(323.15, flow_for(1e5))
    assert boiler.now("stage") == 0.0
    assert boiler.step(323.15, flow_for(1e5))["heat_j"] == 0.0


def test_switched_off_it_goes_down_its_ramp_and_stops(run):
    boiler = warm(run, BOILER, 4e5).tell(on=0.0)
    given = sum(boiler.step(323.15, 10.0)["heat_j"] for _ in range(5))
    assert given == pytest.approx(3.5e5 * 100)
    assert boiler.now("stage") == 0.0


def test_water_that_would_get_too_hot_cuts_the_heat(run):
    result = warm(run, BOILER, 1e6).step(353.15, 0.5)
    assert result["outlet_temp_k"] == pytest.approx(393.15)


def test_a_pumped_boiler_holds_its_set_point_on_the_ramp(run):
    boiler = run(replace(BOILER, flow_control=FlowControl.PUMPED, heat_w=4e5)).tell(heat_w=8e5)
    boiler.step(323.15)  # its flow was still the one for the old command
    first = boiler.now("heat_w")
    for _ in range(5):
        assert boiler.step(323.15)["outlet_temp_k"] == pytest.approx(363.15)
    assert boiler.now("heat_w") == pytest.approx(first + 5 * 60 * 1e3)


def test_a_pumped_boiler_throttles_its_pump_where_the_return_is_hot_and_stops_at_its_set_point(run):
    boiler = run(replace(BOILER, flow_control=FlowControl.PUMPED, heat_w=4e5))
    assert boiler.flow(358.15) == pytest.approx(4e5 / (CP * 10.0))
    assert boiler.flow(362.15) == pytest.approx(4e5 / (CP * 10.0) / 2)
    assert boiler.flow(363.15) == 0.0
    assert boiler.step(358.15)["outlet_temp_k"] == pytest.approx(363.15)
    assert boiler.step(364.15, 2.0)["heat_j"] == 0.0


def test_a_pumped_boiler_starts_from_cold_and_standstill(run):
    boiler = run(replace(BOILER, flow_control=FlowControl.PUMPED, on=False)).tell(on=1.0)
    given = [boiler.step(323.15)["heat_j"] for _ in range(30)]
    assert given[:5] == [0.0] * 5
    assert given[-1] == pytest.approx(1e6 * 60)


def test_back_pressure_makes_electricity_with_its_heat(run):
    engine = Chp(**ENDS, nominal_heat_w=1e6, minimum_heat_w=5e5, power_to_heat=0.9, power_to_heat_minimum=0.7)
    full, low = (warm(run, engine).step(323.15, flow_for(q)) for q in (1e6, 5e5))
    assert full["electricity_j"] == pytest.approx(-0.9 * 1e6 * 60)
    assert low["electricity_j"] == pytest.approx(-0.7 * 5e5 * 60)
    assert full["fuel_j"] == pytest.approx(1.9 * 1e6 * 60 / 0.88)


@pytest.mark.parametrize(
    ("heat_w", "asked_w", "made_w"),
    [
        (0.0, 0.0, 4e6),  # least electricity
        (0.0, 9e9, 1.6e7),  # most without heat
        (2e7, 0.0, 1e7),  # back pressure
        (2e7, 9e9, 1.3e7),  # most with heat: 16 - 0.15 * 20 MW
        (1e7, 1.2e7, 1.2e7),  # between
    ],
)
def test_extraction_keeps_within_its_field_of_heat_and_electricity(run, heat_w, asked_w, made_w):
    result = warm(run, EXTRACTION).tell(electricity_w=asked_w).step(323.15, flow_for(heat_w))
    assert -result["electricity_j"] == pytest.approx(made_w * 60)
    assert result["fuel_j"] == pytest.approx((made_w + 0.15 * heat_w) * 60 / 0.42)


def test_an_incinerator_follows_its_feed_with_a_lag(run):
    fire = run(FIRE).tell(waste_kg_s=1.0)
    burnt = sum(fire.step(323.15, 20.0, 300.0)["fuel_j"] for _ in range(4))
    assert fire.now("fire_w") == pytest.approx(1e7 + 1e7 * exp(-2))
    assert burnt == pytest.approx(1e7 * 1200 + 1e7 * 600 * (1 - exp(-2)))


def test_an_incinerator_dumps_what_the_network_does_not_take(run):
    result = run(FIRE).step(323.15, 10.0)
    assert result["outlet_temp_k"] == pytest.approx(383.15)
    assert result["dumped_j"] == pytest.approx(0.6 * 2e7 * 60 - 10 * 60 * CP * 60)
    assert run(FIRE).step(323.15, 0.0)["dumped_j"] == pytest.approx(0.6 * 2e7 * 60)


def test_a_pumped_incinerator_asks_for_the_flow_that_takes_all_its_heat(run):
    fire = run(replace(FIRE, flow_control=FlowControl.PUMPED))
    assert fire.step(323.15)["dumped_j"] == pytest.approx(0.0, abs=1.0)


PRODUCERS = {
    "boiler": BOILER,
    "stopping boiler": replace(BOILER, cycling=False, start_up_s=0.0),
    "pumped boiler": replace(BOILER, flow_control=FlowControl.PUMPED),
    "engine": Chp(**ENDS, nominal_heat_w=1e6, minimum_heat_w=4e5, ramp_w_s=5e3, start_up_s=100.0, start_up_fuel_j=1e7),
    "extraction": replace(EXTRACTION, ramp_w_s=2e4),
    "fire": FIRE,
    "heat pump": HeatPump(**ENDS, nominal_heat_w=1e6, minimum_heat_w=2e5, ramp_w_s=2e3, source_flow_kg_s=30.0),
}
steps = st.lists(
    st.tuples(
        st.booleans(),  # on
        st.floats(0, 3e6),  # commanded heat
        st.floats(280, 400),  # inlet
        st.one_of(st.just(0.0), st.floats(-5, 200)),  # flow
        st.floats(1, 900),  # dt
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("unit", PRODUCERS.values(), ids=PRODUCERS)
@settings(max_examples=60)
@given(steps=steps)
def test_no_command_drives_a_producer_beyond_its_limits_or_breaks_its_ledger(run, unit, steps):
    plant = run(unit)
    nominal = getattr(unit, "nominal_heat_w", None) or 0.6 * 2e7
    for on, heat_w, temp, flow, dt in steps:
        if "on" in plant.rows.command_names:
            plant.tell(on=float(on), heat_w=heat_w)
        before = plant.now("heat_w") if unit is not FIRE else 0.0
        asked = plant.flow(temp)
        assert 0 <= asked <= nominal / (CP * 2.0) * (1 + 1e-9)
        result = plant.step(temp, flow, dt)
        assert 0 <= result["heat_j"] <= nominal * dt * (1 + 1e-12)
        assert temp <= result["outlet_temp_k"] <= max(temp, unit.highest_temp_k) + 1e-9
        came = result.get("fuel_j", 0.0) + result["electricity_j"] + result.get("source_heat_j", 0.0)
        went = result["heat_j"] + result["loss_j"] + result.get("dumped_j", 0.0)
        assert came == pytest.approx(went, rel=1e-9, abs=1e-6)
        assert result["loss_j"] >= -1e-9 * went
        if unit is not FIRE:
            from_w = max(before, unit.minimum_heat_w)
            assert plant.now("heat_w") <= from_w + unit.ramp_w_s * dt * (1 + 1e-12)
