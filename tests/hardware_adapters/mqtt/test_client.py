"""The adapter through a real broker."""

import asyncio
import math
import time
from contextlib import suppress

import aiomqtt
import pytest

from uem.hardware_adapters.base import Break
from uem.hardware_adapters.mqtt.client import MqttAdapter
from uem.hardware_adapters.simulator.mqtt import SparkplugPlant
from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import BAD_DECODING_ERROR, BAD_NO_COMMUNICATION, GapReason, Tag
from uem.twin_core.plant.addresses import MqttAddress
from uem.twin_core.plant.territory import TagBinding

T = 1_669_213_388_000_000_000


def binding(name, topic, **more):
    return TagBinding(
        tag=Tag(name=name, unit="1"), plant="p", display_unit="1", address=MqttAddress(topic=topic, **more)
    )


FLOW = (binding("flow", "plant/node/device", metric="flow"),)


async def until(reading, wanted):
    """What comes, up to and with the first item that is `wanted`."""
    found = []
    async with asyncio.timeout(60):
        async for batch in reading:
            found += [batch] if isinstance(batch, Break) else batch.rows()
            if wanted(found[-1]):
                return found
    return found


async def test_a_number_on_a_topic_has_the_time_when_it_came_in(open_broker):
    async with (
        open_broker() as broker,
        MqttAdapter(broker.endpoint, [binding("a", "x/y")], broker.credentials) as adapter,
        aiomqtt.Client("127.0.0.1", broker.port) as device,
    ):
        before = time.time_ns()
        await device.publish("x/y", b"21.5", 1)
        await device.publish("x/z", b"1", 1)
        await device.publish("x/y", b"hot", 1)
        reading = adapter.batches()
        good, bad = await until(reading, lambda row: row[3] != 0)
        assert (good[0], *good[2:]) == ("a", 21.5, 0)
        assert before <= good[1] <= time.time_ns()
        assert bad[3] == BAD_DECODING_ERROR
        assert math.isnan(bad[2])
        assert adapter.problems == {"garbled": 1, "lost": 0}
        assert adapter.connected


async def test_a_lost_message_of_a_node_is_a_break_and_the_node_is_asked_for_its_birth(open_broker):
    async with (
        open_broker() as broker,
        SparkplugPlant(broker.port, ["flow"]) as device,
        MqttAdapter(broker.endpoint, FLOW, broker.credentials) as adapter,
    ):
        births = device.births
        await device.tell(T, {"flow": 1.0})
        device.skip()
        await device.tell(T + 1_000_000, {"flow": 2.0})
        reading = adapter.batches()
        found = await until(reading, lambda row: isinstance(row, Break))
        assert found[-2:] == [("flow", T, 1.0, 0), Break(GapReason.LINK_DOWN, frozenset({"flow"}))]
        found = await until(reading, lambda row: isinstance(row, tuple))  # born again, with its newest value
        assert found == [("flow", T + 1_000_000, 2.0, 0)]
        assert device.births == births + 1
        assert adapter.problems == {"garbled": 0, "lost": 1}
        await device.tell(T + 2_000_000, {"flow": 3.0})
        assert await until(reading, lambda row: True) == [("flow", T + 2_000_000, 3.0, 0)]


async def test_a_node_that_dies_is_bad_and_its_return_a_break(open_broker):
    async with open_broker() as broker:
        async with SparkplugPlant(broker.port, ["flow"]):
            adapter = MqttAdapter(broker.endpoint, FLOW, broker.credentials)
            await adapter.__aenter__()
        reading = adapter.batches()
        await until(reading, lambda row: row[3] == BAD_NO_COMMUNICATION)
        async with SparkplugPlant(broker.port, ["flow"], birth=1) as device:
            found = await until(reading, lambda row: isinstance(row, Break))
            assert found == [Break(GapReason.SOURCE_RESTARTED, frozenset({"flow"}))]
            await device.tell(T, {"flow": 1.0})
            await until(reading, lambda row: row == ("flow", T, 1.0, 0))
        await adapter.__aexit__()


async def test_a_node_that_is_not_there_is_missing_until_it_is_born(open_broker):
    async with (
        open_broker() as broker,
        MqttAdapter(broker.endpoint, FLOW, broker.credentials, birth_timeout_s=0.1) as adapter,
    ):
        assert adapter.missing == {"flow": "plant/node: no birth of it so far"}
        async with SparkplugPlant(broker.port, ["flow"]):
            await until(adapter.batches(), lambda row: True)
            assert adapter.missing == {}


async def test_a_broker_that_goes_away_is_an_error_after_what_came_before(open_broker):
    async with open_broker() as broker:
        async with MqttAdapter(broker.endpoint, [binding("a", "x")], broker.credentials) as adapter:
            async with aiomqtt.Client("127.0.0.1", broker.port) as device:
                await device.publish("x", b"1", 1)
            reading = adapter.batches()
            await until(reading, lambda row: True)
            broker.process.kill()
            with pytest.raises(AdapterError, match="connection lost"):
                await until(reading, lambda row: False)
            assert not adapter.connected
        with pytest.raises(AdapterError, match=broker.endpoint):
            async with MqttAdapter(broker.endpoint, [binding("a", "x")], broker.credentials):
                pass


async def test_a_topic_that_the_broker_refuses_is_an_error(open_broker, monkeypatch):
    async def refused(self, filters):
        return (128,)

    monkeypatch.setattr(aiomqtt.Client, "subscribe", refused)
    async with open_broker() as broker:
        with pytest.raises(AdapterError, match="the broker refuses secret"):
            async with MqttAdapter(broker.endpoint, [binding("a", "secret")], broker.credentials):
                pass


async def test_a_damaged_payload_of_a_node_is_a_break(open_broker):
    async with (
        open_broker() as broker,
        SparkplugPlant(broker.port, ["flow"]),
        MqttAdapter(broker.endpoint, FLOW, broker.credentials) as adapter,
        aiomqtt.Client("127.0.0.1", broker.port) as other,
    ):
        await other.publish("spBv1.0/plant/DDATA/node/device", b"\xff", 1)
        await until(adapter.batches(), lambda row: isinstance(row, Break))


async def test_an_adapter_can_be_left_while_it_asks_for_a_birth(open_broker, monkeypatch):
    """Before Python 3.12 what the library awaits may swallow the cancellation."""
    asked = asyncio.Event()

    async def publish(*_):
        asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)

    async with (
        asyncio.timeout(60),
        open_broker() as broker,
        SparkplugPlant(broker.port, ["flow"]),
        MqttAdapter(broker.endpoint, FLOW, broker.credentials) as adapter,
        aiomqtt.Client("127.0.0.1", broker.port) as other,
    ):
        monkeypatch.setattr(adapter._client, "publish", publish)
        await other.publish("spBv1.0/plant/DDATA/node/device", b"\xff", 1)
        await asked.wait()
