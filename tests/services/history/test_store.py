"""What any Store must do, then what SqliteStore does with its file."""

import math
import sqlite3
import struct
import threading
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from time import sleep, time_ns

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uem.services.history import compaction, database, retention, sqlite
from uem.services.history.sqlite import SqliteStore, Tuning
from uem.services.history.store import KeptForecast, KeptKnowledge, SequenceGap, Stored
from uem.services.metrics import Metrics
from uem.twin_core.alarms import Alarm, AlarmState
from uem.twin_core.errors import StorageError, StorageFull
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, Gap, GapReason, Samples

ALL = (-(2**63), 2**63 - 1)
EAGER = Tuning(linger_s=0.0, tail_rows=20, tail_rows_per_tag=1, tail_commits=6, move_s=0.0)
STORES = {
    "sqlite": lambda path, metrics=None: SqliteStore(path, metrics or Metrics()),
    "sqlite that compacts all the time": lambda path, metrics=None: SqliteStore(path, metrics or Metrics(), EAGER),
}


@pytest.fixture(params=STORES.values(), ids=STORES)
def make(request, tmp_path):
    """Opens the store of this test, again and again."""
    return lambda: request.param(tmp_path / "history.db")


@pytest.fixture
def any_store(make):
    with closing(make()) as store:
        yield store


def put(store, producer, sequence, samples):
    return store.append(producer, sequence, samples).result(60)


def rows(store, *tags, limit=0, start=ALL[0], end=ALL[1]):
    return list(store.read(tags, start, end, limit).rows())


def test_what_is_committed_is_read_back_in_order_of_time(any_store, samples, t0_ns):
    put(any_store, "p", 1, samples(("a", 2, 20.0), ("b", 1, 5.0), ("a", 1, 10.0)))
    put(any_store, "p", 2, samples(("a", 3, np.nan, BAD_SENSOR_FAILURE)))
    assert rows(any_store, "b", "a")[:3] == [
        ("b", t0_ns + 10**9, 5.0, 0),
        ("a", t0_ns + 10**9, 10.0, 0),
        ("a", t0_ns + 2 * 10**9, 20.0, 0),
    ]
    (last,) = rows(any_store, "a", limit=1)
    assert (last[1], last[3]) == (t0_ns + 3 * 10**9, BAD_SENSOR_FAILURE)
    assert np.isnan(last[2])


def test_commits_are_given_one_by_one_from_any_number_on(store, samples, same):
    first, second, late = samples(("a", 1, 1.0), ("b", 1, 2.0)), samples(("b", 2, 3.0)), samples(("a", 0, 4.0))
    put(store, "p", 1, first)
    put(store, "p", 2, second)
    store.append("q", 1, late, behind=True).result(60)
    commits = store.commits(0, 100)
    assert [(commit.number, commit.behind) for commit in commits] == [(1, False), (2, False), (3, True)]
    for commit, rows_ in zip(commits, (first, second, late), strict=True):
        same(commit.samples, rows_)
    assert [commit.number for commit in store.commits(1, 1)] == [2]
    assert store.commits(3, 100) == []
    assert store.last_commit() == 3


def test_commits_go_on_where_they_were_when_the_store_is_opened_again(tmp_path, samples):
    with closing(SqliteStore(tmp_path / "history.db", Metrics())) as store:
        assert (store.last_commit(), store.commits(0, 100)) == (0, [])
        put(store, "p", 1, samples(("a", 1, 1.0)))
    with closing(SqliteStore(tmp_path / "history.db", Metrics())) as store:
        put(store, "p", 2, samples(("a", 2, 2.0)))
        assert [commit.number for commit in store.commits(0, 100)] == [1, 2]


def test_live_rows_and_rows_of_a_backlog_are_commits_of_their_own(tmp_path, samples):
    with closing(SqliteStore(tmp_path / "history.db", Metrics(), Tuning(linger_s=5.0, commit_rows=3))) as store:
        done = [store.append(str(i), 1, samples(("a", i, i)), behind=i == 1) for i in range(3)]
        assert [future.result(60).row_count for future in done] == [1, 1, 1]
        found = [(commit.behind, commit.samples.value.tolist()) for commit in store.commits(0, 100)]
        assert found == [(False, [0.0, 2.0]), (True, [1.0])]
        assert len(rows(store, "a")) == 3


def test_commits_that_are_in_chunks_are_told_to_be_missing(tmp_path, samples):
    with closing(SqliteStore(tmp_path / "history.db", Metrics(), EAGER)) as store:
        for number in range(1, 14):
            put(store, "p", number, samples(("a", number, number)))
        assert store.commits(0, 100) is None
        assert store.commits(99, 100) is None
        assert store.commits(store.last_commit(), 100) == []


