"""Diameters and flows of the design day, held against closed forms and the project's own hydraulics."""

import math

import numpy as np
import pytest

from uem.offline.valley.sizing import (
    DENSITY_KG_M3,
    MOST_LOST_PA,
    ROUGHNESS_M,
    STREET_PA_M,
    VISCOSITY_PA_S,
    diameter,
    gradient_pa_m,
    sized,
)
from uem.territories.dimensions import STEEL


@pytest.mark.parametrize(("flow_kg_s", "inner_m"), [(0.3, 0.0285), (3.0, 0.0703), (40.0, 0.21), (290.0, 0.444)])
def test_friction_is_that_of_colebrook_within_two_percent(flow_kg_s, inner_m):
    speed = flow_kg_s / (DENSITY_KG_M3 * math.pi / 4.0 * inner_m**2)
    reynolds = DENSITY_KG_M3 * speed * inner_m / VISCOSITY_PA_S
    factor = 0.02
    for _ in range(60):
        factor = (-2.0 * math.log10(ROUGHNESS_M / (3.7 * inner_m) + 2.51 / (reynolds * math.sqrt(factor)))) ** -2
    expected = factor / inner_m * DENSITY_KG_M3 / 2.0 * speed**2
    assert gradient_pa_m(flow_kg_s, inner_m) == pytest.approx(expected, rel=0.02)
    assert gradient_pa_m(-flow_kg_s, inner_m) == gradient_pa_m(flow_kg_s, inner_m)
    assert gradient_pa_m(0.0, inner_m) == 0.0


def test_a_pipe_is_the_narrowest_that_keeps_the_limit():
    for flow_kg_s in (0.1, 1.0, 7.0, 60.0, 300.0):
        dn = diameter(flow_kg_s, STREET_PA_M)
        narrower = max((d for d in STREET_DN if d < dn), default=None)
        assert gradient_pa_m(flow_kg_s, STEEL[dn].inner_mm / 1e3) <= STREET_PA_M
        assert narrower is None or gradient_pa_m(flow_kg_s, STEEL[narrower].inner_mm / 1e3) > STREET_PA_M
    assert diameter(0.1, STREET_PA_M, smallest=50) == 50
    with pytest.raises(ValueError, match="no pipe carries"):
        diameter(1e5, STREET_PA_M)


STREET_DN = [dn for dn in STEEL if dn >= 20]


def test_a_tree_carries_what_is_behind_it():
    ways = [(0, 1), (1, 2), (1, 3)]
    found = sized(4, ways, [500.0, 300.0, 200.0], {2: 5.0, 3: 12.0})
    np.testing.assert_allclose(found.flow_kg_s, [17.0, 5.0, 12.0], rtol=1e-6)
    assert found.dn == [
        diameter(17.0, STREET_PA_M, 50),
        diameter(5.0, STREET_PA_M, 50),
        diameter(12.0, STREET_PA_M, 50),
    ]
    lost = [
        gradient_pa_m(f, STEEL[dn].inner_mm / 1e3) * m
        for f, dn, m in zip(found.flow_kg_s, found.dn, [500.0, 300.0, 200.0], strict=True)
    ]
    np.testing.assert_allclose(found.lost_pa, [0.0, lost[0], lost[0] + lost[1], lost[0] + lost[2]], rtol=1e-3)


def test_in_a_ring_the_losses_of_both_ways_are_equal_and_no_water_is_lost():
    ways, lengths = [(0, 1), (1, 2), (2, 3), (0, 3)], [400.0, 500.0, 300.0, 600.0]
    found = sized(4, ways, lengths, {1: 4.0, 2: 9.0, 3: 3.0})
    one, two, three, four = found.flow_kg_s
    assert (one - two, two - three, three + four, one + four) == pytest.approx((4.0, 9.0, 3.0, 16.0), rel=1e-5)
    lost = [
        math.copysign(gradient_pa_m(f, STEEL[dn].inner_mm / 1e3) * m, f)
        for f, dn, m in zip(found.flow_kg_s, found.dn, lengths, strict=True)
    ]
    assert lost[0] + lost[1] + lost[2] == pytest.approx(lost[3], abs=0.01 * max(lost))


def test_long_ways_get_wider_pipes():
    near = sized(2, [(0, 1)], [3000.0], {1: 30.0})
    far = sized(2, [(0, 1)], [20_000.0], {1: 30.0})
    assert far.dn[0] > near.dn[0]
    assert far.lost_pa.max() <= MOST_LOST_PA
