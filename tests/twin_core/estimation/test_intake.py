from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.twin_core.estimation import intake as intake_module
from uem.twin_core.estimation.intake import Intake, Patience
from uem.twin_core.estimation.watermark import WAIT_LEAST_S
from uem.twin_core.measurements import (
    BAD_SENSOR_FAILURE,
    BAD_WAITING_FOR_INITIAL_DATA,
    GOOD,
    NS_PER_S,
    UNCERTAIN_LAST_USABLE_VALUE,
    Samples,
)

PATIENCE = Patience(wait_s=60.0, stale_s=90.0, restart_s=600.0, gap_s=5000.0, memory_s=30.0, warm_up_s=0.0)


def batch(*rows):
    return Samples.from_rows((tag, s * NS_PER_S, v, q[0] if q else GOOD) for tag, s, v, *q in rows)


def make(optional=(), **options):
    return Intake(("a", "b"), optional, PATIENCE, **options)


def seconds(time_ns):
    return None if time_ns is None else time_ns / NS_PER_S


def test_it_starts_when_every_required_tag_has_come():
    intake = make()
    intake.take(batch(("a", 0, 1.0), ("a", 10, 2.0)))
    assert intake.start_ns is None
    assert intake.missing == ["b"]
    assert seconds(intake.newest_ns) == 10
    intake.take(batch(("b", 5, 3.0)))
    assert seconds(intake.start_ns) == 5
    assert intake.missing == []


def test_a_tag_whose_first_sample_is_bad_has_not_come():
    intake = make()
    intake.take(batch(("a", 0, 1.0), ("b", 0, np.nan, BAD_SENSOR_FAILURE), ("a", 1, 1.0), ("b", 1, 2.0)))
    assert seconds(intake.start_ns) == 1
    assert intake.unusable_count == 1


def test_the_watermark_is_the_newest_time_all_tags_are_known_for():
    intake = make()
    intake.take(batch(("a", 0, 1.0), ("b", 0, 1.0), ("a", 10, 1.0)))
    assert seconds(intake.watermark_ns) == 0
    intake.take(batch(("b", 8, 1.0)))
    assert seconds(intake.watermark_ns) == 8


def test_the_order_of_tags_in_a_row_does_not_matter():
    a, b = make(), make()
    a.take(batch(("a", 0, 1.0), ("a", 5, 1.5), ("b", 5, 2.0), ("a", 9, 3.0), ("b", 9, 4.0)))
    b.take(batch(("a", 0, 1.0), ("b", 5, 2.0), ("a", 5, 1.5), ("b", 9, 4.0), ("a", 9, 3.0)))
    assert (a.start_ns, a.watermark_ns) == (b.start_ns, b.watermark_ns) == (5 * NS_PER_S, 9 * NS_PER_S)
    assert [a.at("a", t * NS_PER_S) for t in (5, 7, 9)] == [b.at("a", t * NS_PER_S) for t in (5, 7, 9)]


def test_a_silent_tag_is_held_after_three_of_its_usual_intervals():
    intake = make()
    for t in range(0, 31, 10):
        intake.take(batch(("a", t, 1.0), ("b", t, float(t))))
    intake.take(batch(("a", 59, 1.0)))
    assert seconds(intake.watermark_ns) == 30
    intake.take(batch(("a", 80, 1.0)))
    assert seconds(intake.watermark_ns) == 50  # 80 - 3 * 10
    assert intake.at("b", 50 * NS_PER_S).value == 30.0
    intake.take(batch(("a", 200, 1.0)))
    held = intake.at("b", 160 * NS_PER_S)
    assert (held.value, held.quality, seconds(held.measured_ns)) == (30.0, UNCERTAIN_LAST_USABLE_VALUE, 30)


def test_a_tag_without_a_known_interval_is_waited_for_no_longer_than_the_patience():
    intake = make()
    intake.take(batch(("a", 0, 1.0), ("b", 0, 1.0), ("a", 100, 1.0)))
    assert seconds(intake.watermark_ns) == 40


def test_samples_behind_what_was_decided_are_counted_and_not_used():
    intake = make()
    intake.take(batch(("a", 0, 1.0), ("b", 0, 1.0), ("a", 100, 1.0), ("b", 30, 99.0), ("b", 40, 99.0), ("b", 50, 5.0)))
    assert intake.late_count == 2
    assert intake.at("b", 30 * NS_PER_S).value == 1.0
    assert intake.at("b", 50 * NS_PER_S).value == 5.0


