"""How the supply temperature of a network follows the weather, learned from what was seen of both.

    T_supply = c + sum_j b_j x_j,    x: outdoor temperature, and that behind first-order lags

b by least squares over the time that was seen, what is old for less. Lags stand for controllers that damp what they
measure, and for people who set by hand what yesterday was like. Temperatures in K.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput

LAGS_S = tuple(hours * 3600.0 for hours in (3, 6, 12, 24, 48))  # half-lives
HALF_LIFE_S = 40 * 86_400.0  # of what was seen, as that of demand
# As if for so long outdoor temperatures that scatter by so much had changed nothing: until more is known, nothing does.
PRIOR_S, PRIOR_SD_K = 8640.0, 3.0

Array = NDArray[np.float64]
_COUNT = 2 + len(LAGS_S)  # 1, outdoor temperature and its lags


@dataclass(frozen=True, slots=True, eq=False)
class HeatingCurve:
    """What is known of it; `see` gives the next one."""

    outdoor_k: Array | None = None  # now and behind its lags, (1 + lags,)
    seen: Array | None = None  # sums over time, in s, of products of 1, outdoor temperatures and the supply temperature
    unseen_s: float = 0.0  # for so long nobody told how it was: lags go by what is told next

    def see(self, outdoor_k: float, supply_k: float, dt_s: float) -> "HeatingCurve":
        """How it was for `dt_s`; a supply temperature of NaN tells nothing, the outdoor one is finite."""
        if self.outdoor_k is None:
            now_k = np.full(1 + len(LAGS_S), outdoor_k)
        else:
            now_k = outdoor_k + _kept(dt_s + self.unseen_s) * (self.outdoor_k - outdoor_k)
        if not np.isfinite(supply_k):
            return replace(self, outdoor_k=now_k, unseen_s=0.0)
        row = np.concatenate([[1.0], now_k, [supply_k]])
        before = np.zeros((_COUNT + 1, _COUNT + 1)) if self.seen is None else self.seen
        return HeatingCurve(now_k, 0.5 ** (dt_s / HALF_LIFE_S) * before + dt_s * np.outer(row, row))

    def after(self, unseen_s: float) -> "HeatingCurve":
        """The same, `unseen_s` later; infinity: nobody knows when, so lags begin with what is told next."""
        outdoor_k = self.outdoor_k if np.isfinite(unseen_s) else None
        return HeatingCurve(outdoor_k, self.seen, unseen_s if outdoor_k is not None else 0.0)

    def record(self) -> dict[str, Array]:
        """What was learned, as arrays: `outdoor` (1 + lags,) and `seen`, square; empty ones where there is nothing."""
        found = {"outdoor": self.outdoor_k, "seen": self.seen}
        return {name: np.empty(0) if array is None else array for name, array in found.items()}

    @classmethod
    def recalled(cls, record: Mapping[str, Array]) -> "HeatingCurve":
        """That of a record; InvalidInput when it is none."""
        outdoor_k, seen = (record.get(name, np.full(1, np.nan)) for name in ("outdoor", "seen"))
        shapes = (1 + len(LAGS_S),), (_COUNT + 1, _COUNT + 1)
        for array, shape in zip((outdoor_k, seen), shapes, strict=True):
            if array.size and (array.shape != shape or not np.isfinite(array).all()):
                raise InvalidInput(
                    f"a record of a heating curve with an array {array.shape} where {shape} was expected"
                )
        return cls(outdoor_k.copy() if outdoor_k.size else None, seen.copy() if seen.size else None)

    @property
    def slopes(self) -> Array:
        """Of the supply temperature on the outdoor one now and behind its lags, (1 + lags,), K/K."""
        if self.seen is None:
            return np.zeros(1 + len(LAGS_S))
        mean = self.seen[0] / self.seen[0, 0]
        scatter = (self.seen - self.seen[0, 0] * np.outer(mean, mean))[1:, 1:]
        return np.linalg.solve(scatter[:-1, :-1] + PRIOR_S * PRIOR_SD_K**2 * np.eye(_COUNT - 1), scatter[:-1, -1])

    def change_k(self, ahead_k: Array, step_s: float) -> Array:
        """By how much the supply temperature will differ from now, after steps that end with these outdoor ones."""
        if self.outdoor_k is None:
            return np.zeros(len(ahead_k))
        slopes, kept, now_k = self.slopes, _kept(step_s), self.outdoor_k
        found = np.empty(len(ahead_k))
        for k, outdoor_k in enumerate(ahead_k.tolist()):
            now_k = outdoor_k + kept * (now_k - outdoor_k)
            found[k] = slopes @ (now_k - self.outdoor_k)
        return found


def _kept(dt_s: float) -> Array:
    """Of the difference to a new outdoor temperature, after a step; nothing by the temperature itself."""
    return np.array([0.0, *(0.5 ** (dt_s / lag_s) for lag_s in LAGS_S)])