def test_a_damaged_commit_is_told_to_be_missing(tmp_path, samples):
    with closing(SqliteStore(tmp_path / "history.db", Metrics())) as store:
        put(store, "p", 1, samples(("a", 1, 1.0)))
        put(store, "p", 2, samples(("a", 2, 2.0)))
        with closing(sqlite3.connect(tmp_path / "history.db")) as connection, connection:
            connection.execute("UPDATE tail SET crc = crc + 1 WHERE id = 2")
        assert [commit.number for commit in store.commits(0, 100)] == [1]
        assert store.commits(1, 100) is None


def test_a_range_has_its_start_and_not_its_end(any_store, samples, t0_ns):
    put(any_store, "p", 1, samples(*(("a", i, i) for i in range(10))))
    found = rows(any_store, "a", start=t0_ns + 3 * 10**9, end=t0_ns + 6 * 10**9)
    assert [value for _, _, value, _ in found] == [3.0, 4.0, 5.0]
    assert rows(any_store, "a", start=t0_ns + 10**9, end=t0_ns + 10**9) == []


def test_the_limit_gives_the_newest_rows_of_each_tag(any_store, samples):
    put(any_store, "p", 1, samples(*((tag, i, i) for i in range(30) for tag in "ab")))
    assert [value for _, _, value, _ in rows(any_store, "a", "b", limit=2)] == [28.0, 29.0, 28.0, 29.0]


def test_pages_give_the_oldest_rows_first(any_store, samples, t0_ns):
    for sequence in range(1, 11):
        put(any_store, "p", sequence, samples(*(("a", sequence * 10 + i, i) for i in range(10))))
    seen, start = [], t0_ns
    while len(page := any_store.page("a", start, ALL[1], 7)):
        seen += page.source_time_ns.tolist()
        start = seen[-1] + 1
    assert seen == [t0_ns + i * 10**9 for i in range(10, 110)]


def test_of_two_samples_at_one_time_the_one_that_came_last_is_read(any_store, samples):
    for sequence, value in enumerate((1.0, 2.0, 3.0), 1):
        put(any_store, "p", sequence, samples(("a", 0, value), *(("b", sequence * 30 + i, i) for i in range(30))))
    assert [value for _, _, value, _ in rows(any_store, "a")] == [3.0]
    assert any_store.tags()["a"].sample_count == 1


def test_a_batch_that_comes_again_changes_nothing(any_store, samples):
    first = put(any_store, "p", 1, samples(("a", 0, 1.0)))
    again = put(any_store, "p", 1, samples(("a", 0, 2.0)))
    assert (first, again) == (Stored(1, False), Stored(0, True))
    assert [value for _, _, value, _ in rows(any_store, "a")] == [1.0]
    assert any_store.last_sequence("p") == 1


def test_a_batch_that_leaps_over_another_is_refused(any_store, samples):
    put(any_store, "p", 1, samples(("a", 0, 1.0)))
    with pytest.raises(SequenceGap, match="send 2 first"):
        put(any_store, "p", 3, samples(("a", 1, 1.0)))
    assert any_store.last_sequence("p") == 1
    put(any_store, "p", 2, samples(("a", 2, 1.0)))


def test_producers_count_for_themselves_and_may_begin_anywhere(any_store, samples):
    put(any_store, "p", 1, samples(("a", 0, 1.0)))
    put(any_store, "q", 500, samples(("a", 1, 1.0)))
    assert [any_store.last_sequence(name) for name in "pqr"] == [1, 500, 0]


def test_an_empty_batch_moves_the_sequence(any_store):
    assert put(any_store, "p", 1, Samples.from_rows(())) == Stored(0, False)
    assert any_store.last_sequence("p") == 1


def test_everything_is_there_after_a_restart(make, samples):
    with closing(make()) as store:
        for sequence in range(1, 6):
            put(store, "p", sequence, samples(*(("a", sequence * 9 + i, i) for i in range(9))))
        before = rows(store, "a"), store.tags()
    with closing(make()) as store:
        assert (rows(store, "a"), store.tags()) == before
        assert store.last_sequence("p") == 5
        assert put(store, "p", 5, samples(("a", 0, 1.0))).duplicate


def test_counts_and_times_of_a_tag(any_store, samples, t0_ns):
    assert any_store.tags() == {}
    put(any_store, "p", 1, samples(*(("a", i, 0.0) for i in range(50)), ("b", 7, 0.0)))
    put(any_store, "p", 2, samples(("a", -5, 0.0), ("a", 10, 1.0), ("a", 60, 0.0)))
    assert any_store.tags(["a", "never"]) == {"a": (52, t0_ns - 5 * 10**9, t0_ns + 60 * 10**9)}
    assert set(any_store.tags()) == {"a", "b"}


def gap(tag, start, end, reason=GapReason.LINK_DOWN):
    return Gap(tag, start * 10**9, end * 10**9, reason)


def told(store, *tags, start=ALL[0], end=ALL[1]):
    return [found for _, found in store.gaps(tags, start, end, 1000)]


