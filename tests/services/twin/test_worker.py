import asyncio
import threading

import numpy as np
import pytest
from prometheus_client import generate_latest
from shipped import shipped

from uem.services.bus import LatestBus, SampleBus
from uem.services.metrics import Metrics
from uem.services.twin.worker import Worker
from uem.twin_core.errors import InvalidInput, NotReady, StorageError, UnknownName
from uem.twin_core.follow.machine import MachineFollower
from uem.twin_core.forecast.bands import Forecast
from uem.twin_core.measurements import GOOD, NS_PER_S, UNCERTAIN
from uem.twin_core.state import Source
from uem.twin_core.twin import AssetTwin, make_twin, make_twins

PONGAU = shipped("pongau")


def exported(site):
    return generate_latest(site.metrics.registry).decode()


async def test_committed_samples_become_states(site, recorded):
    site.bus.publish(recorded("washer", 0, 100))
    await site.until(lambda: site.states.latest("washer"))
    published = site.states.latest("washer")
    assert published.snapshot.tick == 99
    assert published.time_ns > 0
    assert site.states.latest("branch") is None


async def test_samples_of_one_batch_may_come_tag_by_tag(site, recorded):
    batch = recorded("washer", 0, 100)
    site.bus.publish(batch.take(np.argsort(batch.tag, kind="stable")))
    await site.until(lambda: site.states.latest("washer"))
    assert site.states.latest("washer").snapshot.tick == 99
    assert site.worker.twin("washer").late_count == 0


async def test_a_restarted_worker_goes_on_where_it_was(make_site, recorded):
    site = await make_site()
    first, rest = recorded("branch", 0, 60), recorded("branch", 60, 80)
    await asyncio.wrap_future(site.store.append("p", 1, first))
    site.bus.publish(first)
    await site.until(lambda: site.states.latest("branch"))
    before = site.states.latest("branch").snapshot
    site = await make_site()
    await site.until(lambda: site.states.latest("branch"))
    again = site.states.latest("branch").snapshot
    assert again.value.tobytes() == before.value.tobytes()
    assert again.plant_time_ns == before.plant_time_ns
    site.bus.publish(rest)
    await site.until(lambda: site.states.latest("branch").snapshot.tick > again.tick)
    assert site.states.latest("branch").snapshot.plant_time_ns > before.plant_time_ns


async def test_a_worker_that_fell_behind_the_bus_reads_what_it_missed_from_the_history(site, recorded):
    rows = recorded("washer", 0, 1600)
    await asyncio.wrap_future(site.store.append("p", 1, rows))
    for begin in range(0, len(rows), 4):  # 1,600 batches at once; the bus keeps 1,024
        site.bus.publish(rows.take(slice(begin, begin + 4)))
    await site.until(lambda: site.states.latest("washer"))
    newest_ns = int(rows.source_time_ns.max())
    await site.until(lambda: site.states.latest("washer").snapshot.plant_time_ns == newest_ns)
    without_loss = make_twin(PONGAU.asset("washer"))
    without_loss.take(rows)
    assert site.states.latest("washer").snapshot.value.tobytes() == without_loss.advance()[-1].value.tobytes()
    assert site.worker.twin("washer").late_count == 0


async def test_the_past_that_is_read_again_is_bounded(make_site, recorded):
    site = await make_site()
    await asyncio.wrap_future(site.store.append("p", 1, recorded("branch")))
    site = await make_site()
    await site.until(lambda: site.states.latest("branch"))
    await site.until(lambda: site.states.latest("branch").snapshot.tick == 2881)  # 48 h of minutes
    newest = site.states.latest("branch").snapshot
    assert newest.plant_time_ns - newest.ledger_since_ns == 48 * 3600 * NS_PER_S


async def test_a_forecast_needs_a_state_and_a_known_asset(site, recorded):
    with pytest.raises(NotReady):
        await site.worker.forecast("washer", None)
    with pytest.raises(UnknownName, match="known: branch, washer"):
        await site.worker.forecast("boiler", None)
    site.bus.publish(recorded("washer", 0, 100))
    await site.until(lambda: site.states.latest("washer"))
    forecast = await site.worker.forecast("washer", 60.0)
    assert forecast.issue_time_ns == site.states.latest("washer").snapshot.plant_time_ns
    with pytest.raises(InvalidInput):
        await site.worker.forecast("washer", -1.0)


async def test_what_is_older_than_what_was_heard_is_not_heard_but_when_the_plant_has_begun_anew(
    site, recorded, monkeypatch
):
    told = []
    monkeypatch.setattr(AssetTwin, "hear", lambda twin, forecast: told.append((twin.name, forecast.issue_time_ns)))
    site.bus.publish(recorded("branch", 200, 240))
    await site.until(lambda: site.states.latest("branch"))
    later_ns = site.states.latest("branch").snapshot.plant_time_ns
    for issue_ns in (5, 5, 3, 6):
        site.worker.hear(Forecast("demand", issue_ns, "guess", (0.5,), ()))
    site.bus.publish(recorded("branch", 0, 40))
    await site.until(lambda: site.states.latest("branch").snapshot.plant_time_ns < later_ns)
    site.worker.hear(Forecast("demand", 3, "guess", (0.5,), ()))
    assert [issue_ns for name, issue_ns in told if name == "branch"] == [5, 5, 6, 3]


