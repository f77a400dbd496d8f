"""Who is well, as the page tells it."""

import pytest

from uem.clients.console.watch import _health
from uem.clients.convert import status
from uem.v1.status_pb2 import GetStatusResponse


def told(**plant):
    """What is said of a plant whose gateway has just reported it."""
    gateway = {"age_s": 1.0, "gateway": {"name": "g", "plants": [{"plant": "hall", "connected": True, **plant}]}}
    return next(row for row in _health(status(GetStatusResponse(gateways=[gateway]))) if row["name"] == "hall")


@pytest.mark.parametrize(
    ("age_s", "usual_s", "says"),
    [
        (9.0, 0.5, ""),
        (11.0, 0.5, "silent for 11 s"),
        (11.0, 10.0, ""),  # the next round of its meters is due
        (24.0, 10.0, ""),
        (26.0, 10.0, "silent for 26 s"),
        (11.0, None, "silent for 11 s"),
        (None, None, ""),
    ],
)
def test_a_plant_is_silent_after_two_and_a_half_of_its_usual_intervals_but_not_before_ten_seconds(age_s, usual_s, says):
    row = told(newest_sample_age_s=age_s, usual_interval_s=usual_s)
    assert (row["says"], row["is_well"]) == (says, not says)
