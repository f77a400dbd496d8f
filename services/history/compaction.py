"""From the tail into chunks: rows of one tag, in order of time, chunks that do not overlap."""

from sqlite3 import Connection
from time import monotonic

import numpy as np

from uem.services.history import chunks, gaps, reading
from uem.services.history.chunks import Columns, CorruptChunk, joined, newest_wins
from uem.services.history.reading import Meta, Report
from uem.services.history.tail import Tail

MOST_ROWS = 4_096  # in a chunk
SMALL_ROWS = 1_024  # a chunk with fewer takes later rows in


class Move:
    """A frozen tail on its way into chunks, some tags at a time, so that commits need not wait for all of them.

    A kill in between does no harm: the batches of the tail are deleted with the last step, and moving a row again
    that is in a chunk already replaces it by itself.
    """

    def __init__(self, writer: Connection, frozen: Tail, report: Report) -> None:
        """What is in the table `tail` now is what `frozen` holds."""
        self._writer, self._frozen, self._report = writer, frozen, report
        self._tags = frozen.tags()
        (self._last_batch,) = writer.execute("SELECT max(id) FROM tail").fetchone()

    def step(self, seconds: float) -> int:
        """Move tags for so long, at least one; how many are left then. The caller has begun a transaction.

        Nothing is remembered until `done`, since the transaction may fail.
        """
        end = monotonic() + seconds
        left = len(self._tags)
        while left:
            tag = self._tags[left - 1]
            change = _insert_rows(self._writer, tag, newest_wins(self._frozen.of(tag)), self._report)
            self._writer.execute("UPDATE tag SET sample_count = sample_count + ? WHERE id = ?", (change, tag))
            left -= 1
            if monotonic() >= end:
                break
        if not left:
            self._writer.execute("DELETE FROM tail WHERE id <= ?", (self._last_batch,))
        return left

    def done(self, left: int) -> None:
        """The step that left so many is committed."""
        del self._tags[left:]


def set_aside(writer: Connection, meta: Meta) -> bool:
    """Move a chunk to quarantine if it is damaged still, its rows into the ledger of gaps; whether it was."""
    try:
        reading.load(writer, meta)
        return False
    except CorruptChunk:
        _quarantine(writer, meta)
    except reading.NoSuchChunk:
        return False
    writer.execute("UPDATE tag SET sample_count = sample_count - ? WHERE id = ?", (meta.rows, meta.tag))
    return True


def _quarantine(writer: Connection, meta: Meta) -> None:
    writer.execute(
        "INSERT INTO quarantine (tag, first_ns, last_ns, sample_count, crc, data) "
        "SELECT tag, first_ns, last_ns, sample_count, crc, data FROM chunk WHERE id = ?",
        (meta.id,),
    )
    writer.execute("DELETE FROM chunk WHERE id = ?", (meta.id,))
    gaps.insert_damaged(writer, [meta.tag], meta.first_ns, meta.last_ns)


def _insert_rows(writer: Connection, tag: int, rows: Columns, report: Report) -> int:
    """Insert rows of a tag, rewriting those chunks that they fall into; by how many samples the tag has grown."""
    metas = reading.around(writer, tag, int(rows.time[0]), int(rows.time[-1]))
    home = np.searchsorted(np.array([meta.first_ns for meta in metas], np.int64), rows.time, side="right") - 1
    change = 0
    for number in np.unique(home):
        group = rows.take(np.flatnonzero(home == number))
        meta = metas[number] if number >= 0 else None  # -1: before all chunks
        if meta is not None and (group.time[0] <= meta.last_ns or meta.rows < SMALL_ROWS):
            group = newest_wins(joined([_take_out(writer, meta, report), group]))
            change -= meta.rows
        change += group.rows
        for piece in np.array_split(np.arange(group.rows), -(-group.rows // MOST_ROWS)):
            _insert_chunk(writer, tag, group.take(piece))
    return change


def _take_out(writer: Connection, meta: Meta, report: Report) -> Columns:
    """The rows of a chunk, which is deleted; a corrupt one goes to quarantine and gives no rows."""
    try:
        rows = reading.load(writer, meta)
    except CorruptChunk as error:
        report(meta, error)
        _quarantine(writer, meta)
        rows = chunks.EMPTY
    writer.execute("DELETE FROM chunk WHERE id = ?", (meta.id,))
    return rows


def _insert_chunk(writer: Connection, tag: int, rows: Columns) -> None:
    first, last, data = int(rows.time[0]), int(rows.time[-1]), chunks.pack(rows)
    writer.execute(
        "INSERT INTO chunk (tag, first_ns, last_ns, sample_count, crc, data) VALUES (?, ?, ?, ?, ?, ?)",
        (tag, first, last, rows.rows, chunks.checksum(data, tag, first, last, rows.rows), data),
    )
