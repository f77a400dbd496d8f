"""What the sensors at nodes of a network say of the model beside them: what it is off by, and whom to believe.

A bias follows what the model is off by at a sensor, b' = b + (1 - exp(-t / T)) (measured - model - b), t the time since
the sensor's sample before; what is left then is judged. A sensor that is further off than a model may be is believed no
more: its bias fades and nothing is learnt of it. Where the model is in doubt the sensor is right, and the bias all that
the model is off by; where water stands a sensor shows the room, and the bias fades (`standing.py`).
Source: docs/models/truth.md. Arrays are by sensor, (sensors,), in K.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.estimation.residuals import RunningResiduals
from uem.twin_core.measurements import NS_PER_S

PRIOR_SD_K = 2.0  # of a node's temperature until residuals tell
SENSOR_SD_K = 0.3  # by which a sensor may stand off for good: EN 60751 class B allows 0.7 K at 80 degC
BIAS_S = 60.0  # a bias follows within: slower ones were further from the truth (docs/models/truth.md)
MOST_OFF_K = 5.0  # two prior sd of the model and 0.8 K of class B at 100 degC: further off no sensor is believed
LONGEST_S = 600.0  # for which a sample speaks: it shows one moment, and what was before it nobody saw
JUDGED_EVERY_S = 60.0  # residuals nearer to each other tell the same

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Times = NDArray[np.int64]


class Compared:
    """Sensors of some nodes beside a model; arrays are replaced, never written again."""

    def __init__(self, names: Sequence[str], time_ns: int) -> None:
        """Nothing was compared yet at `time_ns`."""
        self.names = tuple(names)
        self.bias_k: Array = np.zeros(len(names))
        self.is_far: Mask = np.zeros(len(names), np.bool_)  # further off than a model may be
        self.errors = tuple(RunningResiduals(PRIOR_SD_K) for _ in names)  # of the model, its bias taken out
        self.seen_ns: Times = np.full(len(names), time_ns)  # the newest sample,
        self.judged_ns: Times = self.seen_ns  # and when the newest residual was taken in
        self._judged: list[RunningResiduals] = []
        self.keep()

    def keep(self) -> None:
        """What is known now is what `roll_back` goes back to."""
        self._before = self.bias_k, self.is_far, self.seen_ns, self.judged_ns
        self._judged = []

    def roll_back(self) -> None:
        """Forget what was seen since `keep`."""
        self.bias_k, self.is_far, self.seen_ns, self.judged_ns = self._before
        for error in self._judged:
            error.undo()
        self._judged = []

    def take(
        self,
        warmer_k: Array,
        measured_ns: Times,
        *,
        explained_k: tuple[Array, Array],
        in_doubt: Mask,
        stands: Mask,
        judged_at_ns: int | None,
    ) -> tuple[Array, Array]:
        """Follow new samples; what may be learnt of each sensor, NaN where nothing, and for how long it speaks, s.

        Args:
            warmer_k: measured minus modelled, NaN without a new sample.
            measured_ns: of the newest sample.
            explained_k: from where to where something that is learnt may explain what a sensor is off by.
            in_doubt: where the model is in doubt.
            stands: where water stands.
            judged_at_ns: the time now; None: residuals tell nothing yet.
        """
        is_new = ~np.isnan(warmer_k)
        seen_ns = np.where(is_new, measured_ns, self.seen_ns)
        since_s = np.minimum((seen_ns - self.seen_ns) / NS_PER_S, LONGEST_S)
        self.seen_ns = seen_ns
        least_k, most_k = explained_k
        is_far = ~((least_k - MOST_OFF_K <= warmer_k) & (warmer_k <= most_k + MOST_OFF_K))
        self.is_far = np.where(is_new, is_far, self.is_far) & ~in_doubt
        tells = ~(in_doubt | self.is_far)
        off_k = warmer_k - self.bias_k
        if judged_at_ns is not None:
            self._judge(np.where(tells, off_k, math.nan), judged_at_ns)
        # What is not believed, or shows the room, is followed no more: its bias fades.
        fades = self.is_far | stands
        gain = np.where(in_doubt & ~stands, 1.0, follows(since_s, BIAS_S))
        self.bias_k = self.bias_k + np.where(is_new, gain * np.where(fades, -self.bias_k, off_k), 0.0)
        return np.where(tells, warmer_k, math.nan), since_s

    def _judge(self, off_k: Array, now_ns: int) -> None:
        """Take in what the corrected model is off by, before it is corrected anew; each sensor in its own time."""
        is_due = ~np.isnan(off_k) & (now_ns - self.judged_ns >= JUDGED_EVERY_S * NS_PER_S)
        self.judged_ns = np.where(is_due, now_ns, self.judged_ns)
        for k in np.flatnonzero(is_due).tolist():
            self.errors[k].add(float(off_k[k]))
            self._judged.append(self.errors[k])

    @property
    def standard_deviation_k(self) -> Array:
        """Of the corrected model at each sensor."""
        return np.array([math.hypot(error.standard_deviation, SENSOR_SD_K) for error in self.errors])

    def model_sd_k(self, in_doubt: Mask) -> float:
        """Of the model where no sensor is: how far it is off at those that tell of it."""
        tells = ~(in_doubt | self.is_far)
        offs_k = np.hypot(self.bias_k, self.standard_deviation_k)[tells]
        return float(np.sqrt(np.mean(np.square(offs_k)))) if len(offs_k) else PRIOR_SD_K


def follows(since_s: Array, within_s: float) -> Array:
    """Gain of a lag that is followed by samples: the same in the end, however often they come."""
    gain: Array = -np.expm1(-since_s / within_s)
    return gain
