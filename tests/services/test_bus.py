import asyncio

import numpy as np

from uem.services.bus import LatestBus, SampleBus
from uem.twin_core.measurements import Samples


async def test_every_subscriber_gets_every_batch_in_order(samples):
    bus = SampleBus()
    readers = [bus.subscribe(), bus.subscribe()]
    batches = [samples(("a", i, 1.0)) for i in range(3)]
    for batch in batches:
        bus.publish(batch)
    for reader in readers:
        assert [await anext(reader) for _ in batches] == batches
        assert reader.dropped == 0


async def test_a_full_queue_drops_the_oldest_and_counts_it(samples):
    bus = SampleBus()
    slow, quick = bus.subscribe(2), bus.subscribe(10)
    batches = [samples(("a", i, 1.0)) for i in range(5)]
    for batch in batches:
        bus.publish(batch)
    assert len(slow) == 2
    assert [await anext(slow), await anext(slow)] == batches[-2:]
    assert (slow.dropped, quick.dropped, bus.dropped) == (3, 0, 3)


async def test_every_subscriber_is_told_of_batches_that_did_not_get_as_far_as_the_bus(samples):
    bus = SampleBus()
    readers = [bus.subscribe(), bus.subscribe()]
    bus.lose()
    for reader in readers:
        assert len(await anext(reader)) == 0  # it wakes
        assert reader.dropped == 1


async def test_a_waiting_reader_wakes_when_a_batch_comes(samples):
    bus = SampleBus()
    reader = bus.subscribe()
    waiting = asyncio.create_task(anext(reader))
    await asyncio.sleep(0)
    bus.publish(batch := samples(("a", 0, 1.0)))
    assert await waiting is batch


async def test_closing_ends_the_reader_after_what_waits_and_forgets_it(samples):
    bus = SampleBus()
    reader = bus.subscribe()
    bus.publish(samples(("a", 0, 1.0)))
    reader.close()
    reader.close()
    bus.publish(samples(("a", 1, 1.0)))
    assert len([batch async for batch in reader]) == 1


async def test_closing_ends_a_waiting_reader():
    reader = LatestBus().subscribe()
    waiting = asyncio.create_task(anext(reader, "over"))
    await asyncio.sleep(0)
    reader.close()
    assert await waiting == "over"


async def test_the_newest_value_takes_the_place_of_those_that_wait():
    bus = LatestBus()
    reader = bus.subscribe()
    for value in range(4):
        bus.publish("network", value)
    bus.publish("machine", 7)
    assert await anext(reader) == ("network", 3, 3)
    assert await anext(reader) == ("machine", 7, 0)
    bus.publish("network", 4)
    assert await anext(reader) == ("network", 4, 0)


async def test_a_new_subscriber_begins_with_the_newest_values_of_its_keys():
    bus = LatestBus()
    bus.publish("network", 1)
    bus.publish("machine", 2)
    reader = bus.subscribe(["machine"])
    bus.publish("network", 3)
    assert await anext(reader) == ("machine", 2, 0)
    assert bus.latest("network") == 3
    assert bus.latest("boiler") is None
    reader.close()
    assert [update async for update in reader] == []


def test_of_what_comes_behind_the_span_of_each_tag_is_kept():
    bus = SampleBus()
    reader = bus.subscribe()
    rng = np.random.default_rng(4)
    rows = [(f"t{tag}", int(time_ns), 0.0, 0) for tag, time_ns in rng.integers(0, 50, (400, 2)).tolist()]
    for begin in range(0, 400, 80):
        bus.publish(Samples.from_rows(rows[begin : begin + 80]), behind=True)
    times = {name: [time_ns for its, time_ns, *_ in rows if its == name] for name, *_ in rows}
    assert reader.behind == {name: (min(its), max(its)) for name, its in times.items()}
    assert len(reader) == 0
