"""The store that ships: one SQLite file, one thread that writes.

Each commit appends one batch (all tags mixed) to the table `tail`, together with the sequences of the producers, in one
transaction; batches that arrive within a few milliseconds share it and its fsync. When the tail has grown, its rows
move into chunks of one tag each, in order of time, indexed by tag and time. So a commit is one append, and reading one
tag touches its chunks and what the tail (held in memory too) has of it.
"""

import logging
import math
import queue
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import NamedTuple

import numpy as np

from uem.services.history import (
    alarms,
    chunks,
    commits,
    compaction,
    database,
    forecasts,
    gaps,
    knowledge,
    reading,
    retention,
)
from uem.services.history.chunks import Columns, CorruptChunk, joined
from uem.services.history.reading import Meta
from uem.services.history.store import Commit, GapKey, KeptForecast, KeptKnowledge, SequenceGap, Stored, TagStats
from uem.services.history.tail import Segment, Tail, segment
from uem.services.metrics import Metrics
from uem.twin_core.alarms import Alarm
from uem.twin_core.errors import StorageError
from uem.twin_core.measurements import Gap, Samples

_TAGS_AT_ONCE = 100
_LONG_COMMIT_S = 1.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """When the store commits and when it rearranges."""

    linger_s: float = 0.002  # how long a batch waits for others to share its fsync
    commit_rows: int = 65_536  # a commit with so many rows waits for no more
    tail_rows: int = 65_536  # the tail moves into chunks at so many rows,
    tail_rows_per_tag: int = 64  # when there are so many per tag at least,
    tail_commits: int = 8_192  # or at so many commits,
    move_s: float = 0.01  # in steps of so long, with commits between them
    keep_s: float = math.inf  # of each tag so long before its newest sample is kept, by whole chunks,
    forget_every_s: float = 600.0  # looked after so often


class _Job(NamedTuple):
    producer: str
    sequence: int
    samples: Samples
    gaps: Sequence[Gap]
    alarms: Sequence[Alarm]
    behind: bool
    done: "Future[Stored]"


class _Keep(NamedTuple):
    kept: KeptForecast | KeptKnowledge
    done: "Future[None]"


