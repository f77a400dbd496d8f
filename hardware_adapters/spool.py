"""Store and forward: batches wait on disk until the ingestion service has them on its disk.

One SQLite file (WAL, synchronous=FULL), one row per batch, columns as little-endian blobs. A batch is committed before
it is sent and deleted after it is acknowledged, so kill -9 at any moment loses nothing that `append` returned for.

The spool is bounded. When it is full, or the disk is, `append` refuses the new batch with StorageFull and keeps what
it has: sequences stay without gaps, and what was refused is known to the caller, who counts it.

The spool knows up to which sequence anything may have been sent: a service that knows more had it from another spool,
of which this one is an old copy, and what has come since is not what the service has under the same numbers.

A batch that the service will never take is moved to the table `refused` with the reason, for people to look at; an
empty batch goes out under its sequence. The newest refused batches are kept, up to an eighth of the bound. A batch
whose checksum is wrong goes the same way, and gaps in the place of its samples.
"""

import contextlib
import json
import logging
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self, TypeVar

from uem.hardware_adapters import last_kept, spooled
from uem.hardware_adapters.last_kept import LastKept
from uem.hardware_adapters.spooled import Batch, DamagedBatch, Row
from uem.twin_core.alarms import Alarm
from uem.twin_core.errors import StorageError, StorageFull
from uem.twin_core.measurements import Gap, Samples

R = TypeVar("R")
_log = logging.getLogger(__name__)

