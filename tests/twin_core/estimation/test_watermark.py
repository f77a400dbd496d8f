"""Where values count until the next sample: who is waited for, for how long, and what becomes of what comes late."""

import statistics
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.twin_core.estimation.intake import Intake, Patience
from uem.twin_core.estimation.watermark import LATENESS
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, GOOD, NS_PER_S, Samples

PATIENCE = Patience(wait_s=2.0, stale_s=90.0, restart_s=120.0, gap_s=5000.0, memory_s=30.0, warm_up_s=0.0, holds=True)


def batch(*rows):
    return Samples.from_rows((tag, round(s * NS_PER_S), v, q[0] if q else GOOD) for tag, s, v, *q in rows)


def rows(begin, end, tags="abc", every=1):
    return [(tag, float(t), float(t)) for t in range(begin, end, every) for tag in tags]


def following(*samples, tags="abc", **options):
    """An intake that has followed all tags each second up to 9."""
    intake = Intake(tags, (), replace(PATIENCE, **options))
    intake.take(batch(*rows(0, 10, tags), *samples))
    return intake


def watermark_s(intake):
    return intake.watermark_ns / NS_PER_S


def test_without_tags_that_are_needed_it_starts_with_the_row_of_most():
    intake = Intake((), "pabc", PATIENCE)
    intake.take(batch(("p", 0.3, 1.0)))
    assert intake.start_ns is None
    intake.take(batch(*rows(1, 2), ("p", 1.3, 1.0)))
    assert intake.start_ns == NS_PER_S


def test_without_most_of_its_tags_it_starts_when_it_has_waited():
    intake = Intake((), "pabc", PATIENCE)
    intake.take(batch(*[("p", t + 0.3, 1.0) for t in range(3)]))
    assert intake.start_ns is None
    intake.take(batch(("p", 3.3, 1.0)))
    assert intake.start_ns == round(3.3 * NS_PER_S)


def test_a_row_counts_when_its_last_tag_has_come():
    intake = following(("a", 10, 1.0), ("b", 10, 1.0))
    assert watermark_s(intake) == 9
    intake.take(batch(("c", 10, 1.0)))
    assert watermark_s(intake) == 10


def test_a_tag_that_falls_silent_costs_one_row_once():
    intake = following(("a", 10, 1.0), ("b", 10, 1.0))
    assert watermark_s(intake) == 9
    intake.take(batch(("a", 11, 1.0)))
    assert watermark_s(intake) == 10  # c is let go: b is waited for
    intake.take(batch(("b", 11, 1.0)))
    assert watermark_s(intake) == 11
    for t in range(12, 20):
        intake.take(batch(*rows(t, t + 1, "ab")))
        assert watermark_s(intake) == t


def test_a_tag_that_was_let_go_is_waited_for_again_when_it_tells_again():
    intake = following(*rows(10, 20, "ab"), *rows(20, 22))
    assert watermark_s(intake) == 21
    intake.take(batch(("a", 22, 1.0), ("b", 22, 1.0)))
    assert watermark_s(intake) == 21
    assert intake.late_count == 0


def test_tags_that_tell_at_other_times_of_the_second_hold_nothing_back():
    intake = Intake("abp", (), PATIENCE)
    intake.take(batch(*rows(0, 9, "ab"), *[("p", t - 0.6, 1.0) for t in range(1, 9)]))
    intake.take(batch(("a", 9, 1.0), ("b", 9, 1.0)))
    assert watermark_s(intake) == 9
    intake.take(batch(("p", 8.4, 7.0), ("a", 10, 1.0), ("b", 10, 1.0)))
    assert watermark_s(intake) == 10
    assert intake.before("p", 10 * NS_PER_S).value == 7.0


