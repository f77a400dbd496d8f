"""Bands that hold under drift: each quantile of the residuals is tracked per lead and signal. Times int64 ns.

A quantile lies factor * scale * spread above the central forecast; the scale is the recent mean absolute residual of
the lead, in units of the spread that the forecast itself had, 1 where it tells none.
After each judged forecast the factor of a level moves up by gain * level if the residual lay above the quantile and
down by gain * (1 - level) if it lay below: the gradient of the pinball loss. The share of residuals below the quantile
then goes to the level whatever their order (Gibbs and Candes 2021; quantile tracking of Angelopoulos, Candes and
Tibshirani 2023). Until residuals are there scale and factors are those of a wide normal prior.
"""

import math
from collections.abc import Mapping
from copy import copy
from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput

LEVELS = (0.1, 0.5, 0.9)
GAIN = 0.02  # of the factors and the scale, per judged forecast
FIRST_GAIN = 2.0  # over the number of judged forecasts, while that is larger: the prior is left soon
NORMAL = math.sqrt(math.pi / 2.0)  # standard deviation of a normal variable over its mean absolute value

Array = NDArray[np.float64]


class AdaptiveBands:
    """Quantiles around central forecasts of n signals: factors (leads, n, levels) of scales (leads, n)."""

    def __init__(
        self, leads: int, prior_sd: Array, *, gain: float | Array = GAIN, levels: tuple[float, ...] = LEVELS
    ) -> None:
        """`prior_sd` of shape (n,): a wide guess at the standard deviation of a residual, at any lead.

        `gain`: one, or that of each lead and signal, (leads, n).

        Raises:
            InvalidInput: a prior, the gain or a level that cannot be.
        """
        if not (np.isfinite(prior_sd).all() and (prior_sd > 0.0).all()):
            raise InvalidInput("standard deviations before any forecast is judged must be positive")
        self._gain = np.broadcast_to(np.asarray(gain, np.float64), (leads, len(prior_sd)))
        if not ((self._gain > 0.0) & (self._gain < 1.0)).all():
            raise InvalidInput(f"gain {gain} of a quantile tracker; it must lie between 0 and 1")
        if list(levels) != sorted(set(levels)) or not all(0.0 < level < 1.0 for level in levels):
            raise InvalidInput(f"levels {levels} must rise, between 0 and 1")
        self.levels = levels
        self._level = np.array(levels)
        normal = NORMAL * np.array([NormalDist().inv_cdf(level) for level in levels])
        self._factor = np.broadcast_to(normal, (leads, len(prior_sd), len(levels))).copy()
        self._scale = np.broadcast_to(prior_sd / NORMAL, (leads, len(prior_sd))).copy()
        self._count = np.zeros((leads, len(prior_sd)), np.int64)
        self._waiting: dict[int, list[tuple[int, Array, Array]]] = {}  # valid time -> (lead, values, spread)

    @property
    def count(self) -> NDArray[np.int64]:
        """Judged forecasts by lead and signal."""
        return self._count.copy()

    def remember(self, valid_time_ns: NDArray[np.int64], values: Array, spread: Array | None = None) -> None:
        """Keep a forecast, values of shape (leads, n), until its valid times have come.

        `spread` of the same shape: what its own ensemble says; where it is 0 nothing is uncertain and none is judged.
        """
        spread = np.ones_like(values) if spread is None else spread
        for lead, time_ns in enumerate(valid_time_ns[: len(self._factor)].tolist()):
            self._waiting.setdefault(time_ns, []).append((lead, values[lead].copy(), spread[lead].copy()))

    def judge(self, time_ns: int, measured: Array) -> None:
        """Hold what was measured, shape (n,), against the forecasts for this time; NaN is not judged."""
        found = self._waiting.pop(time_ns, [])
        if not found:
            return
        leads = np.array([lead for lead, *_ in found])
        residual = measured - np.array([values for _, values, _ in found])  # (judged leads, n)
        spread = np.array([spread for *_, spread in found])
        known = np.isfinite(residual) & (spread > 0.0)
        residual = np.where(known, residual, 0.0) / np.where(known, spread, 1.0)
        count = self._count[leads] + known
        gain = np.maximum(self._gain[leads], FIRST_GAIN / (FIRST_GAIN + 1.0 + count)) * known
        scale, factor = self._scale[leads], self._factor[leads]
        below = residual[..., None] < factor * scale[..., None]
        factor = np.sort(factor + gain[..., None] * (self._level - below), axis=-1)
        scale = scale + gain * (np.abs(residual) - scale)
        self._factor[leads], self._scale[leads], self._count[leads] = factor, scale, count

    def learned(self) -> Self:
        """A copy that has no forecast to judge: for another thread."""
        found = copy(self)
        found._waiting = {}
        found._factor, found._scale, found._count = self._factor.copy(), self._scale.copy(), self._count.copy()
        return found

    def record(self) -> dict[str, Array]:
        """What was learned: `factor` (leads, n, levels), `scale` and `count` (leads, n)."""
        return {"factor": self._factor.copy(), "scale": self._scale.copy(), "count": self._count.astype(np.float64)}

    def recall(self, record: Mapping[str, Array]) -> None:
        """Know what others of this shape had learned; forecasts that wait to be judged stay.

        Raises:
            InvalidInput: the record is of bands of another shape, or not one at all.
        """
        found = [record.get(name, np.empty(0)) for name in ("factor", "scale", "count")]
        factor, scale, count = found
        fits = [each.shape for each in found] == [self._factor.shape, self._scale.shape, self._count.shape]
        if not (fits and all(np.isfinite(each).all() for each in found) and (scale >= 0.0).all()):
            raise InvalidInput(
                f"a record of bands that are not those of {self._factor.shape} leads, signals and levels"
            )
        self._factor, self._scale, self._count = factor.copy(), scale.copy(), count.astype(np.int64)

    def forget_waiting(self) -> None:
        """Drop forecasts whose time will not come."""
        self._waiting.clear()

    def quantiles(self, values: Array, low: float | Array = -np.inf, spread: Array | None = None) -> Array:
        """Of a forecast of shape (k, n), in the shape (k, n, levels), rising with the level.

        None lies below `low`: one number, or (n, 1). Leads beyond those that are tracked take those of the last one.
        """
        lead = np.minimum(np.arange(len(values)), len(self._factor) - 1)
        scale = self._scale[lead] if spread is None else self._scale[lead] * spread
        return np.maximum(values[..., None] + self._factor[lead] * scale[..., None], low)
