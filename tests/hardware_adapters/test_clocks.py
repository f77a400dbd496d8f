"""Clocks of plants against ours: a clock of the test's own drives all of them."""

import math

import numpy as np
import pytest

from uem.hardware_adapters.clocks import NS_PER_S, ClockState, ClockWatch, OurClock

START_NS = 1_700_000_000 * NS_PER_S


class Time:
    """A world in which a plant stamps samples by a clock that can be moved, and they take a while to come."""

    def __init__(self, **options):
        self.true_s = 0.0
        self.wall_shift_s = 0.0
        self.plant_shift_s = 0.0
        self.plant_rate = 1.0
        self.ours = OurClock(
            lambda: START_NS + round((self.true_s + self.wall_shift_s) * NS_PER_S),
            lambda: round(self.true_s * NS_PER_S) + 77,
        )
        self.watch = ClockWatch(self.ours, **options)
        self._rng = np.random.default_rng(3)

    def run(self, seconds, every_s=0.5, held_back_s=0.0):
        """Samples for so long, with delays of 20 ms to 1 s."""
        for _ in range(round(seconds / every_s)):
            self.true_s += every_s
            delay_s = 0.02 + self._rng.exponential(0.1) + held_back_s
            stamped_s = (self.true_s - delay_s) * self.plant_rate + self.plant_shift_s
            self.watch.observe(START_NS + round(stamped_s * NS_PER_S))


def test_an_even_clock_is_ok_and_its_offset_is_the_least_delay():
    world = Time()
    assert world.watch.state is ClockState.UNKNOWN
    assert math.isnan(world.watch.offset_s)
    world.plant_shift_s = -3.0
    world.run(1200)
    assert world.watch.state is ClockState.OK
    assert world.watch.offset_s == pytest.approx(-3.02, abs=0.1)
    assert abs(world.watch.drift_ppm) < 30
    assert (world.watch.jumps, world.ours.jumps) == (0, 0)


@pytest.mark.parametrize("hours", [1, -1])
def test_a_step_of_an_hour_is_one_jump_and_so_is_the_way_back(hours):
    world = Time()
    world.run(120)
    world.plant_shift_s = 3600.0 * hours
    world.run(30)
    assert world.watch.jumps == 1
    assert world.watch.state is (ClockState.FUTURE if hours > 0 else ClockState.JUMPED)
    assert world.watch.offset_s == pytest.approx(3600 * hours, abs=0.2)
    world.run(300)
    world.plant_shift_s = 0.0
    world.run(30)
    assert (world.watch.jumps, world.watch.state) == (2, ClockState.JUMPED)
    world.run(700)
    assert (world.watch.jumps, world.watch.state) == (2, ClockState.OK)


def test_a_repeated_second_is_no_jump_and_seen_as_a_drift_for_a_while():
    world = Time()
    world.run(700)
    world.plant_shift_s = -1.0
    world.run(700)
    assert (world.watch.jumps, world.watch.offset_s) == (0, pytest.approx(-1.02, abs=0.1))
    assert world.watch.state is ClockState.DRIFTING
    world.run(7000)
    assert world.watch.state is ClockState.OK


@pytest.mark.parametrize("ppm", [500, -500])
def test_a_drift_is_measured_and_told_long_before_it_matters(ppm):
    world = Time()
    world.plant_rate = 1 + ppm / 1e6
    world.run(1200)
    assert world.watch.state is ClockState.DRIFTING
    assert world.watch.drift_ppm == pytest.approx(ppm, abs=60)
    assert world.watch.jumps == 0


def test_a_jump_of_our_own_clock_is_told_as_ours():
    world = Time()
    world.run(120)
    world.wall_shift_s = 3600.0
    world.run(120)
    assert (world.ours.jumps, world.watch.jumps) == (1, 0)
    assert world.watch.offset_s == pytest.approx(-3600, abs=0.2)
    assert world.ours.now_ns() == START_NS + round((world.true_s + 3600) * NS_PER_S)


def test_a_small_correction_of_our_clock_is_followed_in_silence():
    world = Time()
    world.run(60)
    world.wall_shift_s = 0.3
    world.run(60)
    assert (world.ours.jumps, world.watch.jumps) == (0, 0)


def test_old_samples_after_an_outage_are_no_jump():
    world = Time()
    world.run(120)
    world.true_s += 600
    world.run(4, held_back_s=500.0)
    world.run(60)
    assert world.watch.jumps == 0


def test_one_sample_of_long_ago_before_the_others_is_no_jump():
    world = Time()
    world.watch.observe(START_NS - 9 * 3600 * NS_PER_S)
    world.run(60)
    assert (world.watch.jumps, world.watch.state) == (0, ClockState.OK)


def test_delays_that_differ_by_seconds_are_no_drift():
    world, rng = Time(), np.random.default_rng(5)
    for _ in range(600):
        world.run(2, every_s=2, held_back_s=rng.uniform(0, 1.5))
        assert world.watch.state in (ClockState.UNKNOWN, ClockState.OK)
    assert world.watch.jumps == 0


def test_a_recording_has_a_time_of_its_own():
    world = Time(is_recorded=True)
    world.plant_rate = 450.0
    world.run(60)
    assert world.watch.state is ClockState.RECORDED
    assert math.isnan(world.watch.offset_s)
    assert math.isnan(world.watch.drift_ppm)
