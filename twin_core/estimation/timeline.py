"""The measured past of a tag as a twin reads it: complete up to a time, with quality and age at every instant.

A sample without a usable value (Bad quality, NaN) and a tag that stays silent leave no hole: the last usable value is
held and its age grows. Quality is then UncertainLastUsableValue: at once after an unusable sample, and after
`stale_ns` of silence (a server that reports by exception is silent while nothing changes), or after `MISSED` of its
usual intervals where that is longer: a meter that is read out each ten minutes is not dead after five.

A state or a count that is told when it changes is rightly silent for hours: it is current while one of its witnesses
(`witnesses.py`) is fresh. Its age is still that of what was told. One that was told `REPEATS` times more although it
was the same comes by the clock: its silence means what that of a sensor means.
"""

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Self

from uem.twin_core.measurements import UNCERTAIN_LAST_USABLE_VALUE, is_bad, is_good

MISSED = 2.5  # usual intervals: one sample may be lost, not two in a row
REPEATS = 2  # one may come of a plant that tells everything again when it is reached anew


class Reading(NamedTuple):
    """A tag at one time: SI value, OPC UA quality, and when the value was measured (ns)."""

    value: float
    quality: int
    measured_ns: int


class Timeline:
    """Readings of one tag in order of time. Times int64 ns."""

    __slots__ = (
        "_by_change",
        "_fresh_ns",
        "_intervals",
        "_readings",
        "_repeats",
        "_stale_ns",
        "_times",
        "_told_ns",
        "witnesses",
    )

    def __init__(self, stale_ns: int) -> None:
        self._stale_ns = stale_ns
        self._times: list[int] = []
        self._readings: list[Reading] = []
        self._fresh_ns: list[int] = []  # how long each is good for, by what was known when it came
        self._by_change: list[bool] = []  # whether it was told because it had changed, likewise
        self._repeats = 0
        self.witnesses: Sequence[Self] = ()
        self._intervals: deque[int] = deque(maxlen=4)
        self._told_ns: int | None = None  # when the plant says that the newest sample was

    def __len__(self) -> int:
        return len(self._times)

    @property
    def first_ns(self) -> int | None:
        """The oldest time that is still known; None as long as no usable value came."""
        return self._times[0] if self._times else None

    @property
    def newest_ns(self) -> int | None:
        """Up to when the tag is known; None as long as no usable value came."""
        return self._times[-1] if self._times else None

    @property
    def told_ns(self) -> int | None:
        """The plant's time of the newest sample; None as long as no usable value came."""
        return self._told_ns

    @property
    def usual_interval_ns(self) -> int | None:
        """The shortest of the last four intervals between samples; None as long as there is none."""
        return min(self._intervals) if self._intervals else None

    def append(self, time_ns: int, value: float, quality: int, told_ns: int | None = None) -> None:
        """Add a newer sample; one that is not usable repeats the last usable value, if there is one.

        `told_ns`: the plant's time of one that only counts from `time_ns` on, since it came late.
        """
        usable = not is_bad(quality) and math.isfinite(value)
        if not self._times and not usable:
            return
        told_ns = time_ns if told_ns is None else told_ns
        if self._told_ns is not None:
            self._intervals.append(told_ns - self._told_ns)
        self._told_ns = told_ns
        if usable:
            reading = Reading(value, quality, time_ns)
        else:
            last = self._readings[-1]
            reading = Reading(last.value, UNCERTAIN_LAST_USABLE_VALUE, last.measured_ns)
        is_same = bool(self._readings) and usable and value == self._readings[-1].value
        self._repeats = self._repeats + 1 if is_same else 0
        usual_ns = self.usual_interval_ns or 0
        self._times.append(time_ns)
        self._readings.append(reading)
        self._fresh_ns.append(max(self._stale_ns, round(MISSED * usual_ns)))
        self._by_change.append(self._repeats < REPEATS)

    def hold_until(self, time_ns: int) -> None:
        """Carry the last usable value forward to a newer time, since no sample came before; the next one is newer."""
        self._times.append(time_ns)
        self._readings.append(self._readings[-1])
        self._fresh_ns.append(self._fresh_ns[-1])
        self._by_change.append(self._by_change[-1])

    def at(self, time_ns: int) -> Reading:
        """The value on the straight line between the neighbours of a time; the last one beyond the newest."""
        right = bisect_left(self._times, time_ns)
        if right == len(self._times) or right == 0 or self._times[right] == time_ns:
            at = min(right, len(self._times) - 1)
            return self._aged(at, time_ns, self._readings[at])
        before, after = self._readings[right - 1], self._readings[right]
        weight = (time_ns - self._times[right - 1]) / (self._times[right] - self._times[right - 1])
        value = before.value + weight * (after.value - before.value)
        quality = after.quality if is_good(before.quality) else before.quality
        return self._aged(right - 1, time_ns, Reading(value, quality, before.measured_ns))

    def before(self, time_ns: int) -> Reading:
        """The newest value at or before a time, for a quantity that jumps."""
        right = bisect_right(self._times, time_ns)
        at = max(right - 1, 0)
        return self._aged(at, time_ns, self._readings[at])

    def samples(self, begin_ns: int, end_ns: int) -> list[Reading]:
        """The usable samples with begin < time <= end, in order."""
        first, last = bisect_right(self._times, begin_ns), bisect_right(self._times, end_ns)
        found = zip(self._times[first:last], self._readings[first:last], strict=True)
        return [reading for time_ns, reading in found if reading.measured_ns == time_ns]

    def measured_between(self, begin_ns: int, end_ns: int) -> bool:
        """Whether a usable sample has begin < time <= end."""
        right = bisect_right(self._times, end_ns)
        return right > 0 and self._readings[right - 1].measured_ns > begin_ns

    def next_ns(self, time_ns: int) -> int | None:
        """The first time after this one that has a usable sample; None as long as there is none."""
        for i in range(bisect_right(self._times, time_ns), len(self._times)):
            if self._readings[i].measured_ns == self._times[i]:
                return self._times[i]
        return None

    def forget_before(self, time_ns: int) -> None:
        """Drop what lies before the newest point at or before a time."""
        keep = bisect_right(self._times, time_ns) - 1
        if keep > 0:
            del self._times[:keep], self._readings[:keep], self._fresh_ns[:keep], self._by_change[:keep]

    def keep_newest(self, count: int) -> None:
        """Drop all but the newest `count` points."""
        del self._times[:-count], self._readings[:-count], self._fresh_ns[:-count], self._by_change[:-count]

    def _aged(self, at: int, time_ns: int, reading: Reading) -> Reading:
        if not is_good(reading.quality) or time_ns - reading.measured_ns <= self._fresh_ns[at]:
            return reading
        if self._by_change[at] and any(witness._is_fresh(time_ns) for witness in self.witnesses):
            return reading
        return reading._replace(quality=UNCERTAIN_LAST_USABLE_VALUE)

    def _is_fresh(self, time_ns: int) -> bool:
        """Whether the newest usable sample at or before a time is no older than it may be."""
        at = bisect_right(self._times, time_ns) - 1
        return at >= 0 and time_ns - self._readings[at].measured_ns <= self._fresh_ns[at]
