"""The demand forecast of a network, from its history and then from what comes over the bus."""

import asyncio
import threading

import numpy as np
import pytest
from shipped import shipped

from uem.services.bus import SampleBus
from uem.services.prediction.demand import DemandWorker, Quarters
from uem.twin_core.errors import NotReady, StorageError
from uem.twin_core.forecast.day_ahead import STEP_NS
from uem.twin_core.measurements import BAD, NS_PER_S, Samples

MINUTE_NS = 60 * NS_PER_S
BEGIN_NS = 1_704_067_200 * NS_PER_S
VALLEE = shipped("vallee")
SENSORS = {binding.column: binding.tag.name for binding in VALLEE.tags if binding.column}
HEAT = [tag for column, tag in SENSORS.items() if column.endswith("/heat") and tag.startswith("station/")]


def minutes(first, last, heat_w=-50e3, tags=HEAT):
    """Every minute a sample of the heat of each station, negative as meters of customers tell it."""
    rows = [(tag, BEGIN_NS + k * MINUTE_NS, heat_w, 0) for k in range(first, last) for tag in tags]
    rows += [("outdoor/temperature", BEGIN_NS + k * MINUTE_NS, 278.15, 0) for k in range(first, last)]
    return Samples.from_rows(rows)


class Forgetful:
    """A past without anything in it."""

    def read(self, tags, start_ns, end_ns, limit=0):
        raise AssertionError("there is nothing to read")

    def tags(self, names=None):
        return {}


@pytest.fixture
async def running(store):
    """A worker whose history is in the store, and what runs it."""
    bus = SampleBus()
    tasks = []

    def start(past=store):
        worker = DemandWorker(VALLEE.networks[0], SENSORS, past, bus)
        tasks.append((worker, asyncio.create_task(worker.run())))
        return worker, bus

    yield start
    for worker, task in tasks:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        worker.close()


async def times(worker, count):
    async with asyncio.timeout(60.0):
        return [time_ns async for _, time_ns in _first(worker.times(), count)]


async def _first(iterator, count):
    for _ in range(count):
        yield await anext(iterator)


async def test_the_history_is_read_and_what_comes_goes_on_from_there(running, store):
    await asyncio.wrap_future(store.append("gateway", 1, minutes(0, 124)))
    worker, bus = running()
    (after_history_ns,) = await times(worker, 1)
    assert after_history_ns == BEGIN_NS + 8 * STEP_NS
    found = await worker.forecast(None)
    signals = [series.signal for series in found.series]
    assert signals[0] == "demand"
    assert {"demand/residence", "demand/school"} <= set(signals)
    assert found.asset == worker.name == "valley/demand"
    np.testing.assert_allclose(found.series[0].value, 120 * 50e3)
    assert "Less than two days" in found.method
    bus.publish(minutes(124, 137, heat_w=-80e3))
    (later_ns,) = await times(worker, 1)
    assert later_ns == BEGIN_NS + 9 * STEP_NS
    mean_w = (4 * 50e3 + 11 * 80e3) / 15
    hour_w = (3 * 50e3 + mean_w) / 4
    np.testing.assert_allclose((await worker.forecast(3600.0)).series[0].value, 120 * hour_w)


class Slow:
    """A past of which half an hour is read, then nothing until it is told to."""

    def __init__(self, store):
        self.tags, self._read = store.tags, store.read
        self.asked, self.go_on = threading.Event(), threading.Event()

    def read(self, tags, start_ns, end_ns, limit=0):
        if start_ns >= BEGIN_NS + 2 * STEP_NS:
            self.asked.set()
            assert self.go_on.wait(60.0)
        return self._read(tags, start_ns, end_ns, limit)


async def test_while_the_history_is_read_there_is_no_forecast_from_its_midst(running, store):
    await asyncio.wrap_future(store.append("gateway", 1, minutes(0, 64)))
    past = Slow(store)
    worker, _ = running(past)
    assert await asyncio.to_thread(past.asked.wait, 60.0)
    assert worker._ahead.time_ns is not None
    with pytest.raises(NotReady, match=r"valley/demand: .* history is being read"):
        await worker.forecast(None)
    past.go_on.set()
    assert await times(worker, 1) == [(await worker.forecast(None)).issue_time_ns]


async def test_without_any_history_it_waits_for_the_first_quarter_hour(running):
    worker, bus = running(Forgetful())
    await asyncio.sleep(0.05)
    with pytest.raises(NotReady, match="valley/demand"):
        await worker.forecast(None)
    bus.publish(minutes(0, 17))
    async with asyncio.timeout(60.0):
        async for _, time_ns in worker.times():
            assert time_ns == BEGIN_NS + STEP_NS
            break


