"""Friction factors against the implicit equation, their joints and their slopes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from uem.twin_core.errors import InvalidInput
from uem.twin_core.thermal.friction import LAWS, friction_factors, pressure_drops_of

each_law = pytest.mark.parametrize("law", LAWS)


def factors(law, roughness, reynolds):
    reynolds = np.atleast_1d(np.asarray(reynolds, float))
    out = np.empty(len(reynolds))
    friction_factors(law, np.full(len(reynolds), float(roughness)), reynolds, out)
    return out


@given(st.floats(0.0, 0.05), st.floats(3.61, 11.0))
def test_turbulent_factor_solves_colebrook_to_1e_10(roughness, exponent):
    reynolds = 10.0**exponent
    exact = brentq(lambda x: x + 2.0 * np.log10(roughness / 3.7 + 2.51 * x / reynolds), 1.0, 40.0, xtol=1e-14)
    assert factors("colebrook", roughness, reynolds)[0] == pytest.approx(exact**-2, rel=1e-10)


@pytest.mark.parametrize("law", ["colebrook", "swamee-jain"])
def test_laminar_factor_is_that_of_hagen_and_poiseuille(law):
    reynolds = np.array([1e-9, 1.0, 2000.0])
    np.testing.assert_allclose(factors(law, 1e-3, reynolds), 64.0 / reynolds, rtol=1e-14)


def test_swamee_and_jain():
    expected = 0.25 / np.log10(1e-3 / 3.7 + 5.74 / 1e5**0.9) ** 2
    assert factors("swamee-jain", 1e-3, 1e5)[0] == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("law", ["colebrook", "swamee-jain"])
@pytest.mark.parametrize("joint", [2000.0, 4000.0])
@pytest.mark.parametrize("roughness", [0.0, 1e-4, 0.05])
def test_value_and_slope_have_no_jump_where_the_laws_meet(law, joint, roughness):
    step = 1e-3
    around = factors(law, roughness, joint + step * np.array([-1, 0, 1]))
    assert around[2] - around[1] == pytest.approx(around[1] - around[0], abs=1e-10)


def test_nikuradse_is_laminar_plus_rough():
    rough = (1.14 - 2.0 * np.log10(1e-3)) ** -2
    assert factors("nikuradse", 1e-3, 1e5)[0] == pytest.approx(64e-5 + rough, rel=1e-3)


@pytest.mark.parametrize(
    ("law", "roughness", "reynolds", "text"),
    [
        ("hazen", 1e-3, 1e5, "colebrook, swamee-jain, nikuradse"),
        ("colebrook", -1e-3, 1e5, "roughness -0.001"),
        ("colebrook", 1e-3, 0.0, "Reynolds number 0.0"),
        ("colebrook", 1e-3, np.nan, "Reynolds number nan"),
    ],
)
def test_what_makes_no_sense_is_refused(law, roughness, reynolds, text):
    with pytest.raises(InvalidInput, match=text):
        factors(law, roughness, reynolds)


@pytest.mark.parametrize("law", LAWS)
def test_pressure_drops_of_many_pipes_are_factor_times_flow_squared(law):
    rng = np.random.default_rng(1)
    roughness, flow = 10.0 ** rng.uniform(-6, -1.4, 3000), 10.0 ** rng.uniform(1, 8, 3000)
    factor, drop, slope = np.empty((3, 3000))
    friction_factors(law, roughness, flow, factor)
    pressure_drops_of(law, roughness, np.ones(3000), -flow, drop, slope)
    np.testing.assert_allclose(drop, -factor * flow**2, rtol=1e-10)
    more, less, unused = np.empty((3, 3000))
    pressure_drops_of(law, roughness, np.ones(3000), 1.0001 * flow, more, unused)
    pressure_drops_of(law, roughness, np.ones(3000), 0.9999 * flow, less, unused)
    smooth = (np.abs(flow - 2000) > 10) & (np.abs(flow - 4000) > 10)
    np.testing.assert_allclose(slope[smooth], ((more - less) / (2e-4 * flow))[smooth], rtol=1e-5)
