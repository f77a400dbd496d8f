"""Counterflow exchangers against the textbook form, and the search for the flow that meets a demand."""

from math import exp, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from uem.twin_core.thermal.units.exchanger import exchanged, stream_for_outlet, stream_needed

resistances = st.floats(-8, 2).map(lambda exponent: 10.0**exponent)


def effectiveness_ntu(difference_k, hot_w_k, cold_w_k, ua_w_k):
    """Heat by the textbook (VDI Heat Atlas, C1): effectiveness of counterflow."""
    least, most = sorted((hot_w_k, cold_w_k))
    ratio, units = least / most, ua_w_k / least
    if ratio > 1 - 1e-9:
        effectiveness = units / (1 + units)
    else:
        fading = exp(-units * (1 - ratio))
        effectiveness = (1 - fading) / (1 - ratio * fading)
    return effectiveness * least * difference_k


@given(hot=st.floats(10, 1e6), cold=st.floats(10, 1e6), ua=st.floats(10, 1e6))
def test_heat_is_that_of_effectiveness_and_transfer_units(hot, cold, ua):
    assert exchanged(40.0, 1 / hot, 1 / cold, 1 / ua) == pytest.approx(effectiveness_ntu(40.0, hot, cold, ua), rel=3e-9)


@given(a=resistances, b=resistances, wall=resistances)
def test_effectiveness_lies_between_0_and_1_and_streams_may_change_places(a, b, wall):
    heat = exchanged(1.0, a, b, wall)
    most = 1 / max(a, b)
    assert 0 < heat <= most * (1 + 1e-12)
    assert exchanged(1.0, b, a, wall) == pytest.approx(heat, rel=1e-9)


@given(a=resistances, b=resistances, wall=resistances, more=st.floats(1.0, 10.0))
def test_a_larger_exchanger_or_stream_never_gives_less(a, b, wall, more):
    heat = exchanged(1.0, a, b, wall)
    for larger in ((a / more, b, wall), (a, b / more, wall), (a, b, wall / more)):
        assert exchanged(1.0, *larger) >= heat * (1 - 1e-12)


@pytest.mark.parametrize("ratio", [1 - 1e-3, 1 - 1e-9, 1.0, 1 + 1e-9, 1 + 1e-3])
def test_nothing_jumps_where_the_streams_are_equal(ratio):
    assert exchanged(40.0, 1e-3, 1e-3 * ratio, 2e-3) == pytest.approx(40 / 3e-3, rel=1e-3)


def test_without_resistance_of_the_wall_the_smaller_stream_takes_it_all():
    assert exchanged(40.0, 1e-3, 2e-3, 1e-9) == pytest.approx(40 / 2e-3, rel=1e-12)


def total(a, b, fixed, film, nominal):
    """dT / Q of an exchanger whose controlled stream has the resistance `a`."""
    return 1 / exchanged(1.0, a, b, fixed + film * (a / nominal) ** 0.75)


@given(
    b=st.floats(-6, -2).map(lambda e: 10**e),
    fixed=st.floats(-6, -2).map(lambda e: 10**e),
    film=st.floats(-6, -2).map(lambda e: 10**e),
    nominal=st.floats(-6, -2).map(lambda e: 10**e),
    part=st.floats(1e-3, 10.0),
)
def test_the_flow_found_is_the_one_that_gives_the_heat(b, fixed, film, nominal, part):
    resistance = total(part * nominal, b, fixed, film, nominal)
    found = stream_needed(resistance, b, fixed, film, nominal, 1e-12)
    assert total(found, b, fixed, film, nominal) == pytest.approx(resistance, rel=1e-9)


def test_the_flow_found_is_that_of_a_plain_root_finder():
    resistance = 3e-3
    found = brentq(lambda a: total(a, 5e-4, 2e-4, 3e-4, 1e-3) - resistance, 1e-9, resistance, xtol=1e-15)
    assert stream_needed(resistance, 5e-4, 2e-4, 3e-4, 1e-3, 1e-9) == pytest.approx(found, rel=1e-10)


@pytest.mark.parametrize("least", [1e-4, 1e-3])
def test_where_no_flow_is_enough_it_is_the_largest(least):
    # The other stream alone needs more difference than there is.
    assert stream_needed(4e-3, 5e-3, 2e-4, 3e-4, 1e-3, least) == least


@given(ratio=st.floats(1.001, 50.0), b=st.floats(1e-5, 1e-2), fixed=st.floats(1e-5, 1e-2), film=st.floats(1e-5, 1e-2))
def test_the_flow_found_leaves_at_the_temperature_asked_for(ratio, b, fixed, film):
    a = stream_for_outlet(ratio, b, fixed, film, 1e-3, 1e-12)
    if a > 1e-12:
        assert exchanged(1.0, a, b, fixed + film * (a / 1e-3) ** 0.75) * a * ratio == pytest.approx(1.0, rel=1e-6)


@given(a=st.sampled_from([0.0, 5e-324, 1e-300, 1e300, inf]))
def test_a_vanishing_or_endless_stream_gives_a_number(a):
    heat = exchanged(40.0, a, 1e-3, 1e-3)
    assert 0.0 <= heat <= 40.0 / 1e-3