async def test_what_the_bus_lost_is_read_from_the_history(running, store):
    await asyncio.wrap_future(store.append("gateway", 1, minutes(0, 32)))
    worker, bus = running()
    assert await times(worker, 1) == [BEGIN_NS + 2 * STEP_NS]
    await asyncio.wrap_future(store.append("gateway", 2, minutes(32, 48, heat_w=-80e3)))
    bus.lose()
    assert await times(worker, 1) == [BEGIN_NS + 3 * STEP_NS]
    hour_w = (30 * 50e3 + 2 * 50e3 + 13 * 80e3) / 45
    np.testing.assert_allclose((await worker.forecast(3600.0)).series[0].value, 120 * hour_w)


class Broken(Forgetful):
    """A past that cannot be read."""

    def tags(self, names=None):
        raise StorageError("disk I/O error")


async def test_a_history_that_fails_does_not_end_the_forecasts(running, caplog):
    worker, bus = running(Broken())
    await asyncio.sleep(0.05)
    bus.publish(minutes(0, 17))
    async with asyncio.timeout(60.0):
        async for _, time_ns in worker.times():
            assert time_ns == BEGIN_NS + STEP_NS
            break
    assert "valley/demand goes on without its past: disk I/O error" in caplog.text


def test_a_network_whose_customers_are_not_measured_has_none():
    assert DemandWorker(VALLEE.networks[0], {}, Forgetful(), SampleBus()).stations == 0


def test_bad_samples_late_ones_and_a_clock_far_ahead_are_not_in_a_mean():
    quarters = Quarters(("a", "b"))
    rows = [("a", BEGIN_NS + k * MINUTE_NS, 10.0, 0) for k in range(14)]
    rows += [("a", BEGIN_NS, 999.0, BAD), ("a", BEGIN_NS, np.nan, 0), ("b", BEGIN_NS + 30 * 86_400 * NS_PER_S, 7.0, 0)]
    assert quarters.take(Samples.from_rows(rows)) == []
    ((end_ns, means),) = quarters.take(Samples.from_rows([("a", BEGIN_NS + 16 * MINUTE_NS, 30.0, 0)]))
    assert end_ns == BEGIN_NS + STEP_NS
    np.testing.assert_array_equal(means, [10.0, np.nan])
    assert quarters.take(Samples.from_rows([("a", BEGIN_NS + 3 * MINUTE_NS, 99.0, 0)])) == []
    ((_, means),) = quarters.take(Samples.from_rows([("a", BEGIN_NS + 31 * MINUTE_NS, 40.0, 0)]))
    np.testing.assert_array_equal(means, [(10.0 + 14 * 30.0) / 15, np.nan])  # the first minute is as it was before


def test_a_silent_tag_keeps_its_mean_for_an_hour_and_a_plant_that_began_anew_is_followed():
    quarters = Quarters(("a", "b"))
    quarters.take(Samples.from_rows([("a", BEGIN_NS, 1.0, 0), ("b", BEGIN_NS, 2.0, 0)]))
    kept = []
    for k in range(1, 8):
        for _, means in quarters.take(Samples.from_rows([("a", BEGIN_NS + k * STEP_NS + MINUTE_NS, 1.0, 0)])):
            kept.append(means[1])
    np.testing.assert_array_equal(kept, [2.0] * 5 + [np.nan] * 2)
    assert quarters.take(Samples.from_rows([("a", BEGIN_NS, 5.0, 0)])) == []
    ((end_ns, means),) = quarters.take(Samples.from_rows([("a", BEGIN_NS + 16 * MINUTE_NS, 5.0, 0)]))
    assert (end_ns, means[0]) == (BEGIN_NS + STEP_NS, 5.0)


def test_means_are_by_time_whenever_a_meter_tells():
    quarters = Quarters(("a", "b", "c"))
    rows = [("a", BEGIN_NS + k * MINUTE_NS, float(k < 12), 0) for k in range(16)]  # each minute
    rows += [("b", BEGIN_NS + k * MINUTE_NS, value, 0) for k, value in ((0, 1.0), (12, 0.0))]  # what changes
    rows += [("c", BEGIN_NS + k * NS_PER_S, 1.0, 0) for k in range(0, 720)]  # each second, then the change
    rows += [("c", BEGIN_NS + 12 * MINUTE_NS, 0.0, 0)]
    rows.sort(key=lambda row: row[1])
    assert quarters.take(Samples.from_rows(rows)) == []
    later = Samples.from_rows([(tag, BEGIN_NS + 16 * MINUTE_NS, 0.0, 0) for tag in ("a", "c")])
    ((_, means),) = quarters.take(later)
    np.testing.assert_allclose(means, 12 / 15, rtol=1e-12)


