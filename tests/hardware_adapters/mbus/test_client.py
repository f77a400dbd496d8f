"""The adapter against meters behind a real TCP port."""

import asyncio
import math
import time

import pytest

from uem.hardware_adapters.mbus.client import MbusAdapter
from uem.hardware_adapters.simulator import mbus as simulated
from uem.hardware_adapters.simulator.mbus import MORE, digits, integer, long
from uem.hardware_adapters.simulator.mbus import MbusPlant as Plant
from uem.twin_core.errors import AdapterError, UnknownTag
from uem.twin_core.measurements import BAD_DECODING_ERROR, BAD_NO_COMMUNICATION, BAD_SENSOR_FAILURE, Tag
from uem.twin_core.plant.addresses import MbusAddress
from uem.twin_core.plant.territory import TagBinding


def binding(name, meter, quantity, *, sampling_ms=10.0, **more):
    return TagBinding(
        tag=Tag(name=name, unit="1"),
        plant="p",
        display_unit="1",
        sampling_ms=sampling_ms,
        address=MbusAddress(meter=meter, quantity=quantity, **more),
    )


TAGS = (
    binding("supply", 1, "flow_temperature"),
    binding("volume", 1, "volume"),
    binding("energy", 2, "energy"),
    binding("last year", 2, "energy", storage=1),
)
BAD = dict.fromkeys(("energy", "last year"), ("nan", BAD_NO_COMMUNICATION))
GOOD = {"supply": (354.65, 0), "volume": (12.565, 0), "energy": (3.6e6, 0), "last year": (7.2e6, 0)}


def meters():
    return Plant(
        {
            1: [integer(b"\x59", 8150, size=2) + digits(b"\x13", "00012565")],
            2: [
                integer(b"\x06", 1) + MORE,
                integer(b"\x16", 3) + integer(b"\x06", 9) + MORE,
                integer(b"\x06", 2, dif=0x40),
            ],
        }
    )


async def first(adapter, readouts=2):
    """The last rows of the next readouts, by tag: (value, quality) or "nan" for the value."""
    found = {}
    reading = adapter.batches()
    async with asyncio.timeout(60):
        for _ in range(readouts):
            batch = await anext(reading)
            found |= {name: ("nan" if math.isnan(v) else v, q) for name, _, v, q in batch.rows()}
    await reading.aclose()
    return found


@pytest.mark.parametrize("echo", [False, True])
async def test_records_of_all_telegrams_of_all_meters_are_read(echo):
    async with meters() as plant:
        plant.echo = echo
        async with MbusAdapter(plant.endpoint, TAGS) as adapter:
            assert adapter.missing == {}
            assert adapter.connected
            assert await first(adapter) == GOOD
            assert await first(adapter) == GOOD
        assert not adapter.connected
        assert adapter.problems["garbled"] == 0
        assert plant.requests[:6] == [(0x40, 1), (0x7B, 1), (0x40, 2), (0x7B, 2), (0x5B, 2), (0x7B, 2)]


@pytest.mark.parametrize("spoiled", [1, 2])
async def test_a_wrong_checksum_is_counted_and_the_same_telegram_asked_for_again(spoiled):
    async with meters() as plant, MbusAdapter(plant.endpoint, TAGS) as adapter:
        plant.requests.clear()
        plant.spoiled = spoiled
        assert await first(adapter) == GOOD
        assert adapter.problems["garbled"] == spoiled
        assert plant.requests == [
            (0x40, 1),
            *[(0x7B, 1)] * (1 + spoiled),
            (0x40, 2),
            (0x7B, 2),
            (0x5B, 2),
            (0x7B, 2),
        ]


async def test_a_meter_that_stays_garbled_is_bad_and_not_the_other():
    async with meters() as plant, MbusAdapter(plant.endpoint, TAGS, response_timeout_s=1.0) as adapter:
        plant.spoiled = 3
        bad = dict.fromkeys(("supply", "volume"), ("nan", BAD_DECODING_ERROR))
        assert await first(adapter) == GOOD | bad
        assert adapter.problems["garbled"] == 3
        assert await first(adapter) == GOOD
        plant.answers[1] = long(1, integer(b"\x16", 1))[:-4]  # does not end
        assert await first(adapter) == GOOD | bad
        plant.answers[1] = long(1, b"", ci=0x73)
        assert await first(adapter) == GOOD | bad
        assert adapter.problems["unreadable"] == 1


async def test_a_meter_that_is_silent_is_bad_and_the_others_are_read_on():
    async with (
        meters() as plant,
        MbusAdapter(plant.endpoint, TAGS, response_timeout_s=1.0, ask_silent_s=0.0) as adapter,
    ):
        plant.silent.add(2)
        assert await first(adapter) == GOOD | BAD
        assert adapter.problems == {"garbled": 0, "silent": 1, "unreadable": 0}
        plant.silent.clear()
        assert await first(adapter) == GOOD


