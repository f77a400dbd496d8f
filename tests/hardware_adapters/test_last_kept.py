"""Up to when samples are on disk, through acknowledgements, restarts, other lanes and a full disk."""

import math
import time

import pytest

from uem.hardware_adapters.lanes import LIVE_BATCHES, Lanes
from uem.hardware_adapters.spool import Spool
from uem.twin_core.errors import StorageFull
from uem.twin_core.measurements import NS_PER_S, Gap, GapReason, Samples


def rows(*found):
    return Samples.from_rows([(tag, time_ns, 0.0, 0) for tag, time_ns in found])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.db"


def test_it_outlives_the_acknowledgement_and_a_restart(path):
    with Spool(path) as spool:
        assert spool.kept.times_ns() == {}
        spool.append(rows(("a", 1), ("b", 1), ("a", 3)))
        spool.acknowledge(spool.append(rows(("c", 2), ("b", 4))))
    with Spool(path) as spool:
        assert spool.kept.times_ns() == {"a": 3, "b": 4, "c": 2}
        spool.append(rows(("b", 5), ("d", 9)))
        spool.append(rows(), [Gap("a", 3, 8, GapReason.LINK_DOWN)])
    with Spool(path) as spool:
        assert spool.kept.times_ns() == {"a": 3, "b": 5, "c": 2, "d": 9}


async def test_a_restart_knows_how_long_ago_that_was(path, monkeypatch):
    with Spool(path) as spool:
        assert math.isnan(Lanes(spool, "127.0.0.1:1").away_s)
        monkeypatch.setattr(time, "time_ns", lambda: 1_000 * NS_PER_S)
        spool.acknowledge(spool.append(rows(("a", 1))))
    monkeypatch.setattr(time, "time_ns", lambda: 1_060 * NS_PER_S)
    with Spool(path) as spool:
        assert Lanes(spool, "127.0.0.1:1").away_s == 60.0


def test_a_batch_that_is_refused_does_not_count(path):
    with Spool(path, most_bytes=2000) as spool:
        spool.append(rows(("a", 1)))
        with pytest.raises(StorageFull):
            spool.append(rows(*(("b", k) for k in range(200))))
        pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
        spool._db.execute(f"PRAGMA max_page_count={pages}")
        spool.most_bytes = 10**9
        with pytest.raises(StorageFull):
            spool.append(rows(*(("c", k) for k in range(2000))))
        assert spool.kept.times_ns() == {"a": 1}
        spool._db.execute("PRAGMA max_page_count=1000000")
        assert (spool.append(rows(("d", 7))), spool.batch_count) == (2, 2)
    with Spool(path) as spool:
        assert spool.kept.times_ns() == {"a": 1, "d": 7}


def test_it_is_that_of_the_lane_written_to_last(path):
    with Spool(path) as first:
        lanes = Lanes(first, "127.0.0.1:1")
        lanes.append(rows(("a", 1000), ("b", 1)))
        for k in range(LIVE_BATCHES):
            lanes.append(rows(("b", 2 + k)))
        lanes._live = lanes._free()
        lanes.append(rows(("a", 900)))  # its clock was set back
        lanes.close()
    with Spool(path) as first:
        lanes = Lanes(first, "127.0.0.1:1")
        assert lanes.kept_ns == {"a": 900, "b": 1 + LIVE_BATCHES}
        lanes._live = lanes.lanes[0]
        lanes.append(rows(("c", 5)))
        lanes.close()
        assert lanes.kept_ns == {"a": 900, "b": 1 + LIVE_BATCHES, "c": 5}
    with Spool(path) as first:
        assert first.kept.times_ns() == {"a": 900, "b": 1 + LIVE_BATCHES, "c": 5}


def test_a_damaged_note_is_told_and_costs_no_batch(path, caplog):
    with Spool(path) as spool:
        spool.append(rows(("a", 1)))
        spool._db.execute("UPDATE kept_names SET names = '[broken'")
    with Spool(path) as spool:
        assert "is damaged" in caplog.text
        assert (spool.kept.times_ns(), spool.batch_count) == ({}, 1)
