import sqlite3
import threading
from contextlib import closing

import pytest

from uem.services.history import backup
from uem.services.history.sqlite import SqliteStore, Tuning
from uem.services.history.store import KeptForecast, KeptKnowledge
from uem.services.metrics import Metrics
from uem.twin_core.errors import StorageError
from uem.twin_core.measurements import Gap, GapReason

ALL = (-(2**63), 2**63 - 1)
EAGER = Tuning(linger_s=0.0, tail_rows=20, tail_rows_per_tag=1, tail_commits=6, move_s=0.0)


@pytest.fixture
def state(tmp_path):
    """A folder with a history that nobody uses now."""
    return tmp_path / "state"


@pytest.fixture
def filled(state, samples):
    with closing(SqliteStore(state / "history.db", Metrics(), EAGER)) as store:
        for sequence in range(1, 30):
            gaps = [Gap("a", sequence, sequence + 2, GapReason.LINK_DOWN)]
            store.append("p", sequence, samples(*(("a", sequence * 10 + i, i) for i in range(10))), gaps).result(60)
    return state


def test_a_backup_under_load_holds_all_that_was_acknowledged_before_it(state, samples, tmp_path):
    stop, acknowledged = threading.Event(), [0]
    with closing(SqliteStore(state / "history.db", Metrics(), EAGER)) as store:

        def write():
            while not stop.is_set():
                sequence = acknowledged[0] + 1
                rows = samples(*(("a", sequence * 10 + i, sequence) for i in range(10)))
                store.append("p", sequence, rows).result(60)
                acknowledged[0] = sequence

        writer = threading.Thread(target=write)
        writer.start()
        try:
            cuts = []
            for number in range(5):
                while acknowledged[0] < number * 20 + 5:
                    pass
                before = acknowledged[0]
                backup.backup(state, tmp_path / f"{number}.backup")
                cuts.append(before)
        finally:
            stop.set()
            writer.join()
    for number, before in enumerate(cuts):
        elsewhere = tmp_path / f"elsewhere {number}"
        backup.restore(tmp_path / f"{number}.backup", elsewhere)
        with closing(SqliteStore(elsewhere / "history.db", Metrics())) as store:
            last = store.last_sequence("p")
            assert before <= last <= acknowledged[0]
            assert store.read(["a"], *ALL).value.tolist() == [float(i) for i in range(1, last + 1) for _ in range(10)]


def test_what_is_restored_goes_on(filled, samples, tmp_path, capsys):
    assert backup.main([str(tmp_path / "file"), "--state", str(filled)]) == 0
    assert capsys.readouterr().out == f"290 samples in {tmp_path / 'file'}\n"
    elsewhere = tmp_path / "elsewhere"
    assert backup.main([str(tmp_path / "file"), "--restore", "--state", str(elsewhere)]) == 0
    with closing(SqliteStore(elsewhere / "history.db", Metrics())) as store:
        store.append("p", 30, samples(("a", 1000, 1.0))).result(60)
        assert len(store.read(["a"], *ALL)) == 291
        assert len(store.gaps((), *ALL, 100)) == 29
        assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert {path.name for path in tmp_path.iterdir()} == {"state", "elsewhere", "file"}


def test_forecasts_of_a_prediction_process_are_copied_and_put_back(filled, tmp_path):
    kept = KeptForecast("branch", 7, 9, b"said")
    with closing(SqliteStore(filled / "forecasts.db", Metrics())) as store:
        store.keep_forecast(kept).result(60)
        assert backup.backup(filled, tmp_path / "file") == 290  # while that process runs
    (tmp_path / "file").unlink()
    with pytest.raises(StorageError, match=r"file\.forecasts is there already"):
        backup.backup(filled, tmp_path / "file")
    elsewhere = tmp_path / "elsewhere"  # of a machine that has the prediction process alone
    assert backup.restore(tmp_path / "file", elsewhere) == 0
    assert not (elsewhere / "history.db").exists()
    with closing(SqliteStore(elsewhere / "forecasts.db", Metrics())) as store:
        assert store.forecasts("branch", 0, 100, 0, 10, False) == [kept]
        with pytest.raises(StorageError, match="in use"):
            backup.restore(tmp_path / "file", elsewhere)


def test_what_twins_have_learned_is_part_of_a_backup(filled, tmp_path):
    kept = KeptKnowledge("net", "of net", 5, b"bytes")
    with closing(SqliteStore(filled / "history.db", Metrics())) as store:
        store.keep_knowledge(kept).result(60)
        backup.backup(filled, tmp_path / "file")
    backup.restore(tmp_path / "file", tmp_path / "elsewhere")
    with closing(SqliteStore(tmp_path / "elsewhere" / "history.db", Metrics())) as store:
        assert store.knowledge("net") == kept


def test_nothing_is_put_back_where_a_part_of_it_is_there(filled, tmp_path):
    with closing(SqliteStore(filled / "forecasts.db", Metrics())):
        pass
    backup.backup(filled, tmp_path / "file")
    (filled / "forecasts.db").unlink()
    with pytest.raises(StorageError, match=r"history\.db is there already"):
        backup.restore(tmp_path / "file", filled)
    assert not (filled / "forecasts.db").exists()


def test_nothing_is_overwritten_and_nothing_unsound_is_put_back(filled, tmp_path, capsys):
    file = tmp_path / "file"
    with pytest.raises(StorageError, match=r"is not there.*--state"):
        backup.backup(tmp_path, file)
    backup.backup(filled, file)
    with pytest.raises(StorageError, match="is there already"):
        backup.backup(filled, file)
    with pytest.raises(StorageError, match="is there already"):
        backup.restore(file, filled)
    with closing(SqliteStore(filled / "history.db", Metrics())), pytest.raises(StorageError, match="in use"):
        backup.restore(file, filled)
    with closing(sqlite3.connect(tmp_path / "theirs")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StorageError, match="another program"):
        backup.restore(tmp_path / "theirs", tmp_path / "new")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(StorageError, match="not a sound database"):
        backup.restore(file, tmp_path / "new")
    assert backup.main([str(file), "--restore", "--state", str(tmp_path / "new")]) == 1
    assert f"{file}: not a sound database" in capsys.readouterr().err
    assert not (tmp_path / "new" / "history.db").exists()


def test_damaged_samples_are_told(filled, tmp_path, capsys):
    with closing(sqlite3.connect(filled / "history.db")) as connection:
        connection.execute("UPDATE chunk SET crc = crc + 1 WHERE id = (SELECT min(id) FROM chunk)")
        connection.commit()
    backup.backup(filled, tmp_path / "file")
    assert "damaged samples" in capsys.readouterr().err


def test_what_is_wrong_with_the_copy_is_not_said_of_the_history(filled, tmp_path, capsys):
    (tmp_path / "b.db.partial").write_bytes(b"half of a copy" * 1000)
    assert backup.backup(filled, tmp_path / "b.db") == 300 - 10
    assert backup.main([str(tmp_path / "nowhere" / "b.db"), "--state", str(filled)]) == 1
    error = capsys.readouterr().err
    assert "nowhere" in error
    assert "history.db" not in error
