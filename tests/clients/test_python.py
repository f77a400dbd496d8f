import asyncio
import math
from contextlib import AsyncExitStack, aclosing

import grpc
import numpy as np
import pytest

from uem.clients import convert
from uem.clients.python import BlockingClient, Client, ClientError, Kind, Method, Source
from uem.v1 import twin_pb2


async def test_lists_all_assets_over_pages(fake):
    _, address = fake
    async with Client(address) as client:
        branch, washer = await client.assets()
    assert (branch.name, branch.kind, branch.title) == ("branch", Kind.HEAT_NETWORK, "Buried branch")
    assert washer.kind is Kind.MACHINE
    estimated = branch.signals[1]
    assert estimated.source is Source.ESTIMATED
    assert estimated.compared_with == "node/2/temperature"
    assert washer.signals[0].state_names == {2: "operational"}


async def test_reads_a_state_as_columns_in_the_order_of_the_signals(fake, kit):
    _, address = fake
    async with Client(address) as client:
        state = await client.state("branch")
    assert state.tick == 1
    assert state.plant_time_ns == kit.START_NS + 60 * 10**9
    assert state["node/2/temperature/twin"] == 362.15
    assert state.standard_deviation[1] == 0.5
    assert math.isnan(state.standard_deviation[0])
    assert (state.value.dtype, state.quality.dtype) == (np.float64, np.uint32)
    assert state.quality[2] == 0x40900000
    with pytest.raises(KeyError, match="has no signal 'x'; signals are node/1"):
        state.index("x")


async def test_watch_gives_states_and_what_was_missed(fake):
    _, address = fake
    seen = []
    async with Client(address) as client:
        async for state in client.watch(["washer"]):
            seen.append((state.asset.name, state.tick, state.missed))
            if len(seen) == 3:
                break
    assert seen == [("washer", 1, 0), ("washer", 2, 2), ("washer", 3, 0)]


async def test_watch_lists_the_assets_again_when_a_state_has_other_signals(fake, kit):
    servicer, address = fake
    async with Client(address) as client:
        states = client.watch(["branch"])
        first = await anext(states)
        changed = twin_pb2.Asset.FromString(kit.BRANCH.SerializeToString())
        changed.signals[0].name, changed.signals_revision = "node/0/temperature", 7
        servicer.assets["branch"], servicer.revision = changed, 7
        async with asyncio.timeout(60):
            async for state in states:
                if state.asset.signals_revision == 7:
                    break
        await states.aclose()
    assert "node/1/temperature" in {signal.name for signal in first.asset.signals}
    assert state["node/0/temperature"] == 363.15


async def test_a_state_with_signals_that_the_server_does_not_list_is_refused(fake):
    servicer, address = fake
    servicer.states["branch"].signals_revision = 7
    async with Client(address) as client:
        with pytest.raises(ClientError, match="other signals than the server lists"):
            await client.state("branch")


async def test_watch_connects_again_after_a_break(fake):
    servicer, address = fake
    servicer.break_after = 3
    ticks = []
    async with Client(address) as client:
        async for state in client.watch(["branch"]):
            ticks.append(state.tick)
            if len(ticks) == 5:
                break
    assert ticks == [1, 2, 3, 1, 2]


async def test_watch_connects_again_after_the_server_was_started_anew(kit):
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        address = await first.enter_async_context(kit.serving(kit.FakeServer()))
        client = await stack.enter_async_context(Client(address))
        watch = await stack.enter_async_context(aclosing(client.watch(["branch"])))
        assert [(await anext(watch)).tick for _ in range(3)] == [1, 2, 3]
        await first.aclose()
        await stack.enter_async_context(kit.serving(kit.FakeServer(), int(address.rpartition(":")[2])))
        ticks = [(await anext(watch)).tick for _ in range(20)]
    assert ticks.count(1) == 1  # the new server counts from the start


