"""What every adapter is: an open connection to one plant that yields samples.

An adapter knows its protocol and the tag table. One whose protocol can resume what was interrupted does so by itself
and says with a `Break` where samples may be missing. Any other raises AdapterError when the plant is lost; the gateway
(`supervise.py`), which is the same for all protocols, opens a new one and takes what lies between for a break.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self, runtime_checkable

import numpy as np

from uem.twin_core.alarms import Alarm
from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import GapReason, Samples


@dataclass(frozen=True, slots=True)
class Break:
    """Between the samples before and those after it, samples of `tags` may be lost; of all tags when it is None."""

    reason: GapReason
    tags: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Alarms:
    """What the plant says of its conditions, in order; when it is whole all others are normal since `time_ns`."""

    reports: tuple[Alarm, ...]
    is_whole: bool = False
    time_ns: int = 0


class Adapter(Protocol):
    """A connection to one plant. Entering it connects and subscribes; leaving it closes within a few seconds.

    Entering raises AdapterError (NotTrusted, UnknownTag) when the plant cannot be used as the tag table says.
    """

    @property
    def connected(self) -> bool:
        """Whether the plant is within reach now, as far as an open adapter can tell."""
        ...

    @property
    def missing(self) -> dict[str, str]:
        """Tags that the plant does not have, each with what was looked for and what is there instead."""
        ...

    @property
    def dropped(self) -> int:
        """Samples known to be lost so far, because a queue here or in the plant's server was full."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def batches(self) -> AsyncIterator[Samples | Break | Alarms]:
        """Samples in SI units in order of their source time, as they come; bad ones with their quality and NaN.

        Beside them where samples may be missing, and alarms of a plant that has them.

        Ends when the plant has no more to say. Raises AdapterError when it is lost; what came before is yielded first.
        """
        ...


@runtime_checkable
class Decodes(Protocol):
    """An adapter that knows how long it took to turn messages into samples."""

    @property
    def decode_s(self) -> float:
        """Seconds so far."""
        ...


@runtime_checkable
class Complains(Protocol):
    """An adapter that counts what went wrong without the plant being lost."""

    @property
    def problems(self) -> Mapping[str, int]:
        """How often so far, by kind: the name of what happened, such as "garbled"."""
        ...


@runtime_checkable
class Resumes(Protocol):
    """An adapter that connects again by itself."""

    @property
    def outages(self) -> int:
        """How often the line was lost so far."""
        ...


class WriteOutcome(StrEnum):
    """What became of a value that was to be written."""

    WRITTEN = "written"  # and read back
    REFUSED = "refused"  # by a check before anything was sent, or by the plant
    NOT_CONFIRMED = "not_confirmed"  # the plant took it, and has another value or none that could be read
    UNKNOWN = "unknown"  # it was sent and no answer came: it may have been carried out, or may yet be


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of one tag; values in SI."""

    tag: str
    outcome: WriteOutcome
    value: float  # that was asked for
    status: int = 0  # OPC UA StatusCode of the plant, or of the check that refused it
    read: float = math.nan  # as the plant has it afterwards; NaN when it was not read
    text: str = ""  # for people


@runtime_checkable
class Writes(Protocol):
    """An adapter that can write to tags of its plant that are marked as writable."""

    async def write(self, values: Mapping[str, float], *, timeout_s: float = 10.0) -> list[Written]:
        """Write SI values by tag, each at most once, and read them back; a result per tag in the order of `values`.

        Raises UnknownName for a tag that is not in the tag table; nothing was sent then.
        """
        ...


@runtime_checkable
class TellsTime(Protocol):
    """An adapter whose plant tells the time of its server."""

    @property
    def server_time_ns(self) -> int:
        """The time that the newest message was stamped with when it was sent, ns UTC; 0 before the first."""
        ...


@runtime_checkable
class TellsUnits(Protocol):
    """An adapter whose plant tells in which units its values are."""

    @property
    def unit_mismatches(self) -> Mapping[str, str]:
        """Tags that the tag table reads in another unit than the plant says, each with both units."""
        ...


@runtime_checkable
class HoldsCertificate(Protocol):
    """An adapter whose plant shows a certificate."""

    @property
    def certificate_ends_s(self) -> float:
        """When it expires, in s since 1970; NaN before it was seen."""
        ...


class SampleQueue:
    """Batches between the task that receives and the one that takes; when full the oldest go and are counted."""

    def __init__(self, most_rows: int) -> None:
        self.dropped = 0
        self._most_rows = most_rows
        self._batches: deque[Samples | Break | Alarms] = deque()
        self._rows = 0
        self._changed = asyncio.Event()
        self._end: AdapterError | None = None
        self._ended = False

    def put(self, samples: Samples | Break | Alarms) -> None:
        """Add a batch, a break or alarms at the end."""
        self._batches.append(samples)
        if isinstance(samples, Samples):
            self._rows += len(samples)
            if self._rows > self._most_rows:
                self._drop_oldest()
        self._changed.set()

    def _drop_oldest(self) -> None:
        """Make room, but for the newest batch; breaks stand where rows were, alarms stay."""
        breaks: list[Break] = []
        alarms: list[Alarms] = []
        tags: set[str] = set()
        while self._rows > self._most_rows and len(self._batches) > 1:
            oldest = self._batches.popleft()
            if isinstance(oldest, Samples):
                self._rows -= len(oldest)
                self.dropped += len(oldest)
                tags.update(oldest.names[tag] for tag in np.unique(oldest.tag).tolist())
            elif isinstance(oldest, Alarms):
                alarms.append(oldest)
            elif oldest.reason is GapReason.QUEUE_OVERFLOW and oldest.tags is not None:
                tags |= oldest.tags
            else:
                breaks = [*(each for each in breaks if each != oldest), oldest]
        overflow = [Break(GapReason.QUEUE_OVERFLOW, frozenset(tags))] if tags else []
        self._batches.extendleft(reversed([*alarms, *breaks, *overflow]))

    def end(self, error: AdapterError | None = None) -> None:
        """Nothing more will come; the reader gets `error` after the batches that are there."""
        self._end, self._ended = error, True
        self._changed.set()

    async def batches(self) -> AsyncIterator[Samples | Break | Alarms]:
        """What was put, until the end."""
        while True:
            while self._batches:
                batch = self._batches.popleft()
                if isinstance(batch, Samples):
                    self._rows -= len(batch)
                yield batch
            if self._ended:
                if self._end is not None:
                    raise self._end
                return
            self._changed.clear()
            await self._changed.wait()
