"""Fault 6: the server was away for a day (an hour in the short form) and comes back while the plant goes on."""

import asyncio
import contextlib
import time

import numpy as np

from uem.hardware_adapters.inbox import Inbox
from uem.hardware_adapters.lanes import Lanes
from uem.hardware_adapters.spool import Spool
from uem.services import server
from uem.services.bus import SampleBus
from uem.services.history.sqlite import SqliteStore
from uem.services.ingestion.servicer import IngestionServicer
from uem.services.ingestion.worker import Worker
from uem.services.metrics import Metrics
from uem.twin_core.measurements import NS_PER_S, Samples, Tag
from uem.v1 import ingestion_pb2_grpc

TAGS = tuple(f"plant/{i}" for i in range(50))
BATCH_S = 10
T0_NS = 1_700_000_000 * NS_PER_S
DRAIN_FACTOR = 20  # times real time, at least


def second(number):
    """One row of each tag, whose value is its number."""
    tag = np.arange(len(TAGS), dtype=np.uint32)
    times = np.full(len(TAGS), T0_NS + number * NS_PER_S)
    return Samples(TAGS, tag, times, np.full(len(TAGS), float(number)), np.zeros(len(TAGS), np.uint32))


class Order:
    """What the bus says, in its order: the seconds of the first tag, by whether they came behind."""

    def __init__(self):
        self.live, self.behind, self.behind_when_live_came = [], [], {}

    def offer(self, samples, behind):
        seconds = samples.value[samples.tag == samples.names.index(TAGS[0])].astype(int).tolist()
        (self.behind if behind else self.live).extend(seconds)
        if not behind:
            self.behind_when_live_came |= dict.fromkeys(seconds, len(self.behind))


@contextlib.asynccontextmanager
async def serving(store, bus, port=0):
    metrics = Metrics()
    service = server.Service(
        name="uem.v1.IngestionService",
        add=ingestion_pb2_grpc.add_IngestionServiceServicer_to_server,
        servicer=IngestionServicer(Worker([Tag(name=name, unit="1") for name in TAGS], store, bus, metrics)),
    )
    running = await server.start([service], metrics=metrics, port=port)
    yield running
    await running.drain(0.1)


async def test_everything_arrives_once_in_order_and_live_samples_do_not_wait_for_it(tmp_path, times_long, monkeypatch):
    outage_s = times_long(3_600, 86_400)
    monkeypatch.setattr("uem.hardware_adapters.uplink.LONGEST_WAIT_S", 0.2)
    bus, order = SampleBus(), Order()
    bus._subscriptions.append(order)
    with (
        Spool(tmp_path / "spool.db") as spool,
        contextlib.closing(SqliteStore(tmp_path / "history.db", Metrics())) as store,
    ):
        async with serving(store, bus) as running:
            port = running.port
        for begin in range(0, outage_s, BATCH_S):
            spool.append(Samples.concatenate([second(begin + k) for k in range(BATCH_S)]), (), time.time_ns())
        lanes = Lanes(spool, f"127.0.0.1:{port}")
        inbox, number = Inbox(lanes, lanes.notify, most_delay_s=0.02), outage_s
        storing, delivering = asyncio.create_task(inbox.run()), asyncio.create_task(lanes.run())
        async with serving(store, bus, port), asyncio.timeout(outage_s / DRAIN_FACTOR):
            while not lanes.backlog_lanes:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            while lanes.backlog_lanes or number < outage_s + 5:
                inbox.put("plant", second(number))
                number += 1
                await asyncio.sleep(0.05)
            inbox.close()
            await storing
            while lanes.batch_count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        stored = store.read(TAGS, 0, 2**62)
        lanes.close()
    assert len(stored) == number * len(TAGS)
    assert np.array_equal(stored.value, np.tile(np.arange(float(number)), len(TAGS)))
    assert order.behind == sorted(order.behind)
    assert order.live == sorted(order.live)
    assert sorted(order.live + order.behind) == list(range(number))
    ahead = [
        live for live, behind in order.behind_when_live_came.items() if live >= outage_s and behind < len(order.behind)
    ]
    assert ahead, "no live sample arrived before the last of the backlog"
