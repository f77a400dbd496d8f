"""Flipped bits and cut bytes in what is stored: found, named, set aside, and the rest is read."""

import random
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from uem.services.history import compaction
from uem.services.history.sqlite import SqliteStore
from uem.services.metrics import Metrics
from uem.twin_core.measurements import GapReason

BATCHES = 40


@pytest.fixture(scope="module")
def whole(tmp_path_factory, numbered):
    """A store with chunks and a tail, closed."""
    path = tmp_path_factory.mktemp("whole") / "history.db"
    with pytest.MonkeyPatch.context() as patch, closing(SqliteStore(path, Metrics(), numbered.EAGER)) as store:
        patch.setattr(compaction, "MOST_ROWS", 64)
        patch.setattr(compaction, "SMALL_ROWS", 32)
        for sequence in range(1, BATCHES + 1):
            store.append("p", sequence, *numbered.batch(sequence)).result(60)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert connection.execute("SELECT count(*) FROM chunk").fetchone()[0] > 20
        assert connection.execute("SELECT count(*) FROM tail").fetchone()[0] >= 1
    return path


def damage(path, rng):
    """Change stored bytes of one row as a disk would, behind SQLite's back; its tag (0: many), first and last time."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT 'chunk', id, tag, first_ns, last_ns, data FROM chunk UNION ALL "
            "SELECT 'tail', id, 0, first_ns, last_ns, data FROM tail"
        ).fetchall()
        table, number, tag, first_ns, last_ns, data = rng.choice(rows)
        changed = bytearray(data)
        at = rng.randrange(len(changed))
        if rng.random() < 0.7:
            changed[at] ^= 1 << rng.randrange(8)
        else:
            del changed[at:]
        connection.execute(f"UPDATE {table} SET data = ? WHERE id = ?", (bytes(changed), number))
        connection.commit()
    return tag, first_ns, last_ns


def test_damaged_rows_are_named_and_set_aside_and_all_others_are_read(whole, tmp_path, numbered, times_long):
    rng, all_lost = random.Random(3), 0
    for _ in range(times_long(50, 1_000)):
        path = tmp_path / "history.db"
        shutil.copy(whole, path)
        damaged_tag, first_ns, last_ns = damage(path, rng)
        metrics = Metrics()
        with closing(SqliteStore(path, metrics, numbered.EAGER)) as store:
            lost = 0
            for tag in numbered.TAGS:
                number = store._tag_ids[tag]
                found = store.read([tag], *numbered.EVERYTHING)
                expected = np.concatenate([numbered.times(i) for i in range(1, BATCHES + 1)])
                inside = (expected >= first_ns) & (expected <= last_ns) & (damaged_tag in (0, number))
                inside &= ~np.isin(expected, found.source_time_ns)  # rows on their way are in the tail and in a chunk
                lost += np.count_nonzero(inside)
                np.testing.assert_array_equal(found.source_time_ns, expected[~inside])
                np.testing.assert_array_equal(found.value, expected[~inside] * 0.5 + numbered.TAGS.index(tag))
            assert metrics._metrics["uem_history_corrupt_chunks_total"].get() == 1
            # The next commit finds it set aside.
            store.append("p", BATCHES + 1, *numbered.batch(BATCHES + 1)).result(60)
        with closing(SqliteStore(path, Metrics(), numbered.EAGER)) as store:
            gaps = [g for _, g in store.gaps((), *numbered.EVERYTHING, 1000) if g.reason is GapReason.STORE_DAMAGED]
            assert {(gap.start_ns, gap.end_ns) for gap in gaps} == {(first_ns - 1, last_ns + 1)}
            tags = {store._tag_ids[gap.tag] for gap in gaps}
            assert tags == ({damaged_tag} if damaged_tag else {1, 2, 3})
            (aside,) = store._writer.execute("SELECT count(*) FROM quarantine").fetchone()
            assert aside == 1
            counts = [store.tags([tag])[tag].sample_count for tag in numbered.TAGS]
            assert sum(counts) == 3 * numbered.ROWS * (BATCHES + 1) - lost
            assert counts == [len(store.read([tag], *numbered.EVERYTHING)) for tag in numbered.TAGS]
        all_lost += lost
        for name in ("history.db-wal", "history.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
    assert all_lost > 0
