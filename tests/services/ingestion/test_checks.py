import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.services.ingestion.checks import AHEAD_NS, EARLIEST_NS, Checker
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, UNCERTAIN, Samples, Tag
from uem.v1.ingestion_pb2 import RejectionReason

NOW_NS = 1_700_000_000_000_000_000
TAGS = [Tag(name="t", unit="K", low=263.15, high=423.15), Tag(name="free", unit="W")]
UNKNOWN, NOT_FINITE, OUT_OF_RANGE, BAD_TIME = (
    RejectionReason.Value("REJECTION_REASON_" + name)
    for name in ("UNKNOWN_TAG", "NOT_FINITE", "OUT_OF_RANGE", "BAD_TIME")
)


def plain_reason(name, time, value, quality):
    """The rules in words of a plainer program; None when the row is believed."""
    limits = {tag.name: (tag.low, tag.high) for tag in TAGS}
    if name not in limits:
        return UNKNOWN
    if time < EARLIEST_NS or time > NOW_NS + AHEAD_NS:
        return BAD_TIME
    if quality >= 0x80000000:
        return None
    if not math.isfinite(value):
        return NOT_FINITE
    low, high = limits[name]
    return None if low <= value <= high else OUT_OF_RANGE


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("t", NOW_NS, 300.0, 0), None),
        (("t", NOW_NS, 263.15, 0), None),
        (("boiler", NOW_NS, 300.0, 0), UNKNOWN),
        (("t", NOW_NS, math.nan, 0), NOT_FINITE),
        (("t", NOW_NS, math.nan, UNCERTAIN), NOT_FINITE),
        (("free", NOW_NS, math.inf, 0), NOT_FINITE),
        (("t", NOW_NS, math.nan, BAD_SENSOR_FAILURE), None),
        (("t", NOW_NS, 1e9, BAD_SENSOR_FAILURE), None),
        (("t", NOW_NS, 263.1, 0), OUT_OF_RANGE),
        (("t", NOW_NS, 500.0, UNCERTAIN), OUT_OF_RANGE),
        (("t", 0, 300.0, 0), BAD_TIME),
        (("t", NOW_NS + AHEAD_NS + 1, 300.0, 0), BAD_TIME),
        (("t", NOW_NS + AHEAD_NS, 300.0, 0), None),
        (("boiler", 0, math.nan, 0), UNKNOWN),
    ],
)
def test_each_row_is_believed_or_refused_for_its_reason(row, reason):
    accepted, refused = Checker(TAGS).sift(Samples.from_rows([row]), NOW_NS)
    assert len(accepted) == (reason is None)
    assert refused == ([] if reason is None else [(reason, 1, (row[0],))])
    assert plain_reason(*row) == reason


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["t", "free", "boiler"]),
        st.sampled_from([0, EARLIEST_NS - 1, EARLIEST_NS, NOW_NS, NOW_NS + AHEAD_NS, NOW_NS + AHEAD_NS + 1]),
        st.sampled_from([math.nan, math.inf, -math.inf, 263.15, 300.0, 423.15, 423.16, -1e300]),
        st.sampled_from([0, UNCERTAIN, BAD_SENSOR_FAILURE, 0xFFFFFFFF]),
    ),
    max_size=30,
)


@given(ROWS)
def test_many_rows_are_sifted_as_each_alone(rows):
    accepted, refused = Checker(TAGS).sift(Samples.from_rows(rows), NOW_NS)
    reasons = [plain_reason(*row) for row in rows]
    believed = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
    np.testing.assert_equal(list(accepted.rows()), believed)
    assert {reason: count for reason, count, _ in refused} == {r: reasons.count(r) for r in set(reasons) if r}


def test_at_most_ten_tags_are_named():
    rows = [(f"x{i}", NOW_NS, 1.0, 0) for i in range(50)]
    (refusal,) = Checker(TAGS).sift(Samples.from_rows(rows), NOW_NS)[1]
    assert (refusal.row_count, len(refusal.tags)) == (50, 10)


def test_without_any_tag_everything_is_unknown():
    (refusal,) = Checker([]).sift(Samples.from_rows([("t", NOW_NS, 1.0, 0)]), NOW_NS)[1]
    assert refusal.reason == UNKNOWN
