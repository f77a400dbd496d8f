"""What twice-sent and lost samples leave behind."""

import numpy as np
import pytest

from uem.hardware_adapters.base import Break, SampleQueue
from uem.hardware_adapters.continuity import Continuity
from uem.twin_core.measurements import OVERFLOW, Gap, GapReason, Samples

S = 1_000_000_000
DOWN, OVERFLOWN = GapReason.LINK_DOWN, GapReason.QUEUE_OVERFLOW


def rows(*found):
    """Under one dictionary, as an adapter has it."""
    batch = Samples.from_rows([("a", 0, 0.0, 0), ("b", 0, 0.0, 0), *found])
    return batch.take(slice(2, None))


def follow(continuity, *found):
    fresh, gaps = continuity.follow(rows(*found))
    return [row[:2] for row in fresh.rows()], gaps


@pytest.fixture
def continuity():
    """Of two tags whose newest samples are of 10 ns."""
    begun = Continuity()
    assert follow(begun, ("a", 10, 1.0, 0), ("b", 10, 1.0, 0)) == ([("a", 10), ("b", 10)], [])
    return begun


def test_without_a_break_there_is_no_gap(continuity):
    assert follow(continuity, ("a", 1000, 1.0, 0), ("b", 10, 1.0, 0)) == ([("a", 1000)], [])


def test_a_tag_that_goes_on_after_a_break_has_a_gap_once_and_one_that_repeats_itself_has_none(continuity):
    continuity.break_off(Break(DOWN))
    _, gaps = follow(continuity, ("b", 10, 1.0, 0), ("b", 20, 1.0, 0), ("a", 30, 2.0, 0), ("a", 40, 2.0, 0))
    assert gaps == [Gap("a", 10, 30, DOWN)]
    assert follow(continuity, ("a", 90, 2.0, 0), ("b", 95, 2.0, 0))[1] == []


def test_a_gap_is_closed_by_the_first_sample_whenever_it_comes(continuity):
    continuity.break_off(Break(DOWN))
    assert follow(continuity, ("a", 20, 1.0, 0))[1] == [Gap("a", 10, 20, DOWN)]
    continuity.break_off(Break(GapReason.SOURCE_RESTARTED))
    assert follow(continuity, ("b", 50, 1.0, 0))[1] == [Gap("b", 10, 50, DOWN)]
    assert follow(continuity, ("a", 60, 1.0, 0))[1] == [Gap("a", 20, 60, GapReason.SOURCE_RESTARTED)]


def test_a_break_of_some_tags_leaves_the_others_whole(continuity):
    continuity.break_off(Break(DOWN, frozenset({"b"})))
    assert follow(continuity, ("a", 20, 1.0, 0), ("b", 21, 1.0, 0))[1] == [Gap("b", 10, 21, DOWN)]


def test_an_overflow_is_a_gap_before_its_row_wherever_it_stands(continuity):
    _, gaps = follow(
        continuity, ("a", 20, 1.0, 0), ("b", 30, 1.0, OVERFLOW), ("a", 40, 1.0, OVERFLOW), ("a", 50, 1.0, 0)
    )
    assert gaps == [Gap("b", 10, 30, OVERFLOWN), Gap("a", 20, 40, OVERFLOWN)]
    assert follow(continuity, ("a", 60, 1.0, 0))[1] == []


def test_a_tag_that_was_never_heard_of_has_no_interval(continuity):
    continuity.break_off(Break(DOWN))
    assert follow(continuity, ("c", 20, 1.0, 0))[1] == []


def test_a_clock_that_was_set_back_in_an_outage_leaves_a_gap_behind_its_old_time_and_one_before_its_new():
    now_s = [100.0]
    continuity = Continuity(monotonic_s=lambda: now_s[0])
    follow(continuity, ("a", 3600 * S, 1.0, 0), ("b", 3599 * S, 1.0, 0))
    now_s[0] = 160.0  # nothing was heard for a minute
    continuity.break_off(Break(DOWN))
    now_s[0] = 170.0
    _, gaps = follow(continuity, ("a", 1200 * S, 1.0, 0), ("a", 1201 * S, 1.0, 0), ("b", 1200 * S, 1.0, 0))
    assert gaps == [
        Gap("a", 3600 * S, 3670 * S, DOWN),
        Gap("a", 1130 * S, 1200 * S, DOWN),
        Gap("b", 3599 * S, 3670 * S, DOWN),
        Gap("b", 1130 * S, 1200 * S, DOWN),
    ]
    now_s[0] = 171.0
    assert follow(continuity, ("a", 1202 * S, 1.0, 0), ("b", 1202 * S, 1.0, 0))[1] == []


