"""States told when they change are current while their witnesses tell; sensors, and what comes by the clock, age."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.twin_core.estimation.intake import Intake, Patience
from uem.twin_core.estimation.witnesses import witnesses
from uem.twin_core.measurements import BAD_NO_COMMUNICATION, GOOD, NS_PER_S, UNCERTAIN_LAST_USABLE_VALUE, Samples

STALE_S = 30
PATIENCE = Patience(wait_s=2.0, stale_s=STALE_S, restart_s=120.0, gap_s=5000.0, memory_s=0.0, warm_up_s=0.0, holds=True)
HOLDS = pytest.mark.parametrize("holds", [True, False])


def batch(*rows):
    return Samples.from_rows((tag, s * NS_PER_S, v, q[0] if q else GOOD) for tag, s, v, *q in rows)


def told(tag, *spans, value=float):
    return [(tag, s, value(s)) for begin, end in spans for s in range(begin, end)]


def following(*rows, holds=True):
    """A state, the meter of its machine, and another sensor of the plant."""
    intake = Intake(("state", "meter", "sensor"), (), replace(PATIENCE, holds=holds), witnesses={"state": ["meter"]})
    intake.take(batch(*sorted(rows, key=lambda row: row[1])))
    return intake


def quality(intake, tag, second):
    assert second * NS_PER_S <= intake.watermark_ns
    return intake.before(tag, second * NS_PER_S).quality


@HOLDS
def test_a_state_that_does_not_change_is_current_while_its_meter_tells_and_as_old_as_it_was_told(holds):
    intake = following(("state", 0, 6.0), *told("meter", (0, 200)), *told("sensor", (0, 200)), holds=holds)
    for second in (STALE_S, STALE_S + 1, 190):
        reading = intake.before("state", second * NS_PER_S)
        assert reading == intake.at("state", second * NS_PER_S) == (6.0, GOOD, 0)


@HOLDS
def test_a_machine_that_is_dead_is_found_by_its_meter_though_the_plant_goes_on(holds):
    intake = following(("state", 0, 6.0), *told("meter", (0, 61)), *told("sensor", (0, 200)), holds=holds)
    for tag in ("state", "meter"):
        assert quality(intake, tag, 60 + STALE_S) == GOOD
        assert quality(intake, tag, 60 + STALE_S + 1) == UNCERTAIN_LAST_USABLE_VALUE
    assert quality(intake, "sensor", 190) == GOOD


def test_a_sensor_that_stops_is_found_though_all_else_tells():
    rows = told("state", (0, 200)), told("meter", (0, 200)), told("sensor", (0, 60))
    intake = following(*[row for some in rows for row in some])
    assert quality(intake, "sensor", 100) == UNCERTAIN_LAST_USABLE_VALUE


def test_a_state_that_says_that_it_is_bad_is_uncertain_until_it_says_otherwise():
    bad = ("state", 50, np.nan, BAD_NO_COMMUNICATION)
    intake = following(("state", 0, 6.0), bad, ("state", 120, 6.0), *told("meter", (0, 200)), *told("sensor", (0, 200)))
    assert [quality(intake, "state", second) for second in (49, 50, 119, 120, 190)] == [
        GOOD,
        UNCERTAIN_LAST_USABLE_VALUE,
        UNCERTAIN_LAST_USABLE_VALUE,
        GOOD,
        GOOD,
    ]


def test_what_is_told_again_though_it_is_the_same_comes_by_the_clock_and_is_missed():
    rest = *told("meter", (0, 200)), *told("sensor", (0, 200))
    polled = following(*told("state", (0, 60), value=lambda _: 6.0), *rest)
    assert quality(polled, "state", 59 + STALE_S) == GOOD
    assert quality(polled, "state", 60 + STALE_S) == UNCERTAIN_LAST_USABLE_VALUE
    told_twice = following(("state", 0, 6.0), ("state", 50, 6.0), *rest)  # as a plant does that is reached anew
    assert quality(told_twice, "state", 190) == GOOD


def test_after_an_outage_of_the_plant_a_state_is_current_again_and_was_not_in_between():
    rest = *told("meter", (0, 60), (300, 400)), *told("sensor", (0, 60), (300, 400))
    intake = following(("state", 0, 6.0), *rest)
    found = [quality(intake, "state", second) for second in (60, 59 + STALE_S, 60 + STALE_S, 299, 300, 390)]
    assert found == [GOOD, GOOD, UNCERTAIN_LAST_USABLE_VALUE, UNCERTAIN_LAST_USABLE_VALUE, GOOD, GOOD]


def test_witnesses_are_the_gauges_of_the_machine_at_its_plant_or_else_all_of_the_plant():
    tags = ("state", "meter", "level", "count", "elsewhere", "nowhere")
    plants = dict.fromkeys(tags[:4], "hall") | {"elsewhere": "office"}
    discrete = {"state": ["meter"], "level": [], "count": ["elsewhere"], "nowhere": ["meter"]}
    assert witnesses(tags, discrete, plants) == {"state": ["meter"], "level": [*tags[:4]], "count": [*tags[:4]]}
    assert witnesses(tags, discrete, {}) == {}


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["state", "state", "meter", "sensor"]),
        st.one_of(st.integers(0, 60), st.integers(0, 400)),
        st.sampled_from([1.0, 1.0, 2.0]),
        st.sampled_from([GOOD, GOOD, GOOD, BAD_NO_COMMUNICATION]),
    ),
    max_size=80,
)


@given(ROWS, st.lists(st.integers(0, 80), max_size=6), st.booleans())
def test_what_is_current_does_not_depend_on_batches_and_stays_decided(samples, cuts, holds):
    patience, those = replace(PATIENCE, holds=holds), {"state": ["meter", "sensor", "state"]}
    whole, parts = (Intake(("state",), ("meter", "sensor"), patience, witnesses=those) for _ in range(2))
    whole.take(batch(*samples))
    asked = []
    for begin, end in pairwise([0, *sorted(cuts), len(samples)]):
        parts.take(batch(*samples[begin:end]))
        if parts.watermark_ns is not None:
            asked += [(time_ns, parts.before("state", time_ns)) for time_ns in (parts.watermark_ns,)]
    if not whole.restart_count:
        for time_ns, reading in asked:
            assert str(whole.before("state", time_ns)) == str(reading)
