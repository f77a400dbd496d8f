"""Units that make no sense are refused with the key, the value and what is allowed."""

import math
from dataclasses import fields, replace

import pytest

from uem.twin_core.plant.units import (
    Building,
    Chp,
    ChpKind,
    DumpCooler,
    FlowControl,
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

ENDS = {"start": "r", "end": "s"}
BUILDING = Building(
    air_capacity_j_k=2e7, wall_capacity_j_k=3e8, outdoor_w_k=150.0, wall_inside_w_k=2000.0, wall_outside_w_k=250.0
)
UNITS = [
    HeatSource(name="source", **ENDS, supply_temp_k=353.15, nominal_flow_kg_s=10.0),
    HeatLoad(name="load", **ENDS, heat_w=1e5, temperature_drop_k=30.0, nominal_flow_kg_s=1.0),
    Substation(name="station", **ENDS, nominal_heat_w=2e5, nominal_hot_water_w=5e4),
    HeatOnlyBoiler(name="boiler", **ENDS, nominal_heat_w=1e6, minimum_heat_w=2e5, nominal_flow_kg_s=6.0),
    Chp(name="engine", **ENDS, nominal_heat_w=1e6, minimum_heat_w=5e5, nominal_flow_kg_s=6.0),
    WasteIncinerator(name="fire", **ENDS, nominal_waste_kg_s=2.0, nominal_flow_kg_s=60.0),
    HeatPump(name="pump", **ENDS, nominal_heat_w=1e6, source_flow_kg_s=30.0, nominal_flow_kg_s=6.0),
    WasteHeatExchanger(
        name="exchanger",
        **ENDS,
        ua_w_k=2e4,
        nominal_water_flow_kg_s=5.0,
        nominal_stream_flow_kg_s=8.0,
        stream_temp_k=363.15,
        nominal_flow_kg_s=5.0,
    ),
    StorageTank(name="tank", **ENDS, volume_m3=100.0, height_m=8.0),
    DumpCooler(name="cooler", **ENDS, nominal_heat_w=5e5, nominal_flow_kg_s=6.0),
]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_sensible_unit_has_no_problem(unit):
    assert list(unit.problems()) == []


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_no_number_of_a_unit_may_be_nan_or_endless(unit, bad):
    for field in fields(unit):
        if isinstance(getattr(unit, field.name), float):
            problems = list(replace(unit, **{field.name: bad}).problems())
            assert any(problem.startswith(f"{field.name}: {bad}") for problem in problems), (field.name, problems)


@pytest.mark.parametrize("bad", [math.nan, -1.0])
def test_no_number_of_a_building_may_be_nan_or_negative(bad):
    for field in fields(BUILDING):
        problems = list(replace(BUILDING, **{field.name: bad}).problems())
        assert any(problem.startswith(f"{field.name}: {bad}") for problem in problems), (field.name, problems)


@pytest.mark.parametrize(
    ("unit", "change", "problem"),
    [
        (0, {"flow_control": FlowControl.THROTTLED}, "flow_control: throttled is for consumers"),
        (0, {"nominal_flow_kg_s": 0.0}, "nominal_flow_kg_s: 0 must be positive for flow control free"),
        (
            1,
            {"return_temp_k": 313.15},
            "heat_w: heat_w, temperature_drop_k, return_temp_k given; a heat load needs two",
        ),
        (1, {"heat_w": None}, "heat_w: temperature_drop_k given; a heat load needs two of"),
        (1, {"minimum_flow_kg_s": 2.0, "maximum_flow_kg_s": 1.0}, "maximum_flow_kg_s: 1.0 must not be below"),
        (2, {"demand": HeatDemand.BUILDING}, "demand: building; demand building and a building go together"),
        (2, {"secondary_supply_temp_k": 368.15}, "secondary_supply_temp_k: 368.15 must be below primary_supply_temp_k"),
        (2, {"nominal_hot_water_w": 0.0, "hot_water_w": 1.0}, "hot_water_w: 1.0 needs a hot water exchanger"),
        (
            2,
            {"demand": HeatDemand.BUILDING, "building": replace(BUILDING, mass_w_k=5.0)},
            "building.mass_w_k: 5.0 and mass_capacity_j_k 0.0: inner masses",
        ),
        (3, {"minimum_heat_w": 2e6}, "minimum_heat_w: 2000000.0 must not exceed nominal_heat_w"),
        (3, {"efficiency": ((0.5, 0.9), (0.2, 0.8))}, "efficiency: loads [0.5, 0.2] must rise"),
        (3, {"efficiency": ((0.5, 9.0),)}, "efficiency: every value must be from 0.05 to 1.15"),
        (4, {"kind": ChpKind.EXTRACTION}, "nominal_electricity_w: 0.0 must be at least 950000"),
        (5, {"heat_efficiency": 0.9}, "heat_efficiency: 0.9 and electric_efficiency 0.15 must not exceed 1"),
        (6, {"table_source_temp_k": (280.0, 270.0)}, "table_source_temp_k: [280.0, 270.0] must be 2 to 8 rising"),
        (8, {"layers": 1}, "layers: 1 must be from 2 to 64"),
        (8, {"bottom_temp_k": 370.0}, "bottom_temp_k: 370.0 must not exceed top_temp_k"),
        (9, {"nominal_air_rise_k": 60.0}, "nominal_air_rise_k: 60.0 would bring air above"),
    ],
)
def test_what_cannot_be_is_refused_with_the_key_and_the_value(unit, change, problem):
    assert any(p.startswith(problem) for p in replace(UNITS[unit], **change).problems())
