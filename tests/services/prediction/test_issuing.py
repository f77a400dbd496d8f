import asyncio
from dataclasses import fields

import numpy as np
import pytest

from uem.services.metrics import Metrics
from uem.services.prediction.issuing import Issuer
from uem.twin_core.errors import NotReady
from uem.twin_core.forecast.bands import Forecast, ForecastSeries
from uem.v1 import prediction_pb2 as pb

MINUTE_NS = 60 * 10**9


class Plant:
    """Tells the times of an asset and gives forecasts that begin at the time told last."""

    def __init__(self, store, **options):
        self.metrics, self.store = Metrics(), store
        self.heard = []
        assets = "net", "other", "still"
        self.issuer = Issuer(self.forecast, assets, self.heard.append, store, self.metrics, 900.0, **options)
        self.now, self.asked, self.error = {}, [], None

    async def forecast(self, asset, horizon_s):
        self.asked.append((asset, self.now[asset] // MINUTE_NS))
        if self.error is not None:
            raise self.error
        now_ns = self.now[asset]
        valid_ns, band = np.array([now_ns + 5, now_ns + 9]), np.array([[1.0, 3.0], [2.0, 5.0]])
        series = ForecastSeries("power", "W", "kW", valid_ns, np.array([float(now_ns), 2.0]), band, 7, 0)
        return Forecast(asset, now_ns, "guess", (0.1, 0.9), (series,) if asset != "still" else ())

    async def follow(self, *minutes, asset="net"):
        async def times():
            for minute in minutes:
                self.now[asset] = minute * MINUTE_NS
                yield asset, self.now[asset]

        await self.issuer.run(times())

    def kept(self, asset="net"):
        return [found.issue_ns // MINUTE_NS for found in self.store.forecasts(asset, 0, 2**62, 0, 100)]


async def test_a_forecast_is_kept_for_every_quarter_of_an_hour_of_the_plant(store):
    plant = Plant(store)
    await plant.follow(0, 1, 14, 15, 16, 31, 59, 60, 200, 201)
    assert plant.kept() == [0, 15, 31, 59, 60, 200]
    assert len(plant.asked) == 6
    found = pb.Forecast.FromString(store.forecasts("net", 0, 2**62, 0, 2)[1].data)
    assert (found.issue_time_ns, found.series[0].value[0]) == (15 * MINUTE_NS, 15.0 * MINUTE_NS)


async def test_a_server_that_reads_its_past_again_says_nothing_afterwards(store):
    await Plant(store).follow(0, 15, 30)
    before = store.forecasts("net", 0, 2**62, 0, 100)
    restarted = Plant(store)
    await restarted.follow(0, 7, 22, 30, 44, 45)
    assert restarted.kept() == [0, 15, 30, 45]
    assert store.forecasts("net", 0, 2**62, 0, 3) == before


async def test_after_a_restart_what_was_kept_is_heard_again_as_it_was(store):
    before = Plant(store)
    await before.follow(0, 16)
    assert before.heard == []
    restarted = Plant(store)
    await restarted.follow(17, 29, 30)
    (heard,) = restarted.heard
    assert (heard.asset, heard.issue_time_ns, heard.method) == ("net", 16 * MINUTE_NS, "guess")
    assert heard.levels == (0.1, 0.9)
    (series,) = heard.series
    (given,) = (await before.forecast("net", None)).series
    for field in fields(series):
        np.testing.assert_array_equal(getattr(series, field.name), getattr(given, field.name))


async def test_who_reads_its_past_hears_what_was_kept_when_it_comes_to_it_though_its_asset_has_not(store):
    before = Plant(store)
    await before.follow(0, 16, asset="net")
    await before.follow(0, 18, asset="other")
    restarted = Plant(store)
    await restarted.follow(0, 15, asset="other")
    assert restarted.heard == []
    await restarted.follow(17, asset="still")
    assert [heard.asset for heard in restarted.heard] == ["net"]
    await restarted.follow(18, asset="still")
    assert [heard.asset for heard in restarted.heard] == ["net", "other"]


@pytest.mark.parametrize(("minute", "heard"), [(15, []), (16, [16]), (76, [16]), (77, [])])
async def test_what_was_kept_more_than_an_hour_ago_is_not_heard_again(store, minute, heard):
    await Plant(store).follow(0, 16)
    restarted = Plant(store)
    await restarted.follow(minute)
    assert [found.issue_time_ns // MINUTE_NS for found in restarted.heard] == heard


async def test_what_was_kept_is_not_heard_when_another_asset_is_more_than_an_hour_past_it(store):
    await Plant(store).follow(0, 16)
    restarted = Plant(store)
    await restarted.follow(100, asset="still")
    await restarted.follow(40, asset="other")
    assert restarted.heard == []


async def test_what_was_kept_is_not_heard_after_something_newer(store):
    await Plant(store).follow(0, 16)
    restarted = Plant(store)
    await restarted.follow(100, 40)
    assert restarted.heard == []
    assert restarted.kept() == [0, 16, 100]


async def test_each_asset_has_its_own_times_and_one_that_cannot_be_forecast_keeps_nothing(store):
    plant = Plant(store)
    await plant.follow(0, 15, asset="net")
    await plant.follow(7, 16, asset="other")
    await plant.follow(7, 16, asset="still")
    assert (plant.kept("net"), plant.kept("other"), plant.kept("still")) == ([0, 15], [7, 16], [])


@pytest.mark.parametrize("error", [NotReady("no state yet"), ZeroDivisionError()])
async def test_a_forecast_that_fails_is_told_once_and_tried_again(store, caplog, error):
    plant = Plant(store)
    plant.error = error
    await plant.follow(0, 1, 2)
    plant.error = None
    await plant.follow(3)
    assert plant.kept() == [3]
    assert caplog.text.count("no forecast of net is kept") == 1


async def test_forecasts_take_a_small_part_of_the_time_however_fast_the_plant_is(store, monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    clock = iter([0.0, 0.5, 0.5, 0.5])
    await Plant(store, clock=lambda: next(clock)).follow(0)
    assert waits == [pytest.approx(9.5)]