def test_gaps_are_committed_with_their_batch_once_and_outlive_a_restart(make, samples):
    first, second, third = gap("b", 5, 9), gap("a", 5, 8, GapReason.SPOOL_FULL), gap("a", 1, 3)
    with closing(make()) as store:
        assert store.append("p", 1, samples(("a", 1, 1.0)), [first, second]).result(60).row_count == 1
        assert store.append("p", 1, samples(("a", 1, 1.0)), [gap("a", 70, 80)]).result(60).duplicate
        assert store.append("p", 2, samples(), [third, first]).result(60).row_count == 0
        assert told(store) == [third, first, second]
    with closing(make()) as store:
        assert told(store) == [third, first, second]
        assert told(store, "a") == [third, second]
        assert told(store, "never") == []
        assert set(store.tags()) == {"a"}


def test_gaps_of_a_range_are_those_that_have_room_for_a_sample_in_it(any_store, samples):
    any_store.append("p", 1, samples(), [Gap("a", 10, 20, GapReason.LINK_DOWN)]).result(60)
    for start, end, inside in ((0, 12, 1), (0, 11, 0), (19, 99, 1), (20, 99, 0), (12, 13, 1), (0, 99, 1)):
        assert len(told(any_store, start=start, end=end)) == inside, (start, end)


def test_forecasts_are_kept_by_issue_time_and_outlive_a_restart(make):
    early, late = KeptForecast("net", 10, 50, b"early"), KeptForecast("net", 20, 60, b"late")
    with closing(make()) as store:
        for kept in (late, early, KeptForecast("other", 15, 99, b"x")):
            store.keep_forecast(kept).result(60)
        assert store.forecasts("net", *ALL, ALL[0], 10) == [early, late]
    with closing(make()) as store:
        assert store.forecasts("net", *ALL, ALL[0], 1) == [early]
        assert store.forecasts("net", 11, 99, ALL[0], 10) == [late]
        assert store.forecasts("net", 0, 20, ALL[0], 10) == [early]
        assert store.forecasts("net", *ALL, 55, 10) == [late]
        assert store.forecasts("never", *ALL, ALL[0], 10) == []
        assert store.forecasts("net", *ALL, ALL[0], 10, True) == [late, early]
        assert store.forecasts("net", *ALL, ALL[0], 1, True) == [late]
    with pytest.raises(StorageError, match="closed"):
        store.keep_forecast(early).result(60)


def test_a_later_forecast_never_changes_an_earlier_one(any_store):
    said = KeptForecast("net", 10, 50, b"said")
    any_store.keep_forecast(said).result(60)
    for later in (KeptForecast("net", 10, 99, b"unsaid"), KeptForecast("net", 11, 50, b"later")):
        any_store.keep_forecast(later).result(60)
    assert any_store.forecasts("net", 0, 11, 0, 10) == [said]
    assert any_store.forecasts("net", 0, 11, 0, 1, True) == [said]


def test_forecasts_that_say_nothing_for_the_time_that_is_kept_are_forgotten(path):
    tuning = Tuning(keep_s=10e-9, forget_every_s=0.0)
    with closing(SqliteStore(path, Metrics(), tuning)) as store:
        kept = [
            KeptForecast("net", 100, 189, b"old"),
            KeptForecast("net", 101, 190, b"reaches"),
            KeptForecast("net", 200, 300, b""),
        ]
        other = KeptForecast("other", 5, 6, b"the newest of its asset")
        for forecast in (*kept, other):
            store.keep_forecast(forecast).result(60)
        for _ in range(6000):
            if len(store.forecasts("net", *ALL, ALL[0], 10)) == 2:
                break
            store.keep_forecast(other).result(60)  # the writer looks after what is old between its jobs
        assert store.forecasts("net", *ALL, ALL[0], 10) == kept[1:]
        assert store.forecasts("other", *ALL, ALL[0], 10) == [other]


def test_a_damaged_forecast_is_named_and_left_out(path, caplog):
    with closing(SqliteStore(path, Metrics())) as store:
        for issue in (1, 2, 3):
            store.keep_forecast(KeptForecast("net", issue, 9, b"bytes")).result(60)
        store._writer.execute("UPDATE forecast SET data = x'00' WHERE issue_ns = 1")
        # The page is full all the same, else what lies behind would not be asked for.
        assert [kept.issue_ns for kept in store.forecasts("net", *ALL, 0, 2)] == [2, 3]
    assert "the forecast of net issued at 1 ns" in caplog.text


def test_gaps_come_by_page(any_store, samples):
    gaps = [gap(tag, second, second + 2) for second in range(7) for tag in "ab"]
    any_store.append("p", 1, samples(), gaps[::-1]).result(60)
    found, after = [], None
    while page := any_store.gaps((), *ALL, 3, after):
        found += [gap_ for _, gap_ in page]
        after = page[-1][0]
    assert len(found) == 14
    assert [its.start_ns for its in found] == sorted(its.start_ns for its in gaps)
    assert set(found) == set(gaps)


def test_a_name_without_samples_has_no_rows(any_store, samples):
    assert len(any_store.read(["never"], *ALL)) == 0
    assert len(any_store.page("never", *ALL, 10)) == 0


