"""What customers take: by their own meters, and of one whose meter is dead by what the others take now.

    x_i = usual_i * load,    load = sum of x / sum of usual, of the same kind of heat, over the meters that live

`usual` follows what a living meter shows over the load, within about an hour; of one that was never seen it is what the
file says. The spread about it is how wrong an estimate may be. W; arrays are by meter, (meters,).
"""

from collections.abc import Sequence
from copy import copy
from typing import Self

import numpy as np
from numpy.typing import NDArray

USUAL_S = 3600.0
PRIOR_PART, PRIOR_S = 0.5, 600.0  # spread as a part of what the file says, and for how long that counts as seen
LEAST_PART = 0.5  # of what all take must be metered, or the load stays as it was

Array = NDArray[np.float64]


class Customers:
    """Meters of customers, what they showed, and what is believed of those that are dead."""

    def __init__(self, kinds: Sequence[str], usual_w: Sequence[float]) -> None:
        """`kinds` of the heat of each meter, such as hot water; `usual_w`: what the file says of it."""
        names = [*dict.fromkeys(kinds)]
        self._kind = np.array([names.index(kind) for kind in kinds], np.intp)
        self._usual_w = np.array(usual_w, np.float64)
        self._spread_w2 = (PRIOR_PART * self._usual_w) ** 2
        self._load = np.ones(len(names))
        self._seen_s = np.zeros(len(kinds))
        self._told = np.zeros(len(kinds), np.bool_)
        self.heat_w: Array = self._usual_w  # by the meter, or believed

    @property
    def usual_w(self) -> Array:
        """What each usually takes at the present load."""
        return np.asarray(self._usual_w * self._load[self._kind])

    @property
    def standard_deviation_w(self) -> Array:
        """Of what is believed; 0 where a meter lives."""
        return np.where(self._told, 0.0, np.sqrt(self._spread_w2) * self._load[self._kind])

    @property
    def told_part(self) -> float:
        """Of what all take, what living meters show."""
        usual_w = self.usual_w
        return float(usual_w[self._told].sum() / usual_w.sum()) if usual_w.any() else float(self._told.all())

    def copy(self) -> Self:
        """The same, to go back to; arrays are replaced, never written again."""
        return copy(self)

    def take(self, shown_w: Array, dt_s: float) -> None:
        """What meters show, NaN of a dead one; what they showed for `dt_s` is learnt from."""
        self._told = np.isfinite(shown_w)
        shown_w = np.where(self._told, np.maximum(shown_w, 0.0), 0.0)
        living_w, all_w = self._by_kind(self._told * self._usual_w), self._by_kind(self._usual_w)
        known = (living_w > 0.0) & (living_w >= LEAST_PART * all_w)
        self._load = np.where(known, self._by_kind(shown_w) / np.where(known, living_w, 1.0), self._load)
        if dt_s > 0.0:
            self._learn(shown_w, dt_s)
        self.heat_w = np.where(self._told, shown_w, self.usual_w)

    def _by_kind(self, heat_w: Array) -> Array:
        return np.asarray(np.bincount(self._kind, heat_w, len(self._load)), np.float64)

    def _learn(self, shown_w: Array, dt_s: float) -> None:
        load = self._load[self._kind]
        learns = self._told & (load > 0.0)
        off_w = np.where(learns, shown_w / np.where(learns, load, 1.0) - self._usual_w, 0.0)
        seen_s = np.minimum(self._seen_s, USUAL_S)
        spread_gain = learns * dt_s / (seen_s + PRIOR_S + dt_s)
        self._spread_w2 = self._spread_w2 + spread_gain * (off_w**2 - self._spread_w2)
        self._usual_w = self._usual_w + learns * dt_s / (seen_s + dt_s) * off_w
        self._seen_s = self._seen_s + learns * dt_s
