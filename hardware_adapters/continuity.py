"""What the samples of a plant leave open: what came twice is left out, what may be missing becomes a gap."""

import math
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from uem.hardware_adapters.base import Break
from uem.twin_core.measurements import NS_PER_S, Gap, GapReason, Samples, is_overflow

T = TypeVar("T", bound=np.generic)

_NEVER = np.iinfo(np.int64).min
_REASONS = tuple(GapReason)
_WHOLE = 0


class Continuity:
    """The newest sample of each tag, and for which tags something may be missing behind it."""

    def __init__(
        self,
        kept_ns: Mapping[str, int] | None = None,
        away_s: float = math.nan,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`kept_ns`: by tag the time of the last sample before the start; what came behind it nobody saw.

        `away_s`: how long ago it was kept, by our clock; NaN if that is not known.
        """
        before = kept_ns or {}
        self._monotonic_s = monotonic_s
        self._heard_s = monotonic_s() - away_s  # when samples came last, by our clock
        self._names: tuple[str, ...] = tuple(before)
        self._time = np.array(list(before.values()), np.int64)
        self._value = np.full(len(before), np.nan)
        self._quality = np.zeros(len(before), np.uint32)
        self._broken = np.zeros(len(before), np.uint8)  # number of the reason, _WHOLE if nothing is missing
        # When anything came last before the break: by the clock of the plant, and by ours.
        self._last_ns, self._last_s = self._time.copy(), np.full(len(before), np.nan)
        self._any_broken = False
        self.break_off(Break(GapReason.LINK_DOWN))

    def break_off(self, found: Break) -> None:
        """Note that samples may be lost from here on, until the next one of each tag."""
        mark = _REASONS.index(found.reason) + 1
        concerned = np.array([found.tags is None or name in found.tags for name in self._names], bool)
        concerned &= (self._time != _NEVER) & (self._broken == _WHOLE)
        self._broken[concerned] = mark
        self._last_ns[concerned], self._last_s[concerned] = self._time.max(initial=_NEVER), self._heard_s
        self._any_broken = bool(self._broken.any())

    def follow(self, samples: Samples) -> tuple[Samples, list[Gap]]:
        """The rows that are not equal, time included, to the newest of their tag; the gaps that they close.

        A tag whose newest sample comes again has lost nothing. A row with the overflow bit tells of a loss before it.
        A clock that was set back leaves two gaps: behind its old time and before its new one, each as long as nothing
        came by our own clock.
        """
        if samples.names != self._names:
            self._rename(samples.names)
        tag = samples.tag
        same = (
            (samples.source_time_ns == self._time[tag])
            & (samples.quality == self._quality[tag])
            & _equal(samples.value, self._value[tag])
        )
        fresh = samples.take(~same) if same.any() else samples
        overflows = is_overflow(samples.quality)
        gaps = self._gaps(samples, overflows) if self._any_broken or overflows.any() else []
        self._time[tag] = samples.source_time_ns
        self._value[tag] = samples.value
        self._quality[tag] = samples.quality
        self._heard_s = self._monotonic_s()
        return fresh, gaps

    def _gaps(self, samples: Samples, overflows: NDArray[np.bool_]) -> list[Gap]:
        """Row by row: this is the way after a break, or for the few rows that tell of an overflow."""
        if self._any_broken:
            concerned = (self._broken[samples.tag] != _WHOLE) | overflows | np.isin(samples.tag, samples.tag[overflows])
        else:
            concerned = np.isin(samples.tag, samples.tag[overflows])
        gaps = []
        newest: dict[int, int] = {}
        columns = (samples.tag[concerned], samples.source_time_ns[concerned], overflows[concerned])
        for tag, time_ns, overflow in zip(*(column.tolist() for column in columns), strict=True):
            before = newest.get(tag, int(self._time[tag]))
            mark = int(self._broken[tag])
            reason = GapReason.QUEUE_OVERFLOW if mark == _WHOLE else _REASONS[mark - 1]
            if (mark or overflow) and before != _NEVER and before < time_ns:
                gaps.append(Gap(self._names[tag], before, time_ns, reason))
            elif mark and before > time_ns:
                gaps += self._set_back(tag, before, time_ns, reason)
            self._broken[tag] = _WHOLE
            newest[tag] = time_ns
        self._any_broken = bool(self._broken.any())
        return gaps

    def _set_back(self, tag: int, before_ns: int, time_ns: int, reason: GapReason) -> list[Gap]:
        """The gaps of a tag whose clock was set back; none where it is not known how long."""
        away_s = self._monotonic_s() - float(self._last_s[tag])
        if not away_s > 0.0:
            return []
        away_ns, name = round(away_s * NS_PER_S), self._names[tag]
        until_ns = max(before_ns, int(self._last_ns[tag])) + away_ns
        return [Gap(name, before_ns, until_ns, reason), Gap(name, time_ns - away_ns, time_ns, reason)]

    def _rename(self, names: tuple[str, ...]) -> None:
        """Start anew under another dictionary of names, keeping what is known of those that stay."""
        known = {name: at for at, name in enumerate(self._names)}
        old = np.array([known.get(name, -1) for name in names], np.intp)
        kept = old >= 0

        def moved(column: NDArray[T], empty: float) -> NDArray[T]:
            new = np.full(len(names), empty, column.dtype)
            new[kept] = column[old[kept]]
            return new

        self._time, self._value = moved(self._time, _NEVER), moved(self._value, 0.0)
        self._quality, self._broken = moved(self._quality, 0), moved(self._broken, _WHOLE)
        self._last_ns, self._last_s = moved(self._last_ns, _NEVER), moved(self._last_s, np.nan)
        self._names = names


def _equal(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Elementwise equality in which NaN equals NaN."""
    equal: NDArray[np.bool_] = (a == b) | (np.isnan(a) & np.isnan(b))
    return equal
