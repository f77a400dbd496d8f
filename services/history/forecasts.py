"""Forecasts by issue time: what was expected of an asset, and when it was said."""

import contextlib
import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from sqlite3 import Connection

from uem.services.history import chunks
from uem.services.history.chunks import CorruptChunk
from uem.services.history.retention import begin_ns
from uem.services.history.store import KeptForecast

_LOG = logging.getLogger(__name__)


def insert(writer: Connection, forecasts: Iterable[KeptForecast]) -> None:
    """Write forecasts down; of two of one issue time the first stays: what was said is not unsaid."""
    writer.executemany(
        "INSERT OR IGNORE INTO forecast (asset, issue_ns, last_ns, data, crc) VALUES (?, ?, ?, ?, ?)",
        [(*kept, chunks.checksum(kept.data, kept.issue_ns, kept.last_ns)) for kept in forecasts],
    )


def forget(writer: Connection, keep_ns: int) -> None:
    """Delete what says nothing for the last `keep_ns` before the newest forecast of the same asset was issued."""
    newest = writer.execute("SELECT asset, max(issue_ns) FROM forecast GROUP BY asset").fetchall()
    writer.executemany(
        "DELETE FROM forecast WHERE asset = ? AND last_ns < ?",
        [(asset, begin_ns(issue_ns, keep_ns)) for asset, issue_ns in newest],
    )


def select(
    connection: Connection,
    asset: str,
    start_ns: int,
    end_ns: int,
    valid_ns: int,
    most: int,
    newest_first: bool,
) -> list[KeptForecast]:
    """See Store.forecasts; a damaged one is named in the log and left out."""
    cursor = connection.execute(
        "SELECT crc, asset, issue_ns, last_ns, data FROM forecast "
        "WHERE asset = ? AND issue_ns >= ? AND issue_ns < ? AND last_ns >= ? "
        f"ORDER BY issue_ns {'DESC' if newest_first else 'ASC'}",
        (asset, start_ns, end_ns, valid_ns),
    )
    with contextlib.closing(cursor):
        return list(islice(_sound(cursor), most))


def _sound(rows: Iterable[tuple[int, str, int, int, bytes]]) -> Iterator[KeptForecast]:
    for crc, asset, issue_ns, last_ns, data in rows:
        kept = KeptForecast(asset, issue_ns, last_ns, data)
        try:
            chunks.check(kept.data, crc, kept.issue_ns, kept.last_ns)
        except CorruptChunk as error:
            _LOG.error("the forecast of %s issued at %d ns cannot be read: %s", kept.asset, kept.issue_ns, error)
        else:
            yield kept
