"""Forecasts of heat demand, judged as they are used: issued every hour, refitted daily, bands learned on the way.

What was chosen was chosen on the time before the one that is judged. Per lead: share of measurements in the 80 % band
and skill, 1 - RMSE / RMSE of the load a week before. Weather: of the measured series as measured (a perfect
forecast), and by persistence; of the simulated valley by persistence around a smooth year alone. Of the valley two
weeks after four are judged; with `--every-figure` 60 days after four months.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.offline.validate import waste_heat
from uem.offline.validate.case import EVERY_FIGURE, Calculation, Case, Result, read_columns, read_rows
from uem.offline.valley.customers import KINDS, Customer
from uem.offline.valley.season import STEP_S, season
from uem.twin_core.forecast import demand
from uem.twin_core.forecast.adaptive import AdaptiveBands

Array = NDArray[np.float64]

WINDOW_DAYS: Final = 84
FIRST_DAYS: Final = 14  # of rows before the first fit
JUDGED_DAYS: Final = 60
SHORT_LEARNING_DAYS, SHORT_JUDGED_DAYS = 28, 14
BAND_BAR, SHORT_BAND_BAR = 0.04, 0.1
LEADS_H: Final = (1, 6, 12, 24)
STATIONS: Final = 120
JUDGED_EACH: Final = 10  # every tenth station, and the sum of all


@dataclass(frozen=True, slots=True)
class Record:
    """A series to forecast: all (steps,), `load` (steps, n). `typical_c`: the course that persistence fades to."""

    step_s: float
    hour: Array
    rest: NDArray[np.bool_]
    outdoor_c: Array
    load: Array
    typical_c: Array | None = None  # None: the weather is forecast perfectly

    def since(self, row: int) -> "Record":
        """Its rows from this one on."""
        typical_c = None if self.typical_c is None else self.typical_c[row:]
        return Record(self.step_s, self.hour[row:], self.rest[row:], self.outdoor_c[row:], self.load[row:], typical_c)


@dataclass(frozen=True, slots=True)
class Judged:
    """Of every issue (issues, leads, n): what was forecast, measured, a week before; quantiles with levels last."""

    value: Array
    quantile: Array
    measured: Array
    naive: Array

    def coverage(self, lead: slice = slice(None)) -> float:
        """Share of measurements within the outer quantiles."""
        at = np.isfinite(self.measured[:, lead])
        inside = (self.measured >= self.quantile[..., 0]) & (self.measured <= self.quantile[..., -1])
        return float(inside[:, lead][at].mean())

    def skill(self, lead: slice = slice(None)) -> float:
        """1 less the ratio of the root mean squares of the errors to those of the week before; mean of signals."""
        error, naive = (
            np.sqrt(np.nanmean((self.measured - found)[:, lead] ** 2, axis=(0, 1)))
            for found in (self.value, self.naive)
        )
        return float(np.mean(1.0 - error / naive))

    def cv(self) -> float:
        """Root mean square error over the mean load, mean over signals."""
        error = np.sqrt(np.nanmean((self.measured - self.value) ** 2, axis=(0, 1)))
        return float(np.mean(error / np.nanmean(self.measured, axis=(0, 1))))


def judge(record: Record, begin: int, end: int, *, gain: float | None = None) -> Judged:
    """Forecast every hour as it would have been, and keep what was issued at rows `begin` to `end`."""
    per_hour, leads = round(3600.0 / record.step_s), round(86_400.0 / record.step_s)
    lagged = demand.lagged(record.outdoor_c, record.step_s)
    rows = demand.design(record.hour, record.rest, record.outdoor_c, lagged)
    prior_sd = 0.5 * np.nanmean(record.load[: FIRST_DAYS * leads], axis=0)
    bands = AdaptiveBands(leads, prior_sd) if gain is None else AdaptiveBands(leads, prior_sd, gain=gain)
    kept: list[tuple[Array, Array, Array, Array]] = []
    model = None
    for now in range(FIRST_DAYS * leads, end, per_hour):
        for row in range(now - per_hour, now):
            bands.judge(row, record.load[row])
        if model is None or now % leads == 0:
            since = max(0, now - WINDOW_DAYS * leads)
            model = demand.fit(rows[since:now], record.load[since:now], record.step_s, leads)
        ahead = slice(now, now + leads)
        last_day = model.residuals(rows[now - leads : now], record.load[now - leads : now])
        value = model.forecast(_rows_ahead(record, rows, lagged, now, leads), last_day)
        value = np.maximum(value, 0.0)
        bands.remember(np.arange(now, now + leads), value)
        if now >= begin:
            naive = demand.seasonal_naive(record.load[:now], 7 * leads, leads)
            kept.append((value, bands.quantiles(value, 0.0), record.load[ahead], naive))
    return Judged(*(np.array(column) for column in zip(*kept, strict=True)))


def _rows_ahead(record: Record, rows: Array, lagged: Array, now: int, leads: int) -> Array:
    ahead = slice(now, now + leads)
    if record.typical_c is None:
        return rows[ahead]
    past = slice(now - round(3 * 3600.0 / record.step_s), now)
    anomaly = float(np.mean(record.outdoor_c[past] - record.typical_c[past]))
    outdoor_c = demand.persisted(record.typical_c[ahead], anomaly, record.step_s * np.arange(1.0, leads + 1.0))
    lags = demand.lagged(outdoor_c, record.step_s, lagged[now - 1])
    return demand.design(record.hour[ahead], record.rest[ahead], outdoor_c, lags)


def _results(
    case: str, judged: Judged, step_s: float, *, least_skill: float, band_bar: float = BAND_BAR
) -> Iterator[Result]:
    """The figures of a case: the band and the skill over all leads, and the table by lead."""
    result = partial(Result, suite="forecast", case=case, unit="1")
    least, most = 0.8 - band_bar, 0.8 + band_bar
    yield result(metric="80 % band holds", value=judged.coverage(), least=least, bar=most, reference=0.8)
    yield result(metric="skill against the week before", value=judged.skill(), least=least_skill, bar=1.0)
    yield result(metric="CVRMSE", value=judged.cv(), bar=np.inf)
    for hours in LEADS_H:
        last = round(hours * 3600.0 / step_s)
        lead = slice(last - 1, last)
        yield result(metric=f"80 % band holds, {hours} h ahead", value=judged.coverage(lead), bar=np.inf)
        yield result(metric=f"skill, {hours} h ahead", value=judged.skill(lead), bar=np.inf)


def valley_record(seed: int) -> Record:
    """Every tenth of 120 stations of the valley and the sum of all, from September on; weather by persistence."""
    path = Path(str(files("uem.examples"))) / "vallee" / "lyon_bron.csv"
    year = read_columns(path, ["t_db_c"])["t_db_c"]
    first = 24 * (31 + 28 + 31 + 30 + 31 + 30 + 31 + 31)  # 1 September
    hours = np.arange(first, first + 24 * 190) % len(year)
    found = season(_customers(seed), year[hours], seed)
    load = np.hstack([found.load_kw[:, ::JUDGED_EACH], found.load_kw.sum(axis=1, keepdims=True)])
    smooth = np.interp(np.arange(len(load)) / 4, np.arange(len(hours)) + 0.5, _smooth_year(year)[hours])
    return Record(STEP_S, found.hour, found.rest, found.outdoor_c, load, smooth)


def _customers(seed: int) -> list[Customer]:
    rng = Random(seed)
    drawn: list[Customer] = []
    for kind, about in KINDS.items():
        low, high = about.heat_kw
        for _ in range(max(1, round(about.share * STATIONS))):
            heat = low * (high / low) ** rng.random()
            drawn.append(Customer(f"{kind}-{len(drawn)}", kind, 0, (0.0, 0.0), 20.0, heat, about.hot_water * heat))
    return drawn[:STATIONS]


def _smooth_year(year_c: Array) -> Array:
    """Two harmonics of the year and two of the day: what a climate table would say."""
    hours = np.arange(len(year_c))
    columns = [np.ones(len(hours))]
    for cycles in (1, 2, 365, 730):
        angle = 2 * np.pi * cycles * hours / len(hours)
        columns += [np.cos(angle), np.sin(angle)]
    basis = np.stack(columns, axis=1)
    return np.asarray(basis @ np.linalg.lstsq(basis, year_c, rcond=None)[0])


def valley() -> Iterator[Result]:
    """Simulated days from the new year on, 14 or 60."""
    record = valley_record(7)
    begin, days, bar = 96 * (30 + 31 + 30 + 31), JUDGED_DAYS, BAND_BAR
    if not EVERY_FIGURE.get():
        before, days, bar = 96 * (FIRST_DAYS + SHORT_LEARNING_DAYS), SHORT_JUDGED_DAYS, SHORT_BAND_BAR
        record, begin = record.since(begin - before), before
    judged = judge(record, begin, begin + 96 * days)
    for case, least_skill, which in (("stations", 0.1, slice(0, -1)), ("network", 0.3, slice(-1, None))):
        found = _of(judged, which)
        yield from _results(f"{case}, {days} simulated days", found, STEP_S, least_skill=least_skill, band_bar=bar)


def _of(judged: Judged, which: slice) -> Judged:
    return Judged(*(getattr(judged, name)[:, :, which] for name in Judged.__slots__))


def _hourly(path: Path, column: str) -> tuple[Record, list[str]]:
    columns = read_columns(path, [column, "t_out_c", "is_holiday"], gaps=[column])
    stamps = [row["time_utc"] for _, row in read_rows(path, ["time_utc"])]
    times = np.array([stamp.rstrip("Z") for stamp in stamps], "datetime64[h]")
    local = times.astype(np.int64) + 1  # both sites keep Central European time; summer time is left to the model
    rest = ((local // 24 + 3) % 7 >= 5) | (columns["is_holiday"] > 0)
    return Record(3600.0, np.asarray(local % 24, float), rest, columns["t_out_c"], columns[column][:, None]), stamps


def measured(column: str, from_day: str, path: Path) -> Iterator[Result]:
    """A measured series, judged from `from_day` to its end less a day."""
    record, stamps = _hourly(path, column)
    begin = next(i for i, stamp in enumerate(stamps) if stamp.startswith(from_day))
    judged = judge(record, begin, len(record.load) - 24)
    yield from _results(f"{path.name}, {column}, weather as measured", judged, 3600.0, least_skill=0.3)


SUITES: Final[dict[str, Case]] = {
    "aalborg_sfh_hourly.csv": partial(measured, "load_pu", "2019-01-01"),
    "unna_dh_hourly.csv": partial(measured, "total32_kwh", "2024-01-01"),
}
CALCULATIONS: Final[dict[str, Calculation]] = {
    "demand of the valley": valley,
    "waste heat of the valley": waste_heat.valley,
}
