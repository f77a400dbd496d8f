"""The in-process bus: who publishes never waits, who reads slowly is told what it missed.

Two kinds: `SampleBus` hands every committed batch to every subscriber through a bounded queue (the oldest is dropped
and counted); `LatestBus` keeps the newest value per key and counts those that a subscriber did not see.
Both live in one event loop; publish from it (`loop.call_soon_threadsafe` from a thread).
"""

import asyncio
from collections import deque
from collections.abc import Collection
from typing import Generic, NamedTuple, Self, TypeVar

from uem.twin_core.measurements import Samples

T = TypeVar("T")


class Subscription:
    """Committed batches in their order: an asynchronous iterator, ended by `close`."""

    def __init__(self, bus: "SampleBus", capacity: int) -> None:
        self._bus = bus
        self._batches: deque[Samples] = deque()
        self._capacity = capacity
        self._arrived = asyncio.Event()
        self._closed = False
        self.dropped = 0  # batches that this subscriber did not take in time, since it began
        self.behind: dict[str, tuple[int, int]] = {}  # by tag: first and last time of what came behind newer samples

    def offer(self, samples: Samples, behind: bool) -> None:
        """Add a batch; drops the oldest when the queue is full. Of what comes behind only the times are kept."""
        if behind:
            for name, its_first, its_last in samples.spans():
                first, last = self.behind.get(name, (its_first, its_last))
                self.behind[name] = min(first, its_first), max(last, its_last)
            return
        if len(self._batches) == self._capacity:
            self._batches.popleft()
            self.dropped += 1
        self._batches.append(samples)
        self._arrived.set()

    def close(self) -> None:
        """End the subscription; a waiting reader ends."""
        self._closed = True
        self._arrived.set()
        self._bus.remove(self)

    def __len__(self) -> int:
        return len(self._batches)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Samples:
        while not self._batches:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._batches.popleft()


class SampleBus:
    """Committed samples, from ingestion to those who follow the plant."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []

    def publish(self, samples: Samples, *, behind: bool = False) -> None:
        """Hand a committed batch to every subscriber; never waits. `behind`: newer samples may have come before."""
        for subscription in self._subscriptions:
            subscription.offer(samples, behind)

    def lose(self) -> None:
        """Tell every subscriber that batches did not get as far as here: they are on disk, and nobody has them."""
        for subscription in self._subscriptions:
            subscription.dropped += 1
            subscription.offer(Samples.from_rows(()), behind=False)

    def subscribe(self, capacity: int = 256) -> Subscription:
        """All batches from now on, at most `capacity` waiting."""
        subscription = Subscription(self, capacity)
        self._subscriptions.append(subscription)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Forget a subscription; harmless when it is gone."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    @property
    def dropped(self) -> int:
        """Batches that subscribers of now did not take in time."""
        return sum(subscription.dropped for subscription in self._subscriptions)


class Update(NamedTuple, Generic[T]):
    """The newest value of a key, and how many before it this subscriber did not see."""

    key: str
    value: T
    missed: int


class LatestSubscription(Generic[T]):
    """The newest value of each key: an asynchronous iterator of `Update`, ended by `close`."""

    def __init__(self, bus: "LatestBus[T]", keys: frozenset[str]) -> None:
        self._bus = bus
        self._keys = keys  # empty means all
        self._waiting: dict[str, Update[T]] = {}  # in the order in which the keys began to wait
        self._arrived = asyncio.Event()
        self._closed = False

    def offer(self, key: str, value: T) -> None:
        """Put the newest value of a key in the place of the one that still waits."""
        if self._keys and key not in self._keys:
            return
        before = self._waiting.get(key)
        self._waiting[key] = Update(key, value, 0 if before is None else before.missed + 1)
        self._arrived.set()

    def close(self) -> None:
        """End the subscription; a waiting reader ends."""
        self._closed = True
        self._arrived.set()
        self._bus.remove(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update[T]:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.pop(next(iter(self._waiting)))


class LatestBus(Generic[T]):
    """Snapshots by key (the state of each asset); only the newest matters."""

    def __init__(self) -> None:
        self._latest: dict[str, T] = {}
        self._subscriptions: list[LatestSubscription[T]] = []

    def publish(self, key: str, value: T) -> None:
        """Make `value` the newest of `key`; never waits."""
        self._latest[key] = value
        for subscription in self._subscriptions:
            subscription.offer(key, value)

    def latest(self, key: str) -> T | None:
        """The newest value of `key`, None when there was none yet."""
        return self._latest.get(key)

    def subscribe(self, keys: Collection[str] = ()) -> LatestSubscription[T]:
        """The newest values now and then each new one; `keys` empty means all."""
        subscription = LatestSubscription(self, frozenset(keys))
        for key, value in self._latest.items():
            subscription.offer(key, value)
        self._subscriptions.append(subscription)
        return subscription

    def remove(self, subscription: LatestSubscription[T]) -> None:
        """Forget a subscription; harmless when it is gone."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
