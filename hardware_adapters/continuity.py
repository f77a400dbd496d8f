"""What the samples of a plant leave open: what came twice is left out, what may be missing becomes a gap."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from uem.hardware_adapters.base import Break
from uem.twin_core.measurements import Gap, GapReason, Samples, is_overflow

T = TypeVar("T", bound=np.generic)

_NEVER = np.iinfo(np.int64).min
_REASONS = tuple(GapReason)
_WHOLE = 0


class Continuity:
    """The newest sample of each tag, and for which tags something may be missing behind it."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._time = np.empty(0, np.int64)
        self._value = np.empty(0)
        self._quality = np.empty(0, np.uint32)
        self._broken = np.empty(0, np.uint8)  # number of the reason, _WHOLE if nothing is missing
        self._any_broken = False

    def break_off(self, found: Break) -> None:
        """Note that samples may be lost from here on, until the next one of each tag."""
        mark = _REASONS.index(found.reason) + 1
        concerned = np.array([found.tags is None or name in found.tags for name in self._names], bool)
        self._broken[concerned & (self._time != _NEVER) & (self._broken == _WHOLE)] = mark
        self._any_broken = bool(self._broken.any())

    def follow(self, samples: Samples) -> tuple[Samples, list[Gap]]:
        """The rows that are not equal, time included, to the newest of their tag; the gaps that they close.

        A tag whose newest sample comes again has lost nothing. A row with the overflow bit tells of a loss before it.
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
            self._broken[tag] = _WHOLE
            newest[tag] = time_ns
        self._any_broken = bool(self._broken.any())
        return gaps

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
        self._names = names


def _equal(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Elementwise equality in which NaN equals NaN."""
    equal: NDArray[np.bool_] = (a == b) | (np.isnan(a) & np.isnan(b))
    return equal
