"""The whole OPC UA client, encrypted, from the socket to samples, next to asyncua's iterator on the same server.

Run as a program (`test_opcua_client.py FOLDER`) this file is the server: TAGS values change twice a second.
"""

import asyncio
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from asyncua import Client, ua

from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.simulator.server import PlantServer
from uem.twin_core.measurements import Samples
from uem.twin_core.plant.territory import Plant

_PLANT = runpy.run_path(str(Path(__file__).with_name("opcua_plant.py")))
TAGS: int = _PLANT["TAGS"]
URI: str = _PLANT["URI"]
BINDINGS, stores = _PLANT["BINDINGS"], _PLANT["stores"]
EVERY_S, PUBLISH_MS = 0.5, 400.0


async def serve(folder: Path) -> None:
    certificates, _ = stores(folder)
    async with PlantServer(Plant(name="bench"), BINDINGS, certificates) as server:
        print(server.endpoint, flush=True)
        row = 0
        while True:
            row += 1
            await server.write(time.time_ns(), [row + i / 7 for i in range(TAGS)], [0] * TAGS)
            await asyncio.sleep(EVERY_S)


@pytest.fixture(scope="module")
def endpoint(pki: Path) -> Iterator[str]:
    with subprocess.Popen([sys.executable, __file__, str(pki)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


async def ours_s(endpoint: str, pki: Path, publishes: int) -> float:
    """Processor time of this thread per value, once the first values are there."""
    _, certificates = stores(pki)
    async with OpcUaAdapter(endpoint, BINDINGS, certificates, publish_interval_ms=PUBLISH_MS) as adapter:
        began, rows = 0.0, 0
        async for samples in adapter.batches():
            if not began:
                began = time.thread_time()
                continue
            rows += len(samples) if isinstance(samples, Samples) else 0
            if rows >= publishes * TAGS:
                return (time.thread_time() - began) / rows
    raise AssertionError("the server has ended")


async def theirs_s(endpoint: str, pki: Path, publishes: int) -> float:
    """The same by asyncua's client."""
    _, certificates = stores(pki)
    client = Client(endpoint)
    client.application_uri = certificates.application_uri
    keys = f"{certificates.certificate_path},{certificates.key_path}"
    await client.set_security_string(f"Basic256Sha256,SignAndEncrypt,{keys}")
    async with client:
        index = await client.get_namespace_index(URI)
        nodes = [client.get_node(ua.NodeId(binding.browse_path, index)) for binding in BINDINGS]
        subscription = await client.create_subscription(PUBLISH_MS, queue_maxsize=100 * TAGS)
        await subscription.subscribe_data_change(nodes)
        began, rows = 0.0, 0
        async for _ in subscription:
            rows += 1
            if rows == 2 * TAGS:  # the first notification may have two rows, decoded at once
                began = time.thread_time()
            if rows == (publishes + 2) * TAGS:
                spent = (time.thread_time() - began) / (publishes * TAGS)
                await subscription.delete()
                return spent
    raise AssertionError("the server has ended")


def test_client_from_socket_to_samples(benchmark: Any, endpoint: str, pki: Path, short: bool) -> None:
    publishes, rounds = (3, 1) if short else (8, 3)
    pairs = [
        (asyncio.run(ours_s(endpoint, pki, publishes)), asyncio.run(theirs_s(endpoint, pki, publishes)))
        for _ in range(rounds)
    ]
    benchmark.pedantic(lambda: None, rounds=1)
    benchmark.extra_info.update(
        figure=median(ours for ours, _ in pairs) * 1e6,
        unit="us/value",
        peer="asyncua, iterator",
        peer_figure=median(theirs for _, theirs in pairs) * 1e6,
        ratio=median(theirs / ours for ours, theirs in pairs),
    )


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
