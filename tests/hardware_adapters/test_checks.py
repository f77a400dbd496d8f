"""Each class of doubtful samples, alone and among good ones; the plain program beside it goes row by row."""

import math

import numpy as np
import pytest

from uem.hardware_adapters import checks
from uem.hardware_adapters.checks import Checks
from uem.twin_core.measurements import (
    BAD,
    BAD_OUT_OF_RANGE,
    BAD_SENSOR_FAILURE,
    UNCERTAIN,
    UNCERTAIN_LAST_USABLE_VALUE,
    UNCERTAIN_SENSOR_NOT_ACCURATE,
    Samples,
    Tag,
)

NOW_NS = 1_700_000_000 * 10**9
TAGS = (Tag(name="t", unit="K", low=250.0, high=450.0), Tag(name="p", unit="W"), Tag(name="n", unit="1"))


def looked_at(found, *rows):
    seen = found.look_at(Samples.from_rows(rows), NOW_NS)
    return [row[3] for row in seen.rows()]


def noise(count, tag="p", seed=1):
    values = np.random.default_rng(seed).normal(500.0, 3.0, count)
    return [(tag, NOW_NS, float(v), 0) for v in values]


@pytest.mark.parametrize(
    ("row", "quality", "name"),
    [
        (("t", NOW_NS + 61 * 10**9, 300.0, 0), UNCERTAIN, "future"),
        (("t", NOW_NS, math.nan, 0), BAD, "not_finite"),
        (("n", NOW_NS, math.inf, 0), BAD, "not_finite"),
        (("t", NOW_NS, 451.0, 0), BAD_OUT_OF_RANGE, "out_of_range"),
        (("p", NOW_NS, -1e11, 0), BAD_OUT_OF_RANGE, "out_of_range"),
        (("t", NOW_NS, 300.0, 0x4000), UNCERTAIN | 0x4000, "unit_changed"),
        (("t", NOW_NS, 451.0, 0x480), BAD_OUT_OF_RANGE | 0x480, "out_of_range"),
        (("t", NOW_NS, 999.0, UNCERTAIN_SENSOR_NOT_ACCURATE), BAD_OUT_OF_RANGE, "out_of_range"),
    ],
)
def test_a_doubtful_sample_keeps_its_value_and_gets_its_quality(row, quality, name):
    found = Checks(TAGS)
    seen = found.look_at(Samples.from_rows([("p", NOW_NS, 1.0, 0), row]), NOW_NS)
    assert list(seen.quality) == [0, quality]
    assert str(float(seen.value[1])) == str(row[2])
    assert +found.counts == {name: 1}


@pytest.mark.parametrize(
    "row",
    [
        ("t", NOW_NS + 59 * 10**9, 250.0, 0),
        ("t", NOW_NS - 10**18, 450.0, 0),
        ("t", NOW_NS, math.nan, BAD_SENSOR_FAILURE),
        ("n", NOW_NS, 1e30, 0),
        ("t", NOW_NS, 300.0, UNCERTAIN_SENSOR_NOT_ACCURATE),
        ("unknown", NOW_NS, -1.0, 0),
    ],
)
def test_what_may_be_stays_as_it_is(row):
    found, batch = Checks(TAGS), Samples.from_rows([row])
    assert found.look_at(batch, NOW_NS) is batch
    assert not +found.counts


def test_a_doubt_that_the_plant_has_itself_stays():
    found = Checks(TAGS)
    row = ("t", NOW_NS + 10**13, 300.0, UNCERTAIN_SENSOR_NOT_ACCURATE)
    assert looked_at(found, row) == [UNCERTAIN_SENSOR_NOT_ACCURATE]
    assert found.counts["future"] == 1


def test_the_beginning_of_all_times_is_not_the_future():
    assert looked_at(Checks(TAGS), ("t", -(2**63), 300.0, 0)) == [0]


def test_a_recording_is_never_in_the_future():
    assert looked_at(Checks(TAGS, is_recorded=True), ("t", NOW_NS + 10**17, 300.0, 0)) == [0]


def test_a_noisy_sensor_that_stands_still_is_stuck_until_it_moves_again():
    found = Checks(TAGS)
    looked_at(found, *noise(150))
    same = [("p", NOW_NS, 501.0, 0)]
    marked = [looked_at(found, *same)[0] for _ in range(120)]
    assert marked == [0] * 100 + [UNCERTAIN_LAST_USABLE_VALUE] * 20
    assert looked_at(found, ("p", NOW_NS, 502.0, 0)) == [0]
    assert found.counts["stuck"] == 20


@pytest.mark.parametrize(
    ("before", "then"),
    [
        (noise(150, "n"), ("n", NOW_NS, 5.0, 0)),  # a state or a count
        (noise(150), ("p", NOW_NS, 0.0, 0)),  # switched off
        (noise(50), ("p", NOW_NS, 5.0, 0)),  # not known for long enough
        (noise(100) + 20 * [("p", NOW_NS, 4.0, 0)], ("p", NOW_NS, 5.0, 0)),  # calm before already, and moved since
    ],
)
def test_what_may_stand_still_is_not_stuck(before, then):
    found = Checks(TAGS)
    for row in before:
        looked_at(found, row)
    assert set(looked_at(found, *[then] * 200)) == {0}


def test_batches_may_be_cut_anywhere():
    """A slower, plainer program: every row on its own."""
    rng = np.random.default_rng(4)
    rows = noise(300) + [("p", NOW_NS, 7.0, 0)] * 150 + noise(300, "t", 2)
    rows += [("p", NOW_NS, 7.0, 0), ("t", NOW_NS, math.inf, 0), ("p", NOW_NS, 8.0, 0)] * 5
    rows = [row if row[0] == "p" else (row[0], row[1], row[2] - 200, row[3]) for row in rows]
    one, many = Checks(TAGS), Checks(TAGS)
    names = ("t", "p", "n")

    def batch(part):
        made = Samples.from_rows(part)
        tag = np.array([names.index(made.names[t]) for t in made.tag], np.uint32)
        return Samples(names, tag, made.source_time_ns, made.value, made.quality)

    expected = [q for row in rows for q in one.look_at(batch([row]), NOW_NS).quality.tolist()]
    got, at = [], 0
    while at < len(rows):
        size = int(rng.integers(1, 60))
        got += many.look_at(batch(rows[at : at + size]), NOW_NS).quality.tolist()
        at += size
    assert got == expected
    assert one.counts == many.counts
    assert one.counts["stuck"] > 40


def test_every_class_is_there_from_the_start():
    assert set(Checks(TAGS).counts) == set(checks.CLASSES)