async def test_watch_gives_up_when_the_server_stays_away(kit):
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(AsyncExitStack())
        address = await server.enter_async_context(kit.serving(kit.FakeServer()))
        client = await stack.enter_async_context(Client(address))
        watch = await stack.enter_async_context(aclosing(client.watch(["branch"], reconnect_s=0.5)))
        await anext(watch)
        await server.aclose()
        with pytest.raises(ClientError, match="no uem server at"):
            await asyncio.wait_for(_until_it_ends(watch), 60)


async def _until_it_ends(watch):
    async for _ in watch:
        pass


async def test_forecast_has_a_band_by_time_and_level(fake, kit):
    _, address = fake
    async with Client(address) as client:
        forecast = await client.forecast("branch", 3600)
        default = await client.forecast("branch")
    (series,) = forecast.series
    assert series.valid_time_ns.tolist() == [kit.START_NS + i * 900 * 10**9 for i in (1, 2, 3, 4)]
    assert series.quantile.shape == (4, 2)
    np.testing.assert_array_equal(series.quantile[:, 1] - series.value, 2.0)
    assert forecast.quantile_level.tolist() == [0.05, 0.95]
    assert len(default.series[0].value) == 2


@pytest.mark.parametrize("horizon_s", [0, -5, 86_401, math.nan])
async def test_refuses_a_horizon_out_of_range(fake, horizon_s):
    _, address = fake
    async with Client(address) as client:
        with pytest.raises(ClientError, match="horizon of"):
            await client.forecast("branch", horizon_s)


async def test_history_joins_the_frames_of_each_tag(fake, kit):
    _, address = fake
    async with Client(address) as client:
        read = await client.history(["branch/1", "branch/2", "branch/silent"])
        newest = await client.history(["branch/1"], kit.START_NS, kit.START_NS + 5 * 900 * 10**9, limit=2)
    assert read["branch/1"].source_time_ns.tolist() == [kit.START_NS + i * 900 * 10**9 for i in range(10)]
    assert set(read["branch/2"].value) == {364.15}
    assert len(read["branch/silent"].value) == 0
    assert newest["branch/1"].source_time_ns.tolist() == [kit.START_NS + i * 900 * 10**9 for i in (3, 4)]


async def test_lists_tags_over_pages(fake):
    _, address = fake
    async with Client(address) as client:
        tags = await client.tags()
    assert [(tag.name, tag.count, tag.display_unit) for tag in tags] == [
        ("branch/1/temperature", 10, "Cel"),
        ("branch/2/temperature", 0, "Cel"),
    ]


async def test_says_how_to_start_a_server_when_none_is_there():
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(ClientError) as caught:
            await client.assets()
    assert str(caught.value) == "no uem server at 127.0.0.1:1: start one with `uem up`"
    assert caught.value.code == "UNAVAILABLE"


async def test_gives_the_servers_message_and_reason(fake):
    _, address = fake
    async with Client(address) as client:
        with pytest.raises(ClientError, match="unknown asset 'boiler'; known: branch, washer") as caught:
            await client.state("boiler")
        assert (caught.value.code, caught.value.reason) == ("NOT_FOUND", "UNKNOWN_NAME")
        with pytest.raises(ClientError, match="bad request\n  asset: no such asset"):
            await client.forecast("boiler")
        with pytest.raises(ClientError, match="unknown tag 'x'"):
            await client.history(["x"])


async def test_every_call_has_a_deadline(fake):
    servicer, address = fake
    servicer.delay_s = 5.0
    async with Client(address, deadline_s=0.1) as client:
        with pytest.raises(ClientError, match=r"did not answer within 0\.1 s: could not read the state of branch"):
            await client.state("branch")


async def test_says_that_a_twin_still_waits_for_measurements(fake):
    servicer, address = fake
    del servicer.states["branch"]
    async with Client(address) as client:
        with pytest.raises(ClientError, match="waits for its first measurements"):
            await client.state("branch")


async def test_a_server_of_another_kind_is_told_apart():
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with Client(f"127.0.0.1:{port}") as client:
        with pytest.raises(ClientError, match="cannot list the assets"):
            await client.assets()
    await server.stop(None)


