"""Recordings in Parquet files, held against the same recordings as CSV."""

import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from uem.hardware_adapters.parquet import read
from uem.hardware_adapters.replay import ReplayAdapter
from uem.hardware_adapters.simulator.recording import read_recording
from uem.twin_core.errors import AdapterError, InvalidInput, UnknownName
from uem.twin_core.plant.territory import Recording

TIMES = [0.0, 0.25, 1.1]


@pytest.fixture
def stored(tmp_path):
    def write(**columns):
        parquet.write_table(pa.table(columns), tmp_path / "r.parquet")
        return tmp_path / "r.parquet"

    return write


def equal(a, b):
    assert a.columns == b.columns
    assert a.time_ns.tolist() == b.time_ns.tolist()
    assert a.quality.tolist() == b.quality.tolist()
    np.testing.assert_array_equal(a.value, b.value)


def test_a_parquet_file_is_read_as_the_csv_file_with_the_same_cells(stored, tmp_path):
    (tmp_path / "r.csv").write_text("t,a,b\n0,,1\n0.25,2.5,\n1.1,,3\n")
    path = stored(t=TIMES, a=pa.array([None, 2.5, None], pa.float32()), b=pa.array([1, None, 3], pa.int16()))
    equal(read(path, "t", ["b", "a"]), read_recording(tmp_path / "r.csv", "t", ["b", "a"]))


@pytest.mark.parametrize(("unit", "zone"), [("s", None), ("ms", "UTC"), ("us", "Europe/Vienna"), ("ns", None)])
def test_timestamps_of_any_unit_begin_with_time_zero(stored, unit, zone):
    stamps = [datetime(2024, 5, 1, tzinfo=UTC if zone else None) + timedelta(seconds=s) for s in (0, 60, 180)]
    path = stored(t=pa.array(stamps, pa.timestamp(unit, tz=zone)), a=[1.0, 2.0, 3.0])
    assert read(path, "t", ["a"]).time_ns.tolist() == [0, 60_000_000_000, 180_000_000_000]


@pytest.mark.parametrize(
    ("columns", "error", "said"),
    [
        ({"t": [0.0, 1.0, 1.0], "a": [1.0] * 3}, InvalidInput, "row 3: its time does not come after"),
        ({"t": [0.0, None], "a": [1.0] * 2}, InvalidInput, "1 times are null"),
        ({"t": [0.0], "a": ["warm"]}, InvalidInput, "warm"),
        ({"t": pa.array([], pa.float64()), "a": pa.array([], pa.float64())}, InvalidInput, "no rows"),
        ({"t": [0.0], "b": [1.0]}, UnknownName, "unknown column of r.parquet 'a'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(stored, columns, error, said):
    with pytest.raises(error, match=said):
        read(stored(**columns), "t", ["a"])


async def test_a_file_that_cannot_be_replayed_is_an_error_of_the_adapter(tmp_path, make_binding, monkeypatch):
    path = tmp_path / "r.parquet"
    path.write_text("no parquet")

    async def open_():
        async with ReplayAdapter(Recording(path=str(path), time_column="t", epoch_ns=0), [make_binding("a", "A", "a")]):
            pass

    with pytest.raises(AdapterError, match=r"r\.parquet"):
        await open_()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(AdapterError, match=r"pip install 'uem\[parquet\]'"):
        await open_()
