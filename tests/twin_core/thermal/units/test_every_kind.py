"""What every kind of unit must bear: any finite command, any flow, any step."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uem.twin_core.plant.units import (
    Building,
    Chp,
    ChpKind,
    DumpCooler,
    HeatDemand,
    HeatLoad,
    HeatOnlyBoiler,
    HeatPump,
    HeatSource,
    StorageTank,
    Substation,
    WasteHeatExchanger,
    WasteIncinerator,
)

ENDS = {"name": "u", "start": "a", "end": "b", "nominal_flow_kg_s": 5.0}
STATION = Substation(**ENDS, nominal_heat_w=2e5, nominal_hot_water_w=5e4, demand=HeatDemand.COMMAND)
BUILDING = Building(
    air_capacity_j_k=2e7, wall_capacity_j_k=3e8, outdoor_w_k=150.0, wall_inside_w_k=2000.0, wall_outside_w_k=250.0
)
UNITS = {
    "source": HeatSource(**ENDS, supply_temp_k=353.15, heat_limit_w=1e6),
    "load": HeatLoad(**ENDS, heat_w=1e5, return_temp_k=313.15),
    "station": STATION,
    "house": replace(STATION, demand=HeatDemand.BUILDING, building=BUILDING),
    "boiler": HeatOnlyBoiler(**ENDS, nominal_heat_w=1e6, minimum_heat_w=2e5, ramp_w_s=1e3, start_up_s=100.0),
    "engine": Chp(**ENDS, nominal_heat_w=1e6),
    "extraction": Chp(**ENDS, kind=ChpKind.EXTRACTION, nominal_heat_w=1e6, nominal_electricity_w=1e6),
    "fire": WasteIncinerator(**ENDS, nominal_waste_kg_s=2.0),
    "heat pump": HeatPump(**ENDS, nominal_heat_w=1e6, source_flow_kg_s=30.0, electric_limit_w=4e5),
    "table": HeatPump(
        **ENDS,
        nominal_heat_w=1e6,
        source_flow_kg_s=30.0,
        table_source_temp_k=(273.15, 293.15),
        table_outlet_temp_k=(313.15, 343.15),
        table_cop=((3.0, 2.0), (5.0, 3.0)),
    ),
    "flue": WasteHeatExchanger(
        **ENDS, ua_w_k=2e4, nominal_water_flow_kg_s=5.0, nominal_stream_flow_kg_s=8.0, stream_temp_k=400.0
    ),
    "tank": StorageTank(**ENDS, volume_m3=100.0, height_m=8.0),
    "cooler": DumpCooler(**ENDS, nominal_heat_w=5e5, fan_w=1e4),
}
wild = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 273.15, 353.15, 5e-324, 1e12, -1e12]), st.floats(-1e12, 1e12), st.floats(200, 450)
)
flows = st.one_of(st.sampled_from([0.0, -0.0, 5e-324, -1e-300, 1e-11, None]), st.floats(-500, 500))


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
@settings(max_examples=100)
@given(data=st.data())
def test_no_finite_command_and_no_flow_makes_a_nan(run, unit, data):
    running = run(unit)
    for _ in range(3):
        for name in running.rows.command_names:
            running.tell(**{name: data.draw(wild, name)})
        temp = data.draw(st.floats(274, 423), "inlet")
        assert np.isfinite(running.flow(temp))
        # The step itself asserts finite results and heat_j = m cp (outlet - inlet).
        running.step(temp, data.draw(flows, "flow"), data.draw(st.floats(1e-3, 900), "dt"))
        assert np.all(np.isfinite(running.state))


@pytest.mark.parametrize("flow", [0.0, 5e-324, -5e-324, 1e-15])
@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_standing_water_carries_no_heat(run, unit, flow):
    assert run(unit).step(333.15, flow)["heat_j"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in UNITS if name != "tank"])
def test_water_that_runs_backwards_passes_unchanged(run, name):
    result = run(UNITS[name]).step(333.15, -3.0)
    assert (result["outlet_temp_k"], result["heat_j"]) == (333.15, 0.0)


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_the_same_state_gives_the_same_step_bit_for_bit(run, unit):
    one, other = run(unit), run(unit)
    for _ in range(3):
        one.step(340.0, 2.0)
    other.state[:] = one.state
    assert one.step(335.0, 1.5) == other.step(335.0, 1.5)
    np.testing.assert_array_equal(one.state, other.state)