def test_a_closed_store_says_so(make, samples):
    store = make()
    store.close()
    store.close()
    with pytest.raises(StorageError, match="closed"):
        put(store, "p", 1, samples(("a", 0, 1.0)))
    with pytest.raises(StorageError, match="closed"):
        store.read(["a"], *ALL)


def test_closing_commits_what_was_appended(make, samples):
    store = make()
    futures = [store.append("p", i, samples(("a", i, 1.0))) for i in range(1, 40)]
    store.close()
    assert all(future.result(0).row_count == 1 for future in futures)
    with closing(make()) as store:
        assert store.last_sequence("p") == 39


def test_reading_while_writing_never_misses_what_was_committed_before(any_store, samples, t0_ns):
    """The writer moves rows from the tail into chunks under the reader's eyes."""
    wrong = []
    stop = threading.Event()
    committed = [0]

    def read():
        while not stop.is_set():
            least = committed[0]
            found = any_store.read(["a"], *ALL)
            count = any_store.tags(["a"])["a"].sample_count if least else 0
            if len(found) < least or len(np.unique(found.source_time_ns)) != len(found) or count < least:
                wrong.append((least, len(found), count))

    reader = threading.Thread(target=read)
    reader.start()
    for sequence in range(1, 150):
        put(any_store, "p", sequence, samples(*(("a", sequence * 5 + i, i) for i in range(5))))
        committed[0] = sequence * 5
    stop.set()
    reader.join()
    assert wrong == []


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            st.sampled_from("pq"),
            st.integers(-3, 2),  # sequence, counted from the next
            st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40), st.integers(0, 1000)), max_size=12),
        ),
        st.just(("restart",)),
    ),
    max_size=25,
)


@given(OPERATIONS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_batches_resent_or_reordered_have_effect_exactly_once(tmp_path_factory, operations):
    """Against a dictionary: (tag, time) -> value, written once per sequence."""
    path = tmp_path_factory.mktemp("store") / "history.db"
    store = SqliteStore(path, Metrics(), EAGER)
    truth, last = {}, {"p": 0, "q": 0}
    try:
        for operation in operations:
            if operation[0] == "restart":
                store.close()
                store = SqliteStore(path, Metrics(), EAGER)
                continue
            _, producer, offset, batch = operation
            sequence = max(1, last[producer] + 1 + offset)
            if last[producer] == 0:
                sequence = 1
            future = store.append(producer, sequence, Samples.from_rows((n, t, float(v), 0) for n, t, v in batch))
            if sequence > last[producer] + 1:
                with pytest.raises(SequenceGap):
                    future.result(60)
                continue
            assert future.result(60).duplicate == (sequence <= last[producer])
            if sequence == last[producer] + 1:
                last[producer] = sequence
                truth.update({(name, time): float(value) for name, time, value in batch})
        found = {(name, time): value for name, time, value, _ in store.read("abc", *ALL).rows()}
        assert found == truth
        counts = {name: stats.sample_count for name, stats in store.tags().items()}
        assert counts == {n: c for n in "abc" if (c := sum(name == n for name, _ in truth))}
        assert {name: store.last_sequence(name) for name in "pq"} == last
        for name in "abc":
            newest = [value for (its, _), value in sorted(truth.items()) if its == name][-3:]
            assert store.read([name], *ALL, 3).value.tolist() == newest
    finally:
        store.close()


# SqliteStore and its file.


def settle(store):
    """Wait until an eager store has nothing left to move into chunks."""
    for _ in range(6000):
        if store._move is None and store._tail.rows < max(20, len(store.tags())):
            break
        sleep(0.01)
    else:
        raise AssertionError("rows stay in the tail")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.db"


def test_the_file_is_in_wal_mode_with_full_sync(store):
    (mode,) = store._writer.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = store._writer.execute("PRAGMA synchronous").fetchone()
    assert (mode, synchronous) == ("wal", 2)


def test_batches_that_arrive_together_share_a_commit(path, samples):
    metrics = Metrics()
    with closing(SqliteStore(path, metrics, Tuning(linger_s=60.0, commit_rows=100))) as store:
        futures = [store.append("p", i, samples(("a", i, 1.0))) for i in range(1, 101)]
        assert [future.result(60).row_count for future in futures] == [1] * 100
    assert metrics._metrics["uem_history_commit_duration_seconds"].count() == 1


class SlowCommits:
    """A connection whose commits wait while `lets` is not set."""

    def __init__(self, connection, lets):
        self._connection, self._lets = connection, lets

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, sql, *values):
        if sql == "COMMIT":
            self._lets.wait(60)
        return self._connection.execute(sql, *values)


def busy(store, lets, samples):
    """A batch whose commit waits until `lets` is set; the writer looks at nothing else until then."""
    store._writer = SlowCommits(store._writer, lets)
    first = store.append("p", 1, samples)
    for _ in range(6000):
        if store._commit_began < math.inf:
            return first
        sleep(0.01)
    raise AssertionError("the writer does not commit")


