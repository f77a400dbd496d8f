"""Units as built become rows that the kernels read."""

from pathlib import Path

import numpy as np
import pytest

from uem.twin_core.errors import InvalidInput, InvalidTerritory
from uem.twin_core.plant.units import FlowControl, HeatLoad, HeatSource, Substation, Unit
from uem.twin_core.thermal.units.compile import compile_unit
from uem.twin_core.thermal.units.dispatch import (
    MOST_RESULTS_OF_A_UNIT,
    UnitKind,
    advance,
    command_names,
    parameter_row,
    result_names,
)

PAGE = Path(__file__).resolve().parents[4] / "docs" / "models" / "units.md"
SOURCE = HeatSource(name="source", start="r", end="s", supply_temp_k=353.15, nominal_flow_kg_s=10.0)


@pytest.mark.parametrize("kind", list(UnitKind))
def test_every_kind_names_its_commands_and_results(kind):
    assert command_names(kind)
    assert result_names(kind)[:2] == ("outlet_temp_k", "heat_j")
    assert len(result_names(kind)) <= MOST_RESULTS_OF_A_UNIT
    assert len(set(result_names(kind))) == len(result_names(kind))


@pytest.mark.parametrize("kind", list(UnitKind))
def test_every_command_and_result_is_documented(kind):
    page = PAGE.read_text("utf-8")
    assert [name for name in (*command_names(kind), *result_names(kind)) if name not in page] == []


def test_commands_at_the_beginning_are_those_of_the_unit():
    compiled = compile_unit(SOURCE)
    assert dict(zip(compiled.command_names, compiled.command, strict=True)) == {"supply_temp_k": 353.15, "heat_w": 0.0}
    assert compiled.flow_control is FlowControl.FREE
    assert compiled.nominal_flow_kg_s == 10.0


def test_a_substation_knows_its_flow_from_its_rating():
    unit = Substation(name="station", start="s", end="r", nominal_heat_w=4184.0 * 40.0)
    assert compile_unit(unit).nominal_flow_kg_s == pytest.approx(1.0, rel=1e-3)


def test_a_wrong_unit_is_refused_with_every_problem():
    wrong = HeatLoad(name="load", start="s", end="r", heat_w=-1.0, temperature_drop_k=30.0)
    with pytest.raises(InvalidTerritory, match="unit load: 2 problems"):
        compile_unit(wrong)


def test_a_unit_without_a_kernel_is_refused():
    with pytest.raises(InvalidTerritory, match="Unit has no kernel"):
        compile_unit(Unit(name="u", start="a", end="b", nominal_flow_kg_s=1.0))


def test_rows_of_another_kind_are_refused():
    compiled = compile_unit(SOURCE)
    result = np.zeros(2)
    with pytest.raises(InvalidInput, match="2 parameters; unit kind SUBSTATION has other rows"):
        advance(2, compiled.parameters, compiled.state, compiled.command, 300.0, 1.0, 1.0, result)
    with pytest.raises(InvalidInput, match="1 states and 1 commands; unit kind HEAT_SOURCE has 1 and 2"):
        advance(0, compiled.parameters, compiled.state, compiled.command[:1], 300.0, 1.0, 1.0, result)
    with pytest.raises(InvalidInput, match="result has 1 numbers; unit kind 0 has 2"):
        advance(0, compiled.parameters, compiled.state, compiled.command, 300.0, 1.0, 1.0, result[:1])
    with pytest.raises(InvalidInput, match=r"dt_s: 0\.0 must be positive"):
        advance(0, compiled.parameters, compiled.state, compiled.command, 300.0, 1.0, 0.0, result)


def test_parameters_of_another_kind_are_refused():
    wanted = r"\['heat_limit_w', 'smallest_rise_k'\]"
    with pytest.raises(InvalidInput, match=rf"HEAT_SOURCE: parameters \['power'\] instead of {wanted}"):
        parameter_row(UnitKind.HEAT_SOURCE, {"power": 1.0})
