import asyncio
import contextlib
from functools import cache

import grpc
import pytest
from shipped import shipped

from uem.offline.series import read_recording
from uem.services import server
from uem.services.bus import LatestBus, SampleBus
from uem.services.health import Checks
from uem.services.history.sqlite import SqliteStore
from uem.services.metrics import Metrics
from uem.services.twin.servicer import TwinServicer
from uem.services.twin.worker import Worker
from uem.twin_core.measurements import Samples
from uem.twin_core.twin import make_twin, make_twins
from uem.v1 import twin_pb2_grpc

PONGAU = shipped("pongau")


@pytest.fixture(scope="session")
def recorded():
    """The first rows of the recording of an asset."""

    @cache
    def rows(asset):
        return list(read_recording(PONGAU, make_twin(PONGAU.asset(asset)).tags).rows())

    def samples(asset, first=0, last=None):
        return Samples.concatenate([batch for _, batch in rows(asset)[first:last]])

    return samples


class TwinSite:
    """Twins on a real server with a real store."""

    def __init__(self, path, twins=None):
        self.metrics = Metrics()
        self.checks = Checks(self.metrics)
        self.bus, self.states = SampleBus(), LatestBus()
        self.store = SqliteStore(path, self.metrics)
        self.worker = Worker(twins or make_twins(PONGAU), self.store, self.bus, self.states, self.metrics)
        self.worker.register(self.checks)

    async def start(self):
        self.running = asyncio.create_task(self.worker.run())
        self.server = await server.start(
            [
                server.Service(
                    name="uem.v1.TwinService",
                    add=twin_pb2_grpc.add_TwinServiceServicer_to_server,
                    servicer=TwinServicer(PONGAU, self.worker.twins, self.states),
                )
            ],
            metrics=self.metrics,
            checks=self.checks,
        )
        self.channel = grpc.aio.insecure_channel(self.server.address, options=(("grpc.use_local_subchannel_pool", 1),))
        self.stub = twin_pb2_grpc.TwinServiceStub(self.channel)
        return self

    async def until(self, condition, timeout_s=60.0):
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def close(self):
        await self.channel.close()
        await self.server.drain(0.5)
        self.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.running
        self.worker.close()
        self.store.close()


@pytest.fixture
async def site(tmp_path):
    site = await TwinSite(tmp_path / "history.db").start()
    yield site
    await site.close()


@pytest.fixture
async def make_site(tmp_path):
    """Sites on one history, one after the other."""
    sites = []

    async def make(twins=None):
        if sites:
            await sites.pop().close()
        sites.append(await TwinSite(tmp_path / "history.db", twins).start())
        return sites[-1]

    yield make
    for site in sites:
        await site.close()
