"""The first honest forecast: the model goes on with its inputs held; its band is what past forecasts were off by.

Issued on a fixed grid of plant times, so that every lead collects residuals (`bands.py`). A signal that cannot be
judged at the issue time, as a sensor in standing water, teaches nothing, and its forecast is Uncertain.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput, ModelFailure
from uem.twin_core.estimation.intake import Intake
from uem.twin_core.follow.follower import Follower
from uem.twin_core.forecast.bands import LEVELS, Bands, Forecast, ForecastSeries
from uem.twin_core.measurements import NS_PER_S, UNCERTAIN

LONGEST_S = 86_400.0
MOST_LEADS = 20_000
BAND = "band: quantiles of the residuals of past forecasts at the same lead."


def step_count(horizon_s: float, step_ns: int) -> int:
    """Steps up to a horizon; InvalidInput when it is not positive, longer than a day or finer than can be answered."""
    if not 0.0 < horizon_s <= LONGEST_S:
        raise InvalidInput(f"horizon {horizon_s} s; it must be positive and at most {LONGEST_S:.0f} s (24 h)")
    count = max(1, round(horizon_s * NS_PER_S / step_ns))
    if count > MOST_LEADS:
        raise InvalidInput(
            f"horizon {horizon_s} s in steps of {step_ns / NS_PER_S} s: {count} values per signal; at most {MOST_LEADS}"
        )
    return count


class HoldForecaster:
    """Issues forecasts of one follower and learns their bands."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._step_ns = round(follower.forecast_step_s * NS_PER_S)
        self._leads = max(1, int(follower.forecast_horizon_s / follower.forecast_step_s))
        self._bands = Bands(follower.forecast_signals, self._leads)

    def start(self, time_ns: int) -> None:
        """The twin starts at this time; forecasts on the way are dropped, what was learned stays."""
        self._bands.forget_waiting()
        self._origin_ns = time_ns

    def tick(self, intake: Intake, time_ns: int) -> bool:
        """Judge and issue if this time is on the grid; whether it is."""
        if (time_ns - self._origin_ns) % self._step_ns:
            return False
        measured = self._follower.observe(intake, time_ns)
        self._bands.judge(time_ns, measured)
        valid, values = self._central(intake, time_ns, self._leads)
        self._bands.remember(valid, np.where(np.isfinite(measured), values, np.nan))
        return True

    def _central(self, intake: Intake, time_ns: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        step_s = self._step_ns / NS_PER_S
        try:
            values = self._follower.project(intake, time_ns, step_s, count)
        except InvalidInput as error:  # of the model, not of who asks
            raise ModelFailure(f"asset {self._follower.name}: {error}") from error
        return time_ns + self._step_ns * np.arange(1, count + 1, dtype=np.int64), values

    def forecast(self, intake: Intake, time_ns: int, horizon_s: float | None) -> Callable[[], Forecast]:
        """The forecast from the present state; by default over the asset's own horizon.

        What is returned gives it, in any thread; the twin may have gone on by then.

        Raises:
            InvalidInput: the horizon is not positive, longer than a day or finer than can be answered.
            ModelFailure: the model refuses to go on from its state.
        """
        horizon = self._follower.forecast_horizon_s if horizon_s is None else horizon_s
        count = step_count(horizon, self._step_ns)
        valid, values = self._central(intake, time_ns, count)
        judged = np.isfinite(self._follower.observe(intake, time_ns))
        quantiles = self._bands.quantiles(values)
        series = tuple(
            ForecastSeries(
                signal=s.signal.name,
                unit=s.signal.unit,
                display_unit=s.signal.display_unit,
                valid_time_ns=valid,
                value=values[:, i],
                quantile=quantiles[:, i],
                residual_count=self._bands.count(i, count),
                quality=self._bands.quality(i, count) if judged[i] else UNCERTAIN,
            )
            for i, s in enumerate(self._follower.forecast_signals)
            if np.isfinite(values[:, i]).all()
        )
        method = f"{self._follower.forecast_method}; {BAND}"
        return partial(Forecast, self._follower.name, time_ns, method, LEVELS, series)
