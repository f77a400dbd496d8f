"""`uem backup`: the history as a file, kept forecasts beside it, while the server runs; --restore puts it back."""

import argparse
import os
import shutil
import sqlite3
import sys
from contextlib import ExitStack, closing
from pathlib import Path

from uem.services.history import chunks, database
from uem.services.history.chunks import CorruptChunk
from uem.twin_core.errors import StorageError, StorageFull, TwinError

NAME, FORECASTS = "history.db", "forecasts.db"


def backup(state: Path, target: Path) -> int:
    """Copy the history in the folder `state` to a new file: all that is acknowledged by now; how many samples.

    The forecasts that a prediction process keeps there become a second file, `target` with ".forecasts" behind it. A
    server that uses the folder goes on meanwhile. A file appears under its name when it is complete and on disk.

    Raises:
        StorageError: there is neither, it cannot be read, or a file cannot be written or is there already.
    """
    there = [(state / name, copy) for name, copy in _files(target) if (state / name).is_file()]
    if not there:
        raise StorageError(f"{state / NAME} is not there; say with --state which folder the server uses")
    for _, copy in there:
        _partial(copy)
    return sum([_copy(source, copy) for source, copy in there])


def restore(file: Path, state: Path) -> int:
    """Put a backup into the folder `state`, which has no history; how many samples it has.

    Forecasts that lie beside it, as `backup` wrote them, are put back too.

    Raises:
        StorageError: a file is no sound backup, or the folder has what it holds or is in use.
    """
    there = [(copy, state / name) for name, copy in _files(file) if copy.is_file()]
    if not there:
        raise StorageError(f"{file} is not there")
    with ExitStack() as stack:
        for _, target in there:  # all of them, before the first is put back
            stack.enter_context(closing(database.lock(target)))
            _partial(target)
        return sum([_put_back(copy, target) for copy, target in there])


def _files(backup: Path) -> list[tuple[str, Path]]:
    """Names in a state folder, with the files of a backup; the history last, so that it tells of a whole one."""
    return [(FORECASTS, backup.with_name(f"{backup.name}.forecasts")), (NAME, backup)]


def _copy(source: Path, target: Path) -> int:
    partial = _partial(target)
    try:
        partial.write_bytes(b"")  # what a killed backup left there, or a folder that is not there, is not the history's
    except OSError as error:
        raise StorageError(f"{partial}: {error.strerror}") from None
    try:
        with (
            database.sqlite_errors(source),
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=60)) as connection,
            closing(sqlite3.connect(partial)) as copy,
        ):
            connection.backup(copy)  # in one step, so that it is the history of one moment
            copy.execute("PRAGMA journal_mode=DELETE")
        samples = _checked(partial, source)
        _put(partial, target)
    except StorageFull:
        raise StorageFull(f"{target}: no space left on the disk") from None
    finally:
        partial.unlink(missing_ok=True)
    return samples


def _put_back(file: Path, target: Path) -> int:
    partial = _partial(target)
    try:
        shutil.copyfile(file, partial)
        samples = _checked(partial, file)
        for suffix in ("-wal", "-shm"):  # of a history that was moved away
            target.with_name(f"{target.name}{suffix}").unlink(missing_ok=True)
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


def _checked(copy: Path, path: Path) -> int:
    """How many samples are in chunks and batches of a copy of `path`, after a look at all of them."""
    with database.sqlite_errors(path), closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)) as db:
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
        description="Copy the history of a server to a file while the server goes on, or put such a file back. "
        "Forecasts that a prediction process keeps in the same folder become FILE.forecasts.",
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