async def test_metrics_tell_steps_late_and_unusable_samples_and_the_age_of_the_newest(site, recorded):
    site.bus.publish(recorded("washer", 0, 100))
    await site.until(lambda: site.states.latest("washer"))
    site.bus.publish(recorded("washer", 80, 110))
    await site.until(lambda: site.states.latest("washer").snapshot.tick > 99)
    text = exported(site)
    assert 'uem_twin_steps_total{asset="washer"} 109.0' in text
    assert 'uem_twin_step_duration_seconds_count{asset="washer"} 2.0' in text
    assert 'uem_twin_late_samples_total{asset="washer"} 76.0' in text
    assert 'uem_twin_unusable_samples_total{asset="washer"} 1.0' in text
    assert 'uem_twin_newest_sample_age_seconds{asset="washer"}' in text
    assert 'uem_twin_real_time_factor_ratio{asset="washer"}' in text


class Failing(MachineFollower):
    """A machine whose steps fail in two ways at two times."""

    def step(self, intake, begin_ns, end_ns):
        second = (end_ns - self._first_ns) // NS_PER_S
        if 10 <= second < 20:
            raise InvalidInput("too hot for the model")
        if 40 <= second < 50:
            raise ZeroDivisionError("a fault of ours")
        super().step(intake, begin_ns, end_ns)

    def start(self, intake, time_ns):
        self._first_ns = time_ns
        super().start(intake, time_ns)


def part(samples, begin, end):
    return samples.take(slice(4 * begin, 4 * end))


@pytest.mark.parametrize("row", [12, 42])
async def test_a_twin_that_fails_shows_its_last_good_state_as_stale(make_site, recorded, row):
    site = await make_site([make_twin(PONGAU.asset("branch")), AssetTwin(Failing(PONGAU.asset("washer")))])
    samples, ticks = recorded("washer", 0, 100), []
    for k in range(row + 1):
        await site.worker._take(part(samples, k, k + 1))
        if site.states.latest("washer"):
            ticks.append(site.states.latest("washer").snapshot.tick)
    published = site.states.latest("washer").snapshot
    assert (published.quality >= UNCERTAIN).all()
    assert np.isfinite(published.value).all()
    assert len(ticks) == row


async def test_health_tells_why_a_twin_does_not_follow_and_that_it_is_well_again(make_site, recorded):
    site = await make_site([make_twin(PONGAU.asset("branch")), AssetTwin(Failing(PONGAU.asset("washer")))])
    samples = recorded("washer", 0, 100)
    site.checks.ask()
    assert site.checks.is_well("uem.v1.TwinService")
    seen = []
    for k in range(0, 80):
        await site.worker._take(part(samples, k, k + 1))
        site.checks.ask()
        seen.append(site.checks.reasons.get("twin of washer"))
    assert any(reason and "too hot" in reason for reason in seen)
    assert any(reason and "fault of ours" in reason for reason in seen)
    own = [s.source is not Source.LEDGER for s in site.worker.twin("washer").signals]
    assert (site.states.latest("washer").snapshot.quality[own] == GOOD).all()
    assert site.checks.is_well("uem.v1.TwinService")


class Blind(MachineFollower):
    """A machine that cannot be forecast for a while."""

    count = 0

    def project(self, intake, time_ns, step_s, count):
        self.count += 1
        if self.count == 1:
            raise ZeroDivisionError("a fault of the forecast")
        return super().project(intake, time_ns, step_s, count)


async def test_a_forecast_that_fails_is_told_by_health_and_metrics_while_the_twin_goes_on(make_site, recorded, caplog):
    site = await make_site([make_twin(PONGAU.asset("branch")), AssetTwin(Blind(PONGAU.asset("washer")))])
    samples = recorded("washer", 0, 100)
    await site.worker._take(part(samples, 0, 20))
    site.checks.ask()
    assert "a fault of the forecast" in site.checks.reasons["twin of washer"]
    assert "a fault of the forecast" in caplog.text
    assert 'uem_twin_failed_forecasts_total{asset="washer"} 1.0' in exported(site)
    assert 'uem_twin_failed_steps_total{asset="washer"} 0.0' in exported(site)
    await site.worker._take(part(samples, 20, 40))
    site.checks.ask()
    assert site.checks.is_well("uem.v1.TwinService")
    assert (site.states.latest("washer").snapshot.quality == GOOD).any()


class Slow(MachineFollower):
    """A machine whose forecast takes as long as it is told."""

    asked, go_on = threading.Event(), threading.Event()

    def project(self, intake, time_ns, step_s, count):
        self.asked.set()
        assert self.go_on.wait(60.0)
        return super().project(intake, time_ns, step_s, count)


