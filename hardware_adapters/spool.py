"""Store and forward: batches wait on disk until the ingestion service has them on its disk.

One SQLite file (WAL, synchronous=FULL), one row per batch, columns as little-endian blobs. A batch is committed before
it is sent and deleted after it is acknowledged, so kill -9 at any moment loses nothing that `append` returned for.

The spool is bounded. When it is full, or the disk is, `append` refuses the new batch with StorageFull and keeps what
it has: sequences stay without gaps, and what was refused is known to the caller, who counts it.

A batch that the service will never take is moved to the table `refused` with the reason, for people to look at; an
empty batch goes out under its sequence. The newest refused batches are kept, up to an eighth of the bound.
"""

import contextlib
import json
import logging
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

import numpy as np

from uem.twin_core.errors import StorageError, StorageFull
from uem.twin_core.measurements import Gap, GapReason, Samples

R = TypeVar("R")
_log = logging.getLogger(__name__)

MOST_BYTES = 1 << 30  # about 40 million rows
_ROW_BYTES = 24
_BATCH_BYTES = 256  # what SQLite and the dictionary of names need besides the columns, roughly
_SCHEMA = """
CREATE TABLE IF NOT EXISTS batch (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    rows INTEGER NOT NULL,
    names TEXT NOT NULL,
    tag BLOB NOT NULL,
    source_time_ns BLOB NOT NULL,
    value BLOB NOT NULL,
    quality BLOB NOT NULL,
    gaps TEXT NOT NULL DEFAULT '[]'
);
CREATE TABLE IF NOT EXISTS producer (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    sequence INTEGER PRIMARY KEY,
    refused_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    reason TEXT NOT NULL,
    rows INTEGER NOT NULL,
    names TEXT NOT NULL,
    tag BLOB NOT NULL,
    source_time_ns BLOB NOT NULL,
    value BLOB NOT NULL,
    quality BLOB NOT NULL,
    gaps TEXT NOT NULL DEFAULT '[]'
);
"""
_ADD_GAPS = "ALTER TABLE {} ADD COLUMN gaps TEXT NOT NULL DEFAULT '[]'"  # to the tables of an older version
_NO_GAPS = "gaps = '[]'"
_SUMS = "count(*), coalesce(sum(rows), 0), coalesce(sum(length(gaps)), 0)"
_COLUMNS = "rows, names, tag, source_time_ns, value, quality, gaps"
# Those of the refused batches whose rows, with all newer ones, are more than the bound.
_TOO_MANY_REFUSED = """
SELECT sequence, rows FROM (SELECT sequence, rows, sum(rows) OVER (ORDER BY sequence DESC) AS together FROM refused)
WHERE together > ?
"""


class Batch(NamedTuple):
    """What waits under one sequence: samples, and gaps that were known when they came."""

    sequence: int
    samples: Samples
    gaps: tuple[Gap, ...]


