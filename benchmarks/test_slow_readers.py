"""Two hundred streams that nobody reads, beside ten that are read: what they cost the server, and the others.

Run as a program this file is the server process.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from uem.services import server
from uem.services.bus import LatestBus
from uem.services.metrics import Metrics
from uem.services.twin.servicer import TwinServicer
from uem.services.twin.worker import Published
from uem.twin_core.state import Snapshot
from uem.v1 import twin_pb2, twin_pb2_grpc
from uem.v1.columns import WATCH_STATE_RESPONSE, watch_state

SIGNALS = 1_000
PERIOD_S = 0.05
STALLED, READERS = 200, 10
_OWN_CHANNEL = (("grpc.use_local_subchannel_pool", 1),)
# With a window that does not grow a reader that has stopped is full after two states, not after megabytes.
_SMALL_WINDOW = (*_OWN_CHANNEL, ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535))


async def serve() -> None:
    """Publishes a state of a thousand signals twenty times a second."""
    bus = LatestBus[Published]()
    servicer = TwinServicer.__new__(TwinServicer)  # without the models behind it
    servicer._assets = {"branch": twin_pb2.Asset(name="branch", signals_revision=1)}
    servicer._states = bus
    servicer._run_id = "run"
    service = server.Service(
        name="uem.v1.TwinService", add=twin_pb2_grpc.add_TwinServiceServicer_to_server, servicer=servicer
    )
    running = await server.start([service], metrics=Metrics())
    print(json.dumps({"address": running.address}), flush=True)
    value, quality = np.random.default_rng(3).normal(350.0, 10.0, SIGNALS), np.zeros(SIGNALS, np.uint32)
    tick, due = 0, time.monotonic()
    while True:
        tick, due = tick + 1, due + PERIOD_S
        bus.publish("branch", Published(Snapshot("branch", tick, 0, 0, value, value, quality, value), time.time_ns()))
        await asyncio.sleep(max(0.0, due - time.monotonic()))


@pytest.fixture
def process() -> Iterator[tuple[str, int]]:
    """Address and number of the server process."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        yield json.loads(running.stdout.readline())["address"], running.pid
        running.kill()


def resident_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024


async def delays_s(address: str, seconds: float) -> list[float]:
    """From the publication to the reader, of all readers."""
    found: list[float] = []

    async def read() -> None:
        async with grpc.aio.insecure_channel(address, options=_OWN_CHANNEL) as channel:
            end = time.monotonic() + seconds
            first = True  # the state of before
            async for data in watch_state(channel)(twin_pb2.WatchStateRequest()):
                if not first:
                    found.append((time.time_ns() - data.message.state.published_time_ns) / 1e9)
                first = False
                if time.monotonic() > end:
                    return

    await asyncio.gather(*(read() for _ in range(READERS)))
    return found


async def compared(address: str, pid: int, rounds: int, seconds: float) -> dict[str, Any]:
    """The delays without and with the streams that nobody reads, in turn."""
    alone: list[float] = []
    beside: list[float] = []
    before = resident_bytes(pid)
    most = before
    missed = 0
    for _ in range(rounds):
        alone += await delays_s(address, seconds)
        async with grpc.aio.insecure_channel(address, options=_SMALL_WINDOW) as channel:
            stream = channel.unary_stream("/uem.v1.TwinService/WatchState")
            calls = [stream(b"") for _ in range(STALLED)]
            await asyncio.gather(*(call.read() for call in calls))
            await asyncio.sleep(seconds / 2)  # until their windows are full
            beside += await delays_s(address, seconds)
            most = max(most, resident_bytes(pid))
            for _ in range(100):  # what waited comes first, then the newest with the count of those in between
                missed = max(missed, WATCH_STATE_RESPONSE.decode(await calls[0].read()).message.missed_count)
                if missed:
                    break
    p99 = [float(np.quantile(found, 0.99)) for found in (alone, beside)]
    return {"p99_s": p99, "bytes": (most - before) / STALLED, "missed": missed}


def test_stalled_streams(benchmark: Any, process: tuple[str, int], short: bool) -> None:
    """p99 from publication to reader beside stalled streams, next to without; memory of the server per stream."""
    rounds, seconds = (1, 1.0) if short else (4, 4.0)
    found = benchmark.pedantic(lambda: asyncio.run(compared(*process, rounds, seconds)), rounds=1)
    assert found["missed"] > 0
    alone, beside = found["p99_s"]
    benchmark.extra_info.update(
        figure=beside * 1e3,
        unit=f"ms p99, {found['bytes'] / 1e6:.2f} MB per stalled stream",
        peer="the same without stalled streams",
        peer_figure=alone * 1e3,
        ratio=alone / beside,
    )


if __name__ == "__main__":
    asyncio.run(serve())