async def test_a_state_that_does_not_fit_its_asset_is_refused(fake):
    servicer, address = fake
    servicer.states["branch"] = twin_pb2.State(asset="branch", value=[1.0])
    async with Client(address) as client:
        with pytest.raises(ClientError, match="answered wrongly: state of branch with columns of 1, 0, 0, 0 rows"):
            await client.state("branch")


def test_a_retry_hint_is_shown(kit):
    from google.protobuf.duration_pb2 import Duration
    from google.rpc.error_details_pb2 import RetryInfo

    from uem.clients.errors import client_error

    status = kit.rich_error(14, "starting", RetryInfo(retry_delay=Duration(seconds=2)))
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, None, grpc.aio.Metadata(*status.trailing_metadata), "starting"
    )
    assert str(client_error(error, "here", "ask", None)) == "starting\n  try again in 2 s"


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, math.nan, math.inf])
def test_a_deadline_must_be_positive(deadline_s):
    with pytest.raises(ValueError, match="must be positive"):
        Client(deadline_s=deadline_s)


def test_the_blocking_client_does_the_same_without_await(remote):
    _, address = remote
    with BlockingClient(address) as client:
        assert [asset.name for asset in client.assets()] == ["branch", "washer"]
        assert client.state("washer")["power/twin"] == 240.0
        assert client.forecast("branch", 900).series[0].value.tolist() == [360.15]
        assert client.tags()[0].count == 10
        assert client.is_serving()
        assert len(client.history(["branch/1"])["branch/1"].value) == 10
        assert [state.tick for state, _ in zip(client.watch(["branch"]), range(2), strict=False)] == [1, 2]


@pytest.mark.parametrize(
    "wrong", [{"start_ns": -1}, {"start_ns": 2**63}, {"end_ns": 2**63}, {"limit": -1}, {"limit": 2**31}]
)
async def test_a_range_that_no_server_can_be_asked_for_is_a_client_error(fake, wrong):
    async with Client(fake[1]) as client:
        with pytest.raises(ClientError, match="are possible") as told:
            await client.history(["branch/1"], **wrong)
    assert told.value.code == "INVALID_ARGUMENT"


async def test_asks_a_server_whether_it_is_well(kit):
    servicer = kit.FakeServer()
    for servicer.well in (True, False):
        async with kit.serving(servicer) as address, Client(address) as client:
            assert await client.is_serving() is servicer.well


def test_an_unknown_kind_of_asset_is_shown_as_an_asset():
    asset = convert.asset(twin_pb2.Asset(name="new", kind=99))
    assert (asset.kind, asset.title) == (Kind.UNSPECIFIED, "new")


async def test_gaps_are_listed_over_pages_with_their_reasons(fake, kit):
    _, address = fake
    async with Client(address) as client:
        gaps = await client.gaps()
        assert [(gap.tag, gap.reason) for gap in gaps] == [
            ("branch/1/temperature", "link_down"),
            ("branch/4/temperature", "spool_full"),
            ("branch/9/temperature", "reason_9"),
        ]
        assert (gaps[1].start_ns, gaps[1].end_ns) == (kit.START_NS, kit.START_NS + 4 * 10**9)
        assert await client.gaps(["branch/4/temperature"]) == [gaps[1]]
        with pytest.raises(ClientError, match="start_ns -1"):
            await client.gaps(start_ns=-1)


