"""Two server processes that count the same; one is killed, or says that it is not well."""

import asyncio
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from uem.hardware_adapters.base import Break
from uem.hardware_adapters.continuity import Continuity
from uem.hardware_adapters.opcua import redundancy
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.redundancy import RedundantAdapter
from uem.twin_core.errors import AdapterError, UnknownTag
from uem.twin_core.measurements import Samples

SCRIPT = Path(__file__).parents[1] / "peers" / "redundant_plant.py"
PLANT = runpy.run_path(str(SCRIPT))
COUNTER, STEP_NS = PLANT["COUNTER"], PLANT["STEP_NS"]
# What starts the servers is no part of what is tested: coverage would double what that takes.
UNTRACED = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}


class ServerProcess:
    """One server of the set, which can be killed and started again at its place."""

    def __init__(self, nursery, pki):
        self._nursery, self._pki = nursery, pki
        self.port, self.endpoint = 0, ""

    async def start(self):
        self._reader, self._writer = await asyncio.open_unix_connection(self._nursery)
        self._writer.write(f"{self._pki}\n{self.port}\n".encode())
        said = (await self._reader.readline()).decode().split()
        assert said, "the server does not start"
        self._pid, self.endpoint = int(said[0]), said[1]
        self.port = int(self.endpoint.removeprefix("opc.tcp://").partition("/")[0].partition(":")[2])

    async def tell_level(self, level):
        self._writer.write(f"{level}\n".encode())
        await self._writer.drain()

    async def kill(self):
        if not self._writer.is_closing():
            assert not self._reader.at_eof(), "the server ended by itself"
            os.kill(self._pid, signal.SIGKILL)
            with suppress(ConnectionResetError):  # it had not read all that it was told
                assert await self._reader.read() == b""  # its end of the line is closed when it is gone
            self._writer.close()


@pytest.fixture(scope="module")
def nursery():
    """Where servers are started."""
    with tempfile.TemporaryDirectory() as folder:  # of a short name, as that of a socket has to be
        address = f"{folder}/nursery"
        command = [sys.executable, str(SCRIPT), address]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, env=UNTRACED, **pipes) as process:  # ends when its input is closed
            assert process.stdout.readline() == b"ready\n"
            yield address


@pytest.fixture
async def servers(nursery, shared_pki):
    pair = [ServerProcess(nursery, shared_pki.path) for _ in range(2)]
    await asyncio.gather(*(each.start() for each in pair))
    yield pair
    await asyncio.gather(*(each.kill() for each in pair))