class Spool:
    """Batches in order of their sequence. Threads may share it; a second process is refused."""

    def __init__(self, path: str | Path, *, most_bytes: int = MOST_BYTES) -> None:
        """Open or make the file.

        Raises:
            StorageFull: there is no space to make it.
            StorageError: the file is no spool, is damaged, or another gateway uses it.
        """
        self.path = Path(path)
        self.acknowledged_row_count = 0  # since the start
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"spool {self.path}: {error}; choose another --state") from None
        try:
            self._guarded(self._open)
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        for table in ("batch", "refused"):
            if "gaps" not in [column[1] for column in self._db.execute(f"PRAGMA table_info({table})")]:
                self._db.execute(_ADD_GAPS.format(table))
        self._db.execute(
            "INSERT INTO producer SELECT ? WHERE NOT EXISTS (SELECT 1 FROM producer)", (str(uuid.uuid4()),)
        )
        self.producer: str = self._db.execute("SELECT id FROM producer").fetchone()[0]
        waiting = self._db.execute(f"SELECT {_SUMS} FROM batch").fetchone()
        self.batch_count, self.row_count, self._gap_bytes = (int(number) for number in waiting)
        self.refused_row_count = int(self._db.execute("SELECT coalesce(sum(rows), 0) FROM refused").fetchone()[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what is in it stays."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._db.close()

    @property
    def byte_count(self) -> int:
        """Bytes that the waiting batches take, roughly."""
        return self.row_count * _ROW_BYTES + self.batch_count * _BATCH_BYTES + self._gap_bytes

    @property
    def last_sequence(self) -> int:
        """The sequence given last, 0 when there was none."""
        found = self._guarded(
            lambda: self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'batch'").fetchone()
        )
        return int(found[0]) if found else 0

    def append(self, samples: Samples, gaps: Sequence[Gap] = ()) -> int:
        """Commit a batch to disk; its sequence.

        Raises:
            StorageFull: the bound is reached or the disk is full; nothing of the batch was kept.
        """
        told = json.dumps([[gap.tag, gap.start_ns, gap.end_ns, gap.reason] for gap in gaps])
        if self.byte_count + len(samples) * _ROW_BYTES + _BATCH_BYTES + len(told) > self._most_bytes:
            raise StorageFull(
                f"spool {self.path}: {self.row_count} rows wait, the bound of {self._most_bytes} bytes is reached; "
                "is the ingestion service up?"
            )
        row = (
            len(samples),
            json.dumps(samples.names),
            samples.tag.astype("<u4").tobytes(),
            samples.source_time_ns.astype("<i8").tobytes(),
            samples.value.astype("<f8").tobytes(),
            samples.quality.astype("<u4").tobytes(),
            told,
        )

        def insert() -> int:
            cursor = self._db.execute(f"INSERT INTO batch ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            self.batch_count += 1
            self.row_count += len(samples)
            self._gap_bytes += len(told)
            return int(cursor.lastrowid or 0)

        return self._guarded(insert)

    def read(self, after: int, most: int) -> list[Batch]:
        """Up to `most` batches with a sequence above `after`, in order."""
        query = (
            "SELECT sequence, gaps, names, tag, source_time_ns, value, quality FROM batch "
            "WHERE sequence > ? ORDER BY sequence LIMIT ?"
        )
        rows = self._guarded(lambda: self._db.execute(query, (after, most)).fetchall())
        return [Batch(sequence, _samples(*columns), _gaps(gaps)) for sequence, gaps, *columns in rows]

    def acknowledge(self, sequence: int) -> None:
        """Forget everything up to and including `sequence`: the receiver has it on disk."""

        def delete() -> None:
            where = "WHERE sequence <= ?"
            query = f"SELECT {_SUMS} FROM batch {where}"
            batches, rows, gap_bytes = self._db.execute(query, (sequence,)).fetchone()
            self._db.execute(f"DELETE FROM batch {where}", (sequence,))
            self.batch_count -= batches
            self.row_count -= rows
            self._gap_bytes -= gap_bytes
            self.acknowledged_row_count += rows

        self._guarded(delete)

    def refuse(self, sequence: int, reason: str) -> int:
        """Set the samples of a batch aside that the receiver will never take, its gaps stay; how many rows it had.

        When it has gaps only, it is they that are set aside, and counted. 0 when there is nothing to set aside: the
        batch is gone or was empty already.
        """

        def set_aside() -> int:
            found = self._db.execute("SELECT rows, gaps FROM batch WHERE sequence = ?", (sequence,)).fetchone()
            rows, gaps = found or (0, "[]")
            if not rows and gaps == "[]":
                return 0
            with self._db:
                self._db.execute("BEGIN")
                self._db.execute(
                    f"INSERT INTO refused (sequence, reason, {_COLUMNS}) SELECT sequence, ?, {_COLUMNS} FROM batch "
                    "WHERE sequence = ? ON CONFLICT (sequence) DO UPDATE SET gaps = excluded.gaps",
                    (reason, sequence),
                )
                if rows:
                    self._db.execute("UPDATE refused SET gaps = '[]' WHERE sequence = ?", (sequence,))
                empty = "rows = 0, names = '[]', tag = x'', source_time_ns = x'', value = x'', quality = x''"
                self._db.execute(f"UPDATE batch SET {empty if rows else _NO_GAPS} WHERE sequence = ?", (sequence,))
                most_rows = self._most_bytes // 8 // _ROW_BYTES
                too_many = self._db.execute(_TOO_MANY_REFUSED, (most_rows,)).fetchall()
                self._db.executemany("DELETE FROM refused WHERE sequence = ?", [(number,) for number, _ in too_many])
            deleted = sum(rows for _, rows in too_many)
            if deleted:
                _log.error("spool %s: more than %d refused rows, %d old ones deleted", self.path, most_rows, deleted)
            self.row_count -= rows
            self.refused_row_count += rows - deleted
            if not rows:
                self._gap_bytes -= len(gaps) - len("[]")
            return int(rows) or len(json.loads(gaps))

        return self._guarded(set_aside)

    def renew_producer(self) -> str:
        """Take a new identity: for a receiver that knows our sequences already from before a restored spool."""
        producer = str(uuid.uuid4())
        self._guarded(lambda: self._db.execute("UPDATE producer SET id = ?", (producer,)))
        self.producer = producer
        return self.producer

    def _guarded(self, act: Callable[[], R]) -> R:
        """Run `act` alone and turn SQLite's errors into ours."""
        with self._lock, _storage_errors(self.path):
            return act()


@contextlib.contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "")
        if code == "SQLITE_FULL":
            raise StorageFull(f"spool {path}: no space left on the disk; make room, nothing was acknowledged") from None
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise StorageError(f"spool {path}: another gateway uses it; choose another --state") from None
        if code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            raise StorageError(f"spool {path}: {error}; move it away, the gateway makes a new one") from None
        raise StorageError(f"spool {path}: {error}") from None


def _gaps(text: str) -> tuple[Gap, ...]:
    return tuple(Gap(tag, start_ns, end_ns, GapReason(reason)) for tag, start_ns, end_ns, reason in json.loads(text))


def _samples(names: str, tag: bytes, source_time_ns: bytes, value: bytes, quality: bytes) -> Samples:
    return Samples(
        tuple(json.loads(names)),
        np.frombuffer(tag, "<u4"),
        np.frombuffer(source_time_ns, "<i8"),
        np.frombuffer(value, "<f8"),
        np.frombuffer(quality, "<u4"),
    )
