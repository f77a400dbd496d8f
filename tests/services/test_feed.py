"""The history of a real server, followed and read by another process (here: another task)."""

import asyncio
import contextlib

import numpy as np
import pytest

from uem.services.feed import Feed
from uem.services.metrics import Metrics
from uem.twin_core.errors import StorageError
from uem.v1 import history_pb2 as pb
from uem.v1.columns import WATCH_SAMPLES_RESPONSE

FLOW, POWER = "branch/flow", "washer/power"
ALL = (0, 2**63 - 1)


@contextlib.asynccontextmanager
async def running(address):
    feed = Feed(address, Metrics())
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.wait([task])
        feed.close()


@pytest.fixture
async def feed(site):
    async with running(site.server.address) as feed:
        yield feed


async def test_what_is_committed_comes_over_the_bus_once_it_has_begun(site, feed, samples, batch, same):
    assert "not reached" in feed.problem()
    async with asyncio.timeout(60):
        await feed.begun.wait()
        assert feed.problem() is None
        subscription = feed.bus.subscribe()
        rows = samples((FLOW, 1, 1.0), (POWER, 2, np.nan, 0x80000000))
        await site.ingest(batch("p", 1, rows))
        same(await anext(subscription), rows)


async def test_rows_of_a_backlog_stay_marked(site, feed, samples, batch, t0_ns):
    async with asyncio.timeout(60):
        await feed.begun.wait()
        subscription = feed.bus.subscribe()
        request = batch("p", 1, samples((FLOW, 1, 1.0)))
        request.behind = True
        await site.ingest(request)
        await site.ingest(batch("p", 2, samples((FLOW, 2, 2.0))))
        assert (await anext(subscription)).value.tolist() == [2.0]
    assert subscription.behind == {FLOW: (t0_ns + 10**9, t0_ns + 10**9)}


async def test_the_past_is_read_as_from_the_store(site, feed, samples, batch, same):
    await site.ingest(batch("p", 1, samples((FLOW, 2, 2.0), (POWER, 1, 9.0), (FLOW, 1, 1.0))))
    for tags in ([FLOW, POWER], [POWER], []):
        same(await asyncio.to_thread(feed.read, tags, *ALL), site.store.read(tags, *ALL))
    same(await asyncio.to_thread(feed.read, [FLOW], 5, 4), site.store.read([FLOW], 5, 4))
    assert await asyncio.to_thread(feed.tags, [FLOW]) == site.store.tags([FLOW])
    assert await asyncio.to_thread(feed.tags) == site.store.tags()


async def test_a_tag_that_the_other_side_has_not_is_told(feed):
    with pytest.raises(StorageError, match=r"history at 127.0.0.1:.*boiler"):
        await asyncio.to_thread(feed.read, ["boiler"], *ALL)


async def test_who_reads_from_a_history_that_is_away_waits_until_the_feed_is_closed():
    async with running("127.0.0.1:1") as feed:
        reading = asyncio.create_task(asyncio.to_thread(feed.tags))
        await asyncio.sleep(0.2)
        assert not reading.done()
        assert feed.problem()
    with pytest.raises(StorageError, match="goes down"):
        await reading


async def test_what_was_committed_while_the_connection_was_broken_comes_when_it_holds_again(
    tmp_path, site_at, samples, same
):
    site = await site_at(tmp_path / "other.db").start()
    async with running(site.server.address) as feed, asyncio.timeout(60):
        await feed.begun.wait()
        subscription = feed.bus.subscribe()
        await site.close()
        again = site_at(tmp_path / "other.db")
        rows = samples((FLOW, 1, 1.0), (FLOW, 2, 2.0))
        again.store.append("p", 1, rows).result(60)
        await again.start(port=site.server.port)
        same(await anext(subscription), rows)
        assert subscription.dropped == 0
        await again.close()


class Stub:
    """A history whose streams are given; each ends after its responses."""

    def __init__(self, *streams):
        self.streams = list(streams)
        self.requests = asyncio.Queue()

    def watch(self, channel):
        return self._begin

    def _begin(self, request):
        self.requests.put_nowait(request.after_cursor if request.HasField("after_cursor") else None)
        return _Stream(self.streams.pop(0) if self.streams else [])


class _Stream:
    def __init__(self, responses):
        self._responses = responses

    async def __aiter__(self):
        for response in self._responses:
            yield WATCH_SAMPLES_RESPONSE.split(response)

    def cancel(self):
        pass


async def test_a_stream_goes_on_from_its_cursor_and_what_was_missed_is_told_to_subscribers(monkeypatch):
    stub = Stub([pb.WatchSamplesResponse(cursor=7)], [pb.WatchSamplesResponse(cursor=9, missed=True)])
    monkeypatch.setattr("uem.services.feed.watch_samples", stub.watch)
    monkeypatch.setattr("uem.services.feed.PAUSE_S", 0.01)
    async with running("127.0.0.1:1") as feed, asyncio.timeout(60):
        subscription = feed.bus.subscribe()
        assert len(await anext(subscription)) == 0
        assert subscription.dropped == 1
        assert [await stub.requests.get() for _ in range(3)] == [None, 7, 9]
