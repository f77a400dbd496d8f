"""A clock at the plant held against ours: how far it is ahead, whether it jumped, how fast it drifts.

A stamp reaches us late, by a delay that is never negative, so the least delay of a while tells the offset of the two
clocks: the lower envelope of received - stamped. A delay that is suddenly less can only be a jump of the clock. One
that is suddenly more and stays so is taken for a jump too, since a plant that holds its samples back looks the same.

Our own time is kept by the monotonic clock from the start on. So a jump of our own clock is told as ours, and does not
look like one of every plant.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum

import numpy as np

NS_PER_S = 1_000_000_000
FUTURE_S = 60.0  # a stamp further ahead of our clock is not believed


class ClockState(StrEnum):
    """What is known of a clock at a plant."""

    UNKNOWN = "unknown"  # too few samples so far
    OK = "ok"
    DRIFTING = "drifting"
    JUMPED = "jumped"  # a while ago
    FUTURE = "future"  # ahead of ours by more than is believed
    RECORDED = "recorded"  # of a recording, which has a time of its own


class OurClock:
    """Our time in ns UTC, which goes on evenly; jumps of the system's clock are followed and counted."""

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        jump_s: float = 1.0,
    ) -> None:
        """`jump_s`: a smaller difference is the system correcting its clock, which is followed without a word."""
        self.jumps = 0
        self.shift_ns = 0  # all jumps together
        self._wall_ns, self._monotonic_ns = wall_ns, monotonic_ns
        self._jump_ns = round(jump_s * NS_PER_S)
        self._ahead_ns = wall_ns() - monotonic_ns()

    def now_ns(self) -> int:
        """The time now; after a jump that of the new setting."""
        monotonic_ns = self._monotonic_ns()
        ahead_ns = self._wall_ns() - monotonic_ns
        if abs(ahead_ns - self._ahead_ns) > self._jump_ns:
            self.jumps += 1
            self.shift_ns += ahead_ns - self._ahead_ns
        self._ahead_ns = ahead_ns
        return monotonic_ns + ahead_ns

    def monotonic_s(self) -> float:
        """For measuring spans."""
        return self._monotonic_ns() / NS_PER_S


class ClockWatch:
    """Follows one clock by its stamps; all spans by the monotonic clock."""

    def __init__(
        self,
        ours: OurClock,
        *,
        window_s: float = 5.0,
        jump_s: float = 2.0,
        drift_ppm: float = 200.0,
        jumped_for_s: float = 600.0,
        is_recorded: bool = False,
    ) -> None:
        """A jump of more than `jump_s` is seen after two to three windows; drift above `drift_ppm` is told."""
        self.jumps = 0
        self._ours = ours
        self._window_s, self._jump_s = window_s, jump_s
        self._drift_ppm, self._jumped_for_s = drift_ppm, jumped_for_s
        self._is_recorded = is_recorded
        self._shift_ns = ours.shift_ns
        self._jumped_at_s = -math.inf
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._window_begin_s: float | None = None
        self._delay_s, self._count = math.inf, 0  # least delay of the window, and of how many stamps
        self._level_s: float | None = None  # the least delay before
        self._candidate_s: float | None = None  # that of a window which does not fit to it
        self._line: deque[tuple[float, float]] = deque(maxlen=120)  # our time and least delay, of a line's windows
        self._coarse_s = math.inf
        self._coarse_count = 0

    @property
    def offset_s(self) -> float:
        """How far the clock is ahead of ours, at least; NaN as long as it is not known."""
        return math.nan if self._level_s is None or self._is_recorded else -self._level_s

    @property
    def drift_ppm(self) -> float:
        """How much too fast the clock runs; NaN before a hundred windows."""
        return self._drift()[0]

    def _drift(self) -> tuple[float, float]:
        """The drift in ppm and its standard error, by a straight line through the least delays."""
        if len(self._line) < 10 or self._is_recorded:
            return math.nan, math.nan
        at_s, delay_s = np.array(self._line).T
        at_s, delay_s = at_s - at_s.mean(), delay_s - delay_s.mean()
        slope = float(at_s @ delay_s / (at_s @ at_s))
        left_s = delay_s - slope * at_s
        return -1e6 * slope, 1e6 * math.sqrt(float(left_s @ left_s / (at_s @ at_s)) / (len(at_s) - 2))

    @property
    def state(self) -> ClockState:
        """In one word."""
        if self._is_recorded:
            return ClockState.RECORDED
        if self._level_s is None:
            return ClockState.UNKNOWN
        if -self._level_s > FUTURE_S:
            return ClockState.FUTURE
        if self._ours.monotonic_s() - self._jumped_at_s < self._jumped_for_s:
            return ClockState.JUMPED
        drift_ppm, error_ppm = self._drift()
        return ClockState.DRIFTING if abs(drift_ppm) > max(self._drift_ppm, 3 * error_ppm) else ClockState.OK

    def observe(self, stamped_ns: int) -> None:
        """A stamp that has just come; the newest one of many is enough."""
        received_ns, now_s = self._ours.now_ns(), self._ours.monotonic_s()
        if self._ours.shift_ns != self._shift_ns:  # ours jumped, all delays with it
            self._shift_ns = self._ours.shift_ns
            self._begin_anew()
        if self._window_begin_s is None:
            self._window_begin_s = now_s
        self._delay_s = min(self._delay_s, (received_ns - stamped_ns) / NS_PER_S)
        self._count += 1
        if self._count >= 3 and now_s - self._window_begin_s >= self._window_s:
            delay_s, self._delay_s, self._count, self._window_begin_s = self._delay_s, math.inf, 0, now_s
            self._judge(delay_s, now_s)

    def _judge(self, delay_s: float, now_s: float) -> None:
        """The least delay of a window, against the windows before."""
        if self._level_s is None or abs(delay_s - self._level_s) <= self._jump_s:
            self._candidate_s = None
            self._follow(delay_s, now_s)
        elif self._candidate_s is None or abs(delay_s - self._candidate_s) > self._jump_s:
            self._candidate_s = delay_s
        else:
            self.jumps += 1
            self._jumped_at_s = now_s
            self._begin_anew()
            self._level_s = delay_s

    def _follow(self, delay_s: float, now_s: float) -> None:
        self._level_s = delay_s
        self._coarse_s, self._coarse_count = min(self._coarse_s, delay_s), self._coarse_count + 1
        if self._coarse_count == 10:
            self._line.append((now_s, self._coarse_s))
            self._coarse_s, self._coarse_count = math.inf, 0
