from threading import Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.services.history import overview as module
from uem.services.history.overview import Method, overview
from uem.services.history.store import TagStats
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, Gap, GapReason, Samples, is_bad

ALL = (-(2**63), 2**63 - 1)


class OneTag:
    """As much of a store as an overview asks for."""

    def __init__(self, rows, gaps=()):
        self.kept_gaps = sorted(gaps)
        self.rows = Samples.from_rows(("a", time, value, quality) for time, value, quality in rows)

    def tags(self, names):
        times = self.rows.source_time_ns
        return {"a": TagStats(len(times), int(times[0]), int(times[-1]))} if len(times) else {}

    def gaps(self, tags, start_ns, end_ns, most, after=None):
        found = [
            ((start, i), Gap("a", start, end, GapReason.LINK_DOWN)) for i, (start, end) in enumerate(self.kept_gaps)
        ]
        return [pair for pair in found if after is None or pair[0] > after][:most]

    def read(self, tags, start_ns, end_ns, limit):
        rows = self.page("a", start_ns, end_ns, None)
        return rows.take(slice(len(rows) - limit, None))

    def page(self, tag, start_ns, end_ns, most):
        times = self.rows.source_time_ns
        return self.rows.take(np.flatnonzero((times >= start_ns) & (times < end_ns))[:most])


