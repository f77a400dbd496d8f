"""Samples that come late, or from the future: what a twin that had them in time would say is said in the end."""

import asyncio

import numpy as np
import pytest
from shipped import shipped

from uem.services.twin import late, worker
from uem.services.twin.late import Late
from uem.twin_core.forecast.bands import Forecast
from uem.twin_core.measurements import NS_PER_S, Samples
from uem.twin_core.twin import AssetTwin, make_twin, make_twins

PONGAU = shipped("pongau")


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(late, "REST_S", 0.1)
    monkeypatch.setattr(late, "PAUSE_S", 0.5)
    monkeypatch.setattr(late, "SHARE", 1.0)
    monkeypatch.setattr(worker, "MEND_EVERY_S", 0.05)


@pytest.fixture
async def site(make_site):
    site = await make_site()
    site.worker._make = lambda: make_twins(PONGAU)
    site.worker._recorded_tags = ()
    site.running.cancel()
    await asyncio.gather(site.running, return_exceptions=True)
    site.running = asyncio.create_task(site.worker.run())
    await asyncio.sleep(0)
    site.sequence = 0
    return site


async def until(site, condition):
    await site.until(condition, 60.0)


async def send(site, samples, *, behind=False):
    """As ingestion does: to disk, then to the bus."""
    site.sequence += 1
    await asyncio.wrap_future(site.store.append("p", site.sequence, samples))
    site.bus.publish(samples, behind=behind)


def in_order(asset, *batches):
    """The newest snapshot of a twin that got everything in order of time."""
    twin, samples = make_twin(PONGAU.asset(asset), forecasts=False), Samples.concatenate(batches)
    twin.take(samples.take(np.argsort(samples.source_time_ns, kind="stable")))
    return twin.advance()[-1]


def same(a, b):
    return (
        a.plant_time_ns == b.plant_time_ns
        and a.ledger_since_ns == b.ledger_since_ns
        and np.array_equal(a.value, b.value, equal_nan=True)
    )


def newest(site, asset):
    found = site.states.latest(asset)
    return found and found.snapshot


async def test_a_backlog_behind_live_samples_leads_to_the_state_of_one_that_came_in_order(site, recorded):
    first, middle, live = recorded("branch", 0, 10), recorded("branch", 10, 26), recorded("branch", 26, 34)
    await send(site, first)
    await until(site, lambda: newest(site, "branch"))
    await send(site, live)
    expected_end = in_order("branch", first, live).plant_time_ns
    await until(site, lambda: newest(site, "branch").plant_time_ns == expected_end)
    followed = newest(site, "branch")
    for begin in range(10, 26, 8):
        await send(site, recorded("branch", begin, begin + 8), behind=True)
    right = in_order("branch", first, middle, live)
    assert not same(followed, right)
    await until(site, lambda: same(newest(site, "branch"), right))
    assert newest(site, "branch").tick > followed.tick
    again = recorded("branch", 34, 37)
    await send(site, again)
    right = in_order("branch", first, middle, live, again)
    await until(site, lambda: same(newest(site, "branch"), right))


async def test_samples_behind_never_turn_a_twin_back(site, recorded):
    await send(site, recorded("branch", 20, 40))
    await until(site, lambda: newest(site, "branch"))
    await send(site, recorded("branch", 0, 20), behind=True)
    counted = site.worker._counters
    await until(site, lambda: counted._again.get("branch"))
    assert newest(site, "branch").plant_time_ns == 39 * 900 * NS_PER_S
    assert site.worker.twin("branch").restart_count == 0


async def test_a_late_sample_changes_what_was_estimated_without_it(site, recorded):
    rows = recorded("washer", 0, 400)
    is_late = np.zeros(len(rows), bool)
    is_late[1100:1130] = True
    await send(site, rows.take(~is_late))
    await until(site, lambda: newest(site, "washer"))
    without = newest(site, "washer")
    await send(site, rows.take(is_late))
    right = in_order("washer", rows)
    assert not same(without, right)
    await until(site, lambda: same(newest(site, "washer"), right))


