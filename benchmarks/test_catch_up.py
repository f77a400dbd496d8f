"""A day in the spool of a gateway, delivered when the server is back: how many times faster than it was measured."""

import asyncio
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from uem.hardware_adapters.spool import Spool
from uem.hardware_adapters.uplink import Uplink
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


async def deliver(spool: Spool, store: SqliteStore) -> float:
    """Seconds until the spool is empty."""
    metrics = Metrics()
    worker = Worker([Tag(name=name, unit="K") for name in TAGS], store, SampleBus(), metrics)
    service = server.Service(
        name="uem.v1.IngestionService",
        add=ingestion_pb2_grpc.add_IngestionServiceServicer_to_server,
        servicer=IngestionServicer(worker),
    )
    running = await server.start([service], metrics=metrics)
    uplink = Uplink(running.address, spool)
    began = perf_counter()
    task = asyncio.create_task(uplink.run())
    while spool.batch_count:  # noqa: ASYNC110  # the uplink tells it only while it is connected
        await asyncio.sleep(0.01)
    taken_s = perf_counter() - began
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await running.drain(0.1)
    return taken_s


def test_catch_up_after_a_day(benchmark: Any, short: bool, tmp_path: Path) -> None:
    outage_s = 3_600 if short else 86_400
    with (
        Spool(tmp_path / "spool.db") as spool,
        closing(SqliteStore(tmp_path / "history.db", Metrics())) as store,
    ):
        rows = fill(spool, outage_s)
        taken_s = benchmark.pedantic(lambda: asyncio.run(deliver(spool, store)), rounds=1)
        assert sum(stats.sample_count for stats in store.tags().values()) == rows
    benchmark.extra_info.update(figure=outage_s / taken_s, unit=f"times real time, {rows / taken_s:.0f} samples/s")
