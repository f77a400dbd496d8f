"""What the recent past says of an estimate: median and spread of measured minus estimated.

Robust: half of the window may be nonsense before the figures are. Spread = 1.4826 times the median absolute deviation
(Rousseeuw and Croux 1993), the standard deviation of a normal law.
"""

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

MAD_TO_SD = 1.4826
LEAST_PART = 0.02  # of the prior: no spread is smaller
ENOUGH = 20  # with fewer residuals the figures are the prior


class RunningResiduals:
    """The last residuals of one signal, at most `window` of them; `prior_sd` stands in while they are few."""

    def __init__(self, prior_sd: float, window: int = 200) -> None:
        self._prior_sd = prior_sd
        self._residuals: deque[float] = deque(maxlen=window)
        self._bias, self._spread = 0.0, prior_sd
        self._before: tuple[float | None, float, float] | None = None  # residual that left the window, bias, spread

    @property
    def count(self) -> int:
        """How many residuals the figures rest on."""
        return len(self._residuals)

    @property
    def bias(self) -> float:
        """Median of the residuals; 0 while they are few."""
        return self._bias

    @property
    def standard_deviation(self) -> float:
        """Of the estimate's error: spread and bias together, since the bias is not taken out of the estimate."""
        return math.hypot(self._bias, self._spread)

    def add(self, residual: float) -> None:
        """Take in measured minus estimated."""
        is_full = len(self._residuals) == self._residuals.maxlen
        self._before = self._residuals[0] if is_full else None, self._bias, self._spread
        self._residuals.append(residual)
        if len(self._residuals) >= ENOUGH:
            known = np.fromiter(self._residuals, np.float64, len(self._residuals))
            median = _median(known)
            self._bias = median
            spread = MAD_TO_SD * _median(np.abs(known - median))
            self._spread = max(spread, LEAST_PART * self._prior_sd)  # sensors that step can agree to the last digit

    def undo(self) -> None:
        """Forget the last residual again; nothing to do twice in a row."""
        if self._before is None:
            return
        dropped, self._bias, self._spread = self._before
        self._before = None
        self._residuals.pop()
        if dropped is not None:
            self._residuals.appendleft(dropped)


def _median(values: NDArray[np.float64]) -> float:
    """As np.median tells it, which takes many times as long for so few."""
    ordered = np.sort(values)  # NaN last
    last, middle = float(ordered[-1]), len(ordered) // 2
    if math.isnan(last):
        return last
    return float(ordered[middle]) if len(ordered) % 2 else (float(ordered[middle - 1]) + float(ordered[middle])) / 2.0
