import numpy as np
import pytest

from uem.clients.records import Forecast, Series
from uem.examples.consumer import dispatch

LEVEL = np.array([0.05, 0.5, 0.95])
QUARTER_NS = 900 * 10**9


def test_charges_below_the_mean_and_discharges_above_by_more_than_the_margin():
    value = np.array([1.0, 3.0, 5.0])
    assert dispatch.actions(value, 1.0) == ["charge", "wait", "discharge"]
    assert dispatch.actions(value, 2.0) == ["wait", "wait", "wait"]


def test_is_as_sure_as_the_band_says_that_the_value_lies_on_its_side_of_the_mean():
    value = np.array([2.0, 4.0])  # mean 3
    quantile = np.array([[1.0, 2.0, 4.0], [2.0, 4.0, 6.0]])
    assert dispatch.sureness(value, quantile, LEVEL) == pytest.approx([0.725, 0.725])
    far = np.array([[-9.0, -8.0, -7.0], [20.0, 21.0, 22.0]])
    assert dispatch.sureness(value, far, LEVEL) == pytest.approx([0.95, 0.95])  # no more than the band can tell


def test_the_plan_has_a_line_for_each_run_of_one_action_in_display_units():
    value = np.array([1000.0, 1000.0, 4000.0])
    times = np.array([1, 2, 3]) * QUARTER_NS
    series = Series("power", "W", "kW", times, value, np.stack([value - 900, value, value + 900], axis=1), 30, 0)
    lines = list(dispatch.plan(Forecast("net", 0, "guess", LEVEL, (series,)), series, 0.5))
    assert lines == [
        "  1970-01-01T00:00:00Z to 1970-01-01T00:30:00Z: charge     1 kW against a mean of 2, sure to 95 %",
        "  1970-01-01T00:30:00Z to 1970-01-01T00:45:00Z: discharge  4 kW against a mean of 2, sure to 95 %",
    ]


def test_large_numbers_are_written_out():
    assert [dispatch.said(x) for x in (0.12345, 9999.4, 9999.6, 16_843.2, -20_000.0)] == [
        "0.1235",
        "9999",
        "10000",
        "16843",
        "-20000",
    ]


def test_the_issue_time_is_kept_whole(tmp_path):
    dispatch.keep(tmp_path / "last", 5)
    dispatch.keep(tmp_path / "last", 7)
    assert (tmp_path / "last").read_text() == "7"
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
