"""What every adapter is: an open connection to one plant that yields samples.

An adapter knows its protocol and the tag table. It does not reconnect: when the plant is lost it raises AdapterError,
and the gateway (`supervise.py`), which is the same for all protocols, opens a new one.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol, Self, runtime_checkable

from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import Samples


class Adapter(Protocol):
    """A connection to one plant. Entering it connects and subscribes; leaving it closes within a few seconds.

    Entering raises AdapterError (NotTrusted, UnknownTag) when the plant cannot be used as the tag table says.
    """

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

    def batches(self) -> AsyncIterator[Samples]:
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


class SampleQueue:
    """Batches between the task that receives and the one that takes; when full the oldest go and are counted."""

    def __init__(self, most_rows: int) -> None:
        self.dropped = 0
        self._most_rows = most_rows
        self._batches: deque[Samples] = deque()
        self._rows = 0
        self._changed = asyncio.Event()
        self._end: AdapterError | None = None
        self._ended = False

    def put(self, samples: Samples) -> None:
        """Add a batch at the end."""
        self._batches.append(samples)
        self._rows += len(samples)
        while self._rows > self._most_rows and len(self._batches) > 1:
            lost = len(self._batches.popleft())
            self._rows -= lost
            self.dropped += lost
        self._changed.set()

    def end(self, error: AdapterError | None = None) -> None:
        """Nothing more will come; the reader gets `error` after the batches that are there."""
        self._end, self._ended = error, True
        self._changed.set()

    async def batches(self) -> AsyncIterator[Samples]:
        """What was put, until the end."""
        while True:
            while self._batches:
                batch = self._batches.popleft()
                self._rows -= len(batch)
                yield batch
            if self._ended:
                if self._end is not None:
                    raise self._end
                return
            self._changed.clear()
            await self._changed.wait()
