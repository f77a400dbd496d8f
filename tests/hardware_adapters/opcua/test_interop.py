"""The client against a server of an independent stack, which lets 100 operations into a call."""

import asyncio
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from uem.hardware_adapters.contract import collected
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.desired import WINDOW, What
from uem.hardware_adapters.opcua.redundancy import RedundantAdapter
from uem.hardware_adapters.opcua.services import Services
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, Samples


async def test_ten_thousand_tags_are_resolved_and_monitored_in_chunks_that_the_server_takes(
    node_plant, node_certificates, node_tags, monkeypatch
):
    tags, limit, asked, side_by_side = 10_000, 100, Counter(), []
    make, flying = Services.make, set()

    async def counted(self, ask, subscription, nodes):
        assert len(ask.tags) <= limit
        asked[ask.what] += 1
        flying.add(ask.serial)
        side_by_side.append(len(flying))
        try:
            return await make(self, ask, subscription, nodes)
        finally:
            flying.remove(ask.serial)

    monkeypatch.setattr(Services, "make", counted)
    names = [f"T{i}" for i in range(tags)]
    async with (
        node_plant(tags=tags, limit=limit) as plant,
        OpcUaAdapter(
            plant.endpoint, node_tags(*names, sampling_ms=1000.0), node_certificates, connect_timeout_s=60.0
        ) as opened,
    ):
        assert opened.missing == {}
        rows = await collected(opened, tags, 60)
    assert {row[0]: row[2] for row in rows} == {name: float(i) for i, name in enumerate(names)}
    once = {What.CREATE_SESSION, What.ACTIVATE_SESSION, What.READ_SERVER, What.CREATE_SUBSCRIPTION}
    assert asked == {**dict.fromkeys(once, 1), What.RESOLVE: tags // limit, What.MONITOR: tags // limit}
    assert max(side_by_side) == WINDOW


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes256Sha256RsaPss"])
async def test_every_count_arrives_once_and_in_order(lasting_plant, node_certificates, node_tags, policy):
    async with (
        lasting_plant(counterMs=10) as plant,
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


async def test_the_plant_stamps_no_two_counts_alike_not_even_within_a_millisecond(
    node_plant, node_certificates, node_tags
):
    async with (
        node_plant(counterMs=1) as plant,
        OpcUaAdapter(plant.endpoint, node_tags("Counter"), node_certificates, publish_interval_ms=50.0) as opened,
    ):
        rows = await collected(opened, 3000, 60)
    times = [row[1] for row in rows]
    assert times == sorted(set(times))


async def test_a_plant_that_is_killed_and_started_again_is_the_same_to_a_new_connection(
    node_plant, node_certificates, node_tags
):
    async with node_plant() as plant:
        for is_killed in (False, True):
            if is_killed:
                await plant.kill()
                await asyncio.sleep(0.1)
                await plant.start()
            async with OpcUaAdapter(plant.endpoint, node_tags("T3"), node_certificates) as opened:
                assert (await collected(opened, 1, 60))[0][2] == 3.0


async def test_changes_within_the_deadband_of_a_tag_do_not_come(lasting_plant, node_certificates, node_tags):
    """The plant steps by one; Level has a range of 200, and SI is half of what it says for Wave."""
    wave, level, counter = node_tags("Wave", "Level", "Counter")
    tags = [replace(wave, scale=0.5, offset=7.0, deadband=5.0), replace(level, deadband_percent=5.0), counter]
    async with (
        lasting_plant(counterMs=10) as plant,
        OpcUaAdapter(plant.endpoint, tags, node_certificates, publish_interval_ms=100.0, silence_s=10.0) as opened,
    ):
        rows = await collected(opened, 600, 60)
    values = {name: [row[2] for row in rows if row[0] == name] for name in ("Wave", "Level", "Counter")}
    assert np.all(np.diff(values["Counter"]) == 1)
    for name, step in (("Wave", 5.5), ("Level", 11.0)):
        steps = np.abs(np.diff(values[name]))
        assert len(steps) > 20
        assert np.all(steps == step)


async def test_a_deadband_that_the_server_refuses_is_told_and_each_change_arrives(
    lasting_plant, node_certificates, node_tags, caplog
):
    tags = [replace(each, deadband_percent=5.0) for each in node_tags("Wave", "Level")]
    async with (
        lasting_plant(counterMs=10) as plant,
        OpcUaAdapter(plant.endpoint, tags, node_certificates, publish_interval_ms=100.0, silence_s=10.0) as opened,
    ):
        assert opened.missing == {}
        rows = await collected(opened, 200, 60)
    assert set(np.abs(np.diff([row[2] for row in rows if row[0] == "Wave"]))) == {1.0}
    told = [record.getMessage() for record in caplog.records if "deadband" in record.getMessage()]
    assert [text.partition(": ")[2] for text in told] == [
        "the server refuses the deadband of 1 tags, so that each change arrives: Wave"
    ]


async def test_a_queue_of_one_keeps_the_newest_and_a_long_one_all(lasting_plant, node_certificates, node_tags):
    short, long = node_tags("Counter", "Kept")
    tags = [replace(short, queue_size=1), replace(long, queue_size=200)]
    kept, most = [], 0
    async with (
        lasting_plant(counterMs=10) as plant,
        OpcUaAdapter(plant.endpoint, tags, node_certificates, publish_interval_ms=500.0, silence_s=10.0) as opened,
        asyncio.timeout(60),
    ):
        async for samples in opened.batches():
            rows = list(samples.rows())
            in_message = [row[2] for row in rows if row[0] == "Kept"]
            if kept:  # the first message may have what was there before as well
                assert [row[2] for row in rows if row[0] == "Counter"] == in_message[-1:]
            kept += in_message
            most = max(most, len(in_message))
            if len(kept) > 100:
                break
    assert np.all(np.diff(kept) == 1)
    assert most > 5


async def test_of_two_servers_the_other_is_passed_on_when_one_is_killed(
    node_plant, node_certificates, node_tags, tmp_path, until
):
    def make(endpoint, bindings):
        return OpcUaAdapter(endpoint, bindings, node_certificates, publish_interval_ms=100.0, silence_s=10.0)

    rows = []

    async def take(adapter):
        async for found in adapter.batches():
            if isinstance(found, Samples):
                rows.extend(found.rows())

    (tmp_path / "other").mkdir()
    async with (
        node_plant(counterMs=20) as first,
        type(first)(tmp_path / "other", node_certificates, counterMs=20) as other,
    ):
        plants = {first.endpoint: first, other.endpoint: other}
        async with RedundantAdapter(list(plants), node_tags("Counter"), make) as both:
            taking = asyncio.create_task(take(both))
            await until(lambda: all(level == 255 for level in both.service_levels.values()))
            await until(lambda: len(rows) > 20)
            killed = both.active
            await plants[killed].kill()
            so_far = len(rows)
            await until(lambda: both.active != killed and len(rows) > so_far + 20)
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
    times_ns = [row[1] for row in rows]
    assert times_ns == sorted(set(times_ns))
    # Each has a count of its own, every 20 ms or as fast as the machine lets it; the one that is left was heard all
    # the time, so it goes on where the other ended.
    step_ns, is_switch = np.diff(times_ns), np.diff([row[2] for row in rows]) != 1
    assert is_switch.sum() == 1
    assert step_ns[is_switch][0] < max(0.5e9, 2 * step_ns[~is_switch].max())
