"""The SQLite file of the store: schema, opening, and its errors in our words."""

import contextlib
import fcntl
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from uem.twin_core.errors import StorageError, StorageFull

_APPLICATION_ID = 0x75656D31
# From one schema version to the next; a new file takes all steps.
_STEPS = (
    """
CREATE TABLE tag (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, sample_count INTEGER NOT NULL DEFAULT 0);
CREATE TABLE producer (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
-- What is committed and not yet in chunks: one row per commit, all tags mixed.
CREATE TABLE tail (id INTEGER PRIMARY KEY AUTOINCREMENT, sample_count INTEGER NOT NULL, crc INTEGER NOT NULL,
  data BLOB NOT NULL);
-- Rows of one tag in order of time; chunks of a tag do not overlap.
CREATE TABLE chunk (id INTEGER PRIMARY KEY, tag INTEGER NOT NULL REFERENCES tag, first_ns INTEGER NOT NULL,
  last_ns INTEGER NOT NULL, sample_count INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL);
CREATE UNIQUE INDEX chunk_by_time ON chunk (tag, first_ns);
-- Chunks that failed their checksum when they were to be rewritten; tag 0 is a row of the tail.
CREATE TABLE quarantine (id INTEGER PRIMARY KEY, tag INTEGER NOT NULL, first_ns INTEGER NOT NULL,
  last_ns INTEGER NOT NULL, sample_count INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL);
""",
    """
-- Intervals in which samples of a tag may be missing; both ends exclusive.
CREATE TABLE gap (id INTEGER PRIMARY KEY, start_ns INTEGER NOT NULL, tag INTEGER NOT NULL REFERENCES tag,
  end_ns INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE UNIQUE INDEX gap_by_start ON gap (start_ns, tag, end_ns, reason);
-- Between which times a batch lies, for when its bytes are damaged; 0 for one of an older version.
ALTER TABLE tail ADD COLUMN first_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tail ADD COLUMN last_ns INTEGER NOT NULL DEFAULT 0;
""",
    """
-- What was expected of an asset, by when it was said; `last_ns` is the latest time that it says something for.
CREATE TABLE forecast (id INTEGER PRIMARY KEY, asset TEXT NOT NULL, issue_ns INTEGER NOT NULL,
  last_ns INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL);
CREATE UNIQUE INDEX forecast_by_issue ON forecast (asset, issue_ns);
""",
    """
-- What plants said of their alarms, in the order in which it came.
CREATE TABLE alarm (id INTEGER PRIMARY KEY, plant TEXT NOT NULL, condition TEXT NOT NULL, branch TEXT NOT NULL,
  source TEXT NOT NULL, name TEXT NOT NULL, message TEXT NOT NULL, state TEXT NOT NULL, severity INTEGER NOT NULL,
  time_ns INTEGER NOT NULL, quality INTEGER NOT NULL, event TEXT NOT NULL);
CREATE INDEX alarm_by_condition ON alarm (plant, condition, branch, time_ns);
""",
    """
-- Whether newer rows may have come before.
ALTER TABLE tail ADD COLUMN behind INTEGER NOT NULL DEFAULT 0;
""",
    """
-- For finding the old ones.
CREATE INDEX alarm_by_time ON alarm (plant, time_ns);
""",
    """
-- What a twin has learned over days, the newest of each asset; `fits` says of what, `time_ns` until which plant time.
CREATE TABLE knowledge (asset TEXT PRIMARY KEY, fits TEXT NOT NULL, time_ns INTEGER NOT NULL, crc INTEGER NOT NULL,
  data BLOB NOT NULL);
""",
)
SCHEMA_VERSION = len(_STEPS)


@contextlib.contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into StorageFull or StorageError, naming the file."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise StorageFull(f"{path}: no space left on the disk; nothing of the batch was stored") from error
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise StorageError(f"{path}: not a sound database ({error}); restore it or move it away") from error
        raise StorageError(f"{path}: {error}") from error


def lock(path: Path) -> IO[str]:
    """Take the store for this process until the returned file is closed.

    Raises:
        StorageError: another process has it, or the folder cannot be written.
    """
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = lock_path.open("a")
    except OSError as error:
        raise StorageError(f"{lock_path}: {error.strerror}; choose another folder with --state") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StorageError(
            f"{path} is in use by another process; stop it or choose another folder with --state"
        ) from None
    return file


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes; makes the schema in a new file.

    Raises:
        StorageError: the file is not ours or of another schema version.
    """
    with sqlite_errors(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    with sqlite_errors(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only=ON")
        return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = 0
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        version = checked_version(connection, path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA journal_size_limit=67108864")
    if version < SCHEMA_VERSION:
        connection.executescript(
            f"BEGIN IMMEDIATE;{''.join(_STEPS[version:])}PRAGMA application_id={_APPLICATION_ID};"
            f"PRAGMA user_version={SCHEMA_VERSION};COMMIT;"
        )


def checked_version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of a file; StorageError when it is not ours or of a version that is not known here."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != _APPLICATION_ID:
        raise StorageError(f"{path} is a database of another program; choose another folder with --state")
    if not 1 <= version <= SCHEMA_VERSION:
        raise StorageError(
            f"{path} has schema version {version}, this uem reads 1 to {SCHEMA_VERSION}; "
            "use the uem that wrote it or choose another folder with --state"
        )
    return int(version)
