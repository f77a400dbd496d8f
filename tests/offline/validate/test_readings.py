"""When readings were taken: a poller's rounds are found from repeats, and nothing is found where there is no rhythm."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from uem.offline.validate.case import read_columns
from uem.offline.validate.readings import reading_times

BRANCH = Path(str(files("uem.examples"))) / "pongau" / "ait_151218.csv"
ROW_S = 900.0


def polled(round_s, place_s, rows=300, seed=1):
    """Rows that hold the last of readings `round_s` apart, and when each was taken."""
    time_s = ROW_S * np.arange(rows)
    number = np.floor((time_s - place_s) / round_s).astype(int)
    readings = np.random.default_rng(seed).normal(size=rows + 2)
    return time_s, readings[number + 1], place_s + round_s * number


@pytest.mark.parametrize("round_s", [953.5, 1075.5, 1211.0, 1689.5])
def test_the_last_reading_of_a_meter_polled_in_rounds_is_as_old_as_it_was(round_s):
    time_s, column, taken_s = polled(round_s, 200.0)
    found_s = reading_times(time_s, {"meter": column})["meter"]
    # Where a reading came just before or after a row, the rhythm cannot tell which of the two it was.
    assert np.quantile(np.abs(found_s - taken_s), 0.9) < 20.0
    assert (found_s <= time_s).all()


def test_meters_of_one_poller_have_places_of_their_own_in_one_round():
    time_s, first, first_s = polled(1075.5, 100.0)
    _, second, second_s = polled(1075.5, 600.0, seed=2)
    found = reading_times(time_s, {"first": first, "second": second})
    for name, taken_s in (("first", first_s), ("second", second_s)):
        assert np.quantile(np.abs(found[name] - taken_s), 0.9) < 20.0


def test_a_clock_that_slips_now_and_then_is_still_found():
    time_s, column, _ = polled(1075.5, 200.0)
    repeats = np.flatnonzero(column[1:] == column[:-1]) + 1
    column[repeats[::12]] += 0.1
    found_s = reading_times(time_s, {"meter": column})["meter"]
    assert np.median(time_s - found_s) == pytest.approx(0.5 * 1075.5, abs=60.0)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5, 0.8, 1.0])
def test_repeats_by_chance_have_no_rhythm(share):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        time_s = ROW_S * np.arange(300)
        changes = np.concatenate(([True], rng.random(299) >= share))
        column = rng.normal(size=300)[np.cumsum(changes) - 1]
        assert reading_times(time_s, {"meter": column})["meter"] is time_s


def test_rows_that_are_not_equally_spaced_and_rows_too_few_tell_nothing():
    time_s, column, _ = polled(1075.5, 200.0)
    for some in (np.arange(300) != 100, np.arange(300) < 20, np.arange(300) < 1):
        assert (reading_times(time_s[some], {"meter": column[some]})["meter"] == time_s[some]).all()


def test_the_substations_in_pongau_were_read_in_rounds_of_1075_s_and_the_plant_was_not():
    columns = read_columns(BRANCH, ("time_s", *(f"mass_flow_{p}_kg_s" for p in "1234"), "T1_K", "T2_K", "T3_K"))
    time_s = columns.pop("time_s")
    together = reading_times(time_s, {p: columns[f"mass_flow_{p}_kg_s"] for p in "234"})
    for times in together.values():
        assert np.unique(np.diff(times).round(1)).tolist() == pytest.approx([0.0, 1075.5], abs=1.0)
    # Each by itself tells the same, by flow as by temperature.
    for p in "23":
        for column in (f"mass_flow_{p}_kg_s", f"T{p}_K"):
            if column != "T3_K":  # whole kelvins repeat too often by chance
                alone = reading_times(time_s, {p: columns[column]})[p]
                assert np.quantile(np.abs(alone - together[p]), 0.9) < 60.0
    assert reading_times(time_s, {"1": columns["mass_flow_1_kg_s"]})["1"] is time_s
    assert reading_times(time_s, {"1": columns["T1_K"]})["1"] is time_s
