import math
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uem.hardware_adapters.spool import Spool
from uem.twin_core.alarms import Alarm, AlarmState
from uem.twin_core.errors import StorageError, StorageFull
from uem.twin_core.measurements import Gap, GapReason, Samples


def batch(n=3, tag="a"):
    return Samples.from_rows([(tag, i, float(i), 0) for i in range(n)])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "spool.db"


rows = st.lists(
    st.tuples(
        st.text(min_size=1, max_size=8), st.integers(-(2**63), 2**63 - 1), st.floats(), st.integers(0, 2**32 - 1)
    ),
    max_size=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(rows)
def test_what_is_read_is_bit_for_bit_what_was_appended(tmp_path, rows):
    samples = Samples.from_rows(rows)
    with Spool(tmp_path / "spool.db") as spool:
        sequence = spool.append(samples)
        ((number, read, *_),) = spool.read(sequence - 1, 10)
        spool.acknowledge(sequence)
    assert number == sequence
    assert read.names == samples.names
    for column in ("tag", "source_time_ns", "value", "quality"):
        stored, given_ = getattr(read, column), getattr(samples, column)
        assert stored.dtype == given_.dtype
        assert stored.tobytes() == given_.tobytes()


def test_sequences_go_on_after_everything_was_acknowledged_and_after_a_restart(path):
    with Spool(path) as spool:
        assert spool.last_sequence == 0
        assert [spool.append(batch()) for _ in range(3)] == [1, 2, 3]
        spool.acknowledge(3)
        assert (spool.batch_count, spool.row_count, spool.byte_count) == (0, 0, 0)
        producer = spool.producer
    with Spool(path) as spool:
        assert spool.producer == producer
        assert spool.last_sequence == 3
        assert spool.append(batch()) == 4


def test_only_what_is_acknowledged_leaves(path):
    with Spool(path) as spool:
        for n in (1, 2, 3):
            spool.append(batch(n))
        spool.acknowledge(2)
        assert [(sequence, len(samples)) for sequence, samples, *_ in spool.read(0, 10)] == [(3, 3)]
        spool.acknowledge(2)
        assert (spool.batch_count, spool.row_count, spool.acknowledged_row_count) == (1, 3, 3)
    with Spool(path) as spool:
        assert (spool.batch_count, spool.row_count) == (1, 3)


def test_batches_are_read_in_order_and_in_parts(path):
    with Spool(path) as spool:
        for n in range(1, 6):
            spool.append(batch(n))
        assert [sequence for sequence, *_ in spool.read(0, 2)] == [1, 2]
        assert [sequence for sequence, *_ in spool.read(2, 9)] == [3, 4, 5]
        assert spool.read(5, 9) == []


def test_a_full_spool_refuses_and_keeps_what_it_has(path):
    with Spool(path, most_bytes=1000) as spool:
        spool.append(batch(10))
        with pytest.raises(StorageFull, match="bound of 1000 bytes"):
            spool.append(batch(30))
        assert spool.batch_count == 1
        spool.acknowledge(1)
        assert spool.append(batch(30)) == 2


def test_a_full_disk_refuses_keeps_what_it_has_and_goes_on_when_there_is_room(path):
    with Spool(path) as spool:
        spool.append(batch(10))
        pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
        spool._db.execute(f"PRAGMA max_page_count={pages + 4}")
        with pytest.raises(StorageFull, match="no space left"):
            spool.append(batch(5000))
        assert [sequence for sequence, *_ in spool.read(0, 9)] == [1]
        spool.acknowledge(1)
        spool._db.execute("PRAGMA max_page_count=1000000")
        assert len(spool.read(spool.append(batch(5000)) - 1, 1)[0][1]) == 5000


def test_a_second_gateway_on_the_same_spool_is_refused(path):
    with Spool(path), pytest.raises(StorageError, match="another gateway uses it"):
        Spool(path)


def test_a_file_that_is_no_spool_is_named(path):
    path.parent.mkdir()
    path.write_bytes(b"this is no database, only a long enough text to look at" * 20)
    with pytest.raises(StorageError, match=r"spool\.db.*move it away"):
        Spool(path)


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="--state"):
        Spool(tmp_path / "file" / "spool.db")


def test_any_other_fault_of_the_database_is_ours_too(path):
    spool = Spool(path)
    spool.close()
    with pytest.raises(StorageError, match="closed"):
        spool.append(batch())


def test_a_new_identity_keeps_the_batches(path):
    with Spool(path) as spool:
        old = spool.producer
        spool.append(batch())
        assert spool.renew_producer() != old
    with Spool(path) as again:
        assert again.producer == spool.producer
        assert again.batch_count == 1


