"""A server of states that publishes one whenever it is told to: a line on stdin each. Says its address first."""

import asyncio
import json
import sys
import time

import numpy as np

from uem.services import server
from uem.services.bus import LatestBus
from uem.services.metrics import Metrics
from uem.services.twin.servicer import TwinServicer
from uem.services.twin.worker import Published
from uem.twin_core.state import Snapshot
from uem.v1 import twin_pb2, twin_pb2_grpc

SIGNALS = 1_000


async def serve():
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
    tick = 0
    while await asyncio.to_thread(sys.stdin.readline):
        tick += 1
        bus.publish("branch", Published(Snapshot("branch", tick, 0, 0, value, value, quality, value), time.time_ns()))
    await running.drain(0.5)


if __name__ == "__main__":
    asyncio.run(serve())
