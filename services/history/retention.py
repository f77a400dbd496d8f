"""Which samples are old enough to go: by the time of the plant, so that a replayed year is not old at once."""

from sqlite3 import Connection
from time import time_ns

_NEWEST = "SELECT last_ns FROM chunk WHERE tag = ? ORDER BY first_ns DESC LIMIT 1"


def begin_ns(newest_ns: int, keep_ns: int) -> int:
    """The time from which on what is kept goes; ns.

    No stamp counts as newer than our clock: one that a clock set ahead gave must not push out what came before it.
    """
    return max(min(newest_ns, time_ns()) - keep_ns, -(2**63))


def forget(writer: Connection, tag: int, keep_ns: int) -> int:
    """Delete the chunks and gaps of a tag that end more than `keep_ns` before its newest chunk; how many samples."""
    newest = writer.execute(_NEWEST, (tag,)).fetchone()
    if newest is None:
        return 0
    oldest_ns = begin_ns(newest[0], keep_ns)
    old = (tag, oldest_ns, oldest_ns)
    where = "WHERE tag = ? AND first_ns < ? AND last_ns < ?"
    (count,) = writer.execute(f"SELECT coalesce(sum(sample_count), 0) FROM chunk {where}", old).fetchone()
    if count:
        writer.execute(f"DELETE FROM chunk {where}", old)
        writer.execute("UPDATE tag SET sample_count = sample_count - ? WHERE id = ?", (count, tag))
    writer.execute("DELETE FROM gap WHERE tag = ? AND start_ns < ? AND end_ns < ?", old)
    return int(count)