def test_threads_share_a_spool(path):
    with Spool(path) as spool:
        threads = [threading.Thread(target=lambda: [spool.append(batch()) for _ in range(20)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [sequence for sequence, *_ in spool.read(0, 1000)] == list(range(1, 81))
        assert spool.row_count == 240


WRITER = """
import sys
from uem.hardware_adapters.spool import Spool
from uem.twin_core.measurements import Samples
with Spool(sys.argv[1]) as spool:
    n = spool.last_sequence
    while True:
        n += 1
        sequence = spool.append(Samples.from_rows([("a", n * 1000 + i, float(n), 0) for i in range(200)]))
        print(sequence, flush=True)
"""


def test_kill_at_any_moment_loses_nothing_that_was_stored(path):
    """Five kills in a row; every sequence that was reported is there, whole, and none twice."""
    reported = 0
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(20):
            reported = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout:
            if line.endswith("\n"):
                reported = int(line)
        writer.wait(60)
        writer.stdout.close()
    with Spool(path) as spool:
        stored = spool.read(0, 100_000)
    assert [batch.sequence for batch in stored] == list(range(1, len(stored) + 1))
    assert reported <= len(stored) <= reported + 1
    for sequence, samples, *_ in stored:
        assert samples.source_time_ns.tolist() == [sequence * 1000 + i for i in range(200)]
        assert np.all(samples.value == sequence)
        assert not math.isnan(samples.value.sum())


def test_sqlite_is_told_to_sync_every_commit(path):
    with Spool(path) as spool:
        assert spool._db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert spool._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def refused(spool):
    return spool._db.execute("SELECT sequence, reason, rows FROM refused ORDER BY sequence").fetchall()


def test_a_refused_batch_is_kept_with_the_reason_and_an_empty_one_takes_its_sequence(path):
    with Spool(path) as spool:
        for _ in range(3):
            spool.append(batch())
        assert spool.refuse(2, "too odd") == 3
        assert spool.refuse(2, "too odd") == 0
        assert spool.refuse(9, "not there") == 0
    with Spool(path) as spool:
        assert [(sequence, len(samples)) for sequence, samples, *_ in spool.read(0, 9)] == [(1, 3), (2, 0), (3, 3)]
        assert (spool.batch_count, spool.row_count, spool.refused_row_count) == (3, 6, 3)
        assert refused(spool) == [(2, "too odd", 3)]
        value = spool._db.execute("SELECT value FROM refused").fetchone()[0]
        assert np.frombuffer(value, "<f8").tolist() == [0.0, 1.0, 2.0]
        spool.acknowledge(3)
        assert (spool.batch_count, spool.row_count, spool.refused_row_count) == (0, 0, 3)


def test_of_too_many_refused_batches_the_newest_stay(path, caplog):
    with Spool(path, most_bytes=8 * 24 * 10) as spool:
        for _ in range(5):
            sequence = spool.append(batch(4))
            spool.refuse(sequence, "odd")
        assert refused(spool) == [(4, "odd", 4), (5, "odd", 4)]
        assert spool.refused_row_count == 8
    assert "4 old ones deleted" in caplog.text


DOWN = Gap("a", 1, 5, GapReason.LINK_DOWN)
FULL = Gap("Wärme", 3, 9, GapReason.SPOOL_FULL)


def test_gaps_wait_with_their_batch_and_outlive_a_restart(path):
    with Spool(path) as spool:
        spool.append(batch(), [DOWN, FULL])
        spool.append(Samples.from_rows(()), [FULL])
        waiting = spool.byte_count
    with Spool(path) as spool:
        assert [(b.sequence, len(b.samples), b.gaps) for b in spool.read(0, 9)] == [
            (1, 3, (DOWN, FULL)),
            (2, 0, (FULL,)),
        ]
        assert spool.byte_count == waiting
        spool.acknowledge(2)
        assert spool.byte_count == 0


def test_gaps_of_a_refused_batch_still_go_out_until_they_are_refused_too(path):
    with Spool(path) as spool:
        spool.append(batch(), [DOWN])
        assert spool.refuse(1, "rows") == 3
        assert [(len(b.samples), b.gaps) for b in spool.read(0, 9)] == [(0, (DOWN,))]
        assert spool.refuse(1, "gaps") == 1
        assert [(len(b.samples), b.gaps) for b in spool.read(0, 9)] == [(0, ())]
        assert spool.refuse(1, "what?") == 0
        assert refused(spool) == [(1, "rows", 3)]
        assert "link_down" in spool._db.execute("SELECT gaps FROM refused").fetchone()[0]
        spool.acknowledge(1)
        assert spool.byte_count == 0


def test_a_spool_of_an_older_version_takes_gaps_too(path):
    with Spool(path) as spool:
        spool.append(batch())
        for table in ("batch", "refused"):
            spool._db.execute(f"ALTER TABLE {table} DROP COLUMN gaps")
    with Spool(path) as spool:
        spool.append(batch(), [DOWN])
        assert [b.gaps for b in spool.read(0, 9)] == [(), (DOWN,)]


HOT = Alarm(
    plant="hall",
    condition="nsu=urn:x;i=1",
    source="pump",
    name="too hot",
    message="Pumpe heiß",
    state=AlarmState.UNACKNOWLEDGED,
    severity=700,
    time_ns=5,
    event="0102",
)


def test_alarms_wait_with_their_batch_outlive_a_restart_and_stay_when_its_samples_are_refused(path):
    with Spool(path) as spool:
        spool.append(batch(), [DOWN], 0, [HOT])
        spool.append(Samples.from_rows(()), alarms=[HOT])
        waiting = spool.byte_count
    with Spool(path) as spool:
        assert [(len(b.samples), b.alarms) for b in spool.read(0, 9)] == [(3, (HOT,)), (0, (HOT,))]
        assert spool.byte_count == waiting
        assert spool.refuse(1, "rows") == 3
        assert [(len(b.samples), b.alarms) for b in spool.read(0, 9)] == [(0, (HOT,)), (0, (HOT,))]
        assert spool.refuse(1, "gaps and alarms") == 2
        assert spool.refuse(1, "what?") == 0
        spool.acknowledge(2)
        assert spool.byte_count == 0


ALARM = Alarm(
    condition="ns=1;i=7", source="pump", name="trip", state=AlarmState.UNACKNOWLEDGED, severity=700, time_ns=9
)


@pytest.mark.parametrize("column", ["names", "tag", "source_time_ns", "value", "quality", "gaps", "alarms"])
def test_a_damaged_batch_is_set_aside_told_as_gaps_and_stops_nothing(path, caplog, column):
    rng = np.random.default_rng(3)
    for bit in rng.integers(0, 8 * 40, 12).tolist():
        path.unlink(missing_ok=True)
        with Spool(path) as spool:
            for k in range(3):
                rows = [(tag, 100 * k + i, float(i), 0) for i in range(5) for tag in ("a", "b")]
                spool.append(Samples.from_rows(rows), [Gap("c", 1, 5, GapReason.LINK_DOWN)], 0, [ALARM])
            (data,) = spool._db.execute(f"SELECT CAST({column} AS BLOB) FROM batch WHERE sequence = 2").fetchone()
            flipped = bytearray(data)
            flipped[bit // 8 % len(data)] ^= 1 << bit % 8
            kind = "TEXT" if column in ("names", "gaps", "alarms") else "BLOB"
            spool._db.execute(f"UPDATE batch SET {column} = CAST(? AS {kind}) WHERE sequence = 2", (bytes(flipped),))
        with Spool(path) as spool:
            found = spool.read(0, 9)
            assert [(b.sequence, len(b.samples)) for b in found] == [(1, 10), (2, 0), (3, 10)]
            lost = [Gap(tag, 99, 105, GapReason.STORE_DAMAGED) for tag in ("a", "b")]
            if column != "names":  # then whose samples it were may be unknown
                assert [gap for gap in found[1].gaps if gap.reason is GapReason.STORE_DAMAGED] == lost
            assert (spool.batch_count, spool.row_count, spool.refused_row_count) == (3, 20, 10)
            assert [str(b) for b in spool.read(0, 9)] == [str(b) for b in found]  # NaN-free, so equal as text
        with Spool(path) as spool:
            assert (spool.batch_count, spool.row_count, spool.refused_row_count) == (3, 20, 10)
            spool.acknowledge(3)
            assert spool.byte_count == 0
    assert "damaged" in caplog.text


def test_names_count_towards_the_bound(path):
    long_names = Samples.from_rows([(f"plant/{'x' * 200}/{i}", 1, 0.0, 0) for i in range(10)])
    with Spool(path, most_bytes=100_000) as spool:
        for _ in range(35):
            spool.append(long_names)
        spool.most_bytes -= 3 * 2500
        with pytest.raises(StorageFull):
            spool.append(long_names)
    assert path.stat().st_size < 2 * 100_000


def test_what_a_gateway_tells_of_it_does_not_wait_for_the_disk(path):
    found = []
    with Spool(path) as spool:
        for k in range(3):
            spool.append(batch(), (), 70 + k)
        spool.acknowledge(1)
        with spool._lock:  # as while a commit waits
            asking = threading.Thread(
                target=lambda: found.append((spool.oldest_received_ns, spool.last_sequence)), daemon=True
            )
            asking.start()
            asking.join(10)
        assert found == [(71, 3)]
        spool.acknowledge(3)
        assert (spool.oldest_received_ns, spool.last_sequence) == (None, 3)
        spool.append(batch(), (), 80)
        assert spool.oldest_received_ns == 80
    with Spool(path) as spool:
        assert (spool.oldest_received_ns, spool.last_sequence) == (80, 4)
