import math
from itertools import islice

import numpy as np
import pytest

from uem.hardware_adapters.simulator.recording import read_recording, schedule
from uem.territories.load import load
from uem.twin_core.errors import InvalidInput, UnknownName
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, BAD_WAITING_FOR_INITIAL_DATA, NS_PER_S


@pytest.fixture
def recording(tmp_path):
    def read(text, columns=("a",), time_column="t"):
        path = tmp_path / "plant.csv"
        path.write_text(text)
        return read_recording(path, time_column, columns)

    return read


def test_columns_are_read_in_the_order_asked_for(recording):
    read = recording("t,a,b,c\n0,1,2,3\n1.5,4,5,6\n", ("c", "a"))
    assert read.time_ns.tolist() == [0, 1_500_000_000]
    assert read.value.tolist() == [[3, 1], [6, 4]]
    assert read.quality.tolist() == [[0, 0], [0, 0]]


def test_empty_cells_wait_for_initial_data_and_later_are_a_failed_sensor(recording):
    read = recording("t,a,b\n0,,1\n1, ,\n2,5,\n3,,4\n", ("a", "b"))
    waiting, failed = BAD_WAITING_FOR_INITIAL_DATA, BAD_SENSOR_FAILURE
    assert read.quality.tolist() == [[waiting, 0], [waiting, failed], [0, failed], [failed, 0]]
    assert np.isnan(read.value[read.quality != 0]).all()


def test_a_nan_that_was_recorded_as_a_value_stays_a_good_value(recording):
    read = recording("t,a\n0,nan\n")
    assert math.isnan(read.value[0, 0])
    assert read.quality[0, 0] == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2022-11-23 14:23:08.000000", "2022-11-23 14:23:08.250000"),
        ("2022-11-23T15:23:08+01:00", "2022-11-23T14:23:08.250Z"),
        ("1970-01-01T00:00:00", "1970-01-01T00:00:00.25"),
    ],
    ids=["plain", "zones", "the first second of 1970"],
)
def test_iso_times_count_from_the_first(recording, first, second):
    assert recording(f"t,a\n{first},1\n{second},2\n").time_ns.tolist() == [0, 250_000_000]


def test_a_looped_recording_goes_on_one_usual_step_after_its_end(recording):
    read = recording("t,a\n10,1\n11,2\n12,3\n14,4\n")
    assert read.length_ns == 5 * NS_PER_S
    played = list(islice(schedule(read, loop=True), 9))
    assert [row for _, row in played] == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert [time_ns // NS_PER_S for time_ns, _ in played] == [10, 11, 12, 14, 15, 16, 17, 19, 20]


def test_a_recording_without_loop_ends(recording):
    assert [row for _, row in schedule(recording("t,a\n0,1\n1,2\n"), loop=False)] == [0, 1]


def test_a_single_row_repeats_every_second(recording):
    assert recording("t,a\n5,1\n").length_ns == NS_PER_S


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("t,a\n0,1\n0,2\n", "line 3: time 0 does not come after"),
        ("t,a\n0,warm\n", "line 2, column a: 'warm' is no number"),
        ("t,a\nnoon,1\n", "line 2, column t: 'noon' is neither seconds nor an ISO time"),
        ("t,a\ninf,1\n", "'inf' is neither"),
        ("t,a\n0,1,2\n", "line 2: 3 cells, 2 columns"),
        ("t,a\n", "no rows"),
    ],
    ids=["time stands still", "word", "no time", "endless time", "extra cell", "empty"],
)
def test_a_wrong_file_is_refused_with_the_place(recording, text, said):
    with pytest.raises(InvalidInput, match=said):
        recording(text)


def test_a_column_that_is_not_there_is_named_with_those_that_are(recording):
    with pytest.raises(UnknownName, match=r"unknown column of plant\.csv 'b'; known: a, t"):
        recording("t,a\n0,1\n", ("b",))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="nowhere"):
        read_recording(tmp_path / "nowhere.csv", "t", ("a",))


def test_the_shipped_recordings_are_read():
    territory = load("pongau")
    sizes = {}
    for plant in territory.plants:
        columns = [binding.column for binding in territory.tags if binding.plant == plant.name]
        read = read_recording(plant.recording.path, plant.recording.time_column, columns)
        sizes[plant.name] = read.value.shape
        assert (read.quality == 0).mean() > 0.99
    assert sizes == {"branch": (336, 9), "machine": (1829, 4)}
