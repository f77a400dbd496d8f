"""kill -9 of a real server process under load, again and again: what it acknowledged is there, once."""

import asyncio
import json
import random
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import grpc
import numpy as np

from uem.services.history.sqlite import SqliteStore
from uem.services.metrics import Metrics
from uem.twin_core.measurements import Gap, GapReason
from uem.v1 import common_pb2, ingestion_pb2, ingestion_pb2_grpc

ROWS = 50
T0_NS = 1_700_000_000_000_000_000


class Producer:
    """Sends numbered batches of its own tag; keeps what is not acknowledged and sends it again."""

    def __init__(self, number):
        self.name, self.tag = f"producer {number}", f"tag/{number}"
        self.acknowledged = 0

    def gap(self, sequence):
        """One in each batch."""
        return Gap(self.tag, T0_NS + sequence * 10, T0_NS + sequence * 10 + 3, GapReason.LINK_DOWN)

    def request(self, sequence):
        first = (sequence - 1) * ROWS
        request = ingestion_pb2.IngestRequest(producer=self.name, sequence=sequence)
        request.samples.tag_name.append(self.tag)
        request.samples.tag.extend([0] * ROWS)
        request.samples.source_time_ns.extend(range(T0_NS + first, T0_NS + first + ROWS))
        request.samples.value.extend(float(i) for i in range(first, first + ROWS))
        request.samples.quality.extend([0] * ROWS)
        gap = self.gap(sequence)
        reason = common_pb2.GAP_REASON_LINK_DOWN
        request.gaps.add(tag_name=gap.tag, start_time_ns=gap.start_ns, end_time_ns=gap.end_ns, reason=reason)
        return request

    async def run(self, address):
        """One connection, until it breaks."""
        async with grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
            stub = ingestion_pb2_grpc.IngestionServiceStub(channel)
            asked = await stub.GetProducer(ingestion_pb2.GetProducerRequest(producer=self.name), timeout=60)
            assert asked.last_sequence >= self.acknowledged, "an acknowledged batch is lost"
            # Some of what is on disk is sent again, as by a sender that never asked.
            begin = max(1, asked.last_sequence - random.Random(asked.last_sequence).randrange(3))
            call = stub.Ingest(self._requests(begin))
            async for response in call:
                self.acknowledged = max(self.acknowledged, response.sequence)

    async def _requests(self, begin):
        sequence = begin
        while True:
            yield self.request(sequence)
            sequence += 1
            await asyncio.sleep(0)


async def acknowledged_more(producers, batches):
    """Wait until so many more batches are acknowledged."""
    enough = sum(producer.acknowledged for producer in producers) + batches
    for _ in range(6000):
        if sum(producer.acknowledged for producer in producers) >= enough:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("no acknowledgements for a minute")


async def test_kills_under_load_lose_no_acknowledged_sample_or_gap_and_store_none_twice(tmp_path, times_long):
    kills = times_long(20, 100)
    rng = random.Random(20)
    producers = [Producer(number) for number in range(4)]
    runner = Path(__file__).with_name("history_process.py")
    for _ in range(kills):
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(runner), str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        running = [asyncio.create_task(producer.run(ready["address"])) for producer in producers]
        await acknowledged_more(producers, 20)
        await asyncio.sleep(rng.uniform(0.0, 0.2))
        assert not any(task.done() for task in running), running
        process.kill()
        await process.communicate()
        ended = await asyncio.wait_for(asyncio.gather(*running, return_exceptions=True), 60)
        assert all(isinstance(error, grpc.aio.AioRpcError) for error in ended), ended
    await asyncio.to_thread(check, tmp_path / "history.db", producers, kills)


def check(path, producers, kills):
    with closing(SqliteStore(path, Metrics())) as store:
        for producer in producers:
            last = store.last_sequence(producer.name)
            assert last >= producer.acknowledged >= kills
            rows = store.read([producer.tag], 0, 2**63 - 1)
            np.testing.assert_array_equal(rows.source_time_ns, T0_NS + np.arange(last * ROWS))
            found = [gap for _, gap in store.gaps([producer.tag], 0, 2**63 - 1, last + 1)]
            assert found == [producer.gap(sequence) for sequence in range(1, last + 1)]
            np.testing.assert_array_equal(rows.value, np.arange(last * ROWS))
            assert store.tags([producer.tag])[producer.tag].sample_count == last * ROWS
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (in_chunks,) = connection.execute("SELECT sum(sample_count) FROM chunk").fetchone()
        assert in_chunks > 0
