"""Keeps a plant connected: opens an adapter, passes its samples on, opens a fresh one when it fails."""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from uem.hardware_adapters.base import (
    Adapter,
    Alarms,
    Break,
    Complains,
    Decodes,
    HoldsCertificate,
    Resumes,
    TellsTime,
    TellsUnits,
)
from uem.hardware_adapters.checks import Checks
from uem.hardware_adapters.clocks import ClockWatch, OurClock
from uem.hardware_adapters.continuity import Continuity
from uem.hardware_adapters.metrics import Distribution
from uem.hardware_adapters.open_alarms import OpenAlarms
from uem.hardware_adapters.rhythm import Rhythm
from uem.twin_core.alarms import Alarm
from uem.twin_core.errors import AdapterError, LoginRefused
from uem.twin_core.measurements import BAD, NS_PER_S, Gap, GapReason, Samples, Tag

_log = logging.getLogger(__name__)

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 16.0
# Of a refused login, which a server may count: three tries in the first two minutes, then six an hour.
FIRST_LOGIN_WAIT_S = 30.0
LONGEST_LOGIN_WAIT_S = 600.0

Deliver = Callable[[str, Samples, Sequence[Gap]], None]
Tell = Callable[[Sequence[Alarm]], None]


class Backoff:
    """Waiting times that double from the first to the longest; FIRST_WAIT_S if none is given."""

    def __init__(self, longest_s: float = LONGEST_WAIT_S, first_s: float | None = None) -> None:
        self._first_s = self._next_s = FIRST_WAIT_S if first_s is None else first_s
        self._longest_s = longest_s

    def next_s(self) -> float:
        """Seconds to wait now."""
        wait_s, self._next_s = self._next_s, min(2 * self._next_s, self._longest_s)
        return wait_s

    def reset(self) -> None:
        """It works again."""
        self._next_s = self._first_s