def test_a_batch_cancelled_before_its_commit_is_not_stored(path, samples):
    lets = threading.Event()
    with closing(SqliteStore(path, Metrics())) as store:
        first = busy(store, lets, samples(("a", 0, 1.0)))
        second = store.append("q", 1, samples(("a", 2, 1.0)))
        assert second.cancel()
        lets.set()
        assert first.result(60).row_count == 1
        assert put(store, "p", 2, samples(("a", 1, 1.0))).row_count == 1
        assert store.last_sequence("q") == 0


def test_chunks_of_a_tag_do_not_overlap_and_have_at_most_4096_rows(path, samples):
    with closing(SqliteStore(path, Metrics(), EAGER)) as store:
        rng = np.random.default_rng(5)
        for sequence in range(1, 30):
            times = rng.integers(0, 20_000, 1000)
            put(store, "p", sequence, samples(*(("a", int(t), 1.0) for t in times)))
        settle(store)
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT first_ns, last_ns, sample_count FROM chunk ORDER BY first_ns").fetchall()
    assert len(found) > 2
    assert max(count for *_, count in found) <= 4096
    assert all(last < first for (_, last, _), (first, _, _) in pairwise(found))


def test_rows_committed_while_older_ones_move_survive_a_restart(path, samples):
    tuning = Tuning(linger_s=0.0, commit_rows=1, tail_rows=60, tail_rows_per_tag=1, move_s=0.0)
    names = [f"t{i}" for i in range(6)]
    with closing(SqliteStore(path, Metrics(), tuning)) as store:
        # All at once: so every commit has the next one waiting, and a step of the move comes in between.
        futures = [store.append("p", i, samples(*((name, i, i) for name in names))) for i in range(1, 101)]
        assert [future.result(60).row_count for future in futures] == [6] * 100
    with closing(SqliteStore(path, Metrics(), tuning)) as store:
        assert {name: stats.sample_count for name, stats in store.tags().items()} == dict.fromkeys(names, 100)
        for name in names:
            assert store.read([name], *ALL).value.tolist() == list(range(1, 101))


def test_one_process_has_the_file(path):
    with (
        closing(SqliteStore(path, Metrics())),
        pytest.raises(StorageError, match=r"in use by another process.*--state"),
    ):
        SqliteStore(path, Metrics())
    SqliteStore(path, Metrics()).close()


def test_a_file_of_another_schema_version_is_refused(path):
    SqliteStore(path, Metrics()).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(StorageError, match="schema version 99, this uem reads 1 to "):
        SqliteStore(path, Metrics())


def test_a_file_of_an_older_schema_version_is_brought_to_the_newest(path, samples):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(database._STEPS[0])
        connection.execute(f"PRAGMA application_id={database._APPLICATION_ID}")
        connection.execute("PRAGMA user_version=1")
    with closing(SqliteStore(path, Metrics())) as store:
        store.append("p", 1, samples(("a", 1, 1.0)), [gap("a", 1, 3)]).result(60)
    with closing(SqliteStore(path, Metrics())) as store:
        assert (len(store.read(["a"], *ALL)), told(store)) == (1, [gap("a", 1, 3)])


def test_a_database_of_another_program_is_refused(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StorageError, match="another program"):
        SqliteStore(path, Metrics())


def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(StorageError, match="not a sound database"):
        SqliteStore(path, Metrics())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="--state"):
        SqliteStore(tmp_path / "file" / "history.db", Metrics())