def test_a_sample_that_comes_twice_is_used_once_and_not_called_late():
    intake = make()
    intake.take(batch(("a", 0, 1.0), ("b", 0, 1.0), ("b", 0, 7.0)))
    assert intake.late_count == 0
    assert intake.at("b", 0).value == 1.0


def test_a_plant_that_only_speaks_of_long_ago_was_started_anew():
    told = []
    intake = make(before_restart=lambda: told.append(intake.watermark_ns))
    intake.take(batch(("a", 1000, 1.0), ("b", 1000, 2.0)))
    old = [row for t in range(0, 3) for row in (("a", t, 10.0), ("b", t, 20.0))]
    intake.take(batch(*old[:3]))
    assert intake.restart_count == 0
    assert intake.late_count == 3
    intake.take(batch(*old[3:]))
    assert intake.restart_count == 1
    assert told == [1000 * NS_PER_S]
    assert intake.late_count == 0
    assert (seconds(intake.start_ns), seconds(intake.watermark_ns)) == (0, 2)


def test_old_samples_among_new_ones_are_late_and_no_restart():
    intake = make()
    intake.take(batch(("a", 1000, 1.0), ("b", 1000, 2.0)))
    for t in range(20):
        intake.take(batch(("a", t, 1.0), ("a", 1001 + t, 1.0), ("b", 1001 + t, 1.0)))
    assert intake.restart_count == 0
    assert intake.late_count == 20


def test_one_sample_far_ahead_is_a_wrong_clock_and_changes_nothing():
    intake = make()
    intake.take(batch(("a", 0, 1.0), ("b", 0, 1.0), ("a", 9000, 1.0), ("a", 10, 1.0), ("b", 10, 1.0)))
    assert (intake.restart_count, intake.late_count) == (0, 1)
    assert seconds(intake.watermark_ns) == 10


def test_a_plant_that_was_away_for_long_begins_anew():
    intake = make()
    intake.take(batch(("a", 0, 1.0), ("b", 0, 1.0)))
    intake.take(batch(*(row for t in range(9000, 9003) for row in (("a", t, 5.0), ("b", t, 6.0)))))
    assert intake.restart_count == 1
    assert (seconds(intake.start_ns), seconds(intake.watermark_ns)) == (9000, 9002)


def test_the_first_row_may_become_complete_before_the_start():
    intake = make("c")
    intake.take(batch(("a", 0, 1.0), ("b", 0, 1.0)))
    assert intake.watermark_ns < intake.start_ns
    intake.take(batch(("c", 0, 7.0)))
    assert seconds(intake.watermark_ns) == 0
    assert intake.at("c", 0).value == 7.0


def test_an_optional_tag_that_stays_away_is_unknown_and_does_not_keep_the_twin_from_starting():
    intake = make("c")
    intake.take(batch(*(row for t in range(0, 61, 10) for row in (("a", t, 1.0), ("b", t, 1.0)))))
    assert seconds(intake.watermark_ns) == 60
    reading = intake.before("c", 0)
    assert np.isnan(reading.value)
    assert reading.quality == BAD_WAITING_FOR_INITIAL_DATA
    assert not intake.measured_between("c", -1, 0)


def test_an_optional_tag_that_says_it_is_bad_is_not_waited_for():
    intake = make("c")
    intake.take(batch(("c", 0, np.nan, BAD_SENSOR_FAILURE), ("a", 0, 1.0), ("b", 0, 1.0)))
    assert seconds(intake.watermark_ns) == 0


def test_an_optional_tag_that_joins_later_is_known_from_then_on():
    intake = make("c")
    intake.take(batch(*(row for t in range(0, 61, 10) for row in (("a", t, 1.0), ("b", t, 1.0)))))
    intake.take(batch(("c", 60, 5.0), ("a", 70, 1.0), ("b", 70, 1.0), ("c", 70, 7.0)))
    assert np.isnan(intake.at("c", 60 * NS_PER_S).value)
    assert intake.at("c", 65 * NS_PER_S).value == pytest.approx(6.0)
    assert seconds(intake.watermark_ns) == 70
    assert intake.late_count == 0


