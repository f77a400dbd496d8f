"""Two hundred streams that nobody reads: the others get every state; those that stalled are told what they missed."""

import asyncio
import json
import sys
from itertools import pairwise
from pathlib import Path

import grpc
import pytest

from uem.v1 import twin_pb2
from uem.v1.columns import WATCH_STATE_RESPONSE, watch_state

STALLED = 200
MOST_BYTES = 8e6  # of the server for a stalled stream
_OWN_CHANNEL = (("grpc.use_local_subchannel_pool", 1),)
# With a window that does not grow a reader that has stopped is full after two states, not after megabytes.
_SMALL_WINDOW = (*_OWN_CHANNEL, ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535))


class Server:
    def __init__(self, process):
        self.process, self.tick = process, 0

    async def publish(self):
        self.tick += 1
        self.process.stdin.write(b"\n")
        await self.process.stdin.drain()

    def resident_bytes(self):
        lines = Path(f"/proc/{self.process.pid}/status").read_text("utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024


@pytest.fixture
async def server():
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("states_process.py")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    server = Server(process)
    server.address = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))["address"]
    await server.publish()
    yield server
    process.kill()
    await process.communicate()


async def newest(call, tick):
    """Read a stream up to a tick: (tick, missed) of each state."""
    found = []
    while not found or found[-1][0] < tick:
        message = WATCH_STATE_RESPONSE.decode(await asyncio.wait_for(call.read(), 60))
        found.append((message.message.state.tick, message.message.missed_count))
    return found


async def test_streams_that_nobody_reads_delay_nobody_and_are_told_what_they_missed(server, times_long):
    states = times_long(200, 5000)
    async with (
        grpc.aio.insecure_channel(server.address, options=_OWN_CHANNEL) as channel,
        grpc.aio.insecure_channel(server.address, options=_SMALL_WINDOW) as stalled,
    ):
        stream = stalled.unary_stream("/uem.v1.TwinService/WatchState")
        calls = [stream(b"") for _ in range(STALLED)]
        await asyncio.gather(*(newest(call, 1) for call in calls))
        before = server.resident_bytes()
        reader = watch_state(channel)(twin_pb2.WatchStateRequest())
        for tick in range(1, states + 1):
            frame = await asyncio.wait_for(anext(aiter(reader)), 60)
            assert (frame.message.state.tick, frame.message.missed_count) == (tick, 0)
            await server.publish()
        assert (server.resident_bytes() - before) / STALLED < MOST_BYTES
        for found in await asyncio.gather(*(newest(call, server.tick) for call in calls)):
            ticks = [1, *(tick for tick, _ in found)]
            assert [missed for _, missed in found] == [b - a - 1 for a, b in pairwise(ticks)]
            assert sum(missed for _, missed in found) > states / 2
        reader.cancel()
