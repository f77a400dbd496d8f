import math

import pytest

from uem.twin_core.estimation.timeline import Reading, Timeline
from uem.twin_core.measurements import (
    BAD_SENSOR_FAILURE,
    GOOD,
    UNCERTAIN_LAST_USABLE_VALUE,
    UNCERTAIN_SENSOR_NOT_ACCURATE,
    is_good,
)


@pytest.fixture
def line():
    line = Timeline(stale_ns=100)
    line.append(0, 10.0, GOOD)
    line.append(40, 20.0, GOOD)
    return line


def test_a_value_between_two_samples_lies_on_the_straight_line(line):
    assert line.at(10) == Reading(12.5, GOOD, 0)
    assert line.at(40) == Reading(20.0, GOOD, 40)


def test_a_quantity_that_jumps_keeps_the_value_of_the_sample_before(line):
    assert line.before(39).value == 10.0
    assert line.before(40).value == 20.0
    assert line.before(-5).value == 10.0


@pytest.mark.parametrize(("value", "quality"), [(99.0, BAD_SENSOR_FAILURE), (math.nan, GOOD), (math.inf, GOOD)])
def test_a_sample_that_is_not_usable_repeats_the_last_usable_value_and_says_so(line, value, quality):
    line.append(60, value, quality)
    assert line.at(60) == Reading(20.0, UNCERTAIN_LAST_USABLE_VALUE, 40)
    assert not line.measured_between(40, 60)
    assert line.measured_between(39, 60)


def test_nothing_is_known_before_the_first_usable_value():
    line = Timeline(100)
    line.append(5, math.nan, BAD_SENSOR_FAILURE)
    assert len(line) == 0
    assert line.newest_ns is None
    assert line.first_ns is None
    assert line.usual_interval_ns is None


def test_a_held_value_stays_good_until_it_is_stale(line):
    line.hold_until(300)
    assert line.at(140) == Reading(20.0, GOOD, 40)
    assert line.at(141) == Reading(20.0, UNCERTAIN_LAST_USABLE_VALUE, 40)
    assert line.before(300).quality == UNCERTAIN_LAST_USABLE_VALUE


def test_a_meter_that_is_read_out_rarely_is_stale_when_two_of_its_readings_are_missing():
    line = Timeline(stale_ns=100)
    line.append(0, 1.0, GOOD)
    assert not is_good(line.before(101).quality)  # nobody knows yet that it tells so rarely
    line.append(200, 2.0, GOOD)
    line.hold_until(650)
    assert line.before(700) == Reading(2.0, GOOD, 200)
    assert line.before(701) == line.at(701) == Reading(2.0, UNCERTAIN_LAST_USABLE_VALUE, 200)


def test_what_came_later_does_not_change_how_old_a_value_was():
    line = Timeline(stale_ns=100)
    line.append(0, 1.0, GOOD)
    before = line.before(150)
    line.append(200, 2.0, GOOD)
    assert line.before(150) == before == Reading(1.0, UNCERTAIN_LAST_USABLE_VALUE, 0)


def test_a_hold_changes_nothing_of_what_was_read_before(line):
    before = [(line.at(t), line.before(t), line.measured_between(t - 7, t)) for t in range(0, 181)]
    line.hold_until(160)
    assert [(line.at(t), line.before(t), line.measured_between(t - 7, t)) for t in range(0, 181)] == before
    line.append(200, 40.0, GOOD)
    assert line.at(160).value == 20.0
    assert line.at(180).value == 30.0
    assert len(line) == 4


def test_uncertain_samples_are_used_and_their_quality_is_carried(line):
    line.append(60, 30.0, UNCERTAIN_SENSOR_NOT_ACCURATE)
    assert line.at(50) == Reading(25.0, UNCERTAIN_SENSOR_NOT_ACCURATE, 40)
    line.append(80, 30.0, GOOD)
    assert line.at(70).quality == UNCERTAIN_SENSOR_NOT_ACCURATE


def test_the_usual_interval_is_the_shortest_of_the_last_four(line):
    assert line.usual_interval_ns == 40
    for time in (140, 240, 340, 440):
        line.append(time, 1.0, GOOD)
    assert line.usual_interval_ns == 100


def test_forgetting_keeps_what_is_needed_from_there_on(line):
    line.append(80, 40.0, GOOD)
    line.forget_before(50)
    assert len(line) == 2
    assert line.at(60).value == 30.0
    line.forget_before(45)
    assert len(line) == 2


def test_only_the_newest_points_are_kept(line):
    line.append(80, 40.0, GOOD)
    line.keep_newest(1)
    assert line.first_ns == line.newest_ns == 80