def test_a_meter_that_is_polled_less_often_than_most_is_not_waited_for():
    intake = following(*[row for t in range(10, 70) for row in (*rows(t, t + 1, "ab"), *rows(t, t + t % 10 // 9, "c"))])
    assert watermark_s(intake) == 69
    for t in range(70, 100):  # the meter is gone, and nobody notices
        intake.take(batch(*rows(t, t + 1, "ab")))
        assert watermark_s(intake) == t


@pytest.mark.parametrize("speed", [1, 60, 900])
def test_at_any_speed_a_row_is_waited_for_and_a_tag_that_is_silent_is_not(speed):
    intake = Intake("abc", (), PATIENCE)
    intake.take(batch(*rows(0, 10 * speed, every=speed)))
    intake.take(batch(("a", 10 * speed, 1.0), ("b", 10 * speed, 1.0)))
    assert watermark_s(intake) == 9 * speed
    intake.take(batch(*rows(11 * speed, 20 * speed, "ab", speed)))
    assert watermark_s(intake) == 19 * speed


def test_a_sample_that_comes_when_its_time_is_over_counts_from_the_next_instant_on():
    intake = following(*rows(10, 13, "ab"))
    intake.take(batch(("c", 11, 5.0)))
    decided_ns = 12 * NS_PER_S
    assert intake.watermark_ns == decided_ns
    assert intake.at("c", decided_ns).value == 9.0
    assert intake.at("c", decided_ns + 1).value == 5.0
    assert intake.measured_between("c", decided_ns, decided_ns + 1)
    assert (intake.late_count, intake.pop_late_ns()) == (0, None)


def test_what_is_late_is_told_to_who_can_read_it_again():
    intake = following(*rows(10, 14, "ab"))
    intake.take(batch(("c", 10.9, 5.0), ("c", 10.5, 5.0)))
    assert intake.at("c", 14 * NS_PER_S).value == 9.0
    assert (intake.late_count, intake.pop_late_ns()) == (2, round(10.9 * NS_PER_S))
    assert intake.pop_late_ns() is None


def test_of_one_tag_time_only_goes_forward():
    intake = following(*rows(10, 13, "ab"), ("c", 12, 5.0), ("c", 11, 7.0), ("c", 12, 8.0))
    assert intake.at("c", 13 * NS_PER_S).value == 5.0
    assert intake.late_count == 1  # the one that came twice is no late one


def test_a_slow_meter_may_be_as_late_as_its_interval():
    intake = Intake("abc", (), PATIENCE)
    for t in range(60):
        intake.take(batch(*rows(t, t + 1, "ab"), *[("c", t - 8, float(t))] * (t > 0 and t % 10 == 0)))
    assert intake.late_count == 0
    assert [intake.at("c", t * NS_PER_S).value for t in (51, 59)] == [50.0, 50.0]


def test_a_bad_sample_in_its_turn_holds_nothing_back():
    intake = following(("a", 10, 1.0), ("b", 10, 1.0), ("c", 10, np.nan, BAD_SENSOR_FAILURE))
    assert watermark_s(intake) == 10
    assert intake.before("c", 10 * NS_PER_S).value == 9.0


ROWS = st.lists(
    st.tuples(
        st.sampled_from("abcx"),
        st.one_of(st.integers(0, 40), st.integers(0, 400)),
        st.floats(-1e6, 1e6),
        st.sampled_from([GOOD, GOOD, GOOD, BAD_SENSOR_FAILURE]),
    ),
    max_size=80,
)


@given(ROWS, st.lists(st.integers(0, 80), max_size=6), st.booleans())
def test_any_order_of_samples_gives_the_same_whatever_the_batches_and_whenever_it_is_asked(samples, cuts, ask):
    whole, parts = (Intake("ab", "c", PATIENCE) for _ in range(2))
    whole.take(batch(*samples))
    asked = []
    for begin, end in pairwise([0, *sorted(cuts), len(samples)]):
        parts.take(batch(*samples[begin:end]))
        if parts.watermark_ns is not None and ask:
            asked += [(tag, parts.watermark_ns, parts.at(tag, parts.watermark_ns)) for tag in "abc"]
    assert [whole.start_ns, whole.watermark_ns, whole.late_count] == [
        parts.start_ns,
        parts.watermark_ns,
        parts.late_count,
    ]
    if not whole.restart_count:
        for tag, time_ns, reading in asked:  # what was decided stays decided
            assert str(whole.at(tag, time_ns)) == str(reading)


class Plain:
    """The rule as the module's docstring has it, looking at every tag at every sample."""

    def __init__(self, tags):
        self.times = {tag: [] for tag in tags}
        self.patience_s = {}
        self.most_s = 0.0
        self.watermark_s = None

    def take(self, tag, time_s):
        self.times[tag].append(time_s)
        if (sum(map(len, self.times.values())) - 1) % len(self.times) == 0:
            self.most_s = statistics.median([s for t in self.times if (s := self.usual_s(t))] or [0.0])
        usual_s = self.usual_s(tag)
        is_slow = usual_s > LATENESS * self.most_s > 0.0
        self.patience_s[tag] = 0.0 if is_slow else LATENESS * usual_s if usual_s else PATIENCE.wait_s
        if all(self.times.values()):
            now_s = max(times[-1] for times in self.times.values())
            silent_s = {tag: now_s - times[-1] for tag, times in self.times.items()}
            waited_for = [t for t, silent in silent_s.items() if self.usual_s(t) <= silent <= self.patience_s[t]]
            reached_s = min([now_s, *(self.times[tag][-1] for tag in waited_for)])
            self.watermark_s = max(reached_s, self.watermark_s or 0.0)

    def usual_s(self, tag):
        return min([after - before for before, after in pairwise(self.times[tag])][-4:], default=0.0)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from([1, 1, 1, 2, 5, 30])), max_size=120))
def test_the_watermark_is_that_of_a_plain_look_at_all_tags(steps):
    intake, plain = Intake("abcde", (), PATIENCE), Plain("abcde")
    now_s = dict.fromkeys("abcde", 0)
    for tag, step_s in [(tag, 0) for tag in "abcde"] + steps:
        now_s[tag] = max(now_s[tag], plain.watermark_s or 0) + step_s + 1
        intake.take(batch((tag, now_s[tag], 1.0)))
        plain.take(tag, now_s[tag])
        assert (intake.watermark_ns or 0) == (plain.watermark_s or 0) * NS_PER_S
    assert intake.late_count == 0
