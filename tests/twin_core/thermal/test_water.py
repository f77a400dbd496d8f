"""Water properties against IAPWS-95 (CoolProp), a NumPy reference, limits and refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.twin_core.errors import InvalidInput
from uem.twin_core.thermal import water

# name of the function on arrays, scalar at the default pressure, CoolProp's letter, promised relative error
PROPERTIES = {
    "density": (water.densities, water.density_kg_m3, "D", 1e-5),
    "heat_capacity": (water.heat_capacities, water.heat_capacity_j_kgk, "C", 1e-4),
    "viscosity": (water.viscosities, water.viscosity_pa_s, "V", 1e-3),
    "conductivity": (water.conductivities, water.conductivity_w_mk, "L", 1e-3),
}
each_property = pytest.mark.parametrize(("many", "one", "letter", "bound"), PROPERTIES.values(), ids=list(PROPERTIES))


def iapws(*what):
    from CoolProp.CoolProp import PropsSI  # takes seconds, so not while tests are collected

    return PropsSI(*what)


def filled(function, temp_k, pressure_pa):
    out = np.full(len(temp_k), np.nan)
    function(np.array(temp_k, float), np.array(pressure_pa, float), out)
    return out


def liquid_grid():
    temps, pressures = np.meshgrid(np.linspace(273.161, 423.15, 83), np.linspace(1e5, 25e5, 31), indexing="ij")
    boiling = iapws("P", "T", temps.ravel(), "Q", 0, "Water")
    liquid = pressures.ravel() > boiling * 1.00001
    return temps.ravel()[liquid], pressures.ravel()[liquid]


@each_property
def test_water_agrees_with_iapws_wherever_it_is_liquid(many, one, letter, bound):
    temps, pressures = liquid_grid()
    expected = iapws(letter, "T", temps, "P", pressures, "Water")
    np.testing.assert_allclose(filled(many, temps, pressures), expected, rtol=bound)


@each_property
def test_one_argument_means_six_bar(many, one, letter, bound):
    temps = np.linspace(*water.TEMP_RANGE_K, 57)
    at_default = filled(many, temps, np.full(57, water.DEFAULT_PRESSURE_PA))
    np.testing.assert_allclose([one(t) for t in temps], at_default, rtol=1e-14)


def test_saturation_pressure_agrees_with_iapws():
    temps = np.linspace(273.16, 423.15, 100)
    expected = iapws("P", "T", temps, "Q", 0, "Water")
    np.testing.assert_allclose([water.saturation_pressure_pa(t) for t in temps], expected, rtol=1e-5)


def test_the_kernel_is_the_polynomial_that_the_fit_prints():
    """The fit is repeated in NumPy: same points, same powers, same result up to the printed digits."""
    temps, pressures = liquid_grid()
    x, y = (2 * temps - 696.3) / 150.0, (2 * pressures - 26e5) / 24e5
    columns = np.stack([x**i * y**j for i in range(8) for j in range(3)], axis=1)
    wanted = iapws("D", "T", temps, "P", pressures, "Water")
    table, *_ = np.linalg.lstsq(columns / wanted[:, None], np.ones_like(wanted), rcond=None)
    np.testing.assert_allclose(filled(water.densities, temps, pressures), columns @ table, rtol=3e-6)


@each_property
def test_a_scalar_outside_the_range_counts_as_the_bound_and_nan_stays_nan(many, one, letter, bound):
    assert one(200.0) == one(273.15)
    assert one(500.0) == one(423.15)
    assert np.isnan(one(np.nan))


@each_property
@pytest.mark.parametrize(
    ("temp_k", "pressure_pa", "complaint"),
    [
        (273.0, 6e5, "temperature 273.0 K is outside"),
        (424.0, 6e5, "temperature 424.0 K is outside"),
        (np.nan, 6e5, "temperature nan K is outside"),
        (np.inf, 6e5, "temperature inf K is outside"),
        (300.0, 0.9e5, "pressure 90000.0 Pa is outside"),
        (300.0, 26e5, "pressure 2600000.0 Pa is outside"),
        (300.0, np.nan, "pressure nan Pa is outside"),
        (423.15, 4.7e5, "boils at 423.15 K and 470000.0 Pa; it needs at least 47"),
    ],
)
def test_water_that_is_not_liquid_is_refused_by_name(many, one, letter, bound, temp_k, pressure_pa, complaint):
    with pytest.raises(InvalidInput, match=complaint.replace(".", r"\.")) as refusal:
        filled(many, [300.0, temp_k], [6e5, pressure_pa])
    assert "index 1" in str(refusal.value)


def test_water_arrays_of_different_length_are_refused():
    with pytest.raises(InvalidInput, match="arrays of 2 temperatures, 1 pressures and 2 results"):
        filled(water.densities, [300.0, 301.0], [6e5])


@given(st.floats(277.2, 423.0), st.floats(0.01, 0.15))
def test_warmer_water_is_lighter_and_thinner(temp_k, more):
    assert water.density_kg_m3(temp_k + more) < water.density_kg_m3(temp_k)
    assert water.viscosity_pa_s(temp_k + more) < water.viscosity_pa_s(temp_k)


def test_empty_arrays_are_filled_with_nothing():
    assert filled(water.densities, [], []).size == 0
