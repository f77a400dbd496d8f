"""Substations: rating, control, limits, and what a plain program says."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from uem.twin_core.plant.units import Building, HeatDemand, Substation
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK as CP
from uem.twin_core.thermal.units.compile import log_mean_k
from uem.twin_core.thermal.units.exchanger import exchanged

STATION = Substation(
    name="station",
    start="s",
    end="r",
    nominal_heat_w=2e5,
    nominal_hot_water_w=6e4,
    demand=HeatDemand.COMMAND,
)
HOUSE = replace(
    STATION,
    demand=HeatDemand.BUILDING,
    building=Building(
        air_capacity_j_k=6e7,
        wall_capacity_j_k=8e8,
        mass_capacity_j_k=5e8,
        outdoor_w_k=2000.0,
        wall_inside_w_k=12000.0,
        wall_outside_w_k=2500.0,
        mass_w_k=9000.0,
        internal_gains_w=5000.0,
        solar_area_m2=40.0,
    ),
)


def radiator_return_k(unit, heat_w, supply_k):
    """Return of the radiators at nominal pump flow or less, from their mean temperature (EN 442, arithmetic mean)."""
    nominal_rise = 0.5 * (unit.secondary_supply_temp_k + unit.secondary_return_temp_k) - unit.room_temp_k
    mean = unit.room_temp_k + nominal_rise * (heat_w / unit.nominal_heat_w) ** (1 / unit.radiator_exponent)
    spread = (unit.secondary_supply_temp_k - unit.secondary_return_temp_k) * heat_w / unit.nominal_heat_w
    return max(min(2 * mean - supply_k, supply_k - spread), unit.room_temp_k)


def plain_flow_kg_s(unit, heat_w, temp_in_k, supply_k, fouling=0.0):
    """Primary flow for a heating demand, by bracketing the exchanger's heat."""
    back_k = radiator_return_k(unit, heat_w, supply_k)
    nominal = unit.nominal_heat_w / (CP * (unit.primary_supply_temp_k - unit.primary_return_temp_k))
    wall = (
        log_mean_k(
            unit.primary_supply_temp_k - unit.secondary_supply_temp_k,
            unit.primary_return_temp_k - unit.secondary_return_temp_k,
        )
        / unit.nominal_heat_w
    )
    secondary = heat_w / (supply_k - back_k)
    nominal_secondary = unit.nominal_heat_w / (unit.secondary_supply_temp_k - unit.secondary_return_temp_k)

    def surplus(flow):
        r = wall * (0.5 * (nominal / flow) ** 0.75 + 0.5 * (nominal_secondary / secondary) ** 0.75 + fouling)
        return exchanged(temp_in_k - back_k, 1 / (CP * flow), 1 / secondary, r) - heat_w

    return brentq(surplus, 1e-6 * nominal, 100 * nominal, xtol=1e-14)


def test_at_its_rating_it_takes_the_rated_flow_and_returns_at_the_rated_temperature(run):
    station = run(STATION).tell(outdoor_temp_k=263.15, heating_w=2e5)
    assert station.flow(363.15) == pytest.approx(2e5 / (40 * CP), rel=1e-8)
    result = station.step(363.15)
    assert result["outlet_temp_k"] == pytest.approx(323.15, abs=1e-6)
    assert result["secondary_supply_temp_k"] == pytest.approx(343.15, abs=1e-9)
    assert result["secondary_return_temp_k"] == pytest.approx(318.15, abs=1e-9)


@pytest.mark.parametrize("heat_w", [2e3, 5e4, 1.5e5, 2e5])
@pytest.mark.parametrize("temp_in_k", [345.15, 358.15, 373.15])
@pytest.mark.parametrize("fouling", [0.0, 0.3])
def test_the_flow_is_that_of_a_plain_program(run, heat_w, temp_in_k, fouling):
    outdoor_k = 288.15 - 25.0 * heat_w / 2e5
    supply_k = 308.15 + 35.0 * heat_w / 2e5
    station = run(replace(STATION, maximum_flow_kg_s=1e3)).tell(
        outdoor_temp_k=outdoor_k, heating_w=heat_w, fouling=fouling
    )
    expected = plain_flow_kg_s(STATION, heat_w, temp_in_k, supply_k, fouling)
    assert station.flow(temp_in_k) == pytest.approx(expected, rel=1e-7)
    assert station.step(temp_in_k)["unmet_heating_j"] == pytest.approx(0.0, abs=1e-9 * heat_w)


def test_the_load_line_and_the_heating_curve_follow_the_outdoor_temperature(run):
    station = run(replace(STATION, demand=HeatDemand.OUTDOOR, outdoor_temp_k=275.65))
    result = station.step(363.15)
    assert result["heating_j"] == pytest.approx(0.5 * 2e5 * 60)
    assert result["secondary_supply_temp_k"] == pytest.approx(325.65)
    assert station.tell(outdoor_temp_k=290.0).flow(363.15) == 0.0


def test_hot_water_and_heating_share_the_primary_water(run):
    station = run(STATION).tell(outdoor_temp_k=273.15, heating_w=1e5, hot_water_w=5e4)
    both = station.flow(353.15)
    station.tell(hot_water_w=0.0)
    heating = station.flow(353.15)
    station.tell(heating_w=0.0, hot_water_w=5e4)
    assert both == pytest.approx(heating + station.flow(353.15), rel=1e-12)


def test_fouling_takes_more_water_and_returns_it_warmer(run):
    clean, fouled = (run(STATION).tell(heating_w=1e5, fouling=f) for f in (0.0, 0.5))
    assert fouled.flow(353.15) > 1.02 * clean.flow(353.15)
    assert fouled.step(353.15)["outlet_temp_k"] > clean.step(353.15)["outlet_temp_k"] + 0.5


