"""A server whose disk is full, broken, read-only or slow: what its senders, its health and its metrics say."""

import asyncio
import json
import os
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from uem.services.history.backup import backup
from uem.services.history.sqlite import SqliteStore
from uem.services.ingestion.servicer import MOST_IN_FLIGHT
from uem.services.metrics import Metrics
from uem.v1 import ingestion_pb2, ingestion_pb2_grpc

ROWS = 500  # of a batch, 12 kB
MOST_WAITING_BYTES = 8e6  # between sender and server, mostly in their transports
T0_NS = 1_700_000_000_000_000_000
RECOVERED_S = 10.0
REFUSES = {
    "fail-full": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "fail-eio": grpc.StatusCode.UNAVAILABLE,
    "fail-readonly": grpc.StatusCode.UNAVAILABLE,
}


def _is_of_library(error):
    """Whether a message met a call that the server had ended before its answer was read: grpc.aio says so by itself."""
    return error.code() is grpc.StatusCode.INTERNAL and "execute_batch" in (error.debug_error_string() or "")


class Sender:
    """Sends numbered samples, at most `window` batches ahead, and again what is not acknowledged."""

    def __init__(self, address):
        self.window = 5
        self.channel = grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))
        self.stub = ingestion_pb2_grpc.IngestionServiceStub(self.channel)
        self.sent = self.acknowledged = 0
        self.errors = []

    async def run(self):
        while True:
            try:
                async for response in self.stub.Ingest(self._requests(self.acknowledged + 1)):
                    self.acknowledged = response.sequence
            except grpc.aio.AioRpcError as error:
                if not _is_of_library(error):
                    self.errors.append(error)
            await asyncio.sleep(0.05)

    async def _requests(self, sequence):
        while True:
            await until(lambda sent=sequence: sent <= self.acknowledged + self.window, 3600.0)
            request = ingestion_pb2.IngestRequest(producer="p", sequence=sequence)
            request.samples.tag_name.append("tag/0")
            request.samples.tag.extend([0] * ROWS)
            request.samples.source_time_ns.extend(range(T0_NS + sequence * ROWS, T0_NS + (sequence + 1) * ROWS))
            request.samples.value.extend([float(sequence)] * ROWS)
            request.samples.quality.extend([0] * ROWS)
            self.sent = sequence
            yield request
            sequence += 1


async def until(condition, seconds=60.0):
    """How long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds
        await asyncio.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture
async def server(tmp_path, recorded_files):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("history_process.py")),
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"LD_PRELOAD": str(recorded_files), "RECORDED_FOLDER": str(tmp_path)},
    )
    yield json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    process.kill()
    await process.communicate()


@pytest.fixture
async def sender(server):
    sender = Sender(server["address"])
    running = asyncio.create_task(sender.run())
    yield sender
    running.cancel()
    await sender.channel.close()


async def is_well(sender):
    request = health_pb2.HealthCheckRequest(service="")
    answer = await health_pb2_grpc.HealthStub(sender.channel).Check(request, timeout=60)
    return answer.status == health_pb2.HealthCheckResponse.SERVING


async def wait_for_health(sender, well):
    for _ in range(1200):
        if await is_well(sender) == well:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"health is not {well}")


async def metric(server, name):
    page = await asyncio.to_thread(urllib.request.urlopen, f"http://{server['metrics']}/metrics")
    lines = page.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(name)).rsplit(" ", 1)[1])


async def assert_held_back(server, sender):
    # One more is waited for, and one waits for room.
    assert await metric(server, "uem_ingestion_batches_in_flight") <= MOST_IN_FLIGHT + 2
    assert (sender.sent - sender.acknowledged) * ROWS * 24 < MOST_WAITING_BYTES


async def assert_kept(folder, sender):
    """Everything acknowledged is there, each sample once and in order: in a backup, while it goes on."""
    least = sender.acknowledged * ROWS
    await asyncio.to_thread(backup, folder, folder / "copy.db")
    with closing(SqliteStore(folder / "copy.db", Metrics())) as store:
        times = store.read(["tag/0"], 0, 2**63 - 1).source_time_ns
        assert times.tolist() == [T0_NS + i for i in range(ROWS, len(times) + ROWS)]
        assert len(times) >= least


@pytest.mark.parametrize("fault", REFUSES)
async def test_a_disk_that_refuses_is_told_to_senders_health_and_metrics_until_it_is_well(
    server, sender, tmp_path, fault, times_long
):
    await until(lambda: sender.acknowledged > 20)
    for _ in range(times_long(1, 20)):
        failed = await metric(server, "uem_history_failed_commits_total")
        errors = len(sender.errors)
        (tmp_path / fault).touch()
        await until(lambda errors=errors: len(sender.errors) >= errors + 2)
        during = sender.acknowledged  # what was on its way when the fault came may have been stored before
        await until(lambda errors=errors: len(sender.errors) >= errors + 5)
        assert sender.acknowledged == during
        error = sender.errors[-1]
        assert error.code() is REFUSES[fault]
        assert any("RetryInfo" in detail.type_url for detail in rpc_status.from_call(error).details)
        await wait_for_health(sender, False)
        assert await metric(server, 'uem_health_check_ok{check="store"}') == 0
        assert await metric(server, "uem_history_failed_commits_total") > failed
        (tmp_path / fault).unlink()
        assert await until(lambda during=during: sender.acknowledged > during + 20) < RECOVERED_S
        await wait_for_health(sender, True)
    await assert_kept(tmp_path, sender)


async def test_a_slow_disk_holds_senders_back_and_is_told_while_it_lasts(server, sender, tmp_path):
    sender.window = 10**9
    await until(lambda: sender.acknowledged > 20)
    (tmp_path / "fail-slow").touch()
    await wait_for_health(sender, False)  # a commit that lasts
    await until(lambda before=sender.acknowledged: sender.acknowledged > before)
    await assert_held_back(server, sender)
    (tmp_path / "fail-slow").unlink()
    before = sender.acknowledged
    assert await until(lambda: sender.acknowledged > before + 100) < RECOVERED_S
    await wait_for_health(sender, True)
    assert sender.errors == []
    await assert_kept(tmp_path, sender)