async def test_a_silent_meter_is_asked_seldom_so_that_the_others_do_not_wait_for_it():
    async with meters() as plant:
        plant.silent.add(2)
        async with MbusAdapter(plant.endpoint, TAGS, response_timeout_s=1.0, ask_silent_s=3600.0) as adapter:
            plant.requests.clear()
            assert await first(adapter, readouts=4) == GOOD | BAD
            assert {meter for _, meter in plant.requests} == {1}


async def test_a_plant_whose_meters_are_all_silent_is_lost_in_bounded_time():
    async with meters() as plant:
        async with MbusAdapter(plant.endpoint, TAGS, response_timeout_s=1.0) as adapter:
            plant.silent |= {1, 2}
            with pytest.raises(AdapterError, match=r"no answer within 1 s from meter 2"):
                await first(adapter, readouts=4)
        with pytest.raises(AdapterError, match="no answer within"):
            async with asyncio.timeout(60), MbusAdapter(plant.endpoint, TAGS, response_timeout_s=1.0):
                pass


async def test_a_plant_that_goes_away_is_an_error_of_the_adapter():
    async with meters() as plant:
        adapter = MbusAdapter(plant.endpoint, TAGS)
        await adapter.__aenter__()
        await first(adapter)
    with pytest.raises(AdapterError, match="connection lost"):
        await first(adapter, readouts=4)
    assert not adapter.connected
    await adapter.__aexit__()
    with pytest.raises(AdapterError, match="no connection"):
        async with adapter:
            pass


async def test_tags_that_a_meter_does_not_tell_are_missing_with_what_it_tells():
    stray = binding("stray", 2, "energy", tariff=3)
    fixed = binding("fixed", 3, "energy")
    async with meters() as plant:
        plant.meters[3] = [b""]
        plant.answers[3] = long(3, b"", ci=0x73)
        async with MbusAdapter(plant.endpoint, (*TAGS, stray, fixed)) as adapter:
            assert adapter.missing == {
                "stray": "meter 2, energy (tariff 3): the meter tells energy, volume, energy (storage 1)",
                "fixed": "meter 3, energy: the meter cannot be read: Not a variable data long frame",
            }
            assert await first(adapter) == GOOD
        with pytest.raises(UnknownTag, match="none of the 1 tags can be read: stray: meter 2"):
            async with MbusAdapter(plant.endpoint, [stray]):
                pass


async def test_a_record_that_is_left_out_later_is_bad():
    async with meters() as plant, MbusAdapter(plant.endpoint, TAGS) as adapter:
        plant.meters[1] = [integer(b"\x59", 8150, size=2) + b"\x00\x13"]  # a volume without data
        assert await first(adapter) == GOOD | {"volume": ("nan", BAD_SENSOR_FAILURE)}


async def test_an_answer_of_another_meter_is_not_taken_for_the_one_that_was_asked():
    async with meters() as plant, MbusAdapter(plant.endpoint, TAGS, response_timeout_s=1.0) as adapter:
        plant.answers[2] = long(1, integer(b"\x06", 5))
        assert await first(adapter) == GOOD | BAD


async def test_a_meter_that_never_ends_is_left():
    async with meters() as plant:
        plant.answers[2] = long(2, integer(b"\x06", 1) + integer(b"\x06", 2, dif=0x40) + MORE)
        async with MbusAdapter(plant.endpoint, TAGS) as adapter:
            assert await first(adapter) == GOOD


async def test_each_meter_is_read_out_once_for_all_of_its_tags_that_are_due():
    tags = [
        binding("fast", 1, "volume"),
        binding("slow", 1, "flow_temperature", sampling_ms=3_600_000.0),
    ]
    async with meters() as plant, MbusAdapter(plant.endpoint, tags) as adapter:
        names = []
        async with asyncio.timeout(60):
            async for batch in adapter.batches():
                names.append({batch.names[tag] for tag in batch.tag})
                if len(names) == 3:
                    break
    assert names == [{"fast", "slow"}, {"fast"}, {"fast"}]


async def test_the_source_time_is_when_the_meter_was_asked():
    async with meters() as plant, MbusAdapter(plant.endpoint, TAGS) as adapter:
        before = time.time_ns()
        batch = await anext(adapter.batches())
        assert before <= batch.source_time_ns[0] <= time.time_ns()
        assert len(set(batch.source_time_ns)) == 1


async def test_a_simulated_bus_does_not_remember_all_that_it_was_ever_asked(monkeypatch):
    monkeypatch.setattr(simulated, "MOST_REQUESTS", 5)
    async with meters() as plant, MbusAdapter(plant.endpoint, TAGS) as adapter:
        await first(adapter)
        await first(adapter)
        assert plant.requests == [(0x7B, 1), (0x40, 2), (0x7B, 2), (0x5B, 2), (0x7B, 2)]
