"""Keeps a plant connected: opens an adapter, passes its samples on, opens a fresh one when it fails."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from uem.hardware_adapters.base import Adapter, Break, Decodes, Resumes
from uem.hardware_adapters.continuity import Continuity
from uem.hardware_adapters.metrics import Distribution
from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import BAD, NS_PER_S, Gap, GapReason, Samples

_log = logging.getLogger(__name__)

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 16.0

Deliver = Callable[[str, Samples, Sequence[Gap]], None]


class Backoff:
    """Waiting times that double from FIRST_WAIT_S to the longest."""

    def __init__(self, longest_s: float = LONGEST_WAIT_S) -> None:
        self._next_s = FIRST_WAIT_S
        self._longest_s = longest_s

    def next_s(self) -> float:
        """Seconds to wait now."""
        wait_s, self._next_s = self._next_s, min(2 * self._next_s, self._longest_s)
        return wait_s

    def reset(self) -> None:
        """It works again."""
        self._next_s = FIRST_WAIT_S


class PlantLink:
    """One plant: its adapter, as often as it takes, and what is counted about it."""

    def __init__(self, plant: str, make: Callable[[], Adapter], deliver: Deliver) -> None:
        """`make` gives a fresh adapter; `deliver` takes the name of the plant, its samples and the gaps they close."""
        self.plant = plant
        self.received = 0
        self.bad_quality = 0
        self.repeated = 0
        self.gaps = 0
        self.missing: dict[str, str] = {}
        self.lag_s = Distribution()  # from the newest source time of a batch until it is here
        self._make = make
        self._deliver = deliver
        self._adapter: Adapter | None = None
        self._opened_again = 0
        self._outages_before = 0
        self._dropped_before = 0
        self._decode_before_s = 0.0
        self._is_open = False
        self._continuity = Continuity()
        self._newest: float | None = None

    @property
    def connected(self) -> bool:
        """Whether the plant is within reach, as its adapter says."""
        return self._is_open and self._adapter is not None and self._adapter.connected

    @property
    def reconnects(self) -> int:
        """How often the plant had to be connected again, be it by a new adapter or by one that resumes by itself."""
        return self._opened_again + self._outages

    @property
    def _outages(self) -> int:
        return self._outages_before + (self._adapter.outages if isinstance(self._adapter, Resumes) else 0)

    @property
    def dropped(self) -> int:
        """Samples that the adapters know to be lost."""
        return self._dropped_before + (self._adapter.dropped if self._adapter is not None else 0)

    @property
    def decode_s(self) -> float:
        """Seconds that the adapters took to decode messages, as far as they know."""
        return self._decode_before_s + (self._adapter.decode_s if isinstance(self._adapter, Decodes) else 0.0)

    @property
    def newest_age_s(self) -> float:
        """Seconds since samples came in last; NaN before the first."""
        return math.nan if self._newest is None else time.monotonic() - self._newest

    async def run(self) -> None:
        """Go on until cancelled, or until an adapter says that the plant has no more samples."""
        backoff = Backoff(LONGEST_WAIT_S)
        while not await self._connect_once(backoff):
            wait_s = backoff.next_s()
            _log.info("plant %s: next try in %g s", self.plant, wait_s)
            await asyncio.sleep(wait_s)
            self._opened_again += 1

    async def _connect_once(self, backoff: Backoff) -> bool:
        """One adapter from open to close; whether the plant has ended."""
        try:
            async with self._make() as self._adapter:
                self._is_open = True
                _log.info("plant %s: connected", self.plant)
                self._report_missing(self._adapter.missing)
                async for found in self._adapter.batches():
                    if isinstance(found, Break):
                        self._continuity.break_off(found)
                    else:
                        backoff.reset()
                        self._pass_on(found)
                _log.info("plant %s: no more samples", self.plant)
                return True
        except AdapterError as error:
            _log.warning("plant %s: %s", self.plant, error)
        except Exception:  # a fault of one adapter must not stop the other plants
            _log.exception("plant %s: unexpected fault of its adapter", self.plant)
        finally:
            self._dropped_before, self._decode_before_s = self.dropped, self.decode_s
            self._outages_before = self._outages
            self._adapter = None
            self._is_open = False
            self._continuity.break_off(Break(GapReason.LINK_DOWN))
        return False

    def _report_missing(self, missing: dict[str, str]) -> None:
        for tag, reason in missing.items():
            if self.missing.get(tag) != reason:
                _log.warning("plant %s: tag %s is missing: %s", self.plant, tag, reason)
        self.missing = dict(missing)

    def _pass_on(self, samples: Samples) -> None:
        self._newest = time.monotonic()
        if len(samples):
            self.lag_s.observe((time.time_ns() - int(samples.source_time_ns.max())) / NS_PER_S)
        fresh, gaps = self._continuity.follow(samples)
        self.received += len(samples)
        self.repeated += len(samples) - len(fresh)
        self.bad_quality += int(np.count_nonzero(fresh.quality & BAD))
        self.gaps += len(gaps)
        if len(fresh) or gaps:
            self._deliver(self.plant, fresh, gaps)
