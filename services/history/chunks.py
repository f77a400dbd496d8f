"""Rows as bytes and back: compressed chunks of one tag, and batches of many tags that wait to become such chunks.

A chunk holds rows of one tag in order of time. Times are stored as differences; the bytes of each column are grouped
by significance before zlib, which then finds the long runs that slow plant values have. Batches are raw columns,
since they live for minutes. All numbers are little-endian. A CRC32 covers the bytes and the numbers of their row in
the database, so that a flipped bit and a misplaced row are both found.
"""

import struct
import zlib
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import StorageError

N = TypeVar("N", np.int64, np.float64, np.uint32)
_COMPRESSION = 1  # the fast one: it runs beside the commits
_ROW_BYTES = 8 + 8 + 4


class CorruptChunk(StorageError):
    """Stored bytes are not what was written."""


class Columns(NamedTuple):
    """Rows of one tag: source time in ns, SI value, quality; all of shape (n,)."""

    time: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint32]

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.time)

    def take(self, index: NDArray[np.intp] | slice) -> "Columns":
        """The rows that `index` selects."""
        return Columns(self.time[index], self.value[index], self.quality[index])

    def between(self, start_ns: int, end_ns: int) -> "Columns":
        """The rows with start <= time < end, of rows in order of time."""
        low, high = np.searchsorted(self.time, (start_ns, end_ns))
        return self.take(slice(int(low), int(high)))


EMPTY = Columns(np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.uint32))


def joined(parts: list[Columns]) -> Columns:
    """The rows of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Columns(*(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else EMPTY


def newest_wins(columns: Columns) -> Columns:
    """In order of time; of rows with the same time only the last one given."""
    if np.all(columns.time[1:] > columns.time[:-1]):
        return columns
    order = np.argsort(columns.time, kind="stable")
    time = columns.time[order]
    last_of_its_time = np.append(time[1:] != time[:-1], True)
    return columns.take(order[last_of_its_time])


def checksum(data: bytes, *numbers: int) -> int:
    """CRC32 over the numbers of a row and its bytes."""
    return zlib.crc32(data, zlib.crc32(struct.pack(f"<{len(numbers)}q", *numbers)))


def check(data: bytes, crc: int, *numbers: int) -> None:
    """Compare with the checksum that was stored.

    Raises:
        CorruptChunk: they differ.
    """
    if checksum(data, *numbers) != crc:
        raise CorruptChunk("wrong checksum")


def pack(columns: Columns) -> bytes:
    """A compressed chunk."""
    steps = np.diff(columns.time, prepend=np.int64(0))
    return zlib.compress(b"".join(map(_by_significance, (steps, columns.value, columns.quality))), _COMPRESSION)


def unpack(data: bytes, rows: int) -> Columns:
    """The rows of a compressed chunk.

    Raises:
        CorruptChunk: the bytes do not hold `rows` rows.
    """
    try:
        raw = zlib.decompress(data)
    except zlib.error as error:
        raise CorruptChunk(f"chunk cannot be decompressed: {error}") from None
    if len(raw) != rows * _ROW_BYTES:
        raise CorruptChunk(f"chunk of {len(raw)} bytes cannot hold {rows} rows")
    steps = _from_significance(raw[: 8 * rows], np.int64)
    value = _from_significance(raw[8 * rows : 16 * rows], np.float64)
    return Columns(np.cumsum(steps), value, _from_significance(raw[16 * rows :], np.uint32))


def pack_batch(tag: NDArray[np.uint32], columns: Columns) -> bytes:
    """A raw batch: the columns of numbers of tags, times, values and qualities."""
    return b"".join((tag.tobytes(), columns.time.tobytes(), columns.value.tobytes(), columns.quality.tobytes()))


def unpack_batch(data: bytes, rows: int) -> tuple[NDArray[np.uint32], Columns]:
    """The numbers of tags and the rows of a raw batch.

    Raises:
        CorruptChunk: the bytes do not hold `rows` rows.
    """
    if len(data) != rows * (_ROW_BYTES + 4):
        raise CorruptChunk(f"batch of {len(data)} bytes cannot hold {rows} rows")
    time = np.frombuffer(data, np.int64, rows, 4 * rows)
    value = np.frombuffer(data, np.float64, rows, 12 * rows)
    return np.frombuffer(data, np.uint32, rows), Columns(time, value, np.frombuffer(data, np.uint32, rows, 20 * rows))


def _by_significance(column: NDArray[N]) -> bytes:
    return np.ascontiguousarray(column).view(np.uint8).reshape(len(column), column.itemsize).T.tobytes()


def _from_significance(data: bytes, kind: type[N]) -> NDArray[N]:
    size = np.dtype(kind).itemsize
    rows = len(data) // size
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(size, rows).T).view(kind).reshape(rows)
