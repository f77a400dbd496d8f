"""Our OPC UA server, encrypted: values that one subscriber gets, next to asyncua's server with the same client.

A client that acknowledges and counts runs in a process of its own (`test_opcua_server.py FOLDER ENDPOINT`); the servers
write TAGS changed values as fast as their thread allows, and are asked for the processor time of that thread.
"""

import asyncio
import runpy
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager

from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.server.server import AddressSpace, PointServer
from uem.twin_core.measurements import Samples

_PLANT = runpy.run_path(str(Path(__file__).with_name("opcua_plant.py")))
TAGS: int = _PLANT["TAGS"]
URI: str = _PLANT["URI"]
BINDINGS, stores = _PLANT["BINDINGS"], _PLANT["stores"]
PUBLISH_MS = 50.0
Write = Callable[[int], Awaitable[None]]


async def subscriber(folder: Path, endpoint: str) -> None:
    """Print the count of the rows so far after every notification."""
    _, certificates = stores(folder)
    async with OpcUaAdapter(endpoint, BINDINGS, certificates, publish_interval_ms=PUBLISH_MS) as adapter:
        rows = 0
        async for samples in adapter.batches():
            if isinstance(samples, Samples):
                rows += len(samples)
                print(rows, flush=True)


async def delivered(folder: Path, endpoint: str, write: Write, seconds: float) -> tuple[float, float]:
    """Values per second that a subscriber gets, and processor time of this thread per value."""
    command = [sys.executable, __file__, str(folder), endpoint]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    count = 0

    async def follow() -> None:
        nonlocal count
        assert process.stdout is not None
        while line := await process.stdout.readline():
            count = int(line)

    await process.stdout.readline()  # it is subscribed
    following = asyncio.create_task(follow())
    row = 0
    try:
        for lasts in (0.3, seconds):
            began, cpu, before = time.monotonic(), time.thread_time(), count
            while time.monotonic() < began + lasts:
                row += 1
                await write(row)
                await asyncio.sleep(0.002)
            got, spent, took = count - before, time.thread_time() - cpu, time.monotonic() - began
    finally:
        process.terminate()
        await process.wait()
        await following
    return got / took, spent / max(got, 1)


async def ours(folder: Path, seconds: float) -> tuple[float, float]:
    async def describe(space: AddressSpace) -> None:
        index = await space.namespace(URI)
        for binding in BINDINGS:
            name = binding.browse_path
            await space.point(space.objects, name, index, identifier=name)

    server, quality, base = stores(folder)[0], np.zeros(TAGS, np.uint32), np.arange(TAGS) / 7
    async with PointServer("bench", describe, server, samples=False) as opened:

        async def write(row: int) -> None:
            opened.write(base + row, quality, time.time_ns())

        return await delivered(folder, opened.endpoint, write, seconds)


class Anyone(UserManager):
    """For the peer, which is here to be timed."""

    def get_user(self, *args: Any, **options: Any) -> User:
        return User(role=UserRole.User)


async def theirs(folder: Path, seconds: float) -> tuple[float, float]:
    """asyncua's server as it is."""
    certificates, _ = stores(folder)
    server = Server(user_manager=Anyone())
    await server.init()
    await server.set_application_uri(certificates.application_uri)
    server.set_endpoint("opc.tcp://127.0.0.1:0/bench")
    server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
    await server.load_certificate(certificates.certificate_path)
    await server.load_private_key(certificates.key_path)
    index = await server.register_namespace(URI)
    nodes = []
    for binding in BINDINGS:
        name = binding.browse_path
        its_name = ua.QualifiedName(name, index)
        node = await server.nodes.objects.add_variable(ua.NodeId(name, index), its_name, 0.0, ua.VariantType.Double)
        nodes.append(node.nodeid)
    async with server:
        assert server.bserver is not None

        async def write(row: int) -> None:
            now = datetime.now(UTC)
            for i, node in enumerate(nodes):
                value = ua.Variant(row + i / 7, ua.VariantType.Double)
                await server.iserver.write_attribute_value(node, ua.DataValue(value, ua.StatusCode(0), now, now))

        return await delivered(folder, f"opc.tcp://127.0.0.1:{server.bserver.port}/bench", write, seconds)


@pytest.fixture(scope="module")
def pairs(pki: Path, short: bool) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    seconds, rounds = (1.0, 1) if short else (3.0, 3)
    return [(asyncio.run(ours(pki, seconds)), asyncio.run(theirs(pki, seconds))) for _ in range(rounds)]


def note(benchmark: Any, figures: list[tuple[float, float]], unit: str, ratio: float) -> None:
    benchmark.pedantic(lambda: None, rounds=1)
    benchmark.extra_info.update(
        figure=median(our for our, _ in figures),
        unit=unit,
        peer="asyncua's server",
        peer_figure=median(their for _, their in figures),
        ratio=ratio,
    )


def test_values_delivered_to_one_subscriber(benchmark: Any, pairs: Any) -> None:
    figures = [(our[0] / 1e3, their[0] / 1e3) for our, their in pairs]
    note(benchmark, figures, "1000 values/s", median(our / their for our, their in figures))


def test_processor_time_of_the_server(benchmark: Any, pairs: Any) -> None:
    figures = [(our[1] * 1e6, their[1] * 1e6) for our, their in pairs]
    note(benchmark, figures, "us/value", median(their / our for our, their in figures))


if __name__ == "__main__":
    asyncio.run(subscriber(Path(sys.argv[1]), sys.argv[2]))
