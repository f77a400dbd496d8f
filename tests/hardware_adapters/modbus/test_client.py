"""The adapter against devices behind a real Modbus TCP server."""

import asyncio
import math
import time

import pytest
from pymodbus.constants import ExcCodes

from uem.hardware_adapters.modbus.client import ModbusAdapter
from uem.hardware_adapters.simulator import modbus as simulated
from uem.hardware_adapters.simulator.modbus import ModbusPlant
from uem.twin_core.errors import AdapterError, UnknownTag
from uem.twin_core.measurements import (
    BAD_CONFIGURATION_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_NO_COMMUNICATION,
    Tag,
)
from uem.twin_core.plant.addresses import ModbusAddress
from uem.twin_core.plant.territory import TagBinding


def binding(name, address, *, sampling_ms=10.0, **more):
    return TagBinding(
        tag=Tag(name=name, unit="1"),
        plant="p",
        display_unit="1",
        sampling_ms=sampling_ms,
        address=ModbusAddress(address=address, **more),
    )


BOILER = (
    binding("supply", 0, data_type="float32", byte_order="CDAB"),
    binding("hours", 2, data_type="uint32"),
    binding("pump", 5, bit=3),
    binding("valve", 0, table="coil"),
    binding("meter", 0, device=2, table="input", data_type="int16"),
)


async def first(adapter, polls=1):
    """The rows of the next polls, by tag: (value, quality) or "nan" for the value."""
    found = {}
    reading = adapter.batches()
    async with asyncio.timeout(60):
        for _ in range(polls):
            batch = await anext(reading)
            found = {name: ("nan" if math.isnan(v) else v, q) for name, _, v, q in batch.rows()}
    await reading.aclose()
    return found


async def test_all_kinds_of_values_are_read():
    async with ModbusPlant(BOILER) as plant:
        for name, value in {"supply": 81.5, "hours": 123_456, "pump": 1, "valve": 1, "meter": -7}.items():
            plant.set(name, value)
        async with ModbusAdapter(plant.endpoint, BOILER) as adapter:
            assert adapter.missing == {}
            assert await first(adapter) == {
                "supply": (81.5, 0),
                "hours": (123_456.0, 0),
                "pump": (1.0, 0),
                "valve": (1.0, 0),
                "meter": (-7.0, 0),
            }


async def test_what_belongs_together_is_read_by_one_request_even_over_a_hole_that_is_allowed():
    tags = [binding(f"t{i}", i) for i in range(300)]
    async with ModbusPlant(tags) as plant, ModbusAdapter(plant.endpoint, tags) as adapter:
        plant.requests.clear()
        await first(adapter)
        assert [(start, count) for _, _, start, count in plant.requests] == [(0, 125), (125, 125), (250, 50)]


async def test_a_hole_that_the_device_refuses_is_read_around():
    async with ModbusPlant(BOILER) as plant, ModbusAdapter(plant.endpoint, BOILER) as adapter:
        plant.requests.clear()
        await first(adapter)  # register 4 does not exist
        assert sorted(plant.requests) == [
            (1, "coil", 0, 1),
            (1, "holding", 0, 4),
            (1, "holding", 5, 1),
            (2, "input", 0, 1),
        ]


async def test_each_tag_is_asked_for_in_its_own_period():
    tags = [binding("fast", 0, sampling_ms=10.0), binding("slow", 1, sampling_ms=3_600_000.0)]
    async with ModbusPlant(tags) as plant, ModbusAdapter(plant.endpoint, tags) as adapter:
        names = []
        async with asyncio.timeout(60):
            async for batch in adapter.batches():
                names.append([batch.names[tag] for tag in batch.tag])
                if len(names) == 4:
                    break
    assert names == [["fast", "slow"], ["fast"], ["fast"], ["fast"]]


@pytest.mark.parametrize(
    ("code", "quality"),
    [
        (ExcCodes.DEVICE_FAILURE, BAD_DEVICE_FAILURE),
        (ExcCodes.DEVICE_BUSY, BAD_DEVICE_FAILURE),
        (ExcCodes.GATEWAY_NO_RESPONSE, BAD_NO_COMMUNICATION),
        (ExcCodes.ILLEGAL_ADDRESS, BAD_CONFIGURATION_ERROR),
    ],
)
async def test_an_exception_makes_the_tags_of_its_block_bad_and_no_others(code, quality):
    async with ModbusPlant(BOILER) as plant, ModbusAdapter(plant.endpoint, BOILER) as adapter:
        plant.failing[2, "input"] = code
        found = await first(adapter)
        assert found.pop("meter") == ("nan", quality)
        assert {q for _, q in found.values()} == {0}
        assert adapter.problems == {"exception": 1, "silent": 0, "short": 0}
        plant.failing.clear()
        assert (await first(adapter))["meter"] == (0.0, 0)