async def test_kept_forecasts_are_read_over_pages_and_as_of_a_time(fake, kit):
    _, address = fake
    hour_ns = 3600 * 10**9
    async with Client(address) as client:
        every = await client.forecasts("branch")
        some = await client.forecasts("branch", kit.START_NS + 1, kit.START_NS + 2 * hour_ns)
        known = await client.forecast_as_of("branch", kit.START_NS + hour_ns)
        nothing = await client.forecast_as_of("branch", kit.START_NS - 1)
    assert [(found.issue_time_ns - kit.START_NS) // hour_ns for found in every] == [0, 1, 2]
    assert every[2].series[0].quantile.shape == (2, 2)
    assert [found.issue_time_ns for found in some] == [kit.START_NS + hour_ns] == [known.issue_time_ns]
    assert nothing is None


async def test_alarms_are_listed_over_pages_with_state_and_priority(fake):
    _, address = fake
    async with Client(address) as client:
        alarms = await client.alarms(history=True)
        assert [(alarm.condition, alarm.state, alarm.priority) for alarm in alarms] == [
            ("c1", "normal", "low"),
            ("c4", "returned", "medium"),
            ("c9", "state_9", "high"),
        ]
        assert await client.alarms() == alarms[:2]
        assert await client.alarms("mill") == []


async def test_an_overview_says_its_resolution(fake, kit):
    _, address = fake
    async with Client(address) as client:
        found = await client.overview("branch/1/temperature", points=2)
        bent = await client.overview("branch/1/temperature", points=3, method=Method.LARGEST_TRIANGLE)
    assert (found.history.tag, found.history.source_time_ns[0]) == ("branch/1/temperature", kit.START_NS)
    assert (found.resolution_ns, found.count, found.line_start.tolist()) == (60 * 10**9, 999, [1])
    assert (found.history.value[1], bent.history.value[1]) == (360.15, 364.15)


async def hours_watched(forecasts, kit, count, meanwhile=None):
    """Issue hours of the next `count` forecasts; `meanwhile` is called after the first."""
    found = []
    async for forecast in forecasts:
        found.append((forecast.issue_time_ns - kit.START_NS) // (3600 * 10**9))
        if meanwhile and len(found) == 1:
            await meanwhile()
        if len(found) == count:
            return found


async def test_a_watch_of_forecasts_begins_with_the_newest_or_behind_a_time_and_goes_on(fake, kit):
    servicer, address = fake

    async def keep():
        servicer.kept_hours = [0, 1, 2, 3, 4]

    async with Client(address) as client:
        assert await hours_watched(client.watch_forecast("branch"), kit, 3, keep) == [2, 3, 4]
        assert await hours_watched(client.watch_forecast("branch", kit.START_NS), kit, 4) == [1, 2, 3, 4]


async def test_a_watch_of_forecasts_that_breaks_goes_on_with_none_twice_and_none_left_out(fake, kit):
    servicer, address = fake
    servicer.kept_hours, servicer.break_after = [0, 1, 2, 3, 4, 5], 2
    async with Client(address) as client:
        assert await hours_watched(client.watch_forecast("branch", kit.START_NS), kit, 5) == [1, 2, 3, 4, 5]
    assert servicer.break_after == 0


async def test_a_watch_of_forecasts_outlives_a_restart_of_the_server(kit):
    servicer = kit.FakeServer()
    async with AsyncExitStack() as stack:
        first = AsyncExitStack()
        address = await first.enter_async_context(kit.serving(servicer))

        async def restart():
            await first.aclose()
            servicer.kept_hours = [0, 1, 2, 3, 4]
            await stack.enter_async_context(kit.serving(servicer, int(address.rsplit(":", 1)[1])))

        client = await stack.enter_async_context(Client(address))
        assert await hours_watched(client.watch_forecast("branch"), kit, 3, restart) == [2, 3, 4]


async def test_a_watch_of_forecasts_gives_up_when_nobody_is_there_any_more(kit):
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(kit.serving(kit.FakeServer()))
        async with Client(address) as client:
            forecasts = client.watch_forecast("branch", reconnect_s=0.5)
            await anext(forecasts)
            await stack.aclose()
            with pytest.raises(ClientError) as told:
                await anext(forecasts)
    assert told.value.code == "UNAVAILABLE"


async def test_a_watch_of_forecasts_of_nothing_and_after_no_time_is_refused_at_once(fake):
    async with Client(fake[1]) as client:
        with pytest.raises(ClientError, match="known: branch, washer"):
            await anext(client.watch_forecast("boiler"))
        with pytest.raises(ClientError, match="start_ns -1"):
            await anext(client.watch_forecast("branch", -1))


def test_the_blocking_client_watches_forecasts_too(remote, kit):
    with BlockingClient(remote[1]) as client:
        watched = zip(range(2), client.watch_forecast("branch", kit.START_NS), strict=False)
        hours = [(found.issue_time_ns - kit.START_NS) // (3600 * 10**9) for _, found in watched]
    assert hours == [1, 2]
