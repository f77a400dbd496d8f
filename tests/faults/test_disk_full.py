"""Writes that the system refuses, torn logs: nothing acknowledged is lost, and work goes on."""

import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from uem.services.history.sqlite import SqliteStore, Tuning
from uem.services.metrics import Metrics
from uem.twin_core.measurements import Samples


def test_a_refused_write_acknowledges_nothing_and_passes_when_there_is_space_again(tmp_path):
    runner = Path(__file__).with_name("fill_disk.py")
    done = subprocess.run(
        [sys.executable, str(runner), str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["acknowledged"] > 3
    assert len(found["errors"]) == 3
    assert "history.db" in found["problem"]
    assert found["after"] is None
    assert found["rows"] == found["acknowledged"] + 1
    with closing(SqliteStore(tmp_path / "history.db", Metrics())) as store:
        assert store.last_sequence("p") == found["acknowledged"] + 1
        assert len(store.read(["tag/7"], 0, 2**63 - 1)) == found["rows"]


@pytest.mark.parametrize("cut", [1, 100, 2000, 4096, 9000])
def test_a_torn_log_loses_whole_commits_from_its_end_and_nothing_else(tmp_path, cut):
    """A power cut may leave the last, not yet synced, frames of the log half written."""
    with closing(SqliteStore(tmp_path / "history.db", Metrics(), Tuning(linger_s=0.0))) as store:
        for sequence in range(1, 31):
            rows = Samples.from_rows(("a", sequence * 100 + i, float(i), 0) for i in range(100))
            store.append("p", sequence, rows).result(60)
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in ("history.db", "history.db-wal"):
            shutil.copy(tmp_path / name, copy / name)
    log = copy / "history.db-wal"
    log.write_bytes(log.read_bytes()[:-cut])
    with closing(SqliteStore(copy / "history.db", Metrics())) as store:
        last = store.last_sequence("p")
        assert 25 <= last < 30
        assert len(store.read(["a"], 0, 2**63 - 1)) == last * 100
