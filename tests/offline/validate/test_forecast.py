from dataclasses import replace

import numpy as np
import pytest

from uem.offline.validate import forecast
from uem.offline.validate.case import EVERY_FIGURE
from uem.offline.validate.forecast import Record, judge
from uem.offline.valley.season import season

DAY = 24


@pytest.fixture(scope="module")
def record():
    rng = np.random.default_rng(8)
    hours = np.arange(60 * DAY)
    outdoor_c = 5.0 + 4.0 * np.sin(hours / 40.0)
    load = (30.0 - outdoor_c + 3.0 * np.sin(2 * np.pi * hours / DAY) + rng.normal(size=len(hours)))[:, None]
    return Record(3600.0, np.asarray(hours % DAY, float), hours // DAY % 7 >= 5, outdoor_c, load)


def test_the_band_holds_and_the_week_before_is_beaten(record):
    judged = judge(record, 35 * DAY, 58 * DAY)
    assert judged.coverage() == pytest.approx(0.8, abs=0.04)
    assert judged.skill() > 0.5
    assert judged.value.shape == (23 * DAY, DAY, 1)


def test_no_forecast_knows_what_is_measured_after_its_issue(record):
    later = record.load.copy()
    later[50 * DAY :] += 100.0
    known, changed = (judge(replace(record, load=load), 49 * DAY, 50 * DAY) for load in (record.load, later))
    np.testing.assert_array_equal(known.quantile, changed.quantile)


def test_persisted_weather_knows_no_temperature_after_the_issue(record):
    typical = replace(record, typical_c=np.full(len(record.hour), 5.0))
    warmer = typical.outdoor_c.copy()
    warmer[50 * DAY :] += 10.0
    issue = slice(50 * DAY, 50 * DAY + 1)
    known, changed = (
        judge(replace(typical, outdoor_c=c), issue.start, issue.stop) for c in (typical.outdoor_c, warmer)
    )
    np.testing.assert_array_equal(known.value, changed.value)


def test_a_season_is_the_same_for_the_same_seed_and_colder_days_ask_for_more():
    customers = forecast._customers(3)
    cold, again, mild = (season(customers[::10], np.full(48, temp), 5) for temp in (-5.0, -5.0, 10.0))
    np.testing.assert_array_equal(cold.load_kw, again.load_kw)
    assert cold.load_kw.sum() > 2.0 * mild.load_kw.sum()
    assert len(customers) <= forecast.STATIONS


@pytest.mark.parametrize(("every", "days", "band"), [(False, 14, (0.7, 0.9)), (True, 60, (0.76, 0.84))])
def test_60_days_are_judged_by_the_narrow_bar_when_every_figure_is_asked_for(record, monkeypatch, every, days, band):
    asked, found = [], judge(record, 35 * DAY, 37 * DAY)

    def judging(record, begin, end):
        asked.append((record.load[begin:end].tobytes(), begin))
        both = {name: np.repeat(getattr(found, name), 2, axis=2) for name in found.__slots__}
        return replace(found, **{name: np.tile(of, (1, 4, 1, 1)[: of.ndim]) for name, of in both.items()})

    whole = forecast.valley_record(7)
    monkeypatch.setattr(forecast, "valley_record", lambda seed: whole)
    monkeypatch.setattr(forecast, "judge", judging)
    token = EVERY_FIGURE.set(every)
    results = list(forecast.valley())
    EVERY_FIGURE.reset(token)
    new_year = 96 * (30 + 31 + 30 + 31)
    assert asked == [(whole.load[new_year : new_year + 96 * days].tobytes(), new_year if every else 42 * 96)]
    judged = {r.case: (r.least, r.bar) for r in results if r.metric == "80 % band holds"}
    assert list(judged) == [f"stations, {days} simulated days", f"network, {days} simulated days"]
    for bar in judged.values():
        assert bar == pytest.approx(band)
