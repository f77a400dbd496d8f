"""Forecasts whose followers run many futures: the band of each time is as wide as they part, times what was learned.

Judged on a fixed grid of plant times, as in `hold.py`, and issued on it every hour. The spread of the futures says when
much is uncertain and when little; by how much reality parts from them, the factors of `adaptive.py` learn, per lead,
signal and level.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput, ModelFailure
from uem.twin_core.estimation.intake import Intake
from uem.twin_core.estimation.residuals import ENOUGH
from uem.twin_core.follow.follower import ForkingFollower
from uem.twin_core.forecast.adaptive import GAIN, AdaptiveBands
from uem.twin_core.forecast.bands import Forecast, ForecastSeries
from uem.twin_core.forecast.hold import step_count
from uem.twin_core.measurements import GOOD, NS_PER_S, UNCERTAIN

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
EVERY_S = 3600.0  # is one issued that the bands learn from
MOST_GAIN = 0.2
PRIOR = 1.5  # by which futures part less than reality, until past forecasts tell

Array = NDArray[np.float64]
_Future: TypeAlias = tuple[int, NDArray[np.int64], Array, Array]


class ForkForecaster:
    """Issues forecasts of one follower and learns their bands."""

    def __init__(self, follower: ForkingFollower, every_s: float = EVERY_S) -> None:
        """`every_s`: plant time between the forecasts that the bands learn from."""
        self._follower = follower
        self._step_ns = round(follower.forecast_step_s * NS_PER_S)
        self._every = max(1, round(every_s * NS_PER_S / self._step_ns))
        self._leads = max(1, int(follower.forecast_horizon_s / follower.forecast_step_s))
        prior = np.full(len(follower.forecast_signals), PRIOR)
        # Gains are those of an hourly issue, so that a band forgets in as many days however often it learns.
        hourly = min(GAIN * self._every * self._step_ns / (3600 * NS_PER_S), MOST_GAIN)
        lead_s = follower.forecast_step_s * np.arange(1.0, self._leads + 1.0)
        gain = hourly / (1.0 + lead_s[:, None] / [signal.weather_s for signal in follower.forecast_signals])
        self._bands = AdaptiveBands(self._leads, prior, gain=gain, levels=LEVELS)
        self._news = 0  # how often it began, or heard of what it knew nothing of
        self._given: tuple[int, _Future] | None = None  # the newest that was asked for, and after how many news

    @property
    def learned_of(self) -> str:
        """See Learner: bands are in units of the spread that a signal has."""
        signals = [(s.signal.name, s.signal.unit, s.prior_sd, s.weather_s) for s in self._follower.forecast_signals]
        return repr((signals, self._leads, self._step_ns, self._every, LEVELS, GAIN))

    def learned(self) -> dict[str, Array]:
        """See Learner."""
        return {f"bands/{name}": array for name, array in self._bands.record().items()}

    def recall(self, arrays: Mapping[str, Array], time_ns: int) -> None:
        """See Learner; forecasts that wait to be judged stay."""
        found = {name.removeprefix("bands/"): array for name, array in arrays.items() if name.startswith("bands/")}
        self._bands.recall(found)

    def start(self, time_ns: int) -> None:
        """The twin starts at this time; forecasts on the way are dropped, what was learned stays."""
        self._bands.forget_waiting()
        self._origin_ns = time_ns
        self._news += 1

    def hear(self, forecast: Forecast) -> None:
        """What is expected of another asset. One that was given without knowing anything of it is not given again."""
        hear = self._follower.hear
        news = [hear(forecast.asset, s.signal, s.valid_time_ns, s.value) for s in forecast.series]
        if any(news):
            self._news += 1

    def tick(self, intake: Intake, time_ns: int) -> bool:
        """Judge if this time is on the grid, and issue if it is its turn; whether it was."""
        number, off_ns = divmod(time_ns - self._origin_ns, self._step_ns)
        if off_ns:
            return False
        self._bands.judge(time_ns, self._follower.observe(intake, time_ns))
        if number % self._every:
            return False
        valid, values, spread = self._fork(intake, time_ns, self._leads)()
        self._bands.remember(valid, values, spread)
        self._newest = valid, values, spread
        return True

    def issued(self, intake: Intake, time_ns: int) -> Forecast:
        """The forecast that the last `tick` issued."""
        return self._tell(intake, time_ns)(time_ns, *self._newest)

    def forecast(self, intake: Intake, time_ns: int, horizon_s: float | None) -> Callable[[], Forecast]:
        """See HoldForecaster; what is returned runs the futures."""
        horizon_s = self._follower.forecast_horizon_s if horizon_s is None else horizon_s
        count, fresh_ns = step_count(horizon_s, self._step_ns), round(self._follower.forecast_fresh_s * NS_PER_S)
        news, tell = self._news, self._tell(intake, time_ns)
        if self._given is not None and self._given[0] == news:
            given = self._given[1]
            if fresh_ns and count == len(given[1]) and 0 <= time_ns - given[0] <= fresh_ns:
                return partial(tell, *given)
        run = self._fork(intake, time_ns, count)

        def work() -> Forecast:
            found = time_ns, *run()
            if news == self._news:
                self._given = news, found
            return tell(*found)

        return work

    def _fork(self, intake: Intake, time_ns: int, count: int) -> Callable[[], tuple[NDArray[np.int64], Array, Array]]:
        with self._faults_of_the_model():
            run = self._follower.fork(intake, time_ns, self._step_ns / NS_PER_S, count)

        def futures() -> tuple[NDArray[np.int64], Array, Array]:
            with self._faults_of_the_model():
                values, spread = run()
            return time_ns + self._step_ns * np.arange(1, count + 1, dtype=np.int64), values, spread

        return futures

    @contextmanager
    def _faults_of_the_model(self) -> Iterator[None]:
        try:
            yield
        except InvalidInput as error:  # not of who asks
            raise ModelFailure(f"asset {self._follower.name}: {error}") from error

    def _tell(self, intake: Intake, time_ns: int) -> Callable[[int, NDArray[np.int64], Array, Array], Forecast]:
        """What makes a forecast of futures, by what is known and was learned now."""
        judged = np.isfinite(self._follower.observe(intake, time_ns))
        method = f"{self._follower.forecast_method}; {self._follower.forecast_band}."
        return partial(self._told, judged, method, self._bands.learned())

    def _told(
        self,
        judged: NDArray[np.bool_],
        method: str,
        bands: AdaptiveBands,
        time_ns: int,
        valid: NDArray[np.int64],
        values: Array,
        spread: Array,
    ) -> Forecast:
        follower, count = self._follower, len(valid)
        low = np.array([[signal.low] for signal in follower.forecast_signals])
        quantiles = bands.quantiles(values, low, spread)
        learned = bands.count[: min(count, self._leads)].min(axis=0)
        series = tuple(
            ForecastSeries(
                signal=s.signal.name,
                unit=s.signal.unit,
                display_unit=s.signal.display_unit,
                valid_time_ns=valid,
                value=values[:, i],
                quantile=quantiles[:, i],
                residual_count=int(learned[i]),
                quality=GOOD if judged[i] and learned[i] >= ENOUGH and count <= self._leads else UNCERTAIN,
            )
            for i, s in enumerate(follower.forecast_signals)
        )
        return Forecast(follower.name, time_ns, method, LEVELS, series)