async def test_a_forecast_that_takes_long_holds_no_other_twin_back_and_its_own_until_it_is_there(make_site, recorded):
    site = await make_site(
        [make_twin(PONGAU.asset("branch")), AssetTwin(Slow(PONGAU.asset("washer")), forecasts=False)]
    )
    site.bus.publish(recorded("washer", 0, 20))
    await site.until(lambda: site.states.latest("washer"))
    asked_at = site.states.latest("washer").snapshot.plant_time_ns
    forecast = asyncio.create_task(site.worker.forecast("washer", 60.0))
    await asyncio.to_thread(Slow.asked.wait, 60.0)
    site.bus.publish(recorded("branch", 0, 40))
    await site.until(lambda: site.states.latest("branch"))
    site.bus.publish(recorded("washer", 20, 40))
    await asyncio.sleep(0)
    assert not forecast.done()
    Slow.go_on.set()
    assert (await forecast).issue_time_ns == asked_at
    await site.until(lambda: site.states.latest("washer").snapshot.plant_time_ns > asked_at)


class Foreseeing(MachineFollower):
    """A machine whose futures take as long as they are told, from a state that was copied before."""

    forecast_band, forecast_fresh_s = "band: none", 0.0
    asked, go_on = threading.Event(), threading.Event()

    def hear(self, asset, signal, valid_ns, values):
        """Nothing matters to it."""
        return False

    def fork(self, intake, time_ns, step_s, count):
        values = self.project(intake, time_ns, step_s, count)

        def futures():
            self.asked.set()
            assert self.go_on.wait(60.0)
            return values, np.ones_like(values)

        return futures


async def test_a_twin_goes_on_while_its_futures_run(make_site, recorded):
    site = await make_site([AssetTwin(Foreseeing(PONGAU.asset("washer")), forecasts=False)])
    site.bus.publish(recorded("washer", 0, 20))
    await site.until(lambda: site.states.latest("washer"))
    asked_at = site.states.latest("washer").snapshot.plant_time_ns
    forecast = asyncio.create_task(site.worker.forecast("washer", 60.0))
    await asyncio.to_thread(Foreseeing.asked.wait, 60.0)
    site.bus.publish(recorded("washer", 20, 40))
    await site.until(lambda: site.states.latest("washer").snapshot.plant_time_ns > asked_at)
    assert not forecast.done()
    Foreseeing.go_on.set()
    assert (await forecast).issue_time_ns == asked_at


class Patient:
    """A past that is read when it is told to."""

    def __init__(self, store):
        self.store, self.asked, self.go_on = store, threading.Event(), threading.Event()

    def tags(self, names=None):
        self.asked.set()
        assert self.go_on.wait(60.0)
        return self.store.tags(names)

    def read(self, *where, **how):
        return self.store.read(*where, **how)


async def test_what_comes_over_the_bus_while_the_past_is_read_is_no_new_beginning_of_a_recording(make_site, recorded):
    site = await make_site()
    bus, states, past = SampleBus(), LatestBus(), Patient(site.store)
    await asyncio.wrap_future(site.store.append("p", 1, recorded("washer", 0, 40)))
    worker = Worker([make_twin(PONGAU.asset("washer"))], past, bus, states, Metrics())
    running = asyncio.create_task(worker.run())
    await asyncio.to_thread(past.asked.wait, 60.0)
    await asyncio.wrap_future(site.store.append("p", 2, recorded("washer", 40, 200)))
    for begin in range(40, 200, 20):
        bus.publish(recorded("washer", begin, begin + 20))
    past.go_on.set()
    bus.publish(recorded("washer", 200, 210))
    newest_ns = int(recorded("washer", 200, 210).source_time_ns.max())
    await site.until(lambda: states.latest("washer"))
    await site.until(lambda: states.latest("washer").snapshot.plant_time_ns == newest_ns)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    worker.close()
    assert worker.twin("washer").restart_count == 0
    without_delay = make_twin(PONGAU.asset("washer"))
    without_delay.take(recorded("washer", 0, 210))
    assert states.latest("washer").snapshot.value.tobytes() == without_delay.advance()[-1].value.tobytes()


async def test_a_history_that_cannot_be_read_does_not_keep_the_twin_from_starting(recorded, caplog, monkeypatch):
    class Broken:
        def tags(self, names=None):
            raise StorageError("unreadable")

    bus, states = SampleBus(), LatestBus()
    subscribe, subscribed = bus.subscribe, asyncio.Event()
    monkeypatch.setattr(bus, "subscribe", lambda *capacity: (subscribed.set(), subscribe(*capacity))[1])
    worker = Worker(make_twins(PONGAU), Broken(), bus, states, Metrics())
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(subscribed.wait(), 60)
    bus.publish(recorded("washer", 0, 50))
    async with asyncio.timeout(60):
        await anext(aiter(states.subscribe()))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    worker.close()
    assert "goes on without its past: unreadable" in caplog.text