def plain(rows, begin, length_ns):
    """The same in words of a plainer program."""
    found = []
    for number in sorted({(time - begin) // length_ns for time, *_ in rows}):
        inside = [row for row in rows if (row[0] - begin) // length_ns == number]
        good = [row for row in inside if not is_bad(row[2])]
        if good:
            extremes = {min(good, key=lambda row: (row[1], row[0])), max(good, key=lambda row: (row[1], -row[0]))}
        else:
            extremes = {inside[0]}
        found += sorted(extremes)
    return found


ROWS = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(-3, 3).map(float), st.sampled_from([0, 0, 0, BAD_SENSOR_FAILURE])),
    max_size=200,
    unique_by=lambda row: row[0],
).map(sorted)


@pytest.fixture(autouse=True, scope="module")
def _small_pages():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAGE_ROWS", 7)
        patch.setattr(module, "GAPS_AT_ONCE", 2)
        yield


@given(ROWS, st.integers(2, 40))
def test_the_extremes_of_each_interval_are_kept_whatever_the_pages(rows, most):
    found = overview(OneTag(rows), "a", *ALL, most)
    assert len(found.samples) <= most
    assert found.sample_count == len(rows)
    got = [row[1:] for row in found.samples.rows()]
    if len(rows) <= most:
        assert (got, found.resolution_ns) == (rows, 0)
    else:
        assert got == plain(rows, rows[0][0], found.resolution_ns)


def test_a_range_is_divided_from_its_own_first_sample_on():
    rows = [(i, float(i % 10), 0) for i in range(1000)]
    found = overview(OneTag(rows), "a", 200, 700, 10)
    assert (found.resolution_ns, found.sample_count) == (100, 500)
    assert [row[1] for row in found.samples.rows()] == [t for b in range(200, 700, 100) for t in (b, b + 9)]


def test_of_what_nothing_is_stored_there_is_nothing():
    assert overview(OneTag([]), "a", *ALL, 100).sample_count == 0


def lines(rows, gaps):
    """The number of the line of each sample: a new one where nobody may draw."""
    found = []
    for i, (time, _, quality) in enumerate(rows):
        before = rows[i - 1] if i else None
        broken = before is None or is_bad(quality) or is_bad(before[2])
        broken = broken or any(min(end, time) - max(start, before[0]) >= 2 for start, end in gaps)
        found.append((found[-1] if found else 0) + broken)
    return found


def plain_triangles(rows, gaps, length_ns, most):
    """Largest triangle, three buckets, in words of a plainer program: indexes of the rows that are kept."""
    line = lines(rows, gaps)
    first = rows[0][0]
    x = [(row[0] - first) / length_ns + 1.0 for row in rows]
    buckets = [[0], *([] for _ in range(most - 2)), [len(rows) - 1]]
    for i, row in enumerate(rows[1:-1], 1):
        buckets[1 + (row[0] - first) // length_ns].append(i)
    good = [[i for i in bucket if not is_bad(rows[i][2])] for bucket in buckets]
    kept, before = [], None
    for k, bucket in enumerate(buckets):
        if not good[k]:
            kept += bucket[:1]
            continue
        following = next((inside for inside in good[k + 1 :] if inside), [])
        areas = []
        for i in good[k]:
            start = next(j for j in good[k] if line[j] == line[i])
            ax, a = (float(k), rows[start][1])
            if before is not None and line[before] == line[i]:
                ax, a = x[before], rows[before][1]
            cx, c = float(k + 1), a
            if following and line[following[0]] == line[i]:
                behind = [j for j in following if line[j] == line[i]]
                cx, c = sum(x[j] for j in behind) / len(behind), sum(rows[j][1] for j in behind) / len(behind)
            areas.append(abs((ax - cx) * (rows[i][1] - a) - (ax - x[i]) * (c - a)))
        before = good[k][areas.index(max(areas))]
        kept.append(before)
    return kept


GAPS = st.lists(st.tuples(st.integers(-10, 10_000), st.integers(2, 500)).map(lambda g: (g[0], g[0] + g[1])), max_size=6)


def assert_plain_triangles(rows, gaps, most):
    found = overview(OneTag(rows, gaps), "a", *ALL, most, Method.LARGEST_TRIANGLE)
    got = [row[1:] for row in found.samples.rows()]
    assert found.sample_count == len(rows)
    if len(rows) <= most:
        assert (got, found.resolution_ns) == (rows, 0)
    else:
        assert got == [rows[i] for i in plain_triangles(rows, gaps, found.resolution_ns, most)]
        assert (got[0], got[-1]) == (rows[0], rows[-1])
    assert len(got) <= most
    assert np.all(np.diff(found.samples.source_time_ns) > 0)


@given(ROWS, GAPS, st.integers(3, 40))
def test_the_largest_triangles_are_those_of_the_plain_program_whatever_the_pages(rows, gaps, most):
    assert_plain_triangles(rows, gaps, most)


@pytest.mark.parametrize("seed", range(50))
def test_the_largest_triangles_of_long_lines_are_those_of_the_plain_program(seed):
    rng = np.random.default_rng(seed)
    times = np.unique(rng.integers(0, 10_000, 200)).tolist()
    qualities = rng.choice([0, BAD_SENSOR_FAILURE], len(times), p=[0.9, 0.1]).tolist()
    rows = list(zip(times, rng.integers(-3, 4, len(times)).astype(float).tolist(), qualities, strict=True))
    gaps = [(start, start + length) for start, length in rng.integers(2, (9_000, 500), (3, 2)).tolist()]
    assert_plain_triangles(rows, gaps, int(rng.integers(3, 40)))


@given(ROWS, GAPS, st.integers(3, 40), st.sampled_from(Method))
def test_a_line_begins_anew_behind_every_bad_sample_and_gap(rows, gaps, most, method):
    found = overview(OneTag(rows, gaps), "a", *ALL, most, method)
    number = dict(zip([row[0] for row in rows], lines(rows, gaps), strict=True))
    kept = [number[time] for time in found.samples.source_time_ns.tolist()]
    assert found.line_start.tolist() == [i for i in range(1, len(kept)) if kept[i] != kept[i - 1]]


def test_a_spike_of_one_sample_stays_and_a_straight_line_needs_no_more_than_its_ends():
    rows = [(i, float(i), 0) for i in range(1, 1001)]
    rows[617] = (618, 5000.0, 0)
    found = overview(OneTag(rows), "a", *ALL, 12, Method.LARGEST_TRIANGLE)
    values = found.samples.value
    assert 5000.0 in values
    times = found.samples.source_time_ns[values != 5000.0]
    np.testing.assert_array_equal(values[values != 5000.0], times)
    assert (times[0], times[-1]) == (1, 1000)


def test_a_range_that_begins_between_samples_keeps_its_own_first_and_last():
    rows = [(10 * i, float(i * i % 7), 0) for i in range(1000)]
    found = overview(OneTag(rows), "a", 2005, 7995, 10, Method.LARGEST_TRIANGLE)
    times = found.samples.source_time_ns
    assert (times[0], times[-1], found.sample_count) == (2010, 7990, 599)
    assert found.resolution_ns == 748


def test_what_lies_behind_a_gap_does_not_choose_what_is_kept_before_it():
    """Without the gap the jump to 1000 would bend the line at its last low sample."""
    low = [(i, float(i == 13), 0) for i in range(20)]
    high = [(i, 1000.0, 0) for i in range(40, 60)]
    joined = overview(OneTag(low + high), "a", *ALL, 5, Method.LARGEST_TRIANGLE)
    broken = overview(OneTag(low + high, [(19, 40)]), "a", *ALL, 5, Method.LARGEST_TRIANGLE)
    assert 13 not in joined.samples.source_time_ns
    assert 13 in broken.samples.source_time_ns
    assert len(joined.line_start) == 0
    assert broken.samples.source_time_ns[broken.line_start] == [40]


@pytest.mark.parametrize("method", Method)
def test_a_reading_that_nobody_waits_for_ends_at_its_next_page(method):
    given_up, pages = Event(), []

    class Slow(OneTag):
        def page(self, tag, start_ns, end_ns, most):
            pages.append(start_ns)
            if len(pages) == 3:
                given_up.set()
            return super().page(tag, start_ns, end_ns, most)

    with pytest.raises(TimeoutError):
        overview(Slow([(i, 1.0, 0) for i in range(1000)]), "a", *ALL, 10, method, given_up)
    assert len(pages) == 3
