"""Forecasts by issue time: what was expected of an asset, and when it was said."""

import logging
from collections.abc import Iterable
from sqlite3 import Connection

from uem.services.history import chunks
from uem.services.history.chunks import CorruptChunk
from uem.services.history.store import KeptForecast

_LOG = logging.getLogger(__name__)


def insert(writer: Connection, forecasts: Iterable[KeptForecast]) -> None:
    """Write forecasts down; of two of one issue time the one that reaches farther stays, or else the newer one."""
    writer.executemany(
        "INSERT INTO forecast (asset, issue_ns, last_ns, data, crc) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (asset, issue_ns) DO UPDATE SET last_ns = excluded.last_ns, data = excluded.data, "
        "crc = excluded.crc WHERE excluded.last_ns >= last_ns",
        [(*kept, chunks.checksum(kept.data, kept.issue_ns, kept.last_ns)) for kept in forecasts],
    )


def select(
    connection: Connection, asset: str, start_ns: int, end_ns: int, valid_ns: int, most: int
) -> list[KeptForecast]:
    """See Store.forecasts; a damaged one is named in the log and left out."""
    found = connection.execute(
        "SELECT crc, asset, issue_ns, last_ns, data FROM forecast "
        "WHERE asset = ? AND issue_ns >= ? AND issue_ns < ? AND last_ns >= ? ORDER BY issue_ns LIMIT ?",
        (asset, start_ns, end_ns, valid_ns, most),
    )
    forecasts = []
    for crc, *columns in found:
        kept = KeptForecast(*columns)
        try:
            chunks.check(kept.data, crc, kept.issue_ns, kept.last_ns)
        except CorruptChunk as error:
            _LOG.error("the forecast of %s issued at %d ns cannot be read: %s", asset, kept.issue_ns, error)
            continue
        forecasts.append(kept)
    return forecasts