def test_what_a_sensor_that_fails_does_not_tell_is_in_no_mean():
    quarters = Quarters(("a",))
    rows = [(0, 6.0, 0), (5, np.nan, BAD), (7, 1.0, 0), (16, 1.0, 0)]
    ((_, means),) = quarters.take(Samples.from_rows([("a", BEGIN_NS + k * MINUTE_NS, *told) for k, *told in rows]))
    np.testing.assert_allclose(means, (5 * 6.0 + 8 * 1.0) / 13, rtol=1e-12)


def mean_of(told, begin_ns, end_ns):
    """By a plainer program: values of one tag, (time, value) in order, second by second."""
    seconds = np.arange(begin_ns, end_ns, NS_PER_S)
    row = np.searchsorted([time_ns for time_ns, _ in told], seconds, "right") - 1
    known = row >= 0
    return np.mean([told[k][1] for k in row[known].tolist()]) if known.any() else np.nan


@pytest.mark.parametrize("batches", [1, 7, 400])
def test_means_are_those_of_a_plainer_program_however_samples_are_cut_into_batches(batches):
    rng, tags = np.random.default_rng(3), ("a", "b", "c", "d")
    told = {}
    for tag, every_s in zip(tags, (10, 60, 400, 1500), strict=True):
        times_s = np.unique(np.cumsum(rng.integers(1, 2 * every_s, 4 * 7200 // every_s)))
        told[tag] = [(BEGIN_NS + int(s) * NS_PER_S, float(rng.normal())) for s in times_s if s < 14_400]
    rows = sorted((time_ns, tag, value) for tag, some in told.items() for time_ns, value in some)
    quarters, found = Quarters(tags), []
    for some in np.array_split(np.arange(len(rows)), batches):
        found += quarters.take(Samples.from_rows([(rows[k][1], rows[k][0], rows[k][2], 0) for k in some]))
    assert len(found) >= 14
    for end_ns, means in found:
        np.testing.assert_allclose(means, [mean_of(told[tag], end_ns - STEP_NS, end_ns) for tag in tags], rtol=1e-9)


def test_a_meter_whose_clock_is_hours_ahead_neither_stops_the_others_nor_counts():
    quarters, ended = Quarters(("a", "b", "c", "ahead")), []
    for k in range(60):
        row = [(tag, BEGIN_NS + k * MINUTE_NS, 4.0, 0) for tag in ("a", "b", "c")]
        ended += quarters.take(Samples.from_rows(row))
        if k >= 20:  # in batches of its own
            ended += quarters.take(Samples.from_rows([("ahead", BEGIN_NS + (k + 300) * MINUTE_NS, 9.0, 0)]))
    assert [end_ns for end_ns, _ in ended] == [BEGIN_NS + k * STEP_NS for k in (1, 2, 3)]
    for _, means in ended:
        np.testing.assert_array_equal(means, [4.0, 4.0, 4.0, np.nan])


@pytest.mark.parametrize("silent", [1, 3])
def test_meters_that_fall_silent_hold_the_others_back_for_a_while_at_most(silent):
    tags = ("a", "b", "c", "d")
    quarters, ended = Quarters(tags), []
    for k in range(120):
        some = tags if k < 20 else tags[silent:]
        ended += quarters.take(Samples.from_rows([(tag, BEGIN_NS + k * MINUTE_NS, 4.0, 0) for tag in some]))
    assert [end_ns for end_ns, _ in ended] == [BEGIN_NS + k * STEP_NS for k in range(1, 8)]


def test_a_plant_that_was_away_for_a_day_goes_on_where_it_is():
    tags = ("a", "b", "c")
    quarters, ended = Quarters(tags), []
    for k in (*range(20), *range(1440, 1460)):
        for tag in tags:
            ended += quarters.take(Samples.from_rows([(tag, BEGIN_NS + k * MINUTE_NS, float(k < 20), 0)]))
    away = [(round((end_ns - BEGIN_NS) / STEP_NS), means.tolist()) for end_ns, means in ended]
    assert away == [(k, [1.0] * 3) for k in range(1, 7)] + [(97, [0.0] * 3)]