@pytest.fixture
def read(servers, shared_pki):
    """A context manager: the adapter of both, the counts that it tells and the gaps that they close, as they come."""

    @asynccontextmanager
    async def opened(tags=(COUNTER,)):
        def make(endpoint, bindings):
            # Who is killed is known by the line that ends; a busy machine may be silent for a while.
            return OpcUaAdapter(endpoint, bindings, shared_pki.gateway, publish_interval_ms=50.0, silence_s=10.0)

        steps, gaps, continuity = [], [], Continuity()

        async def take(adapter):
            async for found in adapter.batches():
                if isinstance(found, Break):
                    continuity.break_off(found)
                    continue
                fresh, closed = continuity.follow(found)
                assert len(fresh) == len(found), "a sample came twice"
                gaps.extend((gap.start_ns // STEP_NS, gap.end_ns // STEP_NS) for gap in closed)
                steps.extend(row[1] // STEP_NS for row in found.rows() if not row[3])

        async with RedundantAdapter([each.endpoint for each in servers], tags, make) as adapter:
            taking = asyncio.create_task(take(adapter))
            try:
                yield SimpleNamespace(adapter=adapter, steps=steps, gaps=gaps, taking=taking)
            finally:
                taking.cancel()
                with suppress(asyncio.CancelledError):
                    await taking

    return opened


async def more(read, until, count=40):
    """So many counts more."""
    goal = len(read.steps) + count
    await until(lambda: len(read.steps) >= goal or read.taking.done())
    assert not read.taking.done()


def jumps(steps):
    """Between which counts others are left out or come again."""
    return [(a, b) for a, b in pairwise(steps) if b != a + 1]


async def test_what_one_server_does_not_tell_any_more_the_other_has_told(servers, read, until):
    async with read() as both:
        await until(lambda: all(each.connected for each in both.adapter._members))
        await more(both, until)
        for _ in range(2):  # each of them once
            (active,) = [each for each in servers if each.endpoint == both.adapter.active]
            await active.kill()
            await more(both, until)
            assert both.adapter.active != active.endpoint
            await active.start()
            await until(lambda: all(each.connected for each in both.adapter._members))
            await more(both, until)
        assert both.adapter.switches == 2
    assert jumps(both.steps) == []
    assert both.gaps == []


async def test_a_server_that_says_that_it_is_degraded_is_left_and_not_gone_back_to(servers, read, until):
    async with read() as both:
        await until(lambda: all(level == 255 for level in both.adapter.service_levels.values()))
        await more(both, until)
        first = both.adapter.active
        (active,) = [each for each in servers if each.endpoint == first]
        await active.tell_level(150)
        await until(lambda: both.adapter.active != first)
        await more(both, until)
        assert both.adapter.service_levels[first] == 150
        await active.tell_level(240)
        await until(lambda: both.adapter.service_levels[first] == 240)
        await more(both, until)
        assert both.adapter.active != first
        assert both.adapter.problems == {"failover": 1}
    assert jumps(both.steps) == []
    assert both.gaps == []


@pytest.mark.parametrize("kind", ["silent", "closed"])
async def test_a_line_that_is_silent_or_closed_for_good_is_left_and_nothing_is_missing(
    servers, shared_pki, chaos, until, kind
):
    def make(endpoint, bindings):
        return OpcUaAdapter(endpoint, bindings, shared_pki.gateway, publish_interval_ms=50.0)

    steps, gaps, continuity = [], [], Continuity()

    async def take(adapter):
        async for found in adapter.batches():
            if isinstance(found, Break):
                continuity.break_off(found)
                continue
            gaps.extend(continuity.follow(found)[1])
            steps.extend(row[1] // STEP_NS for row in found.rows() if not row[3])

    async with chaos(servers[0].endpoint) as line:
        endpoints = [line.endpoint, servers[1].endpoint]
        async with RedundantAdapter(endpoints, (COUNTER,), make) as adapter:
            taking = asyncio.create_task(take(adapter))
            await until(lambda: len(steps) > 40 and all(each.connected for each in adapter._members))
            adapter._go_on_with(adapter._members[0])
            goal = len(steps) + 40
            await until(lambda: len(steps) > goal)
            if kind == "silent":
                line.swallow("<>")
            else:
                await line.refuse()
                line.abort()
            await until(lambda: adapter.active == servers[1].endpoint or taking.done())
            goal = len(steps) + 40
            await until(lambda: len(steps) > goal or taking.done())
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
    assert jumps(steps) == []
    assert gaps == []


async def test_what_none_of_them_has_told_is_one_gap_from_the_last_to_the_next_count(servers, read, until):
    async with read() as both:
        await until(lambda: all(each.connected for each in both.adapter._members))
        await more(both, until)
        for each in servers:
            await each.kill()
        await until(lambda: not both.adapter.connected)
        await asyncio.sleep(0.3)
        for each in reversed(servers):
            await each.start()
            await more(both, until)
        await until(lambda: all(each.connected for each in both.adapter._members))
        await more(both, until)
    assert len(both.gaps) == 1
    assert jumps(both.steps) == both.gaps


async def test_one_server_is_enough_to_begin_and_the_other_may_come_later(servers, read, until):
    await servers[0].kill()
    async with read() as both:
        assert both.adapter.active == servers[1].endpoint
        await more(both, until)
        await servers[0].start()
        await until(lambda: all(each.connected for each in both.adapter._members))
        await more(both, until)
        await servers[1].kill()
        await more(both, until)
    assert jumps(both.steps) == []
    assert both.gaps == []


async def test_what_the_active_server_did_not_tell_for_too_long_is_a_gap_when_another_goes_on(monkeypatch):
    set_ = RedundantAdapter(["opc.tcp://a", "opc.tcp://b"], (COUNTER,), None)
    active, other = set_._members
    set_._active = active
    for step in (1, 2):
        for each in (active, other):
            _tell(set_, each, step)
    _tell(set_, other, 3)  # the active one is silent from here on
    monkeypatch.setattr(redundancy.time, "monotonic", lambda: 1e9)  # for longer than is kept
    other.trim(set_._newest)
    assert not other.kept
    set_._go_on_with(other)
    _tell(set_, other, 4)
    told = list(set_._queue._batches)
    assert [each.source_time_ns.tolist() for each in told if isinstance(each, Samples)] == [[1], [2], [4]]
    assert isinstance(told[-2], Break)
    assert told[-2].tags == {COUNTER.tag.name}


def _tell(set_, member, step):
    name = COUNTER.tag.name
    item = Samples((name,), np.array([0], np.uint32), np.array([step]), np.array([float(step)]), np.zeros(1, np.uint32))
    if member is set_._active:
        set_._pass_on(member, item)
    else:
        member.keep(item, 1000)
    for each in set_._members:
        if each is not set_._active:
            each.trim(set_._newest)


async def test_a_set_without_a_server_is_an_error(shared_pki):
    def make(endpoint, bindings):
        return OpcUaAdapter(endpoint, bindings, shared_pki.gateway)

    with pytest.raises(AdapterError, match=r"opc\.tcp://127\.0\.0\.1:1/x"):
        async with RedundantAdapter(["opc.tcp://127.0.0.1:1/x", "opc.tcp://127.0.0.1:1/y"], (COUNTER,), make):
            pass


class _Opened:
    """An adapter of a server that lacks some tags."""

    connected, dropped, outages, decode_s = True, 0, 0, 0.0

    def __init__(self, *missing):
        self.missing = dict.fromkeys(missing, "no such node")


async def test_a_tag_that_any_of_the_servers_lacks_is_told_with_the_server_until_it_has_it(make_binding):
    tags = [make_binding(name, name, "") for name in ("a", "b", "c")]
    set_ = RedundantAdapter(["opc.tcp://x", "opc.tcp://y"], tags, None)
    first, second = set_._members
    set_._opened(first, _Opened("a"))
    set_._opened(second, _Opened("a", "b"))
    told = set_.missing
    assert told == {
        "a": "opc.tcp://x: no such node; opc.tcp://y: no such node",
        "b": "opc.tcp://y: no such node",
    }
    second.closed()
    set_._opened(second, _Opened("c"))
    assert set_.missing == {"a": "opc.tcp://x: no such node", "c": "opc.tcp://y: no such node"}


async def test_servers_that_have_none_of_the_tags_are_refused(read, make_binding):
    with pytest.raises(UnknownTag, match="none of the 1 tags: hall/humidity"):
        async with read((make_binding("hall/humidity", "Hall/Air/Humidity", ""),)):
            pass
