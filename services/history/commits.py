"""The table `tail`: commits one by one, from when they are made until their rows are in chunks."""

import json
from sqlite3 import Connection

import numpy as np

from uem.services.history import chunks
from uem.services.history.store import Commit
from uem.services.history.tail import Segment
from uem.twin_core.measurements import Samples


def insert(writer: Connection, rows: Segment, behind: bool) -> None:
    """Add a commit with its rows."""
    data, time = chunks.pack_batch(*rows), rows.columns.time
    writer.execute(
        "INSERT INTO tail (sample_count, crc, data, first_ns, last_ns, behind) VALUES (?, ?, ?, ?, ?, ?)",
        (len(time), chunks.checksum(data, len(time)), data, int(time.min()), int(time.max()), behind),
    )


def last(connection: Connection) -> int:
    """The number of the newest commit, 0 when there was none; no number is used twice."""
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'tail'").fetchone()
    return int(found[0]) if found else 0


def after(connection: Connection, number: int, most_rows: int) -> list[Commit] | None:
    """See Store.commits."""
    if number == last(connection):
        return []
    found: list[Commit] = []
    rows = 0
    query = "SELECT id, sample_count, crc, data, behind FROM tail WHERE id > ? ORDER BY id"
    for its_number, count, crc, data, behind in connection.execute(query, (number,)):
        if its_number != number + len(found) + 1:
            break
        try:
            chunks.check(data, crc, count)
            found.append(Commit(its_number, _samples(connection, data, count), bool(behind)))
        except chunks.CorruptChunk:
            break
        rows += count
        if rows >= most_rows:
            break
    return found or None


def _samples(connection: Connection, data: bytes, count: int) -> Samples:
    numbers, columns = chunks.unpack_batch(data, count)
    used, tag = np.unique(numbers, return_inverse=True)
    query = "SELECT name FROM tag WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
    names = [name for (name,) in connection.execute(query, (json.dumps(used.tolist()),))]
    return Samples(tuple(names), tag.astype(np.uint32), columns.time, columns.value, columns.quality)
