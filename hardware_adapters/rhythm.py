"""How often a plant usually speaks, by our clock: without that nobody can tell whether it is silent."""

import math
import statistics
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from uem.twin_core.measurements import Samples

_BATCHES = 31


class Rhythm:
    """The usual interval between samples of one tag, of the tags that a plant tells most often."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._names: tuple[str, ...] = ()
        self._heard_s = np.empty(0)  # when each tag came last
        self._interval_s = np.empty(0)  # between its last two samples
        self._shortest_s: deque[float] = deque(maxlen=_BATCHES)  # of the tags of each batch

    @property
    def usual_interval_s(self) -> float:
        """The median of the last batches; NaN as long as no tag came twice."""
        return statistics.median(self._shortest_s) if self._shortest_s else math.nan

    def follow(self, samples: Samples) -> None:
        """Take a batch that has just come. Of two intervals of a tag the shorter counts: one may be an outage."""
        if samples.names != self._names:
            self._names = samples.names
            self._heard_s, self._interval_s = np.full((2, len(samples.names)), np.nan)
        tag, now_s = samples.tag, self._monotonic_s()
        interval_s = now_s - self._heard_s[tag]
        shorter_s = np.fmin(interval_s, self._interval_s[tag])
        self._heard_s[tag], self._interval_s[tag] = now_s, interval_s
        shortest_s = float(np.fmin.reduce(shorter_s, initial=np.nan))
        if not math.isnan(shortest_s):
            self._shortest_s.append(shortest_s)
