"""A day in the spool of a gateway, delivered when the server is back: how many times faster than it was measured."""

import asyncio
from contextlib import closing
from pathlib import Path
from time import perf_counter, time_ns
from typing import Any

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

TAGS = tuple(f"plant/{i}/temperature" for i in range(200))
T0_NS = 1_700_000_000 * NS_PER_S
PERIOD_S = 10  # of each tag
BATCH_S = 60


def fill(spool: Spool, outage_s: int) -> int:
    """As the inbox would have stored it, a minute in a batch; how many rows."""
    steps = BATCH_S // PERIOD_S
    tag = np.tile(np.arange(len(TAGS), dtype=np.uint32), steps)
    value, quality = np.random.default_rng(1).normal(350.0, 0.1, len(tag)), np.zeros(len(tag), np.uint32)
    for begin in range(0, outage_s, BATCH_S):
        time = T0_NS + (begin + PERIOD_S * np.repeat(np.arange(steps), len(TAGS))) * NS_PER_S
        spool.append(Samples(TAGS, tag, time, value, quality))
    return spool.row_count


class Arrivals:
    """What comes over the bus beside the backlog: when it was measured, and how much later it was on disk."""

    def __init__(self) -> None:
        self.delay_s: list[float] = []

    def offer(self, samples: Samples, behind: bool) -> None:
        """As a subscription."""
        if not behind:
            live = samples.source_time_ns[samples.source_time_ns > T0_NS + 10 * 86_400 * NS_PER_S]
            self.delay_s += ((time_ns() - live) / NS_PER_S).tolist()


async def deliver(spool: Spool, store: SqliteStore, arrivals: Arrivals) -> float:
    """Seconds until the spool is empty, with live samples of each tag ten times a second beside it."""
    metrics, bus = Metrics(), SampleBus()
    bus._subscriptions.append(arrivals)  # type: ignore[arg-type]
    worker = Worker([Tag(name=name, unit="K") for name in TAGS], store, bus, metrics)
    service = server.Service(
        name="uem.v1.IngestionService",
        add=ingestion_pb2_grpc.add_IngestionServiceServicer_to_server,
        servicer=IngestionServicer(worker),
    )
    running = await server.start([service], metrics=metrics)
    lanes = Lanes(spool, running.address)
    inbox = Inbox(lanes, lanes.notify)
    tag, quality = np.arange(len(TAGS), dtype=np.uint32), np.zeros(len(TAGS), np.uint32)
    began = perf_counter()
    tasks = [asyncio.create_task(inbox.run()), asyncio.create_task(lanes.run())]
    while spool.batch_count:
        inbox.put("plant", Samples(TAGS, tag, np.full(len(TAGS), time_ns()), np.full(len(TAGS), 350.0), quality))
        await asyncio.sleep(0.1)
    taken_s = perf_counter() - began
    inbox.close()
    await tasks[0]
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    lanes.close()
    await running.drain(0.1)
    return taken_s


def test_catch_up_after_a_day(benchmark: Any, short: bool, tmp_path: Path) -> None:
    outage_s, arrivals = 7_200 if short else 86_400, Arrivals()
    with (
        Spool(tmp_path / "spool.db") as spool,
        closing(SqliteStore(tmp_path / "history.db", Metrics())) as store,
    ):
        rows = fill(spool, outage_s)
        taken_s = benchmark.pedantic(lambda: asyncio.run(deliver(spool, store, arrivals)), rounds=1)
        stored = sum(stats.sample_count for stats in store.tags().values())
        assert stored >= rows + len(TAGS)
    delay_s = np.percentile(arrivals.delay_s, [50, 100])
    benchmark.extra_info.update(
        figure=outage_s / taken_s,
        unit=f"times real time, {rows / taken_s:.0f} samples/s, live samples on disk after {delay_s[0]:.2f} s, "
        f"at most {delay_s[1]:.2f} s",
    )
