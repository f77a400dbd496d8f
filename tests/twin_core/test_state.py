import numpy as np
import pytest

from uem.twin_core.measurements import BAD, BAD_WAITING_FOR_INITIAL_DATA, GOOD, UNCERTAIN
from uem.twin_core.state import Columns, Signal, Source, places

SIGNALS = (Signal("a", "K", Source.MEASURED), Signal("b", "K", Source.ESTIMATED, is_difference=True))


def test_a_snapshot_cannot_be_written_and_nothing_is_unsaid():
    columns = Columns(places(SIGNALS))
    columns.put("a", 300.0, np.nan, GOOD, 1.0)
    snapshot = columns.snapshot("x", 3, 7, 5)
    assert snapshot.value[0] == 300.0
    assert np.isnan(snapshot.value[1])
    assert snapshot.quality[1] == BAD_WAITING_FOR_INITIAL_DATA
    with pytest.raises(ValueError, match="read-only"):
        snapshot.value[0] = 1.0


def test_a_stale_snapshot_keeps_its_values_and_is_uncertain_at_best():
    columns = Columns(places(SIGNALS))
    columns.put("a", 1.0, np.nan, GOOD, 0.0)
    columns.put("b", 2.0, 0.1, BAD, 0.0)
    stale = columns.snapshot("x", 3, 7, 5).as_stale()
    assert stale.value.tolist() == [1.0, 2.0]
    assert stale.quality.tolist() == [UNCERTAIN, BAD]
    assert (stale.tick, stale.plant_time_ns, stale.ledger_since_ns) == (4, 7, 5)


def test_temperatures_are_read_in_celsius_and_their_differences_in_kelvin():
    assert [signal.display_unit for signal in SIGNALS] == ["Cel", "K"]
    assert Signal("c", "kg/s", Source.MEASURED).display_unit == "kg/s"


def test_an_unknown_signal_is_refused():
    with pytest.raises(KeyError):
        Columns(places(SIGNALS)).put("z", 0.0, 0.0, 0, 0.0)
