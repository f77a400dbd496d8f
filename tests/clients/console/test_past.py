import numpy as np
import pytest

from uem.clients.console import past
from uem.clients.console.past import Past
from uem.clients.records import Asset, Kind, Signal, Source, State

SIGNALS = tuple(Signal(name, "W", "kW", Source.ESTIMATED, "", {}) for name in ("a", "b"))
ASSET = Asset("ring", Kind.HEAT_NETWORK, "Ring", SIGNALS, 1)


def state(second, *values):
    return State(
        asset=ASSET,
        tick=second,
        plant_time_ns=second * 10**9,
        published_time_ns=0,
        value=np.array(values),
        standard_deviation=np.array([3.0, 4.0]),
        quality=np.zeros(2, np.uint32),
        age_s=np.zeros(2),
    )


def test_a_sum_has_the_standard_deviation_of_parts_that_do_not_depend_on_each_other():
    kept = Past(ASSET)
    kept.add(state(10, 1.0, 2.0))
    found = kept.trend(["a", "b"], is_long=False)
    assert (found.time_ms, found.value, found.standard_deviation) == ([10_000.0], [3.0], [5.0])


def test_the_long_past_has_fewer_points_and_both_forget_the_oldest(monkeypatch):
    monkeypatch.setattr(past, "FINE", (3, 2 * 10**9))
    monkeypatch.setattr(past, "COARSE", (3, 4 * 10**9))
    kept = Past(ASSET)
    for second in range(13):
        kept.add(state(second, float(second), 0.0))
    assert kept.trend(["a"], is_long=False).value == [8.0, 10.0, 12.0]
    assert kept.trend(["a"], is_long=True).value == [4.0, 8.0, 12.0]


def test_a_plant_that_begins_anew_has_a_new_past():
    kept = Past(ASSET)
    for second in (100, 200, 5):
        kept.add(state(second, float(second), 0.0))
    assert kept.trend(["a"], is_long=False).value == [5.0]


@pytest.mark.parametrize("signals", [[], ["c"], ["a", "c"]])
def test_what_is_not_known_has_no_past(signals):
    assert Past(ASSET).trend(signals, is_long=False) is None
