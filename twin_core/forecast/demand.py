"""Heat demand from weather and calendar: a linear model of many stations at once, and what the last day was off by.

Any power unit; outdoor temperatures in degC, hours local. A column of the design belongs to the weather or the
calendar and is the same for every station, so that one factorisation serves them all. Large residuals count as far as
`CLIP` only and gaps not at all (Huber's method of modified residuals), with the same factorisation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput

HALF_LIVES_S = (6 * 3600.0, 24 * 3600.0, 72 * 3600.0)  # of the outdoor temperature in walls and rooms
HEATING_LIMIT_C = 16.0
HOURS = 24
DAY_S = 86_400.0
RIDGE = 1e-3  # of the diagonal of the normal matrix
CLIP = 4.0  # robust standard deviations
PASSES = 3
SHRINK = 0.1  # of the diagonal of the normal matrices of the correction by recent residuals
WEATHER_FADE_S = 24 * 3600.0

Array = NDArray[np.float64]


def lagged(outdoor_c: Array, step_s: float, start_c: Array | None = None) -> Array:
    """The outdoor temperature behind first-order lags, shape (rows, half-lives); rows are one step apart.

    `start_c` (half-lives,): the lagged temperatures one step before the first row; the first row by default.
    """
    keep = 0.5 ** (step_s / np.array(HALF_LIVES_S))
    now = np.full(len(HALF_LIVES_S), outdoor_c[0]) if start_c is None else start_c
    found = np.empty((len(outdoor_c), len(HALF_LIVES_S)))
    for row, temp in enumerate(outdoor_c.tolist()):
        now = temp + keep * (now - temp)
        found[row] = now
    return found


def design(hour: Array, rest: NDArray[np.bool_], outdoor_c: Array, lagged_c: Array) -> Array:
    """Columns of the linear model, one row per time.

    Hours of the day, linear between full ones, for workdays and for days of rest (`rest`: weekends and holidays);
    temperature and its lags; degrees below the heating limit, of now and of a day, the latter by hour too.
    """
    rows = np.arange(len(hour))
    first = np.floor(hour).astype(np.intp) % HOURS
    share = hour - np.floor(hour)
    hats = np.zeros((len(hour), HOURS))
    hats[rows, first] = 1.0 - share
    hats[rows, (first + 1) % HOURS] += share
    degrees = np.maximum(HEATING_LIMIT_C - outdoor_c, 0.0)[:, None]
    degrees_day = np.maximum(HEATING_LIMIT_C - lagged_c[:, 1:2], 0.0)
    work = np.where(rest, 0.0, 1.0)[:, None]
    return np.hstack(
        [hats * work, hats * (1.0 - work), outdoor_c[:, None], lagged_c, degrees, degrees_day, hats * degrees_day]
    )


def persisted(typical_c: Array, anomaly_c: float, lead_s: Array, fade_s: float = WEATHER_FADE_S) -> Array:
    """Outdoor temperature where no forecast is delivered: a typical course, and what it is off by now, fading."""
    return typical_c + anomaly_c * np.exp(-lead_s / fade_s)


def persisted_sd(climate_sd_k: float, lead_s: Array, fade_s: float = WEATHER_FADE_S) -> Array:
    """The standard deviation of its error: of a first-order process of that standard deviation."""
    return climate_sd_k * np.sqrt(1.0 - np.exp(-2.0 * lead_s / fade_s))


def seasonal_naive(load: Array, per_week: int, leads: int) -> Array:
    """The load of a week before, shape (leads, n): what every forecast has to beat."""
    return load[len(load) - per_week : len(load) - per_week + leads]


@dataclass(frozen=True, slots=True)
class DemandModel:
    """What was learned: `weight` (columns, n); `recent` (leads, 3, n) of the residuals of the last day."""

    step_s: float
    weight: Array
    recent: Array
    spread: Array  # robust standard deviation of the residuals, (n,)

    def residuals(self, rows: Array, load: Array) -> Array:
        """Load less the model, clipped; 0 in gaps. `rows` (times, columns), `load` (times, n)."""
        return _clipped(load - rows @ self.weight, self.spread)

    def forecast(self, rows_ahead: Array, last_day: Array) -> Array:
        """Loads at the leads of `rows_ahead` (leads, columns), from the `residuals` of the last 24 h; (leads, n)."""
        leads = len(rows_ahead)
        if leads > len(self.recent) or len(last_day) != _per_day(self.step_s):
            raise InvalidInput(f"{leads} leads and {len(last_day)} residuals; at most {len(self.recent)}, and a day")
        now, mean, same = _terms(last_day, _per_hour(self.step_s))
        recent = self.recent[:leads]
        return rows_ahead @ self.weight + recent[:, 0] * now + recent[:, 1] * mean + recent[:, 2] * same[:leads]


def fit(rows: Array, load: Array, step_s: float, leads: int, half_life_s: float = 40 * DAY_S) -> DemandModel:
    """Learn from `rows` (times, columns) and `load` (times, n), the newest last; NaN are gaps.

    `half_life_s`: how fast old rows lose weight. `leads`: steps ahead that will be asked for, a day at most.

    Raises:
        InvalidInput: less than two days of rows, unequal lengths, too many leads, a station without any value.
    """
    per_day = _per_day(step_s)
    if len(rows) != len(load) or len(rows) < 2 * per_day or not 0 < leads <= per_day:
        raise InvalidInput(f"{len(rows)} rows, {len(load)} loads, {leads} leads; two days and at most a day of leads")
    known = np.isfinite(load)
    if not known.any(axis=0).all():
        raise InvalidInput("a station has no value at all to learn from")
    age_s = step_s * np.arange(len(rows) - 1, -1, -1.0)
    weighted = rows * (0.5 ** (age_s / half_life_s))[:, None]
    normal = weighted.T @ rows
    normal[np.diag_indices_from(normal)] += RIDGE * np.diag(normal) + 1e-9 * np.trace(normal) / len(normal)
    project = np.linalg.solve(normal, weighted.T)
    middle = np.nanmedian(load, axis=0)
    # The first pass must not follow a spike: later ones would take it for the model.
    target = middle + _clipped(load - middle, 1.4826 * np.nanmedian(np.abs(load - middle), axis=0))
    for _ in range(PASSES):
        weight = project @ target
        fitted = rows @ weight
        spread = 1.4826 * np.nanmedian(np.abs(load - fitted), axis=0)
        target = fitted + _clipped(load - fitted, spread)
    weight = project @ target
    residual = _clipped(load - rows @ weight, spread)
    return DemandModel(step_s, weight, _recent(residual, per_day, _per_hour(step_s), leads), spread)


def _clipped(residual: Array, spread: Array) -> Array:
    return np.clip(np.nan_to_num(residual, nan=0.0), -CLIP * spread, CLIP * spread)


def _terms(day: Array, per_hour: int) -> tuple[Array, Array, Array]:
    """Of the residuals of a day: mean of the last hour, mean of all, and the one a day before each lead."""
    return day[-per_hour:].mean(axis=0), day.mean(axis=0), day


def _recent(residual: Array, per_day: int, per_hour: int, leads: int) -> Array:
    """Weights of `_terms` by least squares for each lead, over issue times three hours apart; (leads, 3, n)."""
    issues = np.arange(per_day, len(residual) - leads + 1, 3 * per_hour)
    total = np.vstack([np.zeros(residual.shape[1]), np.cumsum(residual, axis=0)])
    now = (total[issues] - total[issues - per_hour]) / per_hour
    mean = (total[issues] - total[issues - per_day]) / per_day
    found = np.empty((leads, 3, residual.shape[1]))
    for lead in range(leads):
        terms = np.stack([now, mean, residual[issues + lead - per_day]])
        normal = np.einsum("itn,jtn->nij", terms, terms)
        normal[:, range(3), range(3)] *= 1.0 + SHRINK
        normal[:, range(3), range(3)] += 1e-12
        right = np.einsum("itn,tn->ni", terms, residual[issues + lead])
        found[lead] = np.linalg.solve(normal, right[..., None])[..., 0].T
    return found


def _per_day(step_s: float) -> int:
    return round(DAY_S / step_s)


def _per_hour(step_s: float) -> int:
    return max(1, round(3600.0 / step_s))
