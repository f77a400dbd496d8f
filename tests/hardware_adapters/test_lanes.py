"""Lanes between an inbox and a real gRPC service: what comes now passes what waits, and nothing is lost or doubled."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from uem.hardware_adapters import lanes as lanes_module
from uem.hardware_adapters.lanes import LIVE_BATCHES, Lanes
from uem.hardware_adapters.spool import Spool
from uem.twin_core.errors import StorageFull
from uem.twin_core.measurements import Samples

pytestmark = pytest.mark.usefixtures("_short_waits")

OLD, NOW = 0, 1_000_000  # times of what waits and of what comes while it drains


def batch(time_ns, n=5):
    return Samples.from_rows([("a", time_ns + i, float(time_ns + i), 0) for i in range(n)])


def fill(spool, count, begin=OLD):
    for k in range(count):
        spool.append(batch(begin + 5 * k), (), 1000 + begin + k)


@asynccontextmanager
async def delivering(lanes):
    task = asyncio.create_task(lanes.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        lanes.close()


async def test_live_samples_pass_a_backlog_and_each_arrives_once(spool, until, service, serving):
    backlog = 20 * LIVE_BATCHES
    fill(spool, backlog)
    async with serving(service) as server:
        lanes = Lanes(spool, server.address)
        async with delivering(lanes):
            await until(lambda: lanes.backlog_lanes == 1)
            behind = []
            for k in range(10):
                lanes.append(batch(NOW + k, 1))
                lanes.notify()
                await until(lambda k=k: any(row[1] == NOW + k for row in service.rows[-200:]))
                behind.append(spool.batch_count)
            await until(lambda: lanes.batch_count == 0)
    times = [row[1] for row in service.rows]
    assert min(behind) > 0
    assert [time for time in times if time < NOW] == list(range(5 * backlog))
    assert [time for time in times if time >= NOW] == [NOW + k for k in range(10)]
    assert service.duplicates == 0


async def test_without_a_backlog_there_is_one_lane(spool, until, service, serving):
    fill(spool, LIVE_BATCHES // 2)
    async with serving(service) as server:
        lanes = Lanes(spool, server.address)
        async with delivering(lanes):
            await until(lambda: lanes.batch_count == 0)
            lanes.append(batch(NOW))
            lanes.notify()
            await until(lambda: lanes.batch_count == 0)
    assert len(lanes.lanes) == 1
    assert [row[1] for row in service.rows] == [*range(5 * LIVE_BATCHES // 2), *range(NOW, NOW + 5)]


async def test_outages_during_a_catch_up_take_one_lane_each_and_old_ones_drain_first(spool, until, service, serving):
    count = 3 * LIVE_BATCHES
    lanes = Lanes(spool, "127.0.0.1:1")
    fill(lanes, count)
    for outage in (1, 2):
        lanes._live.uplink.connected = True  # for a moment, too short to deliver anything
        lanes._arrange()
        lanes._live.uplink.connected = False
        fill(lanes, count, outage * 10**6)
    await asyncio.gather(
        *(lane.task for lane in lanes.lanes if lane.task and lane.task.cancel()), return_exceptions=True
    )
    lanes.close()
    assert [lane.spool.batch_count for lane in lanes.lanes] == [count] * 3
    async with serving(service) as server:
        again = Lanes(spool, server.address)
        async with delivering(again):
            again.append(batch(NOW * 10))
            await until(lambda: again.batch_count == 0)
    old = [row[1] for row in service.rows if row[1] < NOW * 10]
    assert old == sorted(old)
    assert len(old) == 3 * 5 * count
    assert len(again.lanes) == 4


async def test_a_lane_that_is_empty_is_used_again(spool, until, service, serving):
    fill(spool, 2 * LIVE_BATCHES)
    async with serving(service) as server:
        lanes = Lanes(spool, server.address)
        async with delivering(lanes):
            await until(lambda: lanes.batch_count == 0 and lanes.lanes[0].task is None)  # it has come to rest
            service.is_mute = True
            fill(lanes, 2 * LIVE_BATCHES, NOW)
            lanes.notify()
            await until(lambda: lanes.backlog_lanes == 1)
            assert len(lanes.lanes) == 2
            assert lanes._live is lanes.lanes[0]


def test_all_lanes_together_are_bounded(tmp_path):
    with Spool(tmp_path / "spool.db") as first, Spool(tmp_path / "spool-2.db") as second:
        fill(first, 100)
        first.close()
        second.close()
    with Spool(tmp_path / "spool.db") as first:
        lanes = Lanes(first, "127.0.0.1:1", most_bytes=first.byte_count + 1000)
        lanes.append(batch(NOW), (), 5000)
        with pytest.raises(StorageFull):
            fill(lanes, 3, NOW)
        assert lanes.lanes[1].spool.batch_count < 4
        assert lanes.oldest_received_ns == 1000
        lanes.close()


async def test_with_all_lanes_in_use_the_newest_one_waits_as_a_whole(spool, monkeypatch):
    monkeypatch.setattr(lanes_module, "MOST_LANES", 1)
    lanes = Lanes(spool, "127.0.0.1:1")
    fill(lanes, 2 * LIVE_BATCHES)
    lanes._live.uplink.connected = True
    lanes._arrange()
    lanes._live.task.cancel()
    assert (len(lanes.lanes), lanes.backlog_lanes) == (1, 0)


async def test_after_a_restart_with_all_lanes_in_use_the_newest_one_is_live_and_no_backlog(
    spool, tmp_path, monkeypatch
):
    monkeypatch.setattr(lanes_module, "MOST_LANES", 2)
    with Spool(spool.path.with_name(f"{spool.path.stem}-2{spool.path.suffix}")) as other:
        fill(spool, 3, NOW)
        fill(other, 3)
    lanes = Lanes(spool, "127.0.0.1:1")
    assert lanes.backlog_lanes == 1
    assert lanes._live is lanes.lanes[0]
    for _ in range(3):
        lanes._arrange()
        assert lanes._live not in lanes._backlog
        assert lanes._live.uplink.behind is False
        await asyncio.sleep(0)
    for lane in lanes.lanes:
        lane.stop()
    lanes.close()


async def test_an_error_of_one_lane_ends_the_delivery(spool):
    class Broken:
        connected = False
        most_in_flight = 0

        def __init__(self, address, spool):
            pass

        async def run(self):
            raise RuntimeError("of an uplink")

    with pytest.raises(RuntimeError, match="of an uplink"):
        await Lanes(spool, "", make=Broken).run()


async def test_without_room_for_a_further_lane_the_newest_one_goes_on(spool, monkeypatch, caplog):
    def full(path):
        raise StorageFull(f"spool {path}: no space left")

    monkeypatch.setattr(lanes_module, "Spool", full)
    lanes = Lanes(spool, "127.0.0.1:1")
    fill(lanes, 2 * LIVE_BATCHES)
    lanes._live.uplink.connected = True
    for _ in range(3):
        lanes._arrange()
    lanes._live.task.cancel()
    assert (len(lanes.lanes), lanes.backlog_lanes, lanes._live) == (1, 0, lanes.lanes[0])
    assert caplog.text.count("no further lane") == 1


async def test_a_batch_that_is_committed_while_its_lane_is_left_is_looked_for(spool):
    class Waiting:
        """An uplink that has sent all that was there."""

        connected = True

        def __init__(self, address, spool):
            self.work = asyncio.Event()
            self.notify = self.work.set

        async def run(self):
            await asyncio.sleep(3600)

    lanes = Lanes(spool, "", make=Waiting)
    fill(lanes, 2 * LIVE_BATCHES)
    async with delivering(lanes), asyncio.timeout(60):
        await lanes.lanes[0].uplink.work.wait()
        assert lanes._live is not lanes.lanes[0]


def test_lanes_keep_away_from_spools_with_names_like_theirs(tmp_path):
    with Spool(tmp_path / "plant.db") as one, Spool(tmp_path / "plant-2.db") as other:
        fill(other, 1)
        lanes = Lanes(one, "127.0.0.1:1")
        fill(lanes, 2)
        lanes._live = lanes._free()
        fill(lanes, 3)
        lanes.close()
        again = Lanes(one, "127.0.0.1:1")
        again.close()
        assert (again.batch_count, other.batch_count) == (5, 1)


def test_a_backlog_under_the_name_that_lanes_had_before_is_found(tmp_path):
    with Spool(tmp_path / "spool-2.db") as old:
        fill(old, 3)
    with Spool(tmp_path / "spool.db") as first:
        lanes = Lanes(first, "127.0.0.1:1")
        assert lanes.batch_count == 3
        lanes.close()
