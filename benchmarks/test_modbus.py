"""Our Modbus adapter, next to pymodbus alone that reads one tag per request, as its examples do.

The plant runs in a process of its own (`python test_modbus.py`); both sides read the same TAGS floats from it, one
after the other, and are asked for the processor time of their thread.
"""

import asyncio
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymodbus.client import AsyncModbusTcpClient

from uem.hardware_adapters.modbus.client import ModbusAdapter
from uem.hardware_adapters.simulator.modbus import ModbusPlant
from uem.twin_core.measurements import Tag
from uem.twin_core.plant.addresses import ModbusAddress
from uem.twin_core.plant.territory import TagBinding

TAGS, REGISTERS = 500, 1000
BINDINGS = [
    TagBinding(
        tag=Tag(name=f"t{i}", unit="1"),
        plant="p",
        display_unit="1",
        sampling_ms=0.01,
        address=ModbusAddress(address=2 * i, data_type="float32"),
    )
    for i in range(TAGS)
]


async def plant() -> None:
    """A plant that tells where it is, until its input ends."""
    async with ModbusPlant(BINDINGS) as its:
        for i, binding in enumerate(BINDINGS):
            its.set(binding.tag.name, i / 4)
        print(its.endpoint, flush=True)
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def standing() -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        await process.wait()


async def timed(read: Callable[[], Awaitable[None]], seconds: float) -> tuple[float, float]:
    """Registers per second, and processor time of this thread per register."""
    began, cpu, polls = time.monotonic(), time.thread_time(), 0
    while time.monotonic() < began + seconds:
        await read()
        polls += 1
    count = polls * REGISTERS
    return count / (time.monotonic() - began), (time.thread_time() - cpu) / count


async def pairs_of(rounds: int, seconds: float) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    async with standing() as endpoint, ModbusAdapter(endpoint, BINDINGS) as adapter:
        reading = adapter.batches()
        at = urlsplit(endpoint)
        client = AsyncModbusTcpClient(at.hostname or "", port=at.port or 0)
        await client.connect()

        async def ours() -> None:
            batch = await anext(reading)
            assert len(batch) == TAGS
            assert batch.value[-1] == (TAGS - 1) / 4

        async def theirs() -> None:
            for i in range(TAGS):
                answer = await client.read_holding_registers(2 * i, count=2)
                (value,) = struct.unpack(">f", struct.pack(">HH", *answer.registers))
            assert value == (TAGS - 1) / 4

        await ours()
        found = [(await timed(ours, seconds), await timed(theirs, seconds)) for _ in range(rounds)]
        client.close()
    return found


@pytest.fixture(scope="module")
def pairs(short: bool) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    return asyncio.run(pairs_of(*((1, 0.5) if short else (5, 1.5))))


def note(benchmark: Any, figures: list[tuple[float, float]], unit: str, ratio: float) -> None:
    benchmark.pedantic(lambda: None, rounds=1)
    benchmark.extra_info.update(
        figure=median(our for our, _ in figures),
        unit=unit,
        peer="pymodbus, a tag a request",
        peer_figure=median(their for _, their in figures),
        ratio=ratio,
    )


def test_modbus_registers_read(benchmark: Any, pairs: Any) -> None:
    figures = [(our[0] / 1e3, their[0] / 1e3) for our, their in pairs]
    note(benchmark, figures, "1000 registers/s", median(our / their for our, their in figures))


def test_modbus_processor_time(benchmark: Any, pairs: Any) -> None:
    figures = [(our[1] * 1e6, their[1] * 1e6) for our, their in pairs]
    note(benchmark, figures, "us/register", median(their / our for our, their in figures))


if __name__ == "__main__":
    asyncio.run(plant())
