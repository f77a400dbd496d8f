"""Forecasts with bands learned from past forecasts at the same lead. Times int64 ns, values SI.

At every issue time the forecast of each lead is remembered until its valid time comes; then what was measured minus
what was forecast joins the residuals of that lead. A quantile of the forecast is its central value plus a quantile of
those residuals, of rank level * (n + 1) (split conformal prediction: with exchangeable residuals a new one lies
below it with just that probability; Vovk, Gammerman and Shafer 2005). Memory is bounded: one forecast per lead waits,
`WINDOW` residuals are kept per lead and signal.
"""

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.estimation.residuals import ENOUGH
from uem.twin_core.follow.follower import ForecastSignal
from uem.twin_core.measurements import GOOD, UNCERTAIN

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
WINDOW = 200

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ForecastSeries:
    """One signal: `valid_time_ns` and `value` of shape (n,), `quantile` of shape (n, levels)."""

    signal: str
    unit: str
    display_unit: str
    valid_time_ns: NDArray[np.int64]
    value: Array
    quantile: Array
    residual_count: int
    quality: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of an asset from the state at `issue_time_ns` on."""

    asset: str
    issue_time_ns: int
    method: str
    levels: tuple[float, ...]
    series: tuple[ForecastSeries, ...]

    def as_uncertain(self) -> "Forecast":
        """The same, with nothing better than Uncertain."""
        return replace(self, series=tuple(replace(s, quality=max(s.quality, UNCERTAIN)) for s in self.series))


class Bands:
    """Memory of past forecasts of several signals at `leads` leads of one step each."""

    def __init__(self, signals: tuple[ForecastSignal, ...], leads: int) -> None:
        self._signals = signals
        self._leads = leads
        self._residuals = np.full((leads, len(signals), WINDOW), np.nan)
        self._counts = np.zeros((leads, len(signals)), np.int64)
        self._waiting: dict[int, dict[int, Array]] = {}  # valid time -> lead -> values

    def remember(self, valid_time_ns: NDArray[np.int64], values: Array) -> None:
        """Keep a forecast, values of shape (leads, n_signals), until its valid times have come."""
        for lead, time_ns in enumerate(valid_time_ns[: self._leads].tolist()):
            self._waiting.setdefault(time_ns, {})[lead] = values[lead]

    def judge(self, time_ns: int, measured: Array) -> None:
        """Hold what was measured, shape (n_signals,), against the forecasts for this time; NaN is not judged."""
        for lead, values in self._waiting.pop(time_ns, {}).items():
            residual = measured - values
            for i in np.flatnonzero(np.isfinite(residual)):
                self._residuals[lead, i, self._counts[lead, i] % WINDOW] = residual[i]
                self._counts[lead, i] += 1

    def forget_waiting(self) -> None:
        """Drop forecasts whose time will not come: the plant was started anew."""
        self._waiting.clear()

    def count(self, signal: int, leads: int) -> int:
        """Residuals behind the first `leads` leads of a signal: the fewest of any lead."""
        counts = self._counts[: min(leads, self._leads), signal]
        return int(min(counts.min(), WINDOW))

    def quantiles(self, values: Array) -> Array:
        """Of a forecast of shape (n, n_signals), in the shape (n, n_signals, levels).

        Leads beyond those that are remembered take the residuals of the last one.
        """
        out = np.empty((*values.shape, len(LEVELS)))
        for k in range(len(values)):
            lead = min(k, self._leads - 1)
            for i, signal in enumerate(self._signals):
                n = int(min(self._counts[lead, i], WINDOW))
                offsets = (
                    _conformal(np.sort(self._residuals[lead, i, :n]))
                    if n >= ENOUGH
                    else [signal.prior_sd * NormalDist().inv_cdf(level) for level in LEVELS]
                )
                out[k, i] = np.maximum(values[k, i] + np.array(offsets), signal.low)
        return out

    def quality(self, signal: int, count: int) -> int:
        """Uncertain while a band is a prior, or reaches beyond the leads that are learned."""
        return GOOD if self.count(signal, count) >= ENOUGH and count <= self._leads else UNCERTAIN


def _conformal(ordered: Array) -> list[float]:
    """The residual of rank level * (n + 1), linear between neighbours, for every level."""
    n = len(ordered)
    found = []
    for level in LEVELS:
        rank = min(max(level * (n + 1), 1.0), float(n)) - 1.0
        low = math.floor(rank)
        high = min(low + 1, n - 1)
        found.append(float(ordered[low] + (rank - low) * (ordered[high] - ordered[low])))
    return found