class PlantLink:
    """One plant: its adapter, as often as it takes, and what is counted about it."""

    def __init__(
        self,
        plant: str,
        make: Callable[[], Adapter],
        deliver: Deliver,
        *,
        ours: OurClock | None = None,
        tags: Sequence[Tag] = (),
        is_recorded: bool = False,
        tell: Tell | None = None,
        alarms_path: Path | None = None,
        kept_ns: Mapping[str, int] | None = None,
        away_s: float = math.nan,
    ) -> None:
        """`make` gives a fresh adapter; `deliver` takes the name of the plant, its samples and the gaps they close.

        `tags`: those of the plant, with their limits; `is_recorded`: it plays a recording, whose time is not ours.
        `tell` takes what is new of its alarms; `alarms_path` is the file in which the open ones outlive a stop.
        `kept_ns`: by tag the time of the last sample that was kept before the start, from which on a gap is told;
        `away_s`: so long ago that was by our clock.
        """
        self.plant = plant
        self._ours = ours or OurClock()
        self.source_clock = ClockWatch(self._ours, is_recorded=is_recorded)
        self.server_clock = ClockWatch(self._ours)
        self.checks = Checks(tags, is_recorded=is_recorded)
        self._server_time_ns = 0
        self.received = 0
        self.bad_quality = 0
        self.repeated = 0
        self.gaps = 0
        self.missing: dict[str, str] = {}
        self.lag_s = Distribution()  # from the newest source time of a batch until it is here
        self._make = make
        self._deliver = deliver
        self._tell = tell
        self.alarms = 0
        self.open_alarms = OpenAlarms(plant, alarms_path)
        self._adapter: Adapter | None = None
        self._opened_again = 0
        self._outages_before = 0
        self._dropped_before = 0
        self._decode_before_s = 0.0
        self._problems_before: Counter[str] = Counter()
        self._ends_before_s = math.nan
        self._mismatches_before: dict[str, str] = {}
        self._login_refused = False
        self._logins = Backoff(LONGEST_LOGIN_WAIT_S, FIRST_LOGIN_WAIT_S)
        self._is_open = False
        self._continuity = Continuity(kept_ns, away_s)
        self._newest: float | None = None
        self._rhythm = Rhythm()

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
    def problems(self) -> Counter[str]:
        """What went wrong without the plant being lost, by kind; what did not happen so far is there with 0."""
        found = self._problems_before.copy()
        found.update(self._adapter.problems if isinstance(self._adapter, Complains) else {})
        return found

    @property
    def unit_mismatches(self) -> dict[str, str]:
        """Tags that the tag table reads in another unit than the plant says; as it was found last."""
        return dict(self._adapter.unit_mismatches if isinstance(self._adapter, TellsUnits) else self._mismatches_before)

    @property
    def certificate_expiry_s(self) -> float:
        """Seconds until the certificate of the plant that was seen last expires; NaN without one."""
        return self._certificate_ends() - time.time()

    def _certificate_ends(self) -> float:
        ends_s = self._adapter.certificate_ends_s if isinstance(self._adapter, HoldsCertificate) else math.nan
        return self._ends_before_s if math.isnan(ends_s) else ends_s

    @property
    def newest_age_s(self) -> float:
        """Seconds since samples came in last; NaN before the first."""
        return math.nan if self._newest is None else time.monotonic() - self._newest

    @property
    def usual_interval_s(self) -> float:
        """Seconds between two samples of one tag, of those that come most often; NaN before there are two."""
        return self._rhythm.usual_interval_s

    async def run(self) -> None:
        """Go on until cancelled, or until an adapter says that the plant has no more samples."""
        backoff = Backoff(LONGEST_WAIT_S)
        while not await self._connect_once(backoff):
            wait_s = self._logins.next_s() if self._login_refused else backoff.next_s()
            _log.info("plant %s: next try in %g s", self.plant, wait_s)
            await asyncio.sleep(wait_s)
            self._opened_again += 1

    async def _connect_once(self, backoff: Backoff) -> bool:
        """One adapter from open to close; whether the plant has ended."""
        self._login_refused = False
        try:
            async with self._make() as self._adapter:
                self._is_open = True
                self._logins.reset()
                _log.info("plant %s: connected", self.plant)
                self._report_missing(self._adapter.missing)
                async for found in self._adapter.batches():
                    if self._adapter.missing != self.missing:  # after an outage within, or of another server
                        self._report_missing(self._adapter.missing)
                    if isinstance(found, Break):
                        self._continuity.break_off(found)
                    elif isinstance(found, Alarms):
                        self._tell_alarms(found)
                    else:
                        backoff.reset()
                        self._pass_on(found)
                _log.info("plant %s: no more samples", self.plant)
                return True
        except AdapterError as error:
            self._login_refused = isinstance(error, LoginRefused)
            _log.warning("plant %s: %s", self.plant, error)
        except Exception:  # a fault of one adapter must not stop the other plants
            _log.exception("plant %s: unexpected fault of its adapter", self.plant)
        finally:
            self._dropped_before, self._decode_before_s = self.dropped, self.decode_s
            self._problems_before, self._mismatches_before = self.problems, self.unit_mismatches
            self._outages_before, self._ends_before_s = self._outages, self._certificate_ends()
            self._adapter = None
            self._is_open = False
            self._continuity.break_off(Break(GapReason.LINK_DOWN))
        return False

    def _report_missing(self, missing: dict[str, str]) -> None:
        for tag, reason in missing.items():
            if self.missing.get(tag) != reason:
                _log.warning("plant %s: tag %s is missing: %s", self.plant, tag, reason)
        self.missing = dict(missing)

    def _tell_alarms(self, alarms: Alarms) -> None:
        fresh = self.open_alarms.follow(alarms)
        self.alarms += len(fresh)
        for alarm in fresh:
            _log.info("plant %s: alarm %s of %s: %s", self.plant, alarm.name, alarm.source, alarm.state)
        if fresh and self._tell is not None:
            self._tell(fresh)

    def _pass_on(self, samples: Samples) -> None:
        self._newest = time.monotonic()
        self._rhythm.follow(samples)
        if len(samples):
            self._look_at_clocks(int(samples.source_time_ns.max()))
        fresh, gaps = self._continuity.follow(samples)
        fresh = self.checks.look_at(fresh, self._ours.now_ns())
        self.received += len(samples)
        self.repeated += len(samples) - len(fresh)
        self.bad_quality += int(np.count_nonzero(fresh.quality & BAD))
        self.gaps += len(gaps)
        if len(fresh) or gaps:
            self._deliver(self.plant, fresh, gaps)

    def _look_at_clocks(self, newest_ns: int) -> None:
        self.lag_s.observe((self._ours.now_ns() - newest_ns) / NS_PER_S)
        self.source_clock.observe(newest_ns)
        sent_ns = self._adapter.server_time_ns if isinstance(self._adapter, TellsTime) else 0
        if sent_ns and sent_ns != self._server_time_ns:
            self._server_time_ns = sent_ns
            self.server_clock.observe(sent_ns)
