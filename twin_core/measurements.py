"""Measured samples as columns, their quality, and the tags they belong to.

Times are int64 nanoseconds UTC. Values are SI. Quality is the 32-bit OPC UA StatusCode, carried end to end:
0 is Good, severity is in the two highest bits (OPC 10000-4, 7.39).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput

NS_PER_S = 1_000_000_000

GOOD = 0x00000000
UNCERTAIN = 0x40000000
UNCERTAIN_LAST_USABLE_VALUE = 0x40900000
UNCERTAIN_SENSOR_NOT_ACCURATE = 0x40930000
BAD = 0x80000000
BAD_DECODING_ERROR = 0x80070000
BAD_OUT_OF_RANGE = 0x803C0000
BAD_WAITING_FOR_INITIAL_DATA = 0x80320000
BAD_CONFIGURATION_ERROR = 0x80890000
BAD_DEVICE_FAILURE = 0x808B0000
BAD_SENSOR_FAILURE = 0x808C0000
BAD_NO_COMMUNICATION = 0x80310000
OVERFLOW = 0x00000480  # info bits: of a data value, and at least one value before this one was lost
_SEVERITY = 0xC0000000
_OVERFLOW_MASK = 0x00000C80


def is_good(quality: int) -> bool:
    """Whether the severity of a 32-bit quality is Good."""
    return quality & _SEVERITY == GOOD


def is_bad(quality: int) -> bool:
    """Whether the severity of a 32-bit quality is Bad (the reserved severity 3 counts as Bad)."""
    return quality & BAD != 0


def is_overflow(quality: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """By row, whether at least one value before it was lost."""
    lost: NDArray[np.bool_] = (quality & np.uint32(_OVERFLOW_MASK)) == OVERFLOW
    return lost


def quality_name(quality: int) -> str:
    """The severity in words: good, uncertain or bad."""
    if is_good(quality):
        return "good"
    return "bad" if is_bad(quality) else "uncertain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A measured quantity: its name in the project, its SI unit and the range outside which a value is refused."""

    name: str
    unit: str
    low: float = -np.inf
    high: float = np.inf

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidInput("a tag needs a name")
        if not self.low < self.high:
            raise InvalidInput(f"tag {self.name}: low {self.low} must be below high {self.high}")


class GapReason(StrEnum):
    """Why samples are missing."""

    LINK_DOWN = "link_down"  # the plant was out of reach and could not give what it had kept
    SOURCE_RESTARTED = "source_restarted"  # the plant's server lost what it had kept
    QUEUE_OVERFLOW = "queue_overflow"  # a queue of the plant or ours was full
    SPOOL_FULL = "spool_full"  # no room on our disk
    STORE_DAMAGED = "store_damaged"  # what was stored is not what was written


@dataclass(frozen=True, slots=True)
class Gap:
    """An interval in which samples of a tag may be lost: after `start_ns` and before `end_ns`, both exclusive.

    They are the source times of the last sample before and of the first one after it, so that both are known to be
    there and nothing between them is. Where the clock that stamps was set back in between there are two: one begins
    with the sample before, the other ends with the one after, and both are as long as nothing came.
    """

    tag: str
    start_ns: int
    end_ns: int
    reason: GapReason

    def __post_init__(self) -> None:
        if not self.start_ns < self.end_ns:
            raise InvalidInput(f"tag {self.tag}: a gap from {self.start_ns} to {self.end_ns} ns has no inside")


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows of measurements as columns of equal length.

    `names` is the dictionary of this batch: `tag[i]` is an index into it. Columns: `tag` uint32, `source_time_ns`
    int64 (UTC, the device's clock), `value` float64 (SI), `quality` uint32 (OPC UA StatusCode).
    """

    names: tuple[str, ...]
    tag: NDArray[np.uint32]
    source_time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint32]

    def __post_init__(self) -> None:
        n = len(self.tag)
        if not n == len(self.source_time_ns) == len(self.value) == len(self.quality):
            raise InvalidInput(
                f"columns of {n}, {len(self.source_time_ns)}, {len(self.value)} and {len(self.quality)} rows"
            )
        if n and (highest := int(np.maximum.reduce(self.tag))) >= len(self.names):  # `max` takes twice as long
            raise InvalidInput(f"tag index {highest} in a batch of {len(self.names)} tag names")

    def __len__(self) -> int:
        return len(self.tag)

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, int, float, int]]) -> "Samples":
        """Columns from rows of (tag name, source time in ns, SI value, quality)."""
        index: dict[str, int] = {}
        columns = [(index.setdefault(name, len(index)), t, v, q) for name, t, v, q in rows]
        tag, time, value, quality = zip(*columns, strict=True) if columns else ((), (), (), ())
        return cls(
            tuple(index),
            np.array(tag, np.uint32),
            np.array(time, np.int64),
            np.array(value, np.float64),
            np.array(quality, np.uint32),
        )

    def rows(self) -> Iterator[tuple[str, int, float, int]]:
        """The samples as rows of (tag name, source time in ns, SI value, quality)."""
        columns = (self.tag.tolist(), self.source_time_ns.tolist(), self.value.tolist(), self.quality.tolist())
        for tag, time, value, quality in zip(*columns, strict=True):
            yield self.names[tag], time, value, quality

    def spans(self) -> list[tuple[str, int, int]]:
        """Of each tag that has rows its name and its first and last source time in ns."""
        low = np.full(len(self.names), np.iinfo(np.int64).max)
        high = np.full(len(self.names), np.iinfo(np.int64).min)
        np.minimum.at(low, self.tag, self.source_time_ns)
        np.maximum.at(high, self.tag, self.source_time_ns)
        there = np.flatnonzero(low <= high)
        return list(
            zip([self.names[i] for i in there.tolist()], low[there].tolist(), high[there].tolist(), strict=True)
        )

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_] | slice) -> "Samples":
        """The rows that `index` selects; the dictionary of names is kept whole."""
        return Samples(self.names, self.tag[index], self.source_time_ns[index], self.value[index], self.quality[index])

    @classmethod
    def concatenate(cls, batches: Sequence["Samples"]) -> "Samples":
        """One batch from many, in their order, under one dictionary of names."""
        index: dict[str, int] = {}
        tags = []
        for batch in batches:
            mapping = np.array([index.setdefault(name, len(index)) for name in batch.names], np.uint32)
            tags.append(mapping[batch.tag] if len(batch) else np.empty(0, np.uint32))
        if not batches:
            return cls.from_rows(())
        return cls(
            tuple(index),
            np.concatenate(tags),
            np.concatenate([batch.source_time_ns for batch in batches]),
            np.concatenate([batch.value for batch in batches]),
            np.concatenate([batch.quality for batch in batches]),
        )
