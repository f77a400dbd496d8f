"""Files of samples: as they come, whole or not at all."""

import errno

import numpy as np
import pytest

from uem.clients.cli import exporting
from uem.clients.cli.exporting import CsvFile, Export, ParquetFile
from uem.clients.errors import ClientError
from uem.clients.records import History, TagInfo

KINDS = [CsvFile, ParquetFile]


def tag(name, unit="K"):
    return TagInfo(name, unit, unit, 0.0, 1e3, 5, 0, 4)


def part(name, begin, end):
    times = np.arange(begin, end, dtype=np.int64)
    return History(name, times, times + 0.5, np.zeros(end - begin, np.uint32))


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("pyarrow")
    return tmp_path


def test_parts_of_many_tags_become_row_groups_of_one_table(folder, monkeypatch, capsys):
    import pyarrow.parquet

    monkeypatch.setattr(exporting, "ROWS_AT_ONCE", 10)
    path = folder / "day.parquet"
    with Export(path, ParquetFile) as file:
        for name, unit in (("b", "K"), ("a", "W"), ("c", "K")):
            for begin in range(0, 12, 4):
                file.write(tag(name, unit), part(name, begin, begin + 4))
    table = pyarrow.parquet.read_table(path)
    assert pyarrow.parquet.ParquetFile(path).num_row_groups == 3
    assert table.column("tag").to_pylist() == [name for name in "bac" for _ in range(12)]
    assert table.column("unit").to_pylist() == [unit for unit in "KWK" for _ in range(12)]
    assert table.column("value").to_pylist() == [i + 0.5 for i in range(12)] * 3
    assert f"36 rows in {path}" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_without_a_row_is_a_file_with_columns(folder, kind):
    with Export(folder / "none", kind):
        pass
    assert (folder / "none").stat().st_size > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [KeyboardInterrupt(), ClientError("gone", "UNAVAILABLE")])
def test_an_export_that_is_broken_off_leaves_nothing_and_the_file_of_before(folder, kind, wrong):
    path = folder / "day"
    path.write_text("of before")

    def broken_off():
        with Export(path, kind) as file:
            file.write(tag("a"), part("a", 0, 5))
            raise wrong

    with pytest.raises(type(wrong)):
        broken_off()
    assert [each.name for each in folder.iterdir()] == ["day"]
    assert path.read_text() == "of before"


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_becomes_full_is_one_clear_error_and_leaves_nothing(folder, kind, monkeypatch):
    def full(self, info, read):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kind, "write", full)
    with pytest.raises(ClientError, match=r"cannot write .*day: No space left"), Export(folder / "day", kind) as file:
        file.write(tag("a"), part("a", 0, 5))
    assert list(folder.iterdir()) == []
