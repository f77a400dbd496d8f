"""Reading chunks: each is checked before it is believed. Works on any connection, in any thread."""

from collections.abc import Callable, Iterator
from sqlite3 import Connection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uem.services.history import chunks
from uem.services.history.chunks import Columns, CorruptChunk, joined, newest_wins
from uem.services.history.store import TagStats
from uem.services.history.tail import Tail


class Meta(NamedTuple):
    """A row of the table `chunk` without its bytes."""

    id: int
    tag: int
    first_ns: int
    last_ns: int
    rows: int


class NoSuchChunk(Exception):
    """The chunk is not there any more."""


Report = Callable[[Meta, CorruptChunk], None]

# The chunk that a time falls into, or the one before it; when there is none, the time itself.
_FROM = "coalesce((SELECT max(first_ns) FROM chunk WHERE tag = :tag AND first_ns <= :begin), :begin)"


def around(connection: Connection, tag: int, first_ns: int, last_ns: int) -> list[Meta]:
    """Chunks from the one that `first_ns` falls into or behind, up to `last_ns`, in order of time."""
    found = connection.execute(
        "SELECT id, tag, first_ns, last_ns, sample_count FROM chunk "
        f"WHERE tag = :tag AND first_ns <= :end AND first_ns >= {_FROM} ORDER BY first_ns",
        {"tag": tag, "begin": first_ns, "end": last_ns},
    )
    return [Meta(*row) for row in found]


def load(connection: Connection, meta: Meta) -> Columns:
    """The rows of a chunk.

    Raises:
        CorruptChunk: the checksum is wrong.
        NoSuchChunk: it has been rewritten.
    """
    query = "SELECT crc, data FROM chunk WHERE id = ? AND tag = ? AND first_ns = ?"
    found = connection.execute(query, (meta.id, meta.tag, meta.first_ns)).fetchone()
    if found is None:
        raise NoSuchChunk
    return _checked(meta, *found)


def chunk_rows(
    connection: Connection, tag: int, start_ns: int, end_ns: int, report: Report, *, backwards: bool = False
) -> Iterator[Columns]:
    """The rows with start <= time < end, chunk by chunk in order of time; corrupt chunks are reported and left out."""
    cursor = connection.execute(
        "SELECT id, tag, first_ns, last_ns, sample_count, crc, data FROM chunk "
        f"WHERE tag = :tag AND first_ns < :end AND last_ns >= :begin AND first_ns >= {_FROM} "
        f"ORDER BY first_ns {'DESC' if backwards else 'ASC'}",
        {"tag": tag, "begin": start_ns, "end": end_ns},
    )
    try:
        for *numbers, crc, data in cursor:
            meta = Meta(*numbers)
            try:
                yield _checked(meta, crc, data).between(start_ns, end_ns)
            except CorruptChunk as error:
                report(meta, error)
    finally:
        cursor.close()


def rows(
    connection: Connection,
    tail: Tail,
    tag: int,
    start_ns: int,
    end_ns: int,
    report: Report,
    *,
    most: int = 0,
    newest: bool = True,
) -> Columns:
    """Rows of a tag with start <= time < end, in order of time; at most `most` (0: all), the newest or the oldest."""
    parts = []
    count = 0
    for part in chunk_rows(connection, tag, start_ns, end_ns, report, backwards=newest):
        parts.append(part)
        count += part.rows
        if most and count >= most:  # chunks do not overlap: what follows is older (newer) than all of these
            break
    fresh = newest_wins(tail.of(tag)).between(start_ns, end_ns)
    found = newest_wins(joined([*parts, fresh]))
    if not most:
        return found
    return found.take(slice(-most, None) if newest else slice(0, most))


def stats(connection: Connection, tail: Tail, tag: int, report: Report) -> TagStats:
    """What is stored of a tag, in chunks and in the tail together."""
    fresh = newest_wins(tail.of(tag))
    count, first, last = connection.execute(
        "SELECT sample_count, (SELECT min(first_ns) FROM chunk WHERE tag = :tag), "
        "(SELECT last_ns FROM chunk WHERE tag = :tag ORDER BY first_ns DESC LIMIT 1) FROM tag WHERE id = :tag",
        {"tag": tag},
    ).fetchone() or (0, None, None)
    if not fresh.rows:
        return TagStats(count, first or 0, last or 0)
    low, high = int(fresh.time[0]), int(fresh.time[-1])
    if first is None or last is None:
        return TagStats(fresh.rows, low, high)
    count += fresh.rows - (_stored_already(connection, tag, fresh.time, report) if low <= last else 0)
    return TagStats(count, min(first, low), max(last, high))


def _stored_already(connection: Connection, tag: int, time: NDArray[np.int64], report: Report) -> int:
    """How many of these times the chunks have."""
    stored = joined(list(chunk_rows(connection, tag, int(time[0]), int(time[-1]) + 1, report)))
    return int(np.isin(time, stored.time).sum())


def _checked(meta: Meta, crc: int, data: bytes) -> Columns:
    chunks.check(data, crc, meta.tag, meta.first_ns, meta.last_ns, meta.rows)
    return chunks.unpack(data, meta.rows)
