"""What twins have learned over days: of each asset what was written last, whole or not at all."""

from collections.abc import Iterable
from pathlib import Path
from sqlite3 import Connection

from uem.services.history import chunks
from uem.services.history.chunks import CorruptChunk
from uem.services.history.store import KeptKnowledge
from uem.twin_core.errors import StorageError


def insert(writer: Connection, kept: Iterable[KeptKnowledge]) -> None:
    """Write down what was learned, in the place of what was there."""
    writer.executemany(
        "INSERT OR REPLACE INTO knowledge (asset, fits, time_ns, crc, data) VALUES (?, ?, ?, ?, ?)",
        [(one.asset, one.fits, one.time_ns, chunks.checksum(one.data, one.time_ns), one.data) for one in kept],
    )


def select(connection: Connection, asset: str, path: Path) -> KeptKnowledge | None:
    """See Store.knowledge."""
    row = connection.execute("SELECT crc, fits, time_ns, data FROM knowledge WHERE asset = ?", (asset,)).fetchone()
    if row is None:
        return None
    crc, fits, time_ns, data = row
    try:
        chunks.check(data, crc, time_ns)
    except CorruptChunk as error:
        raise StorageError(f"{path}: what was learned of {asset}: {error}") from None
    return KeptKnowledge(asset, fits, time_ns, data)
