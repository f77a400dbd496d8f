import numpy as np
import pytest
from shipped import shipped

from uem.offline.series import read_inputs, read_recording
from uem.twin_core.errors import InvalidInput, UnknownName
from uem.twin_core.measurements import GOOD, is_bad

PONGAU = shipped("pongau")


def written(tmp_path, text):
    path = tmp_path / "inputs.csv"
    path.write_text(text)
    return path


def test_columns_come_out_in_si_whatever_their_unit(tmp_path):
    path = written(
        tmp_path,
        "time,branch/1/temperature [Cel],branch/1/mass_flow [t/h],branch/outdoor/temperature\n"
        "0,90,3.6,280\n60.5,91,7.2,\n",
    )
    series = read_inputs(path, PONGAU)
    assert series.tags == ("branch/1/temperature", "branch/1/mass_flow", "branch/outdoor/temperature")
    np.testing.assert_allclose(series.value, [[363.15, 1.0, 280.0], [364.15, 2.0, np.nan]])
    assert series.time_ns.tolist() == [0, 60_500_000_000]
    assert series.time_text(60_500_000_000) == "60.5"


def test_iso_times_are_read_and_written_back(tmp_path):
    path = written(tmp_path, "branch/1/temperature,time\n350,2009-01-23 01:00:00+01:00\n351,2009-01-23T00:00:01\n")
    series = read_inputs(path, PONGAU)
    assert series.time_ns.tolist() == [1232668800 * 10**9, 1232668801 * 10**9]
    assert series.time_text(1232668800 * 10**9) == "2009-01-23T00:00:00+00:00"


def test_an_empty_cell_is_a_bad_sample(tmp_path):
    series = read_inputs(written(tmp_path, "time,branch/1/temperature,branch/2/temperature\n0,350,\n"), PONGAU)
    ((time, samples),) = series.rows()
    assert time == 0
    assert samples.quality[0] == GOOD
    assert is_bad(int(samples.quality[1]))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("branch/1/temperature\n350\n", "no column 'time'"),
        ("time,branch/1/temperature\n", "no rows"),
        ("", "no rows"),
        ("time,branch/1/temperature\n0,warm\n", "line 2, column branch/1/temperature: 'warm' is not a number"),
        ("time,branch/1/temperature\n0,350\n\n60,nan\n", "line 4, column branch/1/temperature: 'nan' is not finite"),
        ("time,branch/1/temperature\n0,350\n0,351\n", "line 3, column time: '0' is not after the row before"),
        ("time,branch/1/temperature\nsoon,350\n", "line 2, column time: 'soon' is neither seconds nor an ISO time"),
        ("time,branch/1/temperature\ninf,350\n", "'inf' is no time in seconds"),
        ("time,branch/1/temperature\n0,350,1\n", "line 2: 3 cells, but 2 columns"),
        ("time,branch/1/temperature [kW]\n0,350\n", "unit 'kW' does not measure 'K'"),
        ("time,branch/1/temperature]\n0,350\n", "not written as a tag"),
        ("time,branch/1/temperature,branch/1/temperature\n0,350,350\n", "more than once"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, text, told):
    with pytest.raises(InvalidInput) as caught:
        read_inputs(written(tmp_path, text), PONGAU)
    assert told in str(caught.value)
    assert "inputs.csv" in str(caught.value)


def test_unknown_tags_and_units_are_told_with_the_known_ones(tmp_path):
    with pytest.raises(UnknownName, match=r"branch/9/temperature.*branch/1/mass_flow"):
        read_inputs(written(tmp_path, "time,branch/9/temperature\n0,1\n"), PONGAU)
    with pytest.raises(UnknownName, match="parsec"):
        read_inputs(written(tmp_path, "time,branch/1/temperature [parsec]\n0,1\n"), PONGAU)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"none\.csv: No such file"):
        read_inputs(tmp_path / "none.csv", PONGAU)


def test_a_recording_is_read_with_the_scale_of_its_tags():
    series = read_recording(PONGAU, ["washer/tank/temperature", "washer/hall/temperature"])
    assert len(series.time_ns) == 1829
    assert series.value[0, 0] == pytest.approx(60.61 + 273.15, abs=0.001)
    assert np.isnan(series.value[0, 1])
    assert series.is_iso


def test_tags_of_two_plants_have_no_single_recording():
    with pytest.raises(InvalidInput, match="--inputs"):
        read_recording(PONGAU, ["washer/state", "branch/1/temperature"])
