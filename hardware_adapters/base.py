"""What every adapter is: an open connection to one plant that yields samples.

An adapter knows its protocol and the tag table. One whose protocol can resume what was interrupted does so by itself
and says with a `Break` where samples may be missing. Any other raises AdapterError when the plant is lost; the gateway
(`supervise.py`), which is the same for all protocols, opens a new one and takes what lies between for a break.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np

from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import GapReason, Samples


@dataclass(frozen=True, slots=True)
class Break:
    """Between the samples before and those after it, samples of `tags` may be lost; of all tags when it is None."""

    reason: GapReason
    tags: frozenset[str] | None = None


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

    def batches(self) -> AsyncIterator[Samples | Break]:
        """Samples in SI units in order of their source time, as they come; bad ones with their quality and NaN.

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
class Resumes(Protocol):
    """An adapter that connects again by itself."""

    @property
    def outages(self) -> int:
        """How often the line was lost so far."""
        ...


class SampleQueue:
    """Batches between the task that receives and the one that takes; when full the oldest go and are counted."""

    def __init__(self, most_rows: int) -> None:
        self.dropped = 0
        self._most_rows = most_rows
        self._batches: deque[Samples | Break] = deque()
        self._rows = 0
        self._changed = asyncio.Event()
        self._end: AdapterError | None = None
        self._ended = False

    def put(self, samples: Samples | Break) -> None:
        """Add a batch or a break at the end."""
        self._batches.append(samples)
        if isinstance(samples, Samples):
            self._rows += len(samples)
            if self._rows > self._most_rows:
                self._drop_oldest()
        self._changed.set()

    def _drop_oldest(self) -> None:
        """Make room, but for the newest batch; breaks stand where rows were."""
        breaks: list[Break] = []
        tags: set[str] = set()
        while self._rows > self._most_rows and len(self._batches) > 1:
            oldest = self._batches.popleft()
            if isinstance(oldest, Samples):
                self._rows -= len(oldest)
                self.dropped += len(oldest)
                tags.update(oldest.names[tag] for tag in np.unique(oldest.tag).tolist())
            elif oldest.reason is GapReason.QUEUE_OVERFLOW and oldest.tags is not None:
                tags |= oldest.tags
            else:
                breaks = [*(each for each in breaks if each != oldest), oldest]
        overflow = [Break(GapReason.QUEUE_OVERFLOW, frozenset(tags))] if tags else []
        self._batches.extendleft(reversed(breaks + overflow))

    def end(self, error: AdapterError | None = None) -> None:
        """Nothing more will come; the reader gets `error` after the batches that are there."""
        self._end, self._ended = error, True
        self._changed.set()

    async def batches(self) -> AsyncIterator[Samples | Break]:
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