def test_a_tag_that_comes_long_after_the_others_has_gaps_as_long_as_its_own_silence():
    now_s = [100.0]
    continuity = Continuity(monotonic_s=lambda: now_s[0])
    follow(continuity, ("a", 3600 * S, 1.0, 0), ("b", 3000 * S, 1.0, 0))
    continuity.break_off(Break(DOWN))
    now_s[0] = 110.0
    assert len(follow(continuity, ("a", 1200 * S, 1.0, 0))[1]) == 2
    now_s[0] = 150.0
    _, gaps = follow(continuity, ("a", 1240 * S, 1.0, 0), ("b", 1240 * S, 1.0, 0))
    assert gaps == [Gap("b", 3000 * S, 3650 * S, DOWN), Gap("b", 1190 * S, 1240 * S, DOWN)]


def test_a_clock_that_was_set_back_while_we_were_away_for_who_knows_how_long_leaves_an_open_end():
    continuity = Continuity({"a": 3600 * S})
    assert follow(continuity, ("a", 1200 * S, 1.0, 0)) == ([("a", 1200 * S)], [])


def test_a_clock_that_was_set_back_while_we_were_away_leaves_gaps_as_long_as_that_was():
    continuity = Continuity({"a": 3600 * S, "b": 3590 * S}, 60.0, lambda: 100.0)
    _, gaps = follow(continuity, ("a", 1200 * S, 1.0, 0))
    assert gaps == [Gap("a", 3600 * S, 3660 * S, DOWN), Gap("a", 1140 * S, 1200 * S, DOWN)]
    assert follow(continuity, ("b", 3600 * S, 1.0, 0))[1] == [Gap("b", 3590 * S, 3600 * S, DOWN)]


def test_names_may_change_their_places(continuity):
    continuity.break_off(Break(DOWN))
    renamed = Samples.from_rows([("c", 20, 1.0, 0), ("b", 30, 1.0, 0)])
    assert continuity.follow(renamed)[1] == [Gap("b", 10, 30, DOWN)]


def test_gaps_and_samples_cover_a_counter_exactly():
    """Random losses, told by a break or by the overflow bit: each number is a sample or inside of one gap."""
    rng = np.random.default_rng(5)
    continuity, seen, gaps, count, overflow = Continuity(), [], [], 0, False
    for _ in range(500):
        count += 1
        what = rng.integers(10)
        if what == 0:
            continuity.break_off(Break(DOWN))
            count += int(rng.integers(5))
        elif what == 1:
            count += 1
            overflow = True
        fresh, found = continuity.follow(rows(("a", count, float(count), OVERFLOW if overflow else 0)))
        overflow = False
        seen += [row[1] for row in fresh.rows()]
        gaps += found
    inside = [n for gap in gaps for n in range(gap.start_ns + 1, gap.end_ns)]
    first = seen[0]
    assert sorted(seen + inside) == list(range(first, seen[-1] + 1))


async def test_what_a_full_queue_drops_is_a_break_of_the_tags_that_were_dropped():
    queue = SampleQueue(3)
    queue.put(rows(("a", 1, 1.0, 0), ("b", 1, 1.0, 0)))
    queue.put(Break(DOWN))
    queue.put(rows(("a", 2, 1.0, 0)))
    queue.put(rows(("a", 3, 1.0, 0), ("c", 3, 1.0, 0), ("c", 4, 1.0, 0)))
    queue.end()
    got = []
    async for found in queue.batches():
        got.append(found if isinstance(found, Break) else len(found))
    assert got == [Break(DOWN), Break(OVERFLOWN, frozenset({"a", "b"})), 3]
    assert queue.dropped == 3