MOST_BYTES = 1 << 30  # about 40 million rows
_ROW_BYTES = 24
_BATCH_BYTES = 256  # what SQLite needs besides the columns, roughly
_SCHEMA = """
CREATE TABLE IF NOT EXISTS batch (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    rows INTEGER NOT NULL,
    names TEXT NOT NULL,
    tag BLOB NOT NULL,
    source_time_ns BLOB NOT NULL,
    value BLOB NOT NULL,
    quality BLOB NOT NULL,
    gaps TEXT NOT NULL DEFAULT '[]',
    alarms TEXT NOT NULL DEFAULT '[]',
    received_ns INTEGER NOT NULL DEFAULT 0,
    first_ns INTEGER NOT NULL DEFAULT 0,
    last_ns INTEGER NOT NULL DEFAULT 0,
    crc INTEGER
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
# Columns that the tables of an older version do not have.
_ADDED = (
    ("batch", "gaps", "TEXT NOT NULL DEFAULT '[]'"),
    ("refused", "gaps", "TEXT NOT NULL DEFAULT '[]'"),
    ("batch", "alarms", "TEXT NOT NULL DEFAULT '[]'"),
    ("batch", "received_ns", "INTEGER NOT NULL DEFAULT 0"),
    ("batch", "first_ns", "INTEGER NOT NULL DEFAULT 0"),
    ("batch", "last_ns", "INTEGER NOT NULL DEFAULT 0"),
    ("batch", "crc", "INTEGER"),
    ("kept", "written_ns", "INTEGER NOT NULL DEFAULT 0"),
    ("producer", "sent", "INTEGER NOT NULL DEFAULT 0"),  # nothing newer was sent before the start
    ("producer", "sends", "INTEGER NOT NULL DEFAULT 1"),  # whether anything may have been sent since
)
_NO_ROWS = "rows = 0, names = '[]', tag = x'', source_time_ns = x'', value = x'', quality = x'', crc = NULL"
_NO_GAPS = "gaps = '[]', alarms = '[]', crc = NULL"
_TEXT_BYTES = "length(names) + length(gaps) + length(alarms)"
_SUMS = f"count(*), coalesce(sum(rows), 0), coalesce(sum({_TEXT_BYTES}), 0)"
_REFUSED_COLUMNS = "rows, names, tag, source_time_ns, value, quality"
_TEXTS = ("names", "gaps", "alarms")
_INSERT = (
    f"INSERT INTO batch ({', '.join(Row._fields)}) "
    f"VALUES ({', '.join('CAST(? AS TEXT)' if field in _TEXTS else '?' for field in Row._fields)})"
)
# As bytes, since a damaged text may be no text.
_FIELDS = ", ".join(f"CAST({field} AS BLOB)" if field in _TEXTS else field for field in Row._fields)
# Those of the refused batches whose rows, with all newer ones, are more than the bound.
_TOO_MANY_REFUSED = """
SELECT sequence, rows FROM (SELECT sequence, rows, sum(rows) OVER (ORDER BY sequence DESC) AS together FROM refused)
WHERE together > ?
"""


class Spool:
    """Batches in order of their sequence. Threads may share it; a second process is refused."""

    def __init__(self, path: str | Path, *, most_bytes: int = MOST_BYTES) -> None:
        """Open or make the file.

        Raises:
            StorageFull: there is no space to make it.
            StorageError: the file is no spool, is damaged, or another gateway uses it.
        """
        self.path = Path(path)
        # What is known of it without waiting for the disk.
        self.acknowledged_row_count = 0  # since the start
        self.last_sequence = 0  # given last, 0 when there was none
        self.sent_sequence = 0  # whoever sends sets it: what is newer the receiver cannot have
        self.oldest_received_ns: int | None = None  # of the oldest batch that waits, by our clock
        self.most_bytes = most_bytes  # that may wait
        self._most_refused_rows = most_bytes // 8 // _ROW_BYTES
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
        self._db.executescript(_SCHEMA + last_kept.SCHEMA)
        for table, column, kind in _ADDED:
            if column not in [found[1] for found in self._db.execute(f"PRAGMA table_info({table})")]:
                self._db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        self._db.execute(
            "INSERT INTO producer (id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM producer)", (str(uuid.uuid4()),)
        )
        self.producer: str = self._db.execute("SELECT id FROM producer").fetchone()[0]
        waiting = self._db.execute(f"SELECT {_SUMS} FROM batch").fetchone()
        self.batch_count, self.row_count, self._text_bytes = (int(number) for number in waiting)
        self.oldest_received_ns = self._oldest()
        last = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'batch'").fetchone()
        self.last_sequence = int(last[0]) if last else 0
        self.sent_sequence = self._sent_before()
        self.refused_row_count = int(self._db.execute("SELECT coalesce(sum(rows), 0) FROM refused").fetchone()[0])
        self._names_there = -1  # of `kept`, written anew with the first batch
        try:
            self.kept = last_kept.read(self._db)
        except ValueError as error:
            self.kept = LastKept()
            _log.error("spool %s: up to when samples were kept is damaged: %s", self.path, error)

    def _sent_before(self) -> int:
        sent, sends = self._db.execute("SELECT sent, sends FROM producer").fetchone()
        if not sends:
            return int(sent)
        with contextlib.suppress(sqlite3.OperationalError):  # on a full disk it stays as it is, which is safe
            self._db.execute("UPDATE producer SET sent = ?, sends = 0", (self.last_sequence,))
        return self.last_sequence

    def begin_to_send(self) -> None:
        """Note that from here on the receiver may get what is appended; before that it does not."""
        self._guarded(lambda: self._db.execute("UPDATE producer SET sends = 1 WHERE NOT sends"))

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
        return self.row_count * _ROW_BYTES + self.batch_count * _BATCH_BYTES + self._text_bytes

    def _oldest(self) -> int | None:
        found = self._db.execute("SELECT received_ns FROM batch ORDER BY sequence LIMIT 1").fetchone()
        return int(found[0]) if found else None

    def append(
        self, samples: Samples, gaps: Sequence[Gap] = (), received_ns: int = 0, alarms: Sequence[Alarm] = ()
    ) -> int:
        """Commit a batch to disk; its sequence. `received_ns`: when the first of the samples came, by our clock.

        Raises:
            StorageFull: the bound is reached or the disk is full; nothing of the batch was kept.
        """
        row = spooled.packed(samples, gaps, received_ns, alarms)
        if self.byte_count + len(samples) * _ROW_BYTES + _BATCH_BYTES + row.text_bytes > self.most_bytes:
            raise StorageFull(
                f"spool {self.path}: {self.row_count} rows wait, the bound of {self.most_bytes} bytes is reached; "
                "is the ingestion service up?"
            )

        def insert() -> int:
            times_ns, names_there = self.kept.after(samples), self._names_there
            with self._db:
                self._db.execute("BEGIN")
                cursor = self._db.execute(_INSERT, row)
                if len(samples):
                    names_there = self.kept.write(self._db, times_ns, names_there)
            if len(samples):
                self.kept.take(times_ns)
                self._names_there = names_there
            if not self.batch_count:
                self.oldest_received_ns = received_ns
            self.batch_count += 1
            self.row_count += len(samples)
            self._text_bytes += row.text_bytes
            self.last_sequence = int(cursor.lastrowid or 0)
            return self.last_sequence

        return self._guarded(insert)

    def read(self, after: int, most: int) -> list[Batch]:
        """Up to `most` batches with a sequence above `after`, in order; gaps in the place of damaged ones."""
        query = f"SELECT sequence, {_FIELDS} FROM batch WHERE sequence > ? ORDER BY sequence LIMIT ?"
        found = self._guarded(lambda: self._db.execute(query, (after, most)).fetchall())
        return [self._sound(sequence, Row(*row)) for sequence, *row in found]

    def _sound(self, sequence: int, row: Row) -> Batch:
        """The batch of a row; a damaged one is set aside and its samples become gaps."""
        try:
            return spooled.unpacked(sequence, row)
        except DamagedBatch as error:
            reason = f"damaged: {error}"
        left = spooled.without_samples(sequence, row)
        its = spooled.packed(left.samples, left.gaps, left.received_ns, left.alarms)
        columns = f"{_NO_ROWS}, gaps = CAST(? AS TEXT), alarms = CAST(? AS TEXT)"
        self._guarded(lambda: self._set_aside(sequence, reason, columns, (its.gaps, its.alarms)))
        _log.error("spool %s: batch %d with %d rows is %s; they are lost", self.path, sequence, row.rows, reason)
        return left

    def acknowledge(self, sequence: int) -> None:
        """Forget everything up to and including `sequence`: the receiver has it on disk."""

        def delete() -> None:
            where = "WHERE sequence <= ?"
            query = f"SELECT {_SUMS} FROM batch {where}"
            batches, rows, text_bytes = self._db.execute(query, (sequence,)).fetchone()
            self._db.execute(f"DELETE FROM batch {where}", (sequence,))
            self.batch_count -= batches
            self.row_count -= rows
            self._text_bytes -= text_bytes
            self.oldest_received_ns = self._oldest()
            self.acknowledged_row_count += rows
            self.sent_sequence = max(self.sent_sequence, sequence)

        self._guarded(delete)

    def refuse(self, sequence: int, reason: str) -> int:
        """Set the samples of a batch aside that the receiver will never take, its gaps stay; how many rows it had.

        When it has no samples, its gaps are set aside and its alarms dropped, and both counted. 0 when there is nothing
        to set aside: the batch is gone or was empty already.
        """

        def set_aside() -> int:
            found = self._db.execute("SELECT rows, gaps, alarms FROM batch WHERE sequence = ?", (sequence,)).fetchone()
            rows, gaps, alarms = found or (0, "[]", "[]")
            if not rows and gaps == alarms == "[]":
                return 0
            self._set_aside(sequence, reason, _NO_ROWS if rows else _NO_GAPS)
            return int(rows) or len(json.loads(gaps)) + len(json.loads(alarms))

        return self._guarded(set_aside)

    def _set_aside(self, sequence: int, reason: str, left: str, values: Sequence[object] = ()) -> None:
        """Copy a batch into `refused`, of which the oldest may have to go, and set its columns to what is `left`."""
        sums = f"SELECT rows, {_TEXT_BYTES} FROM batch WHERE sequence = ?"
        most_rows = self._most_refused_rows
        with self._db:
            self._db.execute("BEGIN")
            found = self._db.execute(sums, (sequence,)).fetchone()
            if found is None:  # acknowledged meanwhile
                return
            self._db.execute(
                f"INSERT INTO refused (sequence, reason, {_REFUSED_COLUMNS}, gaps) "
                f"SELECT sequence, ?, {_REFUSED_COLUMNS}, CASE WHEN rows THEN '[]' ELSE gaps END FROM batch "
                "WHERE sequence = ? ON CONFLICT (sequence) DO UPDATE SET gaps = excluded.gaps",
                (reason, sequence),
            )
            self._db.execute(f"UPDATE batch SET {left} WHERE sequence = ?", (*values, sequence))
            rows_left, text_bytes_left = self._db.execute(sums, (sequence,)).fetchone()
            too_many = self._db.execute(_TOO_MANY_REFUSED, (most_rows,)).fetchall()
            self._db.executemany("DELETE FROM refused WHERE sequence = ?", [(number,) for number, _ in too_many])
        deleted = sum(rows for _, rows in too_many)
        if deleted:
            _log.error("spool %s: more than %d refused rows, %d old ones deleted", self.path, most_rows, deleted)
        rows, text_bytes = found
        self.row_count += rows_left - rows
        self.refused_row_count += rows - rows_left - deleted
        self._text_bytes += text_bytes_left - text_bytes

    def renew_producer(self) -> str:
        """Take a new identity: for a receiver that knows our sequences already from before a restored spool."""
        producer = str(uuid.uuid4())
        self._guarded(lambda: self._db.execute("UPDATE producer SET id = ?, sent = 0", (producer,)))
        self.producer, self.sent_sequence = producer, 0
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
