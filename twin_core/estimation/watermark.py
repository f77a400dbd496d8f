"""Up to which plant time the values of all tags are known; it only goes forward.

Two rules, by what a value is between two samples:

- *linear*: it lies on the straight line between them, so a tag is known up to its newest sample. A silent tag does not
  hold the time back for ever: after three of its usual intervals (at least `WAIT_LEAST_S`, at most `wait_s`) its last
  value is held, as far behind the newest sample of all as that;
- *held*: it counts until the next one. So a tag holds nothing back until its next sample is due, a usual interval after
  the last; then it is waited for until `LATENESS` of such an interval has passed, then let go until it tells again. A
  tag that tells less often than most (a meter that is polled) holds nothing back.

A usual interval is the shortest of the last four. Nothing depends on a clock, nor on how samples were cut into batches.
"""

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.measurements import NS_PER_S

WAIT_LEAST_S = 5.0
WAIT_LEAST_NS = round(WAIT_LEAST_S * NS_PER_S)
LATENESS = 1.5  # of a usual interval, since the last sample: one that is lost costs no more than the next
NEVER_NS = 2**63 - 1
LONG_AGO_NS = -(2**63)


class Watermark:
    """The watermark of some tags, by their numbers."""

    def __init__(self, count: int, wait_ns: int, *, holds: bool) -> None:
        """`holds`: values count until the next sample."""
        self.time_ns: int | None = None
        self.newest_ns = LONG_AGO_NS  # the newest time of any sample
        self._wait_ns, self._holds = wait_ns, holds
        self._known_ns = np.full(count, NEVER_NS, np.int64)  # the newest sample; never: holds nothing back
        self._usual_ns = np.zeros(count, np.int64)  # 0: not known yet
        self._patience_ns = np.zeros(count, np.int64)
        self._most_usual_ns = 0  # what most tags keep to, looked at anew once in `count` samples
        self._seen = 0
        self._slowest = 0  # the tag that held the watermark back when it was last worked out

    def see(self, time_ns: int) -> None:
        """Some sample has this time."""
        self.newest_ns = max(self.newest_ns, time_ns)

    def know(self, tag: int, time_ns: int, usual_ns: int | None) -> None:
        """The newest sample of a tag with a usable value."""
        self._known_ns[tag] = time_ns
        if usual_ns is not None:
            self._usual_ns[tag] = usual_ns
        if self._holds and self._seen == 0:
            told = self._usual_ns[self._usual_ns > 0]
            self._most_usual_ns = int(np.median(told)) if len(told) else 0
        self._seen = (self._seen + 1) % len(self._known_ns)
        self._patience_ns[tag] = self._patience_of(usual_ns)

    def _patience_of(self, usual_ns: int | None) -> int:
        if usual_ns is None:
            return self._wait_ns
        if not self._holds:
            return min(self._wait_ns, max(3 * usual_ns, WAIT_LEAST_NS))
        is_slow = 0 < self._most_usual_ns * LATENESS < usual_ns
        return 0 if is_slow else round(LATENESS * usual_ns)

    @property
    def longest_patience_ns(self) -> int:
        """For the most patiently awaited of all tags."""
        return int(self._patience_ns.max())

    def most_late_ns(self, tag: int, interval_ns: int) -> int:
        """How late a sample, `interval_ns` after the one before of its tag, may be and still count from now on."""
        return max(self._wait_ns, int(self._usual_ns[tag]) or interval_ns) if self._holds else -1

    def move(self, most_ns: int = NEVER_NS) -> None:
        """Work it out anew, after `know`; not beyond `most_ns`."""
        past_ns = self.time_ns
        # One tag that still holds the watermark back is enough to know that it stays: the others need no look.
        if past_ns is not None and self._reached_ns(self._slowest) <= past_ns:
            return
        reached_ns = self._all_reached_ns()
        # Of several the last: a row of samples mostly comes in the order of the tags.
        self._slowest = len(reached_ns) - 1 - int(np.argmin(reached_ns[::-1]))
        time_ns = min(self.newest_ns, int(reached_ns[self._slowest]), most_ns)
        if past_ns is None or time_ns > past_ns:
            self.time_ns = time_ns

    def _all_reached_ns(self) -> NDArray[np.int64]:
        if not self._holds:
            return np.maximum(self._known_ns, self.newest_ns - self._patience_ns)
        silent_ns = self.newest_ns - self._known_ns
        waits = (silent_ns >= self._usual_ns) & (silent_ns <= self._patience_ns)
        return np.where(waits, self._known_ns, NEVER_NS)

    def _reached_ns(self, tag: int) -> int:
        """As `_all_reached_ns`, of one tag."""
        known_ns, patience_ns = int(self._known_ns[tag]), int(self._patience_ns[tag])
        if not self._holds:
            return max(known_ns, self.newest_ns - patience_ns)
        return known_ns if int(self._usual_ns[tag]) <= self.newest_ns - known_ns <= patience_ns else NEVER_NS
