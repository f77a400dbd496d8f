"""Ideal producers and prescribed consumers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.twin_core.plant.units import FlowControl, HeatLoad, HeatSource
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK as CP

ENDS = {"name": "u", "start": "a", "end": "b", "nominal_flow_kg_s": 1.0}


def load(**given_by):
    return HeatLoad(**ENDS, **given_by)


def test_a_source_warms_to_its_set_point_and_never_cools(run):
    source = run(HeatSource(**ENDS, supply_temp_k=353.15))
    assert source.step(313.15, 2.0)["outlet_temp_k"] == pytest.approx(353.15, abs=1e-12)
    assert source.step(360.0, 2.0) == {"outlet_temp_k": 360.0, "heat_j": 0.0}


def test_a_source_gives_no_more_than_its_limit(run):
    source = run(HeatSource(**ENDS, supply_temp_k=353.15, heat_limit_w=1e5))
    assert source.step(313.15, 2.0)["heat_j"] == pytest.approx(6e6)


def test_a_pumped_source_asks_for_the_flow_that_carries_its_heat(run):
    source = run(HeatSource(**ENDS, supply_temp_k=353.15, heat_w=40.0 * CP, flow_control=FlowControl.PUMPED))
    assert source.flow(313.15) == pytest.approx(1.0)
    assert source.step(313.15)["heat_j"] == pytest.approx(40.0 * CP * 60.0)


@pytest.mark.parametrize(
    ("given_by", "flow", "outlet"),
    [
        ({"heat_w": 30 * CP, "temperature_drop_k": 30.0}, 1.0, 323.15),
        ({"heat_w": 30 * CP, "return_temp_k": 303.15}, 0.6, 303.15),
        ({"heat_w": 30 * CP, "flow_kg_s": 1.5}, 1.5, 333.15),
        ({"flow_kg_s": 1.5, "temperature_drop_k": 30.0}, 1.5, 323.15),
        ({"flow_kg_s": 1.5, "return_temp_k": 303.15}, 1.5, 303.15),
    ],
)
def test_two_of_heat_flow_drop_and_return_say_all_of_a_load(run, given_by, flow, outlet):
    unit = run(load(**given_by))
    assert unit.flow(353.15) == pytest.approx(flow)
    result = unit.step(353.15)
    assert result["outlet_temp_k"] == pytest.approx(outlet)
    assert result["unmet_j"] == pytest.approx(0.0, abs=1e-6)


def test_a_load_never_takes_more_than_it_asked_for(run):
    unit = run(load(heat_w=30 * CP, temperature_drop_k=30.0, minimum_flow_kg_s=2.0))
    assert unit.step(353.15)["outlet_temp_k"] == pytest.approx(338.15)


def test_with_less_flow_than_wanted_the_heat_is_missing(run):
    result = run(load(heat_w=30 * CP, temperature_drop_k=30.0)).step(353.15, 0.25)
    assert result["outlet_temp_k"] == pytest.approx(323.15)
    assert result["unmet_j"] == pytest.approx(0.75 * 30 * CP * 60)


def test_a_load_never_freezes_the_return(run):
    result = run(load(heat_w=1e6, temperature_drop_k=100.0)).step(313.15, 0.1)
    assert result["outlet_temp_k"] == pytest.approx(278.15)
    assert result["unmet_j"] > 0


def test_a_load_takes_nothing_from_water_colder_than_its_return(run):
    unit = run(load(heat_w=1e5, return_temp_k=323.15, maximum_flow_kg_s=3.0))
    assert unit.flow(313.15) == 3.0
    assert unit.step(313.15)["outlet_temp_k"] == 313.15


@given(flow=st.floats(-1e3, 1e3), temp=st.floats(274.0, 420.0))
def test_backwards_or_standing_nothing_happens_to_the_water(run, flow, temp):
    flow = min(flow, 0.0)
    for unit in (load(heat_w=1e5, temperature_drop_k=30.0), HeatSource(**ENDS, supply_temp_k=353.15)):
        result = run(unit).step(temp, flow)
        assert result["outlet_temp_k"] == temp
        assert result["heat_j"] == 0.0


def test_a_pumped_source_gives_its_heat_down_to_the_rise_that_its_pump_is_made_for(run):
    for smallest, part in ((10.0, 0.5), (5.0, 1.0)):
        source = run(
            HeatSource(
                **ENDS, flow_control=FlowControl.PUMPED, supply_temp_k=353.15, heat_w=1e5, smallest_rise_k=smallest
            )
        )
        assert source.step(348.15)["heat_j"] == pytest.approx(part * 1e5 * 60.0, rel=1e-9)