def test_memory_stays_bounded_while_a_tag_has_not_come(monkeypatch):
    monkeypatch.setattr(intake_module, "POINTS_BEFORE_START", 10)
    intake = make()
    intake.take(batch(*(("a", t, float(t)) for t in range(100))))
    intake.take(batch(("b", 99, 1.0)))
    assert intake.at("a", 95 * NS_PER_S).value == 95.0
    assert np.isnan(intake.at("a", 80 * NS_PER_S).value)


def test_the_mean_is_over_the_remembered_past():
    intake = make()
    intake.take(batch(*(row for t in range(0, 101, 10) for row in (("a", t, float(t)), ("b", t, 1.0)))))
    assert intake.mean("a", 100 * NS_PER_S) == pytest.approx(85.0)
    intake.forget_before(100 * NS_PER_S)
    assert intake.mean("a", 100 * NS_PER_S) == pytest.approx(85.0)


ROWS = st.lists(
    st.tuples(
        st.sampled_from("abcx"),
        st.integers(0, 2000),
        st.floats(-1e6, 1e6),
        st.sampled_from([GOOD, GOOD, GOOD, BAD_SENSOR_FAILURE]),
    ),
    max_size=60,
)


@given(rows=ROWS, cuts=st.lists(st.integers(0, 60), max_size=6))
def test_any_order_of_samples_gives_the_same_whatever_the_batches(rows, cuts):
    whole, parts = make("c"), make("c")
    whole.take(batch(*rows))
    edges = [0, *sorted(cuts), len(rows)]
    for begin, end in pairwise(edges):
        parts.take(batch(*rows[begin:end]))
    assert (whole.start_ns, whole.watermark_ns, whole.late_count) == (
        parts.start_ns,
        parts.watermark_ns,
        parts.late_count,
    )
    if whole.start_ns is not None:
        times = [t * NS_PER_S for t in range(0, 2001, 50)]
        assert str([whole.at(tag, t) for tag in "abc" for t in times]) == str(
            [parts.at(tag, t) for tag in "abc" for t in times]
        )


class PlainWatermark:
    """The rule as the module's docstring has it, looking at every tag at every sample that is newer than its tag's."""

    def __init__(self, tags):
        self.times = {tag: [] for tag in tags}
        self.watermark_s = None

    def take(self, tag, time_s):
        self.times[tag].append(time_s)
        if all(self.times.values()):
            now_s = max(times[-1] for times in self.times.values())
            reached = [max(times[-1], now_s - self.patience_s(times)) for times in self.times.values()]
            self.watermark_s = max(min(reached), self.watermark_s or 0)

    def patience_s(self, times):
        last = [after - before for before, after in pairwise(times)][-4:]
        return min(PATIENCE.wait_s, max(3 * min(last), WAIT_LEAST_S)) if last else PATIENCE.wait_s


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 40)), max_size=120))
def test_the_watermark_is_that_of_a_plain_look_at_all_tags(steps):
    intake, plain = Intake("abcde", (), PATIENCE), PlainWatermark("abcde")
    now_s = dict.fromkeys("abcde", 0)
    for tag, step_s in [(tag, 0) for tag in "abcde"] + steps:
        now_s[tag] = max(now_s[tag], plain.watermark_s or 0) + step_s + 1
        intake.take(batch((tag, now_s[tag], 1.0)))
        plain.take(tag, now_s[tag])
        assert seconds(intake.watermark_ns) == plain.watermark_s
    assert intake.late_count == 0


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("apart_ns", [0, 1000])
def test_rows_in_any_order_of_tags_bring_the_watermark_to_the_slowest(order, apart_ns):
    tags = tuple(f"t{k}" for k in range(2000))
    intake, count = Intake(tags, (), PATIENCE), len(tags)
    tag, value, quality = np.arange(count, dtype=np.uint32)[::order], np.ones(count), np.zeros(count, np.uint32)
    rows = [Samples(tags, tag, s * NS_PER_S + apart_ns * np.arange(count), value, quality) for s in range(6)]
    intake.take(rows[0])
    for row in rows[1:]:
        intake.take(row)
    assert intake.watermark_ns == rows[-1].source_time_ns[0]
