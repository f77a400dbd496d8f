"""A plant that restarts, hangs, is half open, has no room for us or overflows: it comes back, and each loss is told.

The oracle is a counter of a plant of an independent stack: every count is there once, or in a gap that ends exactly at
its neighbours. `UEM_FAULTS=long`: outages of a minute.
"""

import asyncio
import contextlib
import importlib.util
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.supervise import PlantLink
from uem.hardware_adapters.tasks import end
from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import GapReason, Tag
from uem.twin_core.plant.territory import TagBinding

PEERS = Path(__file__).parents[1] / "hardware_adapters" / "peers"
COUNTER_MS, PUBLISH_MS = 20, 200.0
RECONNECTED_S = 10.0
TAG = TagBinding(
    tag=Tag(name="Counter", unit="1"),
    plant="plant",
    browse_path="Plant/Counter",
    namespace_uri="urn:uem:test:peer",
    display_unit="1",
    sampling_ms=0.0,
)


def peer(name):
    spec = importlib.util.spec_from_file_location(f"uem_tests_faults_{name}", PEERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    store = CertificateStore(tmp_path_factory.mktemp("gateway"), "gateway")
    store.ensure()
    return store


@pytest.fixture(scope="module")
def counting(tmp_path_factory, certificates):
    """A plant for all that leave it counting: to start it takes most of the time of a test."""
    plant = peer("node_server").NodeServer(tmp_path_factory.mktemp("plant"), certificates, counterMs=COUNTER_MS)
    asyncio.run(plant.start())
    yield plant
    plant.end()


class Followed:
    """A counter that a link follows."""

    def __init__(self, endpoint, certificates, tag=TAG, publish_ms=PUBLISH_MS):
        self.rows, self.gaps = [], []
        self.link = PlantLink(
            "plant",
            lambda: OpcUaAdapter(endpoint, [tag], certificates, publish_interval_ms=publish_ms),
            self.deliver,
        )

    def deliver(self, plant, samples, gaps):
        self.rows += [(when, int(value)) for _, when, value, _ in samples.rows()]
        self.gaps += gaps

    async def __aenter__(self):
        self._running = asyncio.create_task(self.link.run())
        return self

    async def __aexit__(self, *exc):
        await end([self._running])

    async def fresh(self, longest_s=60.0):
        """Wait for a count of after now; how long that took."""
        since_ns, began = time.time_ns(), time.monotonic()
        while not self.rows or self.rows[-1][0] <= since_ns:
            assert time.monotonic() < began + longest_s, f"nothing new for {longest_s} s"
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    def assert_told(self):
        """No count is there twice or out of order, each missing one is in a gap, and no gap is more than that."""
        assert all(t0 < t1 for (t0, _), (t1, _) in pairwise(self.rows))
        jumps = [(t0, t1) for (t0, n0), (t1, n1) in pairwise(self.rows) if n1 != n0 + 1]
        assert [(gap.start_ns, gap.end_ns) for gap in self.gaps] == jumps
        return len(jumps)


async def restart(plant, line, length_s):
    await plant.kill()
    try:
        await asyncio.sleep(length_s)
    finally:
        await plant.start()  # other tests go on with it


async def black_hole(plant, line, length_s):
    line.swallow("><")
    await asyncio.sleep(length_s)
    line.pass_again("reset")


async def half_open(plant, line, length_s):
    line.swallow("<")
    await asyncio.sleep(length_s)
    line.pass_again("half open")


async def unplugged(plant, line, length_s):
    await line.refuse()
    line.abort()
    await asyncio.sleep(length_s)
    await line.listen()


async def an_hour(plant, line, length_s):
    """What an hour is more than a minute: longer than sessions and subscriptions live at the plant."""
    await line.refuse()
    line.abort()
    plant.tell("forget")
    await asyncio.sleep(length_s)
    await line.listen()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", [restart, black_hole, half_open, unplugged, an_hour])
async def test_a_plant_is_followed_again_soon_after_it_is_back_and_the_gap_is_exact(
    counting, certificates, times_long, fault
):
    length_s = times_long(3.0, 60.0)
    async with (
        peer("chaos").ChaosLine(counting.endpoint) as line,
        Followed(line.endpoint, certificates) as followed,
    ):
        await followed.fresh()
        await fault(counting, line, length_s)
        back_s = await followed.fresh()
        print(f"{fault.__name__} of {length_s:g} s: back after {back_s:.2f} s")
        assert back_s < RECONNECTED_S
        await asyncio.sleep(1.0)
        await followed.fresh()
    if fault is not restart:  # a new process counts from the beginning again
        assert followed.assert_told() <= 1
    assert len(followed.gaps) <= 1


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_plant_without_room_for_another_session_is_followed_when_one_ends(tmp_path, certificates, times_long):
    node = peer("node_server").NodeServer(tmp_path, certificates, counterMs=COUNTER_MS, sessions=2)
    async with node as plant, contextlib.AsyncExitStack() as others:
        for _ in range(2):
            await others.enter_async_context(OpcUaAdapter(plant.endpoint, [TAG], certificates))
        with pytest.raises(AdapterError, match="TooManySessions"):
            async with asyncio.timeout(60), OpcUaAdapter(plant.endpoint, [TAG], certificates):
                pass
        async with Followed(plant.endpoint, certificates) as followed:
            await asyncio.sleep(times_long(5.0, 60.0))
            assert followed.rows == []
            await others.aclose()
            assert await followed.fresh() < RECONNECTED_S
        followed.assert_told()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_outages_do_not_fill_the_session_table_of_a_plant(tmp_path, certificates, times_long):
    """Each connection that is left behind half open holds a session; with two at most the third would be refused."""
    node = peer("node_server").NodeServer(tmp_path, certificates, counterMs=COUNTER_MS, sessions=2)
    async with (
        node as plant,
        peer("chaos").ChaosLine(plant.endpoint) as line,
        Followed(line.endpoint, certificates) as followed,
    ):
        await followed.fresh()
        for _ in range(times_long(3, 20)):
            await half_open(plant, line, 0.5)
            assert await followed.fresh() < RECONNECTED_S
    followed.assert_told()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_what_overflows_in_the_queue_of_a_plant_is_a_gap_with_its_exact_ends(counting, certificates, times_long):
    """Five readings of twenty-five fit into the queue between two messages."""
    counts = times_long(50, 1000)
    tag = replace(TAG, queue_size=5)
    async with Followed(counting.endpoint, certificates, tag, publish_ms=500.0) as followed:
        while len(followed.rows) < counts:
            await followed.fresh()
    assert followed.assert_told() > counts // 10  # most messages; on a busy machine the plant counts slower at times
    assert {gap.reason for gap in followed.gaps} == {GapReason.QUEUE_OVERFLOW}
    assert {gap.tag for gap in followed.gaps} == {"Counter"}
