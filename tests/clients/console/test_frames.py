import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uem.clients.console.frames import frame
from uem.clients.records import Asset, Kind, Signal, Source, State

SIGNALS = tuple(Signal(f"s{i}", "K", "Cel", Source.ESTIMATED, "", {}) for i in range(4))
ASSET = Asset("ring", Kind.HEAT_NETWORK, "Ring", SIGNALS, 7)
FIRST = State(
    asset=ASSET,
    tick=10,
    plant_time_ns=1_700_000_000_000_000_000,
    published_time_ns=1_700_000_000_123_000_000,
    value=np.array([1.0, 2.0, np.nan, 4.0]),
    standard_deviation=np.array([0.5, np.nan, np.nan, 0.0]),
    quality=np.array([0, 0, 0x80000000, 0x40000000], np.uint32),
    age_s=np.array([0.0, 1.5, 60.0, 0.0]),
    run_id="a",
)


def parsed(data):
    number, alone, missed, plant_ms, published_ms, count, zero = struct.unpack_from("<HHIddII", data)
    assert zero == 0
    at, columns = 32, {}
    for name, kind in (("value", "<f8"), ("measured_ms", "<f8"), ("sd", "<f4"), ("row", "<u4"), ("quality", "<u4")):
        columns[name] = np.frombuffer(data, kind, count, at)
        at += columns[name].nbytes
    assert at == len(data)
    return number, bool(alone), missed, plant_ms, published_ms, columns


def test_a_first_frame_has_every_signal_and_the_times_of_the_measurements():
    number, alone, missed, plant_ms, published_ms, columns = parsed(frame(3, FIRST, None))
    assert (number, alone, missed, plant_ms, published_ms) == (3, True, 0, 1.7e12, 1_700_000_000_123.0)
    assert columns["row"].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(columns["value"], FIRST.value)
    assert columns["measured_ms"].tolist() == [1.7e12, 1.7e12 - 1500, 1.7e12 - 60_000, 1.7e12]
    assert columns["quality"].tolist() == FIRST.quality.tolist()
    np.testing.assert_array_equal(columns["sd"], FIRST.standard_deviation.astype("f4"))


def test_the_next_frame_has_only_what_changed_and_says_how_many_states_were_missed():
    later = replace(
        FIRST,
        tick=13,
        plant_time_ns=FIRST.plant_time_ns + 3 * 10**9,
        value=np.array([1.0, 2.5, np.nan, 4.0]),
        age_s=np.array([3.0, 0.0, 63.0, 3.0]),  # all but the second are measurements of before
    )
    _, alone, missed, _, _, columns = parsed(frame(0, later, FIRST))
    assert (alone, missed) == (False, 2)
    assert columns["row"].tolist() == [1]
    assert columns["value"].tolist() == [2.5]


@pytest.mark.parametrize("change", [{"run_id": "b"}, {"asset": replace(ASSET, signals_revision=8)}])
def test_after_a_new_start_of_the_server_a_frame_stands_alone(change):
    _, alone, missed, _, _, columns = parsed(frame(0, replace(FIRST, tick=500, **change), FIRST))
    assert (alone, missed) == (True, 0)
    assert len(columns["row"]) == 4


floats = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(*[floats] * 4), min_size=1, max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_frames_one_on_the_other_give_the_newest_state_whichever_were_left_out(rows, taken):
    shown, before = np.full(4, -1.0), None
    for tick, values in enumerate(rows):
        state = replace(FIRST, tick=tick, value=np.array(values))
        if taken[tick] or tick == len(rows) - 1:
            columns = parsed(frame(0, state, before))[-1]
            shown[columns["row"]] = columns["value"]
            before = state
    np.testing.assert_array_equal(shown, np.array(rows[-1]))