class SqliteStore:
    """A `Store` in one SQLite file (WAL, synchronous=FULL), with one thread that writes."""

    def __init__(self, path: Path, metrics: Metrics, tuning: Tuning | None = None) -> None:
        """Open or make the file.

        Raises:
            StorageError: it cannot be opened, is in use, or was written by another version.
        """
        self._path = path
        self._tuning = tuning or Tuning()
        self._counted = metrics.counter("uem_history_committed_samples_total", "Samples on disk since the start.")
        self._forgotten = metrics.counter(
            "uem_history_forgotten_samples_total", "Samples deleted because of their age."
        )
        self._failed = metrics.counter("uem_history_failed_commits_total", "Commits that failed.")
        self._corrupt = metrics.counter("uem_history_corrupt_chunks_total", "Chunks whose checksum was found wrong.")
        self._seconds = metrics.histogram("uem_history_commit_duration_seconds", "Time of a commit with its fsync.")
        self._lock = database.lock(path)
        try:
            self._writer = database.open_writer(path)
            with database.sqlite_errors(path):
                self._load()
        except BaseException:
            self._lock.close()
            raise
        self._readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._first_contact: dict[str, int] = {}
        self._problem: str | None = None
        self._commit_began = math.inf  # of the commit that runs
        self._closed = False
        self._move: compaction.Move | None = None
        self._pause_until = 0  # rows of the tail; after a step that failed
        self._known_corrupt: set[Meta] = set()
        self._to_forget: list[int] = []  # tags that were not looked at yet
        self._forget_at = monotonic() if math.isfinite(self._tuning.keep_s) else math.inf
        self._damaged: list[Meta] = []  # known to the writer and not yet set aside
        self._jobs: queue.SimpleQueue[_Job | _Keep | Meta | None] = queue.SimpleQueue()
        self._to_keep: list[_Keep] = []
        metrics.gauge("uem_history_tail_samples", "Samples on disk that wait for chunks.", lambda: self._tail.all_rows)
        metrics.gauge("uem_history_queued_batches", "Batches that wait for their commit.", self._jobs.qsize)
        metrics.gauge("uem_history_file_bytes", "Size of the database file.", lambda: path.stat().st_size)
        self._thread = threading.Thread(target=self._write, name="history-writer", daemon=True)
        self._thread.start()

    # What callers use.

    def append(
        self,
        producer: str,
        sequence: int,
        samples: Samples,
        gaps: Sequence[Gap] = (),
        alarms: Sequence[Alarm] = (),
        behind: bool = False,
    ) -> "Future[Stored]":
        """See Store."""
        done: Future[Stored] = Future()
        if self._closed:
            done.set_exception(StorageError(f"{self._path} is closed"))
        else:
            self._jobs.put(_Job(producer, sequence, samples, gaps, alarms, behind, done))
        return done

    def last_sequence(self, producer: str) -> int:
        """See Store."""
        return self._sequences.get(producer, 0)

    def read(self, tags: Sequence[str], start_ns: int, end_ns: int, limit: int = 0) -> Samples:
        """See Store."""
        with self._reader() as (connection, tail):
            ids = [self._tag_ids.get(tag, 0) for tag in tags]
            parts = [reading.rows(connection, tail, i, start_ns, end_ns, self._report, most=limit) for i in ids]
        columns = joined(parts)
        tag = np.repeat(np.arange(len(tags), dtype=np.uint32), [part.rows for part in parts])
        return Samples(tuple(tags), tag, columns.time, columns.value, columns.quality)

    def commits(self, after: int, most_rows: int) -> list[Commit] | None:
        """See Store."""
        with self._reader() as (connection, _):
            return commits.after(connection, after, most_rows)

    def last_commit(self) -> int:
        """See Store."""
        with self._reader() as (connection, _):
            return commits.last(connection)

    def page(self, tag: str, start_ns: int, end_ns: int, most: int) -> Samples:
        """See Store."""
        number = self._tag_ids.get(tag, 0)
        with self._reader() as (connection, tail):
            rows = reading.rows(connection, tail, number, start_ns, end_ns, self._report, most=most, newest=False)
        return Samples((tag,), np.zeros(rows.rows, np.uint32), rows.time, rows.value, rows.quality)

    def tags(self, names: Sequence[str] | None = None) -> dict[str, TagStats]:
        """See Store."""
        wanted = list(self._tag_ids) if names is None else [name for name in names if name in self._tag_ids]
        with self._reader() as (connection, tail):
            found = {name: reading.stats(connection, tail, self._tag_ids[name], self._report) for name in wanted}
        return {name: stats for name, stats in found.items() if stats.sample_count}

    def gaps(
        self, tags: Sequence[str], start_ns: int, end_ns: int, most: int, after: GapKey | None = None
    ) -> list[tuple[GapKey, Gap]]:
        """See Store."""
        numbers = [self._tag_ids.get(tag, 0) for tag in tags] if tags else None
        with self._reader() as (connection, _):
            return gaps.page(connection, numbers, start_ns, end_ns, most, after or gaps.FIRST)

    def alarms(self, plant: str, history: bool, most: int, after: int = 0) -> list[tuple[int, Alarm]]:
        """See Store."""
        with self._reader() as (connection, _):
            return alarms.page(connection, plant, history, most, after)

    def keep_forecast(self, forecast: KeptForecast) -> "Future[None]":
        """See Store."""
        return self._keep(forecast)

    def forecasts(
        self, asset: str, start_ns: int, end_ns: int, valid_ns: int, most: int, newest_first: bool = False
    ) -> list[KeptForecast]:
        """See Store."""
        with self._reader() as (connection, _):
            return forecasts.select(connection, asset, start_ns, end_ns, valid_ns, most, newest_first)

    def keep_knowledge(self, knowledge: KeptKnowledge) -> "Future[None]":
        """See Store."""
        return self._keep(knowledge)

    def knowledge(self, asset: str) -> KeptKnowledge | None:
        """See Store."""
        with self._reader() as (connection, _):
            return knowledge.select(connection, asset, self._path)

    def _keep(self, kept: KeptForecast | KeptKnowledge) -> "Future[None]":
        done: Future[None] = Future()
        if self._closed:
            done.set_exception(StorageError(f"{self._path} is closed"))
        else:
            self._jobs.put(_Keep(kept, done))
        return done

    def problem(self) -> str | None:
        """See Store."""
        lasts_s = monotonic() - self._commit_began
        if lasts_s > _LONG_COMMIT_S:
            return f"{self._path}: a commit has waited for the disk for {lasts_s:.0f} s"
        return self._problem

    def close(self) -> None:
        """See Store."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        self._thread.join()
        while not self._jobs.empty():  # appended in another thread at this very moment
            job = self._jobs.get()
            if isinstance(job, _Job | _Keep):
                job.done.set_exception(StorageError(f"{self._path} is closed"))
        while not self._readers.empty():
            self._readers.get().close()
        self._writer.close()
        self._lock.close()

    # Opening.

    def _load(self) -> None:
        self._tag_ids: dict[str, int] = dict(self._writer.execute("SELECT name, id FROM tag"))
        self._sequences: dict[str, int] = dict(self._writer.execute("SELECT name, sequence FROM producer"))
        self._tail = Tail()
        query = "SELECT id, sample_count, crc, data, first_ns, last_ns FROM tail ORDER BY id"
        for number, rows, crc, data, first_ns, last_ns in self._writer.execute(query).fetchall():
            try:
                chunks.check(data, crc, rows)
                self._tail = self._tail.add(segment(*chunks.unpack_batch(data, rows)))
            except CorruptChunk as error:
                self._corrupt.add()
                _LOG.error("%s: batch %d of the tail with %d samples is lost: %s", self._path, number, rows, error)
                self._writer.execute(
                    "INSERT INTO quarantine (tag, first_ns, last_ns, sample_count, crc, data) "
                    "SELECT 0, 0, 0, sample_count, crc, data FROM tail WHERE id = ?",
                    (number,),
                )
                if last_ns:  # which tags it had is not sure either
                    gaps.insert_damaged(self._writer, self._tag_ids.values(), first_ns, last_ns)
                self._writer.execute("DELETE FROM tail WHERE id = ?", (number,))

    # Writing; all below runs in the one writing thread. Nothing may end it: who appends would wait for ever.

    def _write(self) -> None:
        more = False
        while True:
            group, last = self._gather(wait=not more)
            if group:
                self._commit(group)
            if self._to_keep:
                self._write_kept()
            if self._damaged:
                self._set_aside()
            more = self._forget()
            if last:
                return
            more = self._compact() or more

    def _gather(self, wait: bool) -> tuple[list[_Job], bool]:
        """The batches of the next commit, and whether the store is closing."""
        group: list[_Job] = []
        try:
            job = self._jobs.get(block=wait)
        except queue.Empty:
            return group, False
        rows = 0
        deadline = monotonic() + self._tuning.linger_s
        while job is not None:
            if isinstance(job, Meta):
                self._damaged.append(job)
            elif job.done.set_running_or_notify_cancel():
                if isinstance(job, _Keep):
                    self._to_keep.append(job)
                else:
                    group.append(job)
                    rows += len(job.samples)
            wait_s = deadline - monotonic()
            if rows >= self._tuning.commit_rows:
                return group, False
            try:
                job = self._jobs.get(timeout=wait_s) if wait_s > 0 else self._jobs.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Job]) -> None:
        """One transaction for all batches of the group; their futures are told after it."""
        sequences: dict[str, int] = {}
        outcomes: list[tuple[_Job, Stored]] = []
        accepted: list[_Job] = []
        for job in group:
            last = sequences.get(job.producer, self._sequences.get(job.producer, 0))
            # The first contact decides where a producer begins, also when its commit fails: so a batch that was sent
            # right behind a failed one is not taken for the first.
            expected = last + 1 if last else self._first_contact.setdefault(job.producer, job.sequence)
            if job.sequence <= last:
                outcomes.append((job, Stored(0, True)))
            elif job.sequence > expected:
                text = f"producer {job.producer}: sequence {job.sequence} came before {expected}; send {expected} first"
                job.done.set_exception(SequenceGap(text))
            else:
                sequences[job.producer] = job.sequence
                accepted.append(job)
                outcomes.append((job, Stored(len(job.samples), False)))
        try:
            self._commit_began = monotonic()
            self._store(accepted, sequences)
        except Exception as error:
            self._failed.add()
            self._problem = str(error)
            if not isinstance(error, StorageError):
                _LOG.exception("%s: commit failed", self._path)
            for job, _ in outcomes:
                job.done.set_exception(error)
            return
        finally:
            self._commit_began = math.inf
        for job, stored in outcomes:
            job.done.set_result(stored)

    def _store(self, jobs: list[_Job], sequences: dict[str, int]) -> None:
        if not sequences:
            return
        begin = perf_counter()
        told = [gap for job in jobs for gap in job.gaps]
        said = [alarm for job in jobs for alarm in job.alarms]
        samples = Samples.concatenate([job.samples for job in jobs])
        flags = {job.behind for job in jobs if len(job.samples)}
        behind = np.repeat([job.behind for job in jobs], [len(job.samples) for job in jobs])
        newest: list[Segment] = []
        with self._transaction():
            used = [samples.names[int(i)] for i in np.unique(samples.tag)]
            new_ids = self._insert_tags([*used, *(gap.tag for gap in told)])
            if told:
                gaps.insert(self._writer, told, self._tag_ids | new_ids)
            if said:
                alarms.insert(self._writer, said)
            ids = np.array([new_ids.get(n) or self._tag_ids.get(n, 0) for n in samples.names], np.uint32)
            for flag in sorted(flags):
                rows = samples if len(flags) == 1 else samples.take(behind == flag)
                newest.append(segment(ids[rows.tag], Columns(rows.source_time_ns, rows.value, rows.quality)))
                commits.insert(self._writer, newest[-1], flag)
            self._writer.executemany("INSERT OR REPLACE INTO producer VALUES (?, ?)", sequences.items())
        self._tag_ids.update(new_ids)
        self._sequences.update(sequences)
        for part in newest:
            self._tail = self._tail.add(part)
        self._problem = None
        self._counted.add(len(samples))
        self._seconds.observe(perf_counter() - begin)

    def _insert_tags(self, names: list[str]) -> dict[str, int]:
        """Numbers for the tags that have none so far."""
        new: dict[str, int] = {}
        for name in names:
            if name not in self._tag_ids and name not in new:
                row = self._writer.execute("INSERT INTO tag (name) VALUES (?) RETURNING id", (name,)).fetchone()
                new[name] = int(row[0])
        return new

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with database.sqlite_errors(self._path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._commit_began = min(self._commit_began, monotonic())
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            finally:
                self._commit_began = math.inf

    # From the tail into chunks.

    def _compact(self) -> bool:
        """Take one step when there is something to move; whether there is more to do at once."""
        tail, tuning = self._tail, self._tuning
        enough = max(tuning.tail_rows, tuning.tail_rows_per_tag * len(self._tag_ids))
        if tail.rows < self._pause_until:
            return False
        if self._move is None and tail.rows < enough and tail.commits < tuning.tail_commits:
            return False
        self._pause_until = 0
        try:
            if self._move is None:
                self._move = compaction.Move(self._writer, tail, self._report)
                self._tail = tail.freeze()
            with self._transaction():
                # In a flood commits wait for the move, else the tail would outgrow the memory.
                left = self._move.step(tuning.move_s if tail.rows < 2 * enough else math.inf)
        except Exception as error:
            self._pause_until = self._tail.rows + tuning.tail_rows
            _LOG.warning("%s: the tail stays as it is: %s", self._path, error)
            return False
        self._move.done(left)
        if not left:
            # A reader takes the tail first and the chunks afterwards: it may see a row twice for a moment, never not.
            self._tail, self._move = self._tail.thawed(), None
        return left > 0

    # Forecasts, and what twins have learned.

    def _write_kept(self) -> None:
        kept, self._to_keep = self._to_keep, []
        try:
            with self._transaction():
                forecasts.insert(self._writer, [keep.kept for keep in kept if isinstance(keep.kept, KeptForecast)])
                knowledge.insert(self._writer, [keep.kept for keep in kept if isinstance(keep.kept, KeptKnowledge)])
        except Exception as error:
            for keep in kept:
                keep.done.set_exception(error)
            return
        for keep in kept:
            keep.done.set_result(None)

    # Old and damaged chunks.

    def _forget(self) -> bool:
        """Delete what is older than is kept, of some tags, so that commits need not wait; whether there is more."""
        if not self._to_forget:
            if monotonic() < self._forget_at:
                return False
            self._forget_at = monotonic() + self._tuning.forget_every_s
            self._to_forget = list(self._tag_ids.values())
        keep_ns, some = round(self._tuning.keep_s * 1e9), self._to_forget[-_TAGS_AT_ONCE:]
        del self._to_forget[-_TAGS_AT_ONCE:]
        try:
            with self._transaction():
                count = sum(retention.forget(self._writer, tag, keep_ns) for tag in some)
                if not self._to_forget:
                    forecasts.forget(self._writer, keep_ns)
                    alarms.forget(self._writer, keep_ns)
            self._forgotten.add(count)
        except Exception as error:
            self._to_forget.clear()
            _LOG.warning("%s: old samples stay for now: %s", self._path, error)
        return bool(self._to_forget)

    def _set_aside(self) -> None:
        """Move what readers found damaged to quarantine."""
        damaged, self._damaged = self._damaged, []
        try:
            with self._transaction():
                for meta in damaged:
                    compaction.set_aside(self._writer, meta)
        except Exception as error:
            _LOG.warning("%s: %d damaged chunks stay where they are: %s", self._path, len(damaged), error)

    # Reading; in any thread.

    @contextmanager
    def _reader(self) -> Iterator[tuple[sqlite3.Connection, Tail]]:
        """A connection inside a read transaction, and the tail as it was before that."""
        if self._closed:
            raise StorageError(f"{self._path} is closed")
        try:
            connection = self._readers.get_nowait()
        except queue.Empty:
            connection = database.open_reader(self._path)
        tail = self._tail  # before the chunks, see _compact
        try:
            with database.sqlite_errors(self._path):
                connection.execute("BEGIN")
                try:
                    yield connection, tail
                finally:
                    connection.execute("ROLLBACK")
        finally:
            self._give_back(connection)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._readers.put(connection)

    def _report(self, meta: Meta, error: CorruptChunk) -> None:
        """Count and log a corrupt chunk, once."""
        if meta in self._known_corrupt:
            return
        self._known_corrupt.add(meta)
        self._corrupt.add()
        self._jobs.put(meta)
        name = next((name for name, number in list(self._tag_ids.items()) if number == meta.tag), str(meta.tag))
        where = f"{self._path}: {meta.rows} samples of {name} from {meta.first_ns} to {meta.last_ns} ns"
        _LOG.error("%s cannot be read: %s", where, error)
