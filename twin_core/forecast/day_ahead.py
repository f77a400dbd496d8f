"""Heat demand of a network a day ahead in quarter hours, of all its stations together and of groups of them.

Takes the mean of each quarter hour as it ends. The model of `demand.py` is fitted anew each day, from two days of
history on; before, the mean of the same quarter of the day is all that can be told. Outdoor temperature ahead is the
mean day of the last week and what it is off by now, fading (`demand.persisted`); where it is measured it is told too.
Issued and judged each hour, the bands are those of `adaptive.py`. Days and hours are UTC. Times int64 ns, W, degC.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import NotReady
from uem.twin_core.estimation.residuals import ENOUGH
from uem.twin_core.forecast import demand
from uem.twin_core.forecast.adaptive import AdaptiveBands
from uem.twin_core.forecast.bands import Forecast, ForecastSeries
from uem.twin_core.forecast.hold import step_count
from uem.twin_core.measurements import GOOD, NS_PER_S, UNCERTAIN
from uem.twin_core.state import DISPLAY_UNITS
from uem.twin_core.units import ZERO_CELSIUS_K

STEP_S = 900.0
STEP_NS = round(STEP_S * NS_PER_S)
LEADS = 96
ISSUE_NS = 4 * STEP_NS
MOST_ROWS = 84 * LEADS
FIRST_ROWS = 2 * LEADS  # before the first fit
WEATHER_ROWS, ANOMALY_ROWS = 7 * LEADS, 12
GAP_NS = 7 * LEADS * STEP_NS  # after which it begins anew
LEAST_PART = 0.5  # of a group's nominal heat that must be measured
PRIOR_PART, LEAST_PRIOR_PART = 0.5, 0.01  # of the load, of the nominal heat
OUTDOOR, OUTDOOR_PRIOR_K = "outdoor/temperature", 4.0
NO_WEATHER_C = 10.0
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
MODEL = (
    "Linear model of weather and calendar, fitted daily, and what the last day was off by; outdoor temperature: mean "
    "day of the last week and what it is off by now, fading"
)
SIMPLE = "Less than two days of history: mean of the same quarter of the day where it is known, else of the last hour"
BAND = "band: quantiles tracked over past forecasts at the same lead."

Array = NDArray[np.float64]


class DayAhead:
    """What was measured of a network's customers, and what follows from it for the next day."""

    def __init__(self, name: str, nominal_w: Array, groups: Mapping[str, Sequence[int]]) -> None:
        """`nominal_w` of each station; `groups`: signal -> which stations it is the sum of."""
        self.name = name
        self.signals = tuple(groups)
        self._nominal_w = nominal_w
        self._members = np.zeros((len(groups), len(nominal_w)))
        for row, members in zip(self._members, groups.values(), strict=True):
            row[list(members)] = 1.0
        self._bands: AdaptiveBands | None = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._time_ns: int | None = None
        self._load: list[Array] = []
        self._outdoor: list[float] = []
        self._lagged: list[Array] = []
        self._model: demand.DemandModel | None = None
        self._fitted_day = -1
        self._outdoor_k = np.nan  # measured in the newest quarter hour
        self._tells_weather = False
        if self._bands is not None:
            self._bands.forget_waiting()

    @property
    def time_ns(self) -> int | None:
        """The end of the newest quarter hour."""
        return self._time_ns

    def take(self, end_ns: int, load_w: Array, outdoor_c: float) -> None:
        """The means of the quarter hour that ended at `end_ns`, on the grid: load of each station; NaN is a gap."""
        if self._time_ns is not None and not self._time_ns < end_ns <= self._time_ns + GAP_NS:
            self._begin_anew()
        if self._time_ns is not None:
            for _ in range(self._time_ns + STEP_NS, end_ns, STEP_NS):
                self._append(np.full(len(self.signals), np.nan), np.nan)
        load = self._summed(load_w)
        self._append(load, outdoor_c)
        self._time_ns, self._outdoor_k = end_ns, outdoor_c + ZERO_CELSIUS_K
        self._tells_weather |= bool(np.isfinite(outdoor_c))
        if self._bands is None and np.isfinite(load).any():
            prior = np.fmax(PRIOR_PART * load, LEAST_PRIOR_PART * self._members @ self._nominal_w)
            self._bands = AdaptiveBands(LEADS, np.append(prior, OUTDOOR_PRIOR_K), levels=LEVELS)
        self._fit()
        if self._bands is not None:
            self._bands.judge(end_ns, np.append(load, self._outdoor_k))
            if end_ns % ISSUE_NS == 0:
                self._bands.remember(self._valid_ns(LEADS), self._ahead())

    def _summed(self, load_w: Array) -> Array:
        """By signal; what is missing counts as the measured part of the nominal heat tells."""
        known = np.isfinite(load_w)
        part = (self._members @ (known * self._nominal_w)) / (self._members @ self._nominal_w)
        total = self._members @ np.where(known, load_w, 0.0)
        return np.asarray(np.divide(total, part, out=np.full(len(total), np.nan), where=part >= LEAST_PART))

    def _append(self, load: Array, outdoor_c: float) -> None:
        if not np.isfinite(outdoor_c):
            outdoor_c = self._outdoor[-1] if self._outdoor else NO_WEATHER_C
        before = self._lagged[-1] if self._lagged else None
        self._load.append(load)
        self._outdoor.append(outdoor_c)
        self._lagged.append(demand.lagged(np.array([outdoor_c]), STEP_S, before)[0])
        for column in (self._load, self._outdoor, self._lagged):
            del column[:-MOST_ROWS]

    def _fit(self) -> None:
        assert self._time_ns is not None
        day, rows = self._time_ns // (LEADS * STEP_NS), len(self._load)
        if rows < FIRST_ROWS or day == self._fitted_day:
            return
        load = np.array(self._load)
        silent = ~np.isfinite(load).any(axis=0)
        if silent.all():
            return
        load[:, silent] = 0.0  # a signal without any value has no band either
        columns = self._design(np.arange(1 - rows, 1), np.array(self._outdoor), np.array(self._lagged))
        self._model, self._fitted_day = demand.fit(columns, load, STEP_S, LEADS), day

    def _design(self, steps: NDArray[np.int64], outdoor_c: Array, lagged_c: Array) -> Array:
        """Columns of the model for quarter hours so many steps after the newest; the time of one is its middle."""
        assert self._time_ns is not None
        time_h = (self._time_ns + steps * STEP_NS - STEP_NS // 2) / (3600 * NS_PER_S)
        rest = (time_h // 24 + 3) % 7 >= 5  # the first day of all was a Thursday
        return demand.design(time_h % 24, rest, outdoor_c, lagged_c)

    def _valid_ns(self, count: int) -> NDArray[np.int64]:
        assert self._time_ns is not None
        return self._time_ns + STEP_NS * np.arange(1, count + 1, dtype=np.int64)

    def _ahead(self) -> Array:
        """(LEADS, signals and outdoor temperature in K)."""
        return np.column_stack([self._central(), self._weather() + ZERO_CELSIUS_K])

    def _central(self) -> Array:
        """(LEADS, signals)."""
        if self._model is None:
            return self._simple()
        outdoor_c = self._weather()
        ahead = self._design(np.arange(1, LEADS + 1), outdoor_c, demand.lagged(outdoor_c, STEP_S, self._lagged[-1]))
        day = slice(-LEADS, None)
        known = self._design(np.arange(1 - LEADS, 1), np.array(self._outdoor[day]), np.array(self._lagged[day]))
        return np.maximum(self._model.forecast(ahead, self._model.residuals(known, np.array(self._load[day]))), 0.0)

    def _simple(self) -> Array:
        load = np.array(self._load)
        last = _mean(load[-4:])
        days = -(-len(load) // LEADS)
        padded = np.full((days * LEADS, load.shape[1]), np.nan)
        padded[len(padded) - len(load) :] = load  # the newest is the last of a row of days
        same = _mean(padded.reshape(days, LEADS, -1))
        return np.nan_to_num(np.where(np.isfinite(same), same, last), nan=0.0)

    def _weather(self) -> Array:
        """Outdoor temperature of the next day: no weather forecast is delivered. As now until a day is known."""
        if len(self._outdoor) < LEADS:
            return np.full(LEADS, self._outdoor[-1])
        past = np.array(self._outdoor[-WEATHER_ROWS:])
        past = past[len(past) % LEADS :]
        typical_c = past.reshape(-1, LEADS).mean(axis=0)
        anomaly_c = float((past[-ANOMALY_ROWS:] - typical_c[-ANOMALY_ROWS:]).mean())
        return demand.persisted(typical_c, anomaly_c, STEP_S * np.arange(1.0, LEADS + 1.0))

    def forecast(self, horizon_s: float | None = None) -> Forecast:
        """From the newest quarter hour on, by default of a day.

        Raises:
            NotReady: no quarter hour was measured yet.
            InvalidInput: the horizon is not positive or longer than a day.
        """
        count = LEADS if horizon_s is None else step_count(horizon_s, STEP_NS)
        if self._bands is None or self._time_ns is None:
            raise NotReady(f"asset {self.name}: no quarter hour of heat was measured yet")
        values = self._ahead()[:count]
        quantiles = self._bands.quantiles(values, 0.0)
        learned = self._bands.count[:count].min(axis=0)
        measured = np.isfinite(np.append(self._load[-1], self._outdoor_k))
        is_good = (learned >= ENOUGH) & measured & (self._model is not None)
        told = [(signal, "W", "kW") for signal in self.signals]
        told += [(OUTDOOR, "K", DISPLAY_UNITS["K"])] if self._tells_weather else []
        series = tuple(
            ForecastSeries(
                signal=signal,
                unit=unit,
                display_unit=display_unit,
                valid_time_ns=self._valid_ns(count),
                value=values[:, i],
                quantile=quantiles[:, i],
                residual_count=int(learned[i]),
                quality=GOOD if is_good[i] else UNCERTAIN,
            )
            for i, (signal, unit, display_unit) in enumerate(told)
        )
        method = SIMPLE if self._model is None else MODEL
        return Forecast(self.name, self._time_ns, f"{method}; {BAND}", LEVELS, series)


def _mean(rows: Array) -> Array:
    """Of what is known; NaN where nothing is."""
    known = np.isfinite(rows)
    count = known.sum(axis=0)
    total = np.where(known, rows, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(rows.shape[1:], np.nan), where=count > 0))
