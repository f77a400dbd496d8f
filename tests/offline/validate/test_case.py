"""Reading the files of validation cases: what is wrong is named with file, line and column."""

import math

import pytest

from uem.offline.validate.case import UnusableFile, read_columns

GOOD = "time,a,b\n0,1.5,\n1,2.5,4\n"


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "data.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_columns_come_as_numbers_and_gaps_as_nan_where_they_may_be(tmp_path):
    columns = read_columns(written(tmp_path, GOOD), ["b", "a"], gaps=["b"])
    assert list(columns) == ["b", "a"]
    assert columns["a"].tolist() == [1.5, 2.5]
    assert math.isnan(columns["b"][0])
    assert columns["b"][1] == 4.0


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    assert read_columns(written(tmp_path, "\ufefftime\n3\n"), ["time"])["time"].tolist() == [3.0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD, "line 2: column 'b' holds '', a finite number is expected"),
        ("time,a\n0,1\n", "column 'b' is missing; columns are 'time', 'a'"),
        ("", "column 'time' is missing; columns are none"),
        ("time,a,b\n", "holds no rows"),
        ("time,a,b\n0,1\n", "line 2: 3 cells expected"),
        ("time,a,b\n0,1,2,3\n", "line 2: 3 cells expected"),
        ("time,a,b\n0,1,2\n1,x,2\n", "line 3: column 'a' holds 'x'"),
        ("time,a,b\n0,nan,2\n", "line 2: column 'a' holds 'nan'"),
        ("time,a,b\n0,1e999,2\n", "line 2: column 'a' holds '1e999'"),
        ('time,a,b\n0,1,"2\n', "unexpected end of data"),
        ("time,a,b\n0,1,\x00\n", "data.csv"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, text, complaint):
    with pytest.raises(UnusableFile) as refusal:
        read_columns(written(tmp_path, text), ["time", "a", "b"])
    assert complaint in str(refusal.value)
    assert "data.csv" in str(refusal.value)


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path):
    with pytest.raises(UnusableFile, match="cannot be read as CSV"):
        read_columns(written(tmp_path, "time\n\xff\n", "latin-1"), ["time"])
    with pytest.raises(UnusableFile, match="cannot be read as CSV"):
        read_columns(tmp_path / "absent.csv", ["time"])


def test_a_cell_without_end_is_refused(tmp_path):
    with pytest.raises(UnusableFile, match="field larger than field limit"):
        read_columns(written(tmp_path, "time\n" + "9" * 200_000 + "\n"), ["time"])
