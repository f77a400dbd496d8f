import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.services.history import overview as module
from uem.services.history.overview import overview
from uem.services.history.store import TagStats
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, Samples, is_bad

ALL = (-(2**63), 2**63 - 1)


class OneTag:
    """As much of a store as an overview asks for."""

    def __init__(self, rows):
        self.rows = Samples.from_rows(("a", time, value, quality) for time, value, quality in rows)

    def tags(self, names):
        times = self.rows.source_time_ns
        return {"a": TagStats(len(times), int(times[0]), int(times[-1]))} if len(times) else {}

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