def test_a_full_disk_acknowledges_nothing_and_passes_when_there_is_space_again(path, samples):
    with closing(SqliteStore(path, Metrics(), Tuning(linger_s=0.0))) as store:
        put(store, "p", 1, samples(("a", 0, 1.0)))
        (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
        store._writer.execute(f"PRAGMA max_page_count={pages + 4}")
        big = samples(*((f"t{i}", j, i * j) for i in range(30) for j in range(100)))
        futures = [store.append("p", 2, big), store.append("p", 3, samples(("a", 1, 1.0)))]
        with pytest.raises(StorageFull, match="no space left"):
            futures[0].result(60)
        with pytest.raises((StorageFull, SequenceGap)):
            futures[1].result(60)
        assert "no space left" in store.problem()
        assert (store.last_sequence("p"), len(store.read(["a"], *ALL))) == (1, 1)
        store._writer.execute("PRAGMA max_page_count=1000000")
        assert put(store, "p", 2, big).row_count == 3000
        assert store.problem() is None
        assert store.tags()["t29"].sample_count == 100


def test_a_batch_sent_behind_a_failed_first_one_is_not_taken_for_the_first(path, samples):
    with closing(SqliteStore(path, Metrics(), Tuning(linger_s=0.0))) as store:
        (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
        store._writer.execute(f"PRAGMA max_page_count={pages}")
        big = samples(*((f"t{i}", j, i * j) for i in range(30) for j in range(100)))
        with pytest.raises(StorageFull):
            put(store, "new", 1, big)
        store._writer.execute("PRAGMA max_page_count=1000000")
        with pytest.raises(SequenceGap):
            put(store, "new", 2, samples(("a", 1, 1.0)))
        put(store, "new", 1, big)
        put(store, "new", 2, samples(("a", 1, 1.0)))


def test_a_tail_that_cannot_be_compacted_stays_readable(path, samples, caplog):
    with closing(SqliteStore(path, Metrics(), EAGER)) as store:
        # By a connection of our own: a statement inside the store's failing transaction would be rolled back with it.
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TRIGGER no BEFORE INSERT ON chunk BEGIN SELECT RAISE(FAIL, 'not today'); END")
        for sequence in range(1, 11):
            put(store, "p", sequence, samples(*((f"t{i}", sequence, i) for i in range(25))))
        assert "the tail stays as it is" in caplog.text
        assert sum(stats.sample_count for stats in store.tags().values()) == 250
        with closing(sqlite3.connect(path, timeout=60)) as other:
            other.execute("DROP TRIGGER no")
        put(store, "p", 11, samples(*((f"t{i}", 11, i) for i in range(25))))
        put(store, "p", 12, samples(("t0", 12, 1.0)))
        assert sum(stats.sample_count for stats in store.tags().values()) == 276
        settle(store)
        assert sum(stats.sample_count for stats in store.tags().values()) == 276
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(DISTINCT tag) FROM chunk").fetchone() == (25,)


def test_what_is_older_than_is_kept_is_deleted_by_whole_chunks_and_the_file_stops_growing(path, samples, t0_ns):
    tuning = Tuning(linger_s=0.0, tail_rows=2000, tail_rows_per_tag=1, move_s=0.0, keep_s=20_000, forget_every_s=0.0)
    metrics, sizes = Metrics(), []
    with closing(SqliteStore(path, metrics, tuning)) as store:
        for sequence in range(1, 101):
            rows_ = [(tag, sequence * 1000 + i, i) for i in range(1000) for tag in "ab"]
            told_ = [Gap("a", t0_ns + sequence * 10**12, t0_ns + sequence * 10**12 + 5, GapReason.LINK_DOWN)]
            store.append("p", sequence, samples(*rows_, ("still", 7, 1.0)), told_).result(60)
            sizes.append(path.stat().st_size + path.with_name("history.db-wal").stat().st_size)
        for sequence in range(101, 1101):  # the writer looks after the tail and what is old between its jobs
            store.append("p", sequence, samples()).result(60)
            if store._tail.all_rows < 2000:
                break
        else:
            raise AssertionError("rows stay in the tail")
    left = 0
    with closing(SqliteStore(path, Metrics())) as store:  # one that forgets nothing: what is counted stays as it is
        for tag in "ab":
            found = store.read([tag], *ALL)
            left += len(found)
            assert store.tags([tag])[tag].sample_count == len(found)
            age_s = (found.source_time_ns[-1] - found.source_time_ns[0]) / 1e9
            assert 20_000 <= age_s < 20_000 + 2 * 4096 + 2000
            assert np.all(np.diff(found.source_time_ns) == 10**9)
        assert len(store.read(["still"], *ALL)) == 1
        assert 20 <= len(told(store)) < 35
    assert metrics._metrics["uem_history_forgotten_samples_total"].get() == 200_000 - left
    assert max(sizes[60:]) < 1.3 * max(sizes[30:60])


HOUR_NS = 3600 * 10**9


@pytest.mark.parametrize("ahead_h", [1, 20])
def test_a_stamp_ahead_of_our_clock_pushes_nothing_out(path, ahead_h):
    """Of samples, gaps, alarms and forecasts of the last two hours, of which the last is kept."""
    now_ns = time_ns()
    keeps = Tuning(linger_s=0.0, tail_rows=20, tail_rows_per_tag=1, move_s=0.0, keep_s=3600.0, forget_every_s=0.0)
    times_ns = now_ns + np.append(np.arange(-12_000, 0) * (2 * HOUR_NS // 12_000), ahead_h * HOUR_NS)
    halves = [now_ns - HOUR_NS * 3 // 2, now_ns - HOUR_NS // 2, now_ns + ahead_h * HOUR_NS]
    with closing(SqliteStore(path, Metrics(), keeps)) as store:
        for sequence, part in enumerate(np.array_split(times_ns, 4), 1):
            zeros = np.zeros(len(part), np.uint32)
            put(store, "p", sequence, Samples(("a",), zeros, part, zeros.astype(float), zeros))
        settle(store)
        told_ = [Gap("a", at, at + 1, GapReason.LINK_DOWN) for at in halves]
        said_ = [replace(said(0, "chatters", "normal"), time_ns=at) for at in halves]
        store.append("p", 5, Samples.concatenate([]), told_, said_).result(60)
        forecasts = [KeptForecast("net", at, at + 1, b"") for at in halves]
        for forecast in forecasts:
            store.keep_forecast(forecast).result(60)
        for sequence in range(6, 40):  # the writer looks after what is old between its jobs
            put(store, "p", sequence, Samples.concatenate([]))
        left_ns = store.read(["a"], *ALL).source_time_ns
        assert times_ns[0] < left_ns[0] <= now_ns - HOUR_NS + (time_ns() - now_ns) + 10**9
        assert left_ns[-1] == halves[2]
        assert told(store) == told_[1:]
        assert [alarm for _, alarm in store.alarms("", True, 10)] == said_[1:]
        assert store.forecasts("net", *ALL, ALL[0], 10) == forecasts[1:]


def flip(path, sql):
    """Flip one bit of the stored bytes that `sql` finds, in the file itself."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (data,) = connection.execute(sql).fetchone()
    content = bytearray(path.read_bytes())
    third = len(data) // 3
    at = content.index(data[third : third + 64])
    content[at + 32] ^= 1
    path.write_bytes(content)


def test_a_corrupt_chunk_is_left_out_counted_and_named_and_the_rest_is_read(path, samples, caplog):
    with closing(SqliteStore(path, Metrics(), EAGER)) as store:
        rng = np.random.default_rng(1)
        for sequence in range(1, 11):
            rows_ = [(tag, sequence * 1000 + i, rng.normal()) for i in range(1000) for tag in "ab"]
            put(store, "p", sequence, samples(*rows_))
        settle(store)
    flip(path, "SELECT data FROM chunk JOIN tag ON tag.id = tag WHERE name = 'a' ORDER BY first_ns LIMIT 1")
    metrics = Metrics()
    with closing(SqliteStore(path, metrics, EAGER)) as store:
        a, b = (len(store.read([tag], *ALL)) for tag in "ab")
        assert b == 10_000
        assert 5_000 <= a < 10_000
        assert len(store.read(["a"], *ALL)) == a
        assert metrics._metrics["uem_history_corrupt_chunks_total"].get() == 1
        assert "samples of a from" in caplog.text
        # Rows that fall into it move it to quarantine; they and everything else stay.
        put(store, "p", 11, samples(*(("a", 1000 + i + 0.5, 1.0) for i in range(30))))
        put(store, "p", 12, samples(("b", 0, 1.0)))
        settle(store)
        assert len(store.read(["a"], *ALL)) == a + 30
        assert store.tags()["a"].sample_count == a + 30
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM quarantine").fetchone() == (1,)


def test_a_corrupt_batch_of_the_tail_is_put_aside_at_the_start(path, samples, caplog):
    with closing(SqliteStore(path, Metrics(), Tuning(linger_s=0.0))) as store:
        for sequence in (1, 2):
            put(store, "p", sequence, samples(*(("a", sequence * 100 + i, i) for i in range(100))))
    flip(path, "SELECT data FROM tail ORDER BY id LIMIT 1")
    metrics = Metrics()
    with closing(SqliteStore(path, metrics)) as store:
        assert len(store.read(["a"], *ALL)) == 100
    assert metrics._metrics["uem_history_corrupt_chunks_total"].get() == 1
    assert "100 samples is lost" in caplog.text
    with closing(SqliteStore(path, Metrics())) as store:
        assert len(store.read(["a"], *ALL)) == 100


def test_an_unforeseen_error_reaches_the_batches_and_not_the_writer(store, samples, monkeypatch, caplog):
    monkeypatch.setattr(store, "_insert_tags", lambda samples: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        put(store, "p", 1, samples(("a", 0, 1.0)))
    assert "commit failed" in caplog.text
    monkeypatch.undo()
    assert put(store, "p", 1, samples(("a", 0, 1.0))).row_count == 1


def test_a_forecast_that_nobody_waits_for_any_more_does_not_end_the_writer(path, samples):
    lets = threading.Event()
    with closing(SqliteStore(path, Metrics())) as store:
        first = busy(store, lets, samples(("a", 0, 1.0)))
        assert store.keep_forecast(KeptForecast("net", 1, 2, b"")).cancel()
        lets.set()
        assert first.result(60).row_count == 1
        assert put(store, "p", 2, samples(("a", 1, 1.0))).row_count == 1
        assert store.forecasts("net", *ALL, ALL[0], 9) == []


def test_a_forecast_that_cannot_be_kept_is_refused_and_does_not_end_the_writer(store, samples):
    with pytest.raises(struct.error):
        store.keep_forecast(KeptForecast("net", 2**70, 2**70, b"")).result(60)
    assert put(store, "p", 1, samples(("a", 0, 1.0))).row_count == 1


def test_a_disk_error_when_rows_begin_to_move_does_not_end_the_writer(path, samples, monkeypatch, caplog):
    def broken(*_):
        raise sqlite3.OperationalError("disk I/O error")

    with closing(SqliteStore(path, Metrics(), EAGER)) as store:
        monkeypatch.setattr(compaction, "Move", broken)
        for sequence in range(1, 10):
            put(store, "p", sequence, samples(*(("a", sequence * 50 + i, i) for i in range(50))))
        assert "disk I/O error" in caplog.text
        monkeypatch.undo()
        put(store, "p", 10, samples(*(("a", i, i) for i in range(50))))
        put(store, "p", 11, samples(("a", 0, 1.0)))
        settle(store)
        assert store.tags()["a"].sample_count == 500


def test_what_is_kept_for_longer_than_times_reach_is_kept(path, samples):
    tuning = Tuning(linger_s=0.0, tail_rows=20, tail_rows_per_tag=1, move_s=0.0, keep_s=1e12, forget_every_s=0.0)
    with closing(SqliteStore(path, Metrics(), tuning)) as store:
        for sequence in range(1, 10):
            put(store, "p", sequence, samples(*(("a", sequence * 50 + i, i) for i in range(50))))
        assert store.tags()["a"].sample_count == 450


def said(second, condition, state, branch=""):
    return Alarm(
        plant="hall",
        condition=condition,
        branch=branch,
        source="pump",
        name="trip",
        state=AlarmState(state),
        severity=500,
        time_ns=second * 10**9,
    )


def test_alarms_older_than_is_kept_are_forgotten_but_for_how_each_condition_stands(path, samples):
    tuning = Tuning(linger_s=0.0, keep_s=100.0, forget_every_s=0.0)
    with closing(SqliteStore(path, Metrics(), tuning)) as store:
        told_ = [said(1, "old", "unacknowledged"), said(2, "branched", "unacknowledged", "b")]
        told_ += [said(second, "chatters", ("unacknowledged", "normal")[second % 2]) for second in range(3, 1000)]
        told_ += [said(4, "branched", "normal", "b")]
        for sequence, alarm in enumerate(told_, 1):
            store.append("p", sequence, samples(), (), [alarm]).result(60)
        for sequence in range(len(told_) + 1, len(told_) + 4):
            store.append("p", sequence, samples()).result(60)
        found = [alarm for _, alarm in store.alarms("", True, 10_000)]
        assert found == [told_[0], *told_[898:-1]]
        assert [alarm.condition for _, alarm in store.alarms("", False, 10)] == ["old", "chatters"]


def test_commits_do_not_wait_until_all_that_is_old_is_forgotten(path, samples, monkeypatch):
    forget, forgotten, done = retention.forget, [], []

    def forget_one(writer, tag, keep_ns):
        forgotten.append(tag)
        if len(forgotten) == 1:
            future = store.append("p", 2, samples(("t0", 2, 1.0)))
            future.add_done_callback(lambda _: done.append(len(forgotten)))
        return forget(writer, tag, keep_ns)

    monkeypatch.setattr(retention, "forget", forget_one)
    tuning = Tuning(linger_s=0.0, keep_s=1.0, forget_every_s=3600.0)
    with closing(SqliteStore(path, Metrics(), tuning)) as store:
        store._forget_at = math.inf
        put(store, "p", 1, samples(*((f"t{i}", 1, 1.0) for i in range(250))))
        store._forget_at = 0.0
        store.append("q", 1, samples()).result(60)
        for sequence in range(2, 6000):
            if len(forgotten) == 250:
                break
            store.append("q", sequence, samples()).result(60)
    assert sorted(forgotten) == list(range(1, 251))
    assert done[0] <= 100


def test_a_disk_that_keeps_any_commit_waiting_is_told(path, samples, monkeypatch):
    monkeypatch.setattr(sqlite, "_LONG_COMMIT_S", 0.1)
    lets = threading.Event()
    lets.set()
    with closing(SqliteStore(path, Metrics())) as store:
        put(store, "p", 1, samples(("a", 0, 1.0)))
        store._writer = SlowCommits(store._writer, lets)
        lets.clear()
        kept = store.keep_forecast(KeptForecast("net", 1, 2, b""))  # no sample waits for it
        for _ in range(6000):
            if store.problem():
                break
            sleep(0.01)
        told_ = store.problem()
        lets.set()
        assert "has waited for the disk" in told_
        kept.result(60)
        assert store.problem() is None


def test_of_what_a_twin_has_learned_the_newest_is_kept_and_outlives_a_restart(make):
    other = KeptKnowledge("line", "of line", 7, b"")
    with closing(make()) as store:
        assert store.knowledge("net") is None
        for time_ns, data in ((10, b"a" * 300_000), (900, b"more"), (5, b"of a plant that began anew")):
            store.keep_knowledge(KeptKnowledge("net", "of net", time_ns, data)).result(60)
        store.keep_knowledge(other).result(60)
    with closing(make()) as store:
        assert store.knowledge("net") == KeptKnowledge("net", "of net", 5, b"of a plant that began anew")
        assert store.knowledge("line") == other
    with pytest.raises(StorageError, match="closed"):
        store.keep_knowledge(other).result(60)


def test_damaged_knowledge_is_told_and_written_anew(path):
    kept = KeptKnowledge("net", "of net", 5, b"bytes")
    with closing(SqliteStore(path, Metrics())) as store:
        store.keep_knowledge(kept).result(60)
        store._writer.execute("UPDATE knowledge SET data = x'00'")
        with pytest.raises(StorageError, match="learned of net: wrong checksum"):
            store.knowledge("net")
        store.keep_knowledge(kept).result(60)
        assert store.knowledge("net") == kept
