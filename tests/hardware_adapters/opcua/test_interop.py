"""The client against a server of an independent stack, which lets 100 operations into a call."""

import asyncio
import math

import pytest

from uem.hardware_adapters.contract import collected
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.twin_core.measurements import BAD_SENSOR_FAILURE


async def test_more_tags_than_a_call_may_have_are_resolved_and_monitored(node_plant, node_certificates, node_tags):
    names = [f"T{i}" for i in range(1050)]
    async with (
        node_plant(tags=1050) as plant,
        OpcUaAdapter(plant.endpoint, node_tags(*names), node_certificates) as opened,
    ):
        assert opened.missing == {}
        rows = await collected(opened, len(names), 60)
    assert {row[0]: row[2] for row in rows} == {name: float(i) for i, name in enumerate(names)}


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes256Sha256RsaPss"])
async def test_every_count_arrives_once_and_in_order(node_plant, node_certificates, node_tags, policy):
    async with (
        node_plant(counterMs=20) as plant,
        OpcUaAdapter(
            plant.endpoint,
            node_tags("Counter", "Broken", "Text"),
            node_certificates,
            security_policy=policy,
            publish_interval_ms=100.0,
        ) as opened,
    ):
        rows = await collected(opened, 60, 60)
    counts = [row[2] for row in rows if row[0] == "Counter"]
    assert counts == [counts[0] + i for i in range(len(counts))]
    times = [row[1] for row in rows if row[0] == "Counter"]
    assert times == sorted(set(times))
    (broken,) = [row for row in rows if row[0] == "Broken"]
    assert broken[3] == BAD_SENSOR_FAILURE
    (text,) = [row for row in rows if row[0] == "Text"]
    assert math.isnan(text[2])


async def test_a_plant_that_is_killed_and_started_again_is_the_same_to_a_new_connection(
    node_plant, node_certificates, node_tags
):
    async with node_plant() as plant:
        for _ in range(2):
            async with OpcUaAdapter(plant.endpoint, node_tags("T3"), node_certificates) as opened:
                assert (await collected(opened, 1, 60))[0][2] == 3.0
            await plant.kill()
            await asyncio.sleep(0.1)
            await plant.start()
