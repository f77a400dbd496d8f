import asyncio
import math
from dataclasses import replace

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from uem.services.twin import convert
from uem.territories.load import load
from uem.twin_core.state import Signal, Source
from uem.v1 import common_pb2
from uem.v1 import twin_pb2 as pb


async def error_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_an_asset_tells_what_its_states_consist_of_before_there_is_one(site):
    found = await site.stub.GetAsset(pb.GetAssetRequest(asset="washer"))
    assert not found.HasField("state")
    assert found.asset.kind == pb.ASSET_KIND_MACHINE
    signals = {signal.name: signal for signal in found.asset.signals}
    assert signals["tank/temperature/twin"].compared_with == "tank/temperature"
    assert signals["tank/temperature"].display_unit == "Cel"
    assert signals["state"].state_names[3] == "spray cleaning"
    assert signals["energy"].source == common_pb2.SOURCE_LEDGER


async def test_a_state_is_columns_in_the_order_of_the_signals(site, recorded):
    site.bus.publish(recorded("branch", 0, 40))
    await site.until(lambda: site.states.latest("branch"))
    found = await site.stub.GetAsset(pb.GetAssetRequest(asset="branch"))
    assert found.asset.kind == pb.ASSET_KIND_HEAT_NETWORK
    state, names = found.state, [signal.name for signal in found.asset.signals]
    assert len(names) == len(state.value) == len(state.standard_deviation) == len(state.quality) == len(state.age_s)
    assert state.plant_time_ns == 39 * 900 * 10**9
    assert 330 < state.value[names.index("node/2/temperature/twin")] < 375
    assert math.isnan(state.standard_deviation[names.index("node/2/temperature")])
    assert state.standard_deviation[names.index("node/2/temperature/twin")] > 0
    assert state.published_time_ns > state.plant_time_ns


async def test_a_state_names_its_signals_its_run_and_since_when_its_ledgers_count(make_site, recorded):
    runs = []
    for _ in range(2):
        site = await make_site()
        site.bus.publish(recorded("washer", 0, 40))
        await site.until(lambda site=site: site.states.latest("washer"))
        found = await site.stub.GetAsset(pb.GetAssetRequest(asset="washer"))
        assert found.state.signals_revision == found.asset.signals_revision != 0
        assert found.state.ledger_since_ns == found.state.plant_time_ns - (found.state.tick - 1) * 10**9
        watched = await anext(aiter(site.stub.WatchState(pb.WatchStateRequest(assets=["washer"]))))
        assert watched.state == found.state
        runs.append((found.state.run_id, found.asset.signals_revision))
    assert runs[0][0] != runs[1][0]
    assert runs[0][1] == runs[1][1]


def test_the_revision_follows_every_property_of_the_signals():
    signals = [Signal("a", "K", Source.MEASURED), Signal("b", "K", Source.ESTIMATED)]
    others = [
        signals[::-1],
        signals[:1],
        [replace(signals[0], name="c"), signals[1]],
        [signals[0], replace(signals[1], compared_with="a")],
        [signals[0], replace(signals[1], state_names={1: "on"})],
    ]
    described = load("pongau").asset("washer")
    found = [convert.asset(described, listed).signals_revision for listed in [signals, *others]]
    assert len(set(found)) == len(found)


async def test_an_unknown_asset_is_not_found_and_the_known_ones_are_named(site):
    error = await error_of(site.stub.GetAsset(pb.GetAssetRequest(asset="boiler")))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "known: branch, washer" in error.details()
    error = await error_of(anext(aiter(site.stub.WatchState(pb.WatchStateRequest(assets=["boiler"])))))
    assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_assets_are_listed_by_page(site):
    first = await site.stub.ListAssets(pb.ListAssetsRequest(page_size=1))
    assert [asset.name for asset in first.assets] == ["branch"]
    second = await site.stub.ListAssets(pb.ListAssetsRequest(page_size=1, page_token=first.next_page_token))
    assert [asset.name for asset in second.assets] == ["washer"]
    assert second.next_page_token == ""
    whole = await site.stub.ListAssets(pb.ListAssetsRequest())
    assert [asset.name for asset in whole.assets] == ["branch", "washer"]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListAssetsRequest(page_token="x"), "page_token"),
        (pb.ListAssetsRequest(page_token="Ym9pbGVy"), "page_token"),
        (pb.ListAssetsRequest(page_token="é"), "page_token"),
        (pb.ListAssetsRequest(page_size=-1), "page_size"),
        (pb.ListAssetsRequest(page_size=1001), "page_size"),
    ],
)
async def test_a_wrong_page_is_refused_and_the_field_is_named(site, request_, field):
    error = await error_of(site.stub.ListAssets(request_))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = rpc_status.from_call(error).details
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in details if detail.Is(bad.DESCRIPTOR))
    assert bad.field_violations[0].field == field


async def test_a_watcher_gets_the_present_state_at_once_and_then_each_new_one(site, recorded):
    site.bus.publish(recorded("washer", 0, 50))
    await site.until(lambda: site.states.latest("washer"))
    watching = aiter(site.stub.WatchState(pb.WatchStateRequest(assets=["washer"])))
    async with asyncio.timeout(60):
        first = await anext(watching)
        site.bus.publish(recorded("washer", 50, 60))
        second = await anext(watching)
    assert (first.state.tick, first.missed_count) == (49, 0)
    assert second.state.tick == 59
    assert second.state.asset == "washer"


async def test_a_watcher_of_nothing_in_particular_gets_all_assets(site, recorded):
    site.bus.publish(recorded("washer", 0, 50))
    site.bus.publish(recorded("branch", 0, 20))
    watching = aiter(site.stub.WatchState(pb.WatchStateRequest()))
    async with asyncio.timeout(60):
        seen = {(await anext(watching)).state.asset for _ in range(2)}
    assert seen == {"branch", "washer"}


async def test_a_slow_reader_gets_the_newest_state_and_the_count_of_those_it_missed(site, recorded):
    site.bus.publish(recorded("washer", 0, 50))
    await site.until(lambda: site.states.latest("washer"))
    slow = site.stub.WatchState(pb.WatchStateRequest(assets=["washer"]))
    first = await slow.read()
    published = site.states.latest("washer")
    count = 20_000
    for k in range(count):  # more than any buffer on the way holds
        site.states.publish("washer", published._replace(time_ns=k))
        if k % 50 == 0:
            await asyncio.sleep(0)
    seen, missed = 0, first.missed_count
    async with asyncio.timeout(60):
        while True:
            response = await slow.read()
            seen += 1
            missed += response.missed_count
            if response.state.published_time_ns == count - 1:
                break
    assert missed > 0
    assert seen + missed == count
    quick = site.stub.WatchState(pb.WatchStateRequest(assets=["washer"]))
    assert (await quick.read()).state.published_time_ns == count - 1
    slow.cancel()
    quick.cancel()


async def test_a_watcher_that_leaves_is_forgotten(site, recorded):
    site.bus.publish(recorded("washer", 0, 50))
    await site.until(lambda: site.states.latest("washer"))
    watching = site.stub.WatchState(pb.WatchStateRequest(assets=["washer"]))
    await watching.read()
    assert len(site.states._subscriptions) == 1
    watching.cancel()
    await site.until(lambda: not site.states._subscriptions)


async def test_a_drain_ends_the_watchers_with_unavailable(make_site):
    site = await make_site()
    watching = site.stub.WatchState(pb.WatchStateRequest())
    reading = asyncio.create_task(watching.read())
    await asyncio.sleep(0.2)
    draining = asyncio.create_task(site.server.drain(0.5))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await reading
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await draining
