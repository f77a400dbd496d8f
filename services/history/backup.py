"""`uem backup`: the history as one file, taken while the server runs, and put back with --restore."""

import argparse
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from uem.services.history import chunks, database
from uem.services.history.chunks import CorruptChunk
from uem.twin_core.errors import StorageError, TwinError

NAME = "history.db"


def backup(state: Path, target: Path) -> int:
    """Copy the history in the folder `state` to a new file: all that is acknowledged by now; how many samples.

    A server that uses the folder goes on meanwhile. The file appears under its name when it is complete and on disk.

    Raises:
        StorageError: there is no history, it cannot be read, or the file cannot be written or is there already.
    """
    source = state / NAME
    if not source.is_file():
        raise StorageError(f"{source} is not there; say with --state which folder the server uses")
    partial = _partial(target)
    try:
        with (
            database.sqlite_errors(source),
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=60)) as connection,
            closing(sqlite3.connect(partial)) as copy,
        ):
            connection.backup(copy)  # in one step, so that it is the history of one moment
            copy.execute("PRAGMA journal_mode=DELETE")
        samples = _checked(partial)
        _put(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return samples


def restore(file: Path, state: Path) -> int:
    """Put a backup into the folder `state`, which has no history; how many samples it has.

    Raises:
        StorageError: the file is no sound backup, or the folder has a history or is in use.
    """
    if not file.is_file():
        raise StorageError(f"{file} is not there")
    target = state / NAME
    with closing(database.lock(target)):
        partial = _partial(target)
        try:
            shutil.copyfile(file, partial)
            samples = _checked(partial)
            for name in (f"{NAME}-wal", f"{NAME}-shm"):  # of a history that was moved away
                (state / name).unlink(missing_ok=True)
            _put(partial, target)
        except OSError as error:
            raise StorageError(f"{target}: {error.strerror}") from None
        finally:
            partial.unlink(missing_ok=True)
    return samples


def _partial(target: Path) -> Path:
    if target.exists():
        raise StorageError(f"{target} is there already; move it away or choose another")
    return target.with_name(f"{target.name}.partial")


def _checked(path: Path) -> int:
    """How many samples are in chunks and batches, after a look at all of them."""
    with database.sqlite_errors(path), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        database.checked_version(db, path)
        (found,) = db.execute("PRAGMA quick_check").fetchone()
        if found != "ok":
            raise StorageError(f"{path}: not a sound database ({found})")
        count = 0
        try:
            for *numbers, crc, data in db.execute("SELECT tag, first_ns, last_ns, sample_count, crc, data FROM chunk"):
                chunks.check(data, crc, *numbers)
                count += numbers[-1]
            for rows, crc, data in db.execute("SELECT sample_count, crc, data FROM tail"):
                chunks.check(data, crc, rows)
                count += rows
        except CorruptChunk as error:
            print(f"warning: {path}: damaged samples are in it, as in the history itself: {error}", file=sys.stderr)
        return count


def _put(partial: Path, target: Path) -> None:
    """Give a complete file its name, on the disk too."""
    _sync(partial)
    partial.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = argparse.ArgumentParser(
        prog="uem backup",
        description="Copy the history of a server to a file while the server goes on, or put such a file back.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the backup")
    parser.add_argument("--state", type=Path, metavar="DIR", required=True, help="folder in which the history is kept")
    parser.add_argument("--restore", action="store_true", help="put FILE into the folder, which has no history")
    options = parser.parse_args(argv)
    try:
        samples = restore(options.file, options.state) if options.restore else backup(options.state, options.file)
    except TwinError as error:
        print(f"uem backup: error: {error}", file=sys.stderr)
        return 1
    print(f"{samples} samples in {options.state / NAME if options.restore else options.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