async def test_a_twin_that_is_estimated_again_is_told_what_the_old_one_heard(site, recorded, monkeypatch):
    told = []
    monkeypatch.setattr(AssetTwin, "hear", lambda twin, forecast: told.append((twin, forecast.issue_time_ns)))
    await send(site, recorded("branch", 20, 40))
    await until(site, lambda: newest(site, "branch"))
    for asset, issue_ns in (("demand", 1), ("works", 3), ("demand", 2), ("demand", 1)):
        site.worker.hear(Forecast(asset, issue_ns, "guess", (0.5,), ()))
    old = site.worker.twin("branch")
    await send(site, recorded("branch", 0, 20), behind=True)
    await until(site, lambda: site.worker.twin("branch") is not old)
    assert [issue_ns for twin, issue_ns in told if twin is old] == [1, 3, 2]
    assert sorted(issue_ns for twin, issue_ns in told if twin is site.worker.twin("branch")) == [2, 3]


async def test_a_sample_of_the_future_moves_no_twin(site, recorded):
    rows = recorded("branch", 0, 40)
    now_ns = 39 * 900 * NS_PER_S + 10**9
    site.worker._clock = lambda: now_ns
    ahead = recorded("branch", 39, 40)
    ahead = Samples(ahead.names, ahead.tag, ahead.source_time_ns + 3600 * NS_PER_S, ahead.value + 1, ahead.quality)
    await send(site, rows)
    await send(site, ahead)
    await until(site, lambda: site.worker._counters._ahead.get() == len(ahead))
    right = in_order("branch", rows)
    await until(site, lambda: newest(site, "branch") and same(newest(site, "branch"), right))
    await send(site, recorded("branch", 30, 31), behind=True)  # nor does it when the history is read again
    await until(site, lambda: site.worker._counters._again.get("branch"))
    assert newest(site, "branch").plant_time_ns == right.plant_time_ns


async def test_what_is_older_than_what_is_read_again_changes_nothing(site, recorded):
    old, new = recorded("branch", 0, 10), recorded("branch", 300, 340)
    await send(site, new)
    await until(site, lambda: newest(site, "branch"))
    before = newest(site, "branch")
    await send(site, old, behind=True)
    await until(site, lambda: not site.worker._late._spans and site.worker._late._not_before_s)
    assert newest(site, "branch") is before
    assert site.worker._counters._too_late.get("branch") == 1  # it is told


async def test_a_sample_that_comes_late_while_another_twin_is_estimated_again_counts(site, recorded):
    rows = recorded("washer", 0, 400)
    is_late = np.zeros(len(rows), bool)
    is_late[1100:1130] = True
    await send(site, rows.take(~is_late))
    await send(site, recorded("branch", 20, 40))
    await until(site, lambda: newest(site, "washer") and newest(site, "branch"))
    estimate, sent = site.worker._estimate_again, []

    async def meanwhile(old, last_ns, make):
        done = await estimate(old, last_ns, make)
        if old.name == "branch" and not sent:
            sent.append(True)
            await send(site, rows.take(is_late))  # after the history of the branch was read, before the bus goes on
        return done

    site.worker._estimate_again = meanwhile
    await send(site, recorded("branch", 0, 20), behind=True)
    right = in_order("washer", rows)
    await until(site, lambda: same(newest(site, "washer"), right))


async def test_late_samples_in_batches_that_the_bus_dropped_count(site, recorded):
    rows = recorded("washer", 0, 400)
    is_late = np.zeros(len(rows), bool)
    is_late[1100:1130] = True
    await send(site, rows.take(~is_late))
    await until(site, lambda: newest(site, "washer"))
    nothing = rows.take(slice(0, 0))
    async with site.worker._one_at_a_time:  # a replay that takes long
        await send(site, rows.take(is_late))
        for _ in range(worker.WAITING_BATCHES + 2):
            site.bus.publish(nothing)
    right = in_order("washer", rows)
    await until(site, lambda: same(newest(site, "washer"), right))


def test_late_samples_wait_until_they_rest_and_cost_a_small_share(monkeypatch):
    monkeypatch.undo()
    now = [100.0]
    found = Late(lambda: now[0])
    found.note("a", 7)
    assert found.due() == []
    now[0] += 1.0
    found.note("a", 5)
    now[0] += 2.0
    assert found.due() == [("a", 7)]
    found.done("a", 10.0)
    found.note("a", 9)
    now[0] += 199.0
    assert found.due() == []
    now[0] += 1.0
    assert found.due() == [("a", 9)]


def test_late_samples_that_never_rest_are_looked_at_all_the_same(monkeypatch):
    monkeypatch.undo()
    now = [0.0]
    found = Late(lambda: now[0])
    seen = 0
    for _ in range(200):
        now[0] += 1.0
        found.note("a", 1)
        for asset, _ in found.due():
            seen += 1
            found.done(asset, 0.1)
    assert 2 <= seen <= 4
