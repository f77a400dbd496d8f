"""What of a plant's samples is not to be believed as it is: found in whole columns, told by the quality, counted.

No sample is dropped and no value is changed: one that cannot be is marked Bad, one that is doubtful Uncertain. Each row
counts once, under the first of CLASSES that fits; rows that come as Bad stay as they are.
"""

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from uem.hardware_adapters.clocks import FUTURE_S
from uem.twin_core.measurements import (
    BAD,
    BAD_OUT_OF_RANGE,
    NS_PER_S,
    UNCERTAIN,
    UNCERTAIN_LAST_USABLE_VALUE,
    Samples,
    Tag,
)

_log = logging.getLogger(__name__)

FUTURE = "future"  # stamped further ahead of our clock than is believed
NOT_FINITE = "not_finite"  # NaN or infinite although not Bad
OUT_OF_RANGE = "out_of_range"  # outside the limits of the tag, or of what the quantity can be
UNIT_CHANGED = "unit_changed"  # the server says that the meaning of the value changed
STUCK = "stuck"  # the very same value again and again, of a sensor that was never so calm before
CLASSES = (FUTURE, NOT_FINITE, OUT_OF_RANGE, UNIT_CHANGED, STUCK)
_MARKS = {
    FUTURE: UNCERTAIN,
    NOT_FINITE: BAD,
    OUT_OF_RANGE: BAD_OUT_OF_RANGE,
    UNIT_CHANGED: UNCERTAIN,
    STUCK: UNCERTAIN_LAST_USABLE_VALUE,
}
_SEMANTICS_CHANGED = 0x00004000  # OPC 10000-4, 7.39.1
_INFO_BITS = np.uint32(0x0000FFFF)

# What a quantity can be at all in a plant, by SI unit.
POSSIBLE = {
    "K": (0.0, 2000.0),
    "Pa": (-1.1e5, 1e8),  # gauge pressure reaches down to a vacuum
    "kg/s": (-1e5, 1e5),
    "m3/s": (-100.0, 100.0),
    "W": (-1e10, 1e10),
    "m/s": (-100.0, 100.0),
}
_FUTURE_NS, _END_NS = round(FUTURE_S * NS_PER_S), 2**63 - 1
STUCK_AFTER = 100  # equal values in a row
_NOISE_SEEN = 100  # steps from sample to sample before a sensor is known to be noisy,
_NOISY = 0.9  # and so many of them changes


class Checks:
    """The checks of one plant. The time of a recording is never in the future."""

    def __init__(self, tags: Sequence[Tag], *, is_recorded: bool = False) -> None:
        # Every class from the start: a counter that appears with its first count shows no increase.
        self.counts: Counter[str] = Counter(dict.fromkeys(CLASSES, 0))
        self._tags = {tag.name: tag for tag in tags}
        self._is_recorded = is_recorded
        self._named: set[tuple[str, str]] = set()
        self._follow(())

    def _follow(self, names: tuple[str, ...]) -> None:
        """Go on under another dictionary of names; what is known of how calm a sensor is begins anew."""
        self._names = names
        limits = np.array([_limits(self._tags.get(name)) for name in names]).reshape(len(names), 2)
        self._low, self._high = limits[:, 0].copy(), limits[:, 1].copy()
        self._can_be_stuck = np.array(
            [name in self._tags and self._tags[name].unit in POSSIBLE for name in names], bool
        )
        self._last = np.full(len(names), np.nan)
        self._run = np.zeros(len(names), np.int64)  # how often the last value came again
        self._steps = np.zeros(len(names), np.int64)
        self._changes = np.zeros(len(names), np.int64)

    def look_at(self, samples: Samples, now_ns: int) -> Samples:
        """The same samples, with the quality that they deserve."""
        if samples.names != self._names:
            self._follow(samples.names)
        tag, value = samples.tag, samples.value
        believed = samples.quality & np.uint32(BAD) == 0
        found = {
            FUTURE: samples.source_time_ns > (_END_NS if self._is_recorded else now_ns + _FUTURE_NS),
            NOT_FINITE: ~np.isfinite(value),
            OUT_OF_RANGE: (value < self._low[tag]) | (value > self._high[tag]),
            UNIT_CHANGED: samples.quality & np.uint32(_SEMANTICS_CHANGED) != 0,
            STUCK: self._stuck(samples, believed),
        }
        if not any((rows & believed).any() for rows in found.values()):
            return samples
        quality = samples.quality.copy()
        for name in CLASSES:
            rows = found[name] & believed
            if rows.any():
                believed &= ~rows
                self._count(name, samples, rows)
                # What is Uncertain by itself stays so with its reason.
                worse = rows & (samples.quality < np.uint32(_MARKS[name] & 0xC0000000))
                quality[worse] = np.uint32(_MARKS[name]) | (samples.quality[worse] & _INFO_BITS)
        return Samples(samples.names, tag, samples.source_time_ns, value, quality)

    def _count(self, name: str, samples: Samples, rows: NDArray[np.bool_]) -> None:
        self.counts[name] += int(rows.sum())
        for tag in np.unique(samples.tag[rows]).tolist():
            if (name, samples.names[tag]) not in self._named:
                self._named.add((name, samples.names[tag]))
                at = int(np.argmax(rows & (samples.tag == tag)))
                text = "tag %s: %s: value %g at %d ns (said once per tag)"
                _log.warning(text, samples.names[tag], name, samples.value[at], samples.source_time_ns[at])

    def _stuck(self, samples: Samples, believed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The rows whose value is the same as in STUCK_AFTER rows before, of tags that used to change all the time."""
        stuck = np.zeros(len(samples), np.bool_)
        concerned = np.flatnonzero(believed & self._can_be_stuck[samples.tag])
        if not len(concerned):
            return stuck
        rows = concerned[np.argsort(samples.tag[concerned], kind="stable")]
        tag, value, at = samples.tag[rows], samples.value[rows], np.arange(len(rows))
        first = np.append(True, tag[1:] != tag[:-1])
        same = value == np.where(first, self._last[tag], np.append(np.nan, value[:-1]))
        begin = np.maximum.accumulate(np.where(first, at, 0))
        change = np.maximum.accumulate(np.where(same, -1, at))
        run = np.where(change >= begin, at - change, self._run[tag] + at - begin + 1)
        steady = self._steps[tag] + at - begin + 1 - run
        before = np.append(0, np.cumsum(~same))
        changes = self._changes[tag] + before[1:] - before[begin]
        noisy = (steady >= _NOISE_SEEN) & (changes >= _NOISY * steady)
        stuck[rows] = noisy & (run >= STUCK_AFTER) & (value != 0.0)  # at rest there is no noise
        last = np.append(tag[1:] != tag[:-1], True)
        self._steps += np.bincount(tag, minlength=len(self._names))
        self._changes += np.bincount(tag[~same], minlength=len(self._names))
        self._last[tag[last]], self._run[tag[last]] = value[last], run[last]
        return stuck


def _limits(tag: Tag | None) -> tuple[float, float]:
    """Of the tag and of its quantity, whichever is narrower."""
    if tag is None:
        return -np.inf, np.inf
    low, high = POSSIBLE.get(tag.unit, (-np.inf, np.inf))
    return max(low, tag.low), min(high, tag.high)