def test_too_cold_a_supply_opens_the_valve_fully_and_leaves_heat_unmet(run):
    station = run(STATION).tell(outdoor_temp_k=263.15, heating_w=2e5)
    assert station.flow(325.15) == pytest.approx(1.5 * (2e5 / (40 * CP) + 6e4 / (40 * CP)))
    result = station.step(325.15)
    assert 0 < result["heating_j"] < 2e5 * 60
    assert result["heating_j"] + result["unmet_heating_j"] == pytest.approx(2e5 * 60)
    assert run(STATION).tell(heating_w=2e5).step(290.15)["heat_j"] == 0.0


def test_the_bypass_keeps_its_flow_without_a_demand(run):
    station = run(replace(STATION, minimum_flow_kg_s=0.02))
    assert station.flow(353.15) == 0.02
    assert station.step(353.15)["outlet_temp_k"] == 353.15


demands = st.one_of(st.just(0.0), st.floats(1e-3, 4e5))


@settings(max_examples=300)
@given(
    heating=demands,
    hot_water=demands,
    outdoor=st.floats(240, 300),
    temp=st.floats(275, 420),
    part=st.one_of(st.just(1.0), st.floats(0, 3)),
    fouling=st.floats(0, 2),
    dt=st.floats(0.1, 900),
)
def test_heat_goes_from_hot_to_cold_and_never_more_than_asked_for(
    run, heating, hot_water, outdoor, temp, part, fouling, dt
):
    station = run(STATION).tell(heating_w=heating, hot_water_w=hot_water, outdoor_temp_k=outdoor, fouling=fouling)
    flow = station.flow(temp)
    assert 0.0 <= flow <= 1.5 * 2.6e5 / (40 * CP) * (1 + 1e-9)
    result = station.step(temp, part * flow, dt)
    assert 0.0 <= result["heating_j"] <= heating * dt * (1 + 1e-12)
    assert 0.0 <= result["hot_water_j"] <= hot_water * dt * (1 + 1e-12)
    assert result["heat_j"] == pytest.approx(-result["heating_j"] - result["hot_water_j"], rel=1e-12)
    served = [temp]
    if result["heating_j"] > 0:
        served.append(result["secondary_return_temp_k"])
    if result["hot_water_j"] > 0:
        served.append(STATION.cold_water_temp_k)
    assert min(served) - 1e-9 <= result["outlet_temp_k"] <= temp
    if result["heating_j"] > 0:
        assert result["secondary_supply_temp_k"] <= temp + 1e-9


@given(part=st.floats(0, 0.99), more=st.floats(0.001, 0.01))
def test_less_water_gives_less_heat_and_a_colder_return(run, part, more):
    few, many = (
        run(STATION).tell(outdoor_temp_k=263.15, heating_w=2e5).step(353.15, p * 1.3) for p in (part, part + more)
    )
    assert few["heating_j"] <= many["heating_j"]
    if few["heat_j"] < 0:
        assert few["outlet_temp_k"] <= many["outlet_temp_k"] + 1e-9


@pytest.mark.parametrize("flow", [0.0, -0.0, 5e-324, -5e-324, 1e-300, 1e-12, -1e-12, -3.0])
@pytest.mark.parametrize("unit", [STATION, HOUSE], ids=["station", "house"])
def test_standing_reversed_and_denormal_water_passes_unchanged(run, unit, flow):
    result = run(unit).tell(heating_w=1e5, hot_water_w=1e4).step(353.15, flow)
    assert result["outlet_temp_k"] == 353.15
    assert result["heat_j"] == 0.0


def test_the_way_back_does_not_depend_on_what_was_asked_before(run):
    fresh, used = run(STATION), run(STATION)
    for temp in (320.0, 390.0, 345.0):
        used.tell(heating_w=temp * 500, hot_water_w=temp * 100).step(temp)
    for station in (fresh, used):
        station.tell(heating_w=1.2e5, hot_water_w=3e4, outdoor_temp_k=270.0)
    assert used.flow(351.0) == pytest.approx(fresh.flow(351.0), rel=1e-8)


def test_a_house_is_kept_at_its_room_temperature_through_a_cold_week(run):
    house = run(HOUSE).tell(outdoor_temp_k=268.15)
    for _ in range(7 * 24 * 4):
        result = house.step(358.15, dt_s=900.0)
    assert result["room_temp_k"] == pytest.approx(293.15, abs=0.02)
    in_w = result["heating_j"] / 900 + 5000.0
    walls = 1 / (1 / 12000 + 1 / 2500)
    assert in_w == pytest.approx((2000 + walls) * 25, rel=0.01)


def test_a_house_without_supply_cools_down(run):
    house = run(HOUSE).tell(outdoor_temp_k=263.15)
    for _ in range(48):
        result = house.step(353.15, 0.0, 900.0)
    assert 263.15 < result["room_temp_k"] < 291.15
    assert result["unmet_heating_j"] == pytest.approx(2e5 * 900)


def test_hot_water_asked_of_a_station_without_its_exchanger_is_unmet(run):
    station = run(replace(STATION, nominal_hot_water_w=0.0)).tell(hot_water_w=1e4)
    assert station.flow(350.0) == 0.0
    found = station.step(350.0, flow_kg_s=0.1)
    assert found["hot_water_j"] == found["heat_j"] == 0.0
    assert found["unmet_hot_water_j"] == 1e4 * 60.0
    assert found["outlet_temp_k"] == 350.0
