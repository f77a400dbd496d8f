import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from uem.services.history.chunks import Columns
from uem.services.history.tail import Tail, segment

COMMITS = st.lists(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9)), min_size=1, max_size=9), max_size=20)


def tail_of(commits):
    tail, number = Tail(), 0
    for commit in commits:
        tag = np.array([tag for tag, _ in commit], np.uint32)
        time = np.array([time for _, time in commit], np.int64)
        value = np.arange(number, number + len(commit), dtype=np.float64)
        number += len(commit)
        tail = tail.add(segment(tag, Columns(time, value, np.zeros(len(commit), np.uint32))))
    return tail


@given(COMMITS)
def test_rows_of_a_tag_come_in_the_order_of_their_arrival(commits):
    tail = tail_of(commits)
    rows = [row for commit in commits for row in commit]
    for wanted in range(6):
        expected = [(time, float(i)) for i, (tag, time) in enumerate(rows) if tag == wanted]
        found = tail.of(wanted)
        assert list(zip(found.time.tolist(), found.value.tolist(), strict=True)) == expected
    assert tail.tags() == sorted({tag for tag, _ in rows})
    assert (tail.rows, tail.commits) == (len(rows), len(commits))


def test_a_thousand_commits_stay_a_few_segments():
    tail = tail_of([[(1, i), (2, i)] for i in range(1000)])
    assert len(tail.segments) <= 11


def test_adding_leaves_the_tail_before_it_as_it_was():
    before = tail_of([[(1, 1)]])
    before.add(segment(np.array([1], np.uint32), Columns(np.array([2]), np.ones(1), np.zeros(1, np.uint32))))
    assert before.of(1).time.tolist() == [1]


def test_a_frozen_part_is_read_before_the_newer_rows_and_thaws_away():
    old = tail_of([[(1, 1), (2, 1)], [(1, 2)]])
    newest = segment(np.array([1], np.uint32), Columns(np.array([9]), np.ones(1), np.zeros(1, np.uint32)))
    both = old.freeze().add(newest)
    assert both.of(1).time.tolist() == [1, 2, 9]
    assert (both.rows, both.all_rows, old.all_rows) == (1, 4, 3)
    assert both.tags() == [1]
    assert both.thawed().of(1).time.tolist() == [9]
    assert both.thawed().of(2).rows == 0
