"""A batch as a row of the spool and back: columns as little-endian blobs, gaps and alarms as JSON, a checksum."""

import json
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from uem.twin_core.alarms import Alarm, AlarmState
from uem.twin_core.errors import InvalidInput, StorageError
from uem.twin_core.measurements import Gap, GapReason, Samples

_UNREADABLE = (ValueError, TypeError, KeyError, OverflowError, InvalidInput)


class DamagedBatch(StorageError):
    """What is stored is not what was written."""


class Batch(NamedTuple):
    """What waits under one sequence: samples, and the gaps and alarms that were known when they came."""

    sequence: int
    samples: Samples
    gaps: tuple[Gap, ...]
    received_ns: int = 0  # when the first of the samples came, by our clock; 0 when an older version did not keep it
    alarms: tuple[Alarm, ...] = ()


class Row(NamedTuple):
    """The columns of a batch, in the table under the same names."""

    rows: int
    names: bytes  # JSON, ASCII
    tag: bytes
    source_time_ns: bytes
    value: bytes
    quality: bytes
    gaps: bytes  # JSON, ASCII
    alarms: bytes  # JSON, ASCII
    received_ns: int
    first_ns: int  # of the source times, for when the bytes are damaged; both 0 without samples
    last_ns: int
    crc: int | None  # None: of an older version, or emptied since

    @property
    def text_bytes(self) -> int:
        """Bytes that are not columns of numbers."""
        return len(self.names) + len(self.gaps) + len(self.alarms)


def packed(samples: Samples, gaps: Sequence[Gap], received_ns: int, alarms: Sequence[Alarm]) -> Row:
    """The row of a batch."""
    times_ns = samples.source_time_ns
    row = Row(
        len(samples),
        json.dumps(samples.names).encode(),
        samples.tag.astype("<u4").tobytes(),
        times_ns.astype("<i8").tobytes(),
        samples.value.astype("<f8").tobytes(),
        samples.quality.astype("<u4").tobytes(),
        json.dumps([[gap.tag, gap.start_ns, gap.end_ns, gap.reason] for gap in gaps]).encode(),
        json.dumps([asdict(alarm) for alarm in alarms]).encode(),
        received_ns,
        int(times_ns.min()) if len(samples) else 0,
        int(times_ns.max()) if len(samples) else 0,
        None,
    )
    return row._replace(crc=_checksum(row))


def unpacked(sequence: int, row: Row) -> Batch:
    """The batch of a row.

    Raises:
        DamagedBatch: it is not what was written.
    """
    if row.crc is not None and row.crc != _checksum(row):
        raise DamagedBatch("wrong checksum")
    try:
        samples = Samples(
            tuple(json.loads(row.names)),
            np.frombuffer(row.tag, "<u4"),
            np.frombuffer(row.source_time_ns, "<i8"),
            np.frombuffer(row.value, "<f8"),
            np.frombuffer(row.quality, "<u4"),
        )
        return Batch(sequence, samples, _gaps(row.gaps), row.received_ns, _alarms(row.alarms))
    except _UNREADABLE as error:
        raise DamagedBatch(str(error)) from None


def without_samples(sequence: int, row: Row) -> Batch:
    """What is left of a damaged batch: gaps in the place of its samples, and of the rest what can still be read."""
    gaps: tuple[Gap, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    with suppress(*_UNREADABLE):
        gaps += _gaps(row.gaps)
    with suppress(*_UNREADABLE):
        names = json.loads(row.names) if row.last_ns else ()
        gaps += tuple(Gap(str(name), row.first_ns - 1, row.last_ns + 1, GapReason.STORE_DAMAGED) for name in names)
    with suppress(*_UNREADABLE):
        alarms = _alarms(row.alarms)
    return Batch(sequence, Samples.from_rows(()), gaps, row.received_ns, alarms)


def _gaps(text: bytes) -> tuple[Gap, ...]:
    return tuple(Gap(tag, start_ns, end_ns, GapReason(reason)) for tag, start_ns, end_ns, reason in json.loads(text))


def _alarms(text: bytes) -> tuple[Alarm, ...]:
    return tuple(Alarm(**{**each, "state": AlarmState(each["state"])}) for each in json.loads(text))


def _checksum(row: Row) -> int:
    crc = 0
    for part in row[:-1]:
        crc = zlib.crc32(part if isinstance(part, bytes) else part.to_bytes(8, "little", signed=True), crc)
    return crc
