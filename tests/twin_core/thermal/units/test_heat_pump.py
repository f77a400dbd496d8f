"""Heat pumps: the second law, their source, their limits."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from uem.twin_core.plant.units import FlowControl, HeatPump
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK as CP

PUMP = HeatPump(
    name="pump",
    start="r",
    end="s",
    nominal_flow_kg_s=6.0,
    nominal_heat_w=1e6,
    carnot_fraction=0.55,
    source_temp_k=288.15,
    source_flow_kg_s=40.0,
    supply_temp_k=343.15,
)
TABLE = replace(
    PUMP,
    table_source_temp_k=(273.15, 283.15, 293.15),
    table_outlet_temp_k=(318.15, 343.15),
    table_cop=((3.5, 2.5), (4.5, 3.0), (5.5, 3.6)),
)


def plain_cop(unit, heat_w, source_k, source_flow, outlet_k):
    """Carnot between the streams' outlets, by bracketing the heat from the source."""
    rate = source_flow * unit.source_heat_capacity_j_kgk
    hot = outlet_k + unit.pinch_k

    def surplus(taken_w):
        cold = source_k - taken_w / rate - unit.pinch_k
        cop = min(max(unit.carnot_fraction * hot / max(hot - cold, 1e-9), 1.0), unit.highest_cop)
        return heat_w * (1 - 1 / cop) - taken_w

    return heat_w / (heat_w - brentq(surplus, -1e-9, heat_w, xtol=1e-9))


def flow_for(heat_w, rise_k):
    return heat_w / (CP * rise_k)


@pytest.mark.parametrize("heat_w", [1e5, 6e5, 1e6])
@pytest.mark.parametrize("source_k", [278.15, 288.15, 303.15])
def test_its_coefficient_is_the_fraction_of_carnot_between_the_outlets(run, heat_w, source_k):
    pump = run(PUMP).tell(source_temp_k=source_k, source_flow_kg_s=100.0)
    result = pump.step(323.15, flow_for(heat_w, 20.0))
    assert result["heat_j"] == pytest.approx(heat_w * 60)
    assert result["cop"] == pytest.approx(plain_cop(PUMP, heat_w, source_k, 100.0, 343.15), rel=1e-9)
    assert result["electricity_j"] == pytest.approx(result["heat_j"] / result["cop"])
    cold = result["source_outlet_temp_k"] - PUMP.pinch_k
    assert result["cop"] == pytest.approx(0.55 * 346.15 / (346.15 - cold), rel=1e-9)


@given(
    heat=st.floats(1e3, 2e6),
    source=st.floats(260, 380),
    source_flow=st.floats(0, 100),
    inlet=st.floats(280, 400),
    supply=st.floats(285, 390),
    fraction=st.floats(0.05, 1.0),
    limit=st.one_of(st.just(float("inf")), st.floats(1e3, 1e6)),
)
def test_neither_law_is_broken_and_the_source_never_too_cold(
    run, heat, source, source_flow, inlet, supply, fraction, limit
):
    unit = replace(PUMP, carnot_fraction=fraction, electric_limit_w=limit)
    pump = run(unit).tell(source_temp_k=source, source_flow_kg_s=source_flow, supply_temp_k=supply)
    result = pump.step(inlet, flow_for(heat, 20.0))
    assert result["electricity_j"] + result["source_heat_j"] == pytest.approx(result["heat_j"], rel=1e-9, abs=1e-6)
    assert result["electricity_j"] <= limit * 60 * (1 + 1e-9)
    assert result["source_outlet_temp_k"] >= min(source, unit.lowest_source_temp_k) - 1e-6
    if result["heat_j"] > 0:
        assert 1.0 <= result["cop"] <= 12.0
        # Entropy: what the hot side takes is no less than what the source gives.
        hot, cold = result["outlet_temp_k"], result["source_outlet_temp_k"]
        assert result["heat_j"] / hot >= result["source_heat_j"] / cold * (1 - 1e-9) or cold > hot


def test_a_source_that_is_too_small_limits_the_heat(run):
    result = run(PUMP).tell(source_flow_kg_s=5.0).step(323.15, flow_for(1e6, 20.0))
    assert result["source_outlet_temp_k"] == pytest.approx(275.15)
    assert result["source_heat_j"] == pytest.approx(5.0 * CP * 13.0 * 60, rel=1e-3)


def test_without_a_source_it_stands(run):
    assert run(PUMP).tell(source_flow_kg_s=0.0).step(323.15, 5.0)["heat_j"] == 0.0
    assert run(PUMP).tell(source_temp_k=270.0).step(323.15, 5.0)["heat_j"] == 0.0


def test_the_electric_limit_is_met_exactly(run):
    result = run(replace(PUMP, electric_limit_w=1e5)).step(323.15, flow_for(1e6, 20.0))
    assert result["electricity_j"] == pytest.approx(1e5 * 60, rel=1e-9)


def test_a_table_is_bilinear_and_held_at_its_ends(run):
    pump = run(TABLE)
    for source, supply, cop in (
        (283.15, 343.15, 3.0),
        (288.15, 330.65, 4.15),
        (260.0, 343.15, None),
        (300.0, 310.0, 5.5),
    ):
        pump.tell(source_temp_k=source, supply_temp_k=supply)
        result = pump.step(supply - 20.0, flow_for(5e5, 20.0))
        if cop is None:
            assert result["heat_j"] == 0.0  # colder than the source may be
        else:
            assert result["cop"] == pytest.approx(cop)


def test_a_pumped_one_leaves_at_its_set_point(run):
    pump = run(replace(PUMP, flow_control=FlowControl.PUMPED, heat_w=8e5))
    for temp in (323.15, 318.15):
        assert pump.step(temp)["outlet_temp_k"] == pytest.approx(343.15)


def test_a_hot_source_gives_the_highest_coefficient(run):
    assert run(PUMP).tell(source_temp_k=360.0).step(323.15, flow_for(5e5, 20.0))["cop"] == 12.0