async def test_a_device_that_is_silent_is_bad_and_the_others_are_read_on():
    async with (
        ModbusPlant(BOILER) as plant,
        ModbusAdapter(plant.endpoint, BOILER, response_timeout_s=1.0, ask_silent_s=0.0) as adapter,
    ):
        plant.silent.add(2)
        found = await first(adapter)
        assert found["meter"] == ("nan", BAD_NO_COMMUNICATION)
        assert found["hours"] == (0.0, 0)
        assert adapter.problems == {"exception": 0, "silent": 1, "short": 0}
        plant.silent.clear()
        assert (await first(adapter))["meter"] == (0.0, 0)


async def test_a_silent_device_is_asked_seldom_so_that_the_others_do_not_wait_for_it():
    async with ModbusPlant(BOILER) as plant:
        plant.silent.add(2)
        async with ModbusAdapter(plant.endpoint, BOILER, response_timeout_s=1.0, ask_silent_s=3600.0) as adapter:
            plant.requests.clear()
            found = await first(adapter, polls=3)
            assert found["meter"] == ("nan", BAD_NO_COMMUNICATION)
            assert {device for device, *_ in plant.requests} == {1}


async def test_a_plant_whose_devices_all_stall_is_lost_in_bounded_time():
    async with ModbusPlant(BOILER) as plant:
        async with ModbusAdapter(plant.endpoint, BOILER, response_timeout_s=0.5) as adapter:
            plant.silent |= {1, 2}
            with pytest.raises(AdapterError, match=r"no answer within 0\.5 s from device"):
                async with asyncio.timeout(60):
                    await first(adapter)
        with pytest.raises(AdapterError, match="no answer within"):
            async with asyncio.timeout(60), ModbusAdapter(plant.endpoint, BOILER, response_timeout_s=0.5):
                pass


async def test_a_plant_that_goes_away_is_an_error_of_the_adapter():
    async with ModbusPlant(BOILER) as plant:
        adapter = ModbusAdapter(plant.endpoint, BOILER, response_timeout_s=1.0)
        await adapter.__aenter__()
        await first(adapter)
    with pytest.raises(AdapterError):
        async with asyncio.timeout(60):
            await first(adapter, polls=100)
    await adapter.__aexit__()
    with pytest.raises(AdapterError, match="no connection"):
        async with adapter:
            pass


async def test_tags_that_the_device_does_not_have_are_missing_with_the_reason():
    stray = binding("stray", 40_000)
    async with ModbusPlant(BOILER) as plant:
        async with ModbusAdapter(plant.endpoint, (*BOILER, stray)) as adapter:
            assert adapter.missing == {
                "stray": "device 1, holding 40000 to 40000: the device answers illegal address (2)"
            }
            assert set(await first(adapter)) == {tag.tag.name for tag in BOILER}
        with pytest.raises(UnknownTag, match=r"none of the 1 tags can be read: stray: .*illegal address"):
            async with ModbusAdapter(plant.endpoint, [stray]):
                pass


async def test_the_source_time_is_when_the_poll_began():
    async with ModbusPlant(BOILER) as plant, ModbusAdapter(plant.endpoint, BOILER) as adapter:
        before = time.time_ns()
        batch = await anext(adapter.batches())
        assert len(set(batch.source_time_ns.tolist())) == 1
        assert before <= batch.source_time_ns[0] <= time.time_ns()


async def test_a_simulated_device_does_not_remember_all_that_it_was_ever_asked(monkeypatch):
    monkeypatch.setattr(simulated, "MOST_REQUESTS", 2)
    tags = [binding(f"t{i}", i) for i in range(300)]
    async with ModbusPlant(tags) as plant, ModbusAdapter(plant.endpoint, tags) as adapter:
        await first(adapter)
        assert [(start, count) for _, _, start, count in plant.requests] == [(125, 125), (250, 50)]
