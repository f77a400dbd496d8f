import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from uem.services import server
from uem.services.metrics import Metrics
from uem.services.prediction import convert, servicer
from uem.services.prediction.servicer import PredictionServicer
from uem.twin_core.errors import InvalidInput, NotReady, UnknownName
from uem.twin_core.forecast.bands import Forecast, ForecastSeries
from uem.twin_core.measurements import UNCERTAIN
from uem.v1 import prediction_pb2 as pb
from uem.v1 import prediction_pb2_grpc

MINUTE_NS = 60 * 10**9
METHOD = "/uem.v1.PredictionService/GetForecast"


class Oracle:
    """A forecaster that remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.error = None
        self.issue_ns = 0

    async def __call__(self, asset, horizon_s):
        self.asked.append((asset, horizon_s))
        if self.error:
            raise self.error
        series = ForecastSeries(
            "power", "W", "kW", np.array([5, 10]), np.array([1.0, 2.0]), np.array([[0, 1], [1, 3.0]]), 7, UNCERTAIN
        )
        return Forecast(asset, self.issue_ns, "guess", (0.1, 0.9), (series,))


@pytest.fixture
async def oracle():
    return Oracle()


@pytest.fixture
async def stub(oracle, store):
    service = server.Service(
        name="uem.v1.PredictionService",
        add=prediction_pb2_grpc.add_PredictionServiceServicer_to_server,
        servicer=PredictionServicer(oracle, Metrics(), store, ["net", "washer"]),
    )
    running = await server.start([service], metrics=Metrics(), needs_deadline=[METHOD])
    async with grpc.aio.insecure_channel(running.address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        yield prediction_pb2_grpc.PredictionServiceStub(channel)
    await running.drain(0.5)


async def failure(stub, request, timeout=60):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetForecast(request, timeout=timeout)
    return caught.value


def violation(error):
    bad = error_details_pb2.BadRequest()
    for detail in rpc_status.from_call(error).details:
        if detail.Is(bad.DESCRIPTOR):
            detail.Unpack(bad)
    return [violation.field for violation in bad.field_violations]


async def test_a_forecast_goes_out_as_columns(stub, oracle):
    found = (await stub.GetForecast(pb.GetForecastRequest(asset="washer"), timeout=60)).forecast
    assert oracle.asked == [("washer", None)]
    assert list(found.quantile_level) == [0.1, 0.9]
    (series,) = found.series
    assert list(series.valid_time_ns) == [5, 10]
    assert list(series.quantile) == [0.0, 1.0, 1.0, 3.0]
    assert (series.residual_count, series.quality, series.display_unit) == (7, UNCERTAIN, "kW")


async def test_a_horizon_is_handed_on_in_seconds(stub, oracle):
    await stub.GetForecast(
        pb.GetForecastRequest(asset="a", horizon=Duration(seconds=90, nanos=500_000_000)), timeout=60
    )
    assert oracle.asked == [("a", 90.5)]


@pytest.mark.parametrize("seconds", [0, -5, 86_401])
async def test_a_horizon_out_of_range_is_refused_and_the_field_is_named(stub, oracle, seconds):
    error = await failure(stub, pb.GetForecastRequest(asset="a", horizon=Duration(seconds=seconds)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violation(error) == ["horizon"]
    assert oracle.asked == []


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (NotReady("no state yet"), grpc.StatusCode.UNAVAILABLE),
        (UnknownName("asset", "a", ["b"]), grpc.StatusCode.NOT_FOUND),
        (InvalidInput("too fine"), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_what_the_forecaster_says_becomes_the_status(stub, oracle, wrong, code):
    oracle.error = wrong
    error = await failure(stub, pb.GetForecastRequest(asset="a"))
    assert error.code() is code
    assert str(wrong) in error.details()


async def test_a_call_without_a_deadline_is_refused(stub):
    error = await failure(stub, pb.GetForecastRequest(asset="a"), timeout=None)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "deadline" in error.details()


def keep(store, *minutes):
    series = [pb.ForecastSeries(signal="power", valid_time_ns=[5, 10], value=[1.0, 2.0], quantile=[0.0, 1.0, 1.0, 3.0])]
    for minute in minutes:
        message = pb.Forecast(asset="net", issue_time_ns=minute * MINUTE_NS, quantile_level=[0.1, 0.9], series=series)
        store.keep_forecast(convert.kept(message)).result(60)


async def listed(stub, **asked):
    found, token = [], ""
    while True:
        request = pb.ListForecastsRequest(asset="net", page_size=2, page_token=token, **asked)
        page = await stub.ListForecasts(request, timeout=60)
        found += page.forecasts
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("most_bytes", [1, 150, 10**9])
async def test_what_was_expected_is_listed_by_issue_time(stub, store, monkeypatch, most_bytes):
    monkeypatch.setattr(servicer, "MOST_PAGE_BYTES", most_bytes)  # however little a page may hold
    keep(store, 0, 15, 31, 50, 66)
    minutes = [found.issue_time_ns // MINUTE_NS for found in await listed(stub)]
    assert minutes == [0, 15, 31, 50, 66]
    assert [found.issue_time_ns // MINUTE_NS for found in await listed(stub, newest_first=True)] == minutes[::-1]
    some = await listed(stub, start_issue_time_ns=15 * MINUTE_NS, end_issue_time_ns=50 * MINUTE_NS)
    assert [found.issue_time_ns // MINUTE_NS for found in some] == [15, 31]
    assert list(some[0].series[0].quantile) == [0.0, 1.0, 1.0, 3.0]
    assert await listed(stub, valid_time_ns=11) == []


async def test_what_was_known_at_a_time_is_the_newest_that_had_been_issued(stub, store):
    keep(store, 10, 20, 30)
    for minute, known in ((9, []), (10, [10]), (29, [20]), (99, [30])):
        end_ns = minute * MINUTE_NS + 1
        request = pb.ListForecastsRequest(asset="net", end_issue_time_ns=end_ns, page_size=1, newest_first=True)
        page = await stub.ListForecasts(request, timeout=60)
        assert [found.issue_time_ns // MINUTE_NS for found in page.forecasts] == known


async def test_a_forecast_that_somebody_asks_for_is_not_kept(stub, oracle, store):
    await stub.GetForecast(pb.GetForecastRequest(asset="net"), timeout=60)
    assert await listed(stub) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"page_size": 101},
        {"page_token": "x"},
        {"page_token": "9" * 50},
        {"start_issue_time_ns": 2, "end_issue_time_ns": 1},
    ],
)
async def test_a_wrong_question_for_forecasts_is_refused(stub, wrong):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListForecasts(pb.ListForecastsRequest(asset="net", **wrong), timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violation(caught.value) == [next(iter(wrong))]


async def watched(stub, store, monkeypatch, after, count, meanwhile=()):
    """Issue minutes of the first forecasts of a watch; `meanwhile` are kept once the first has come."""
    monkeypatch.setattr(servicer, "LOOK_EVERY_S", 0.01)
    call = stub.WatchForecast(pb.WatchForecastRequest(asset="net", after_issue_time_ns=after * MINUTE_NS), timeout=60)
    found = []
    async for answer in call:
        found.append(answer.forecast.issue_time_ns // MINUTE_NS)
        if len(found) == 1:
            keep(store, *meanwhile)
        if len(found) == count:
            call.cancel()
            return found


async def test_a_watch_begins_with_the_newest_forecast_and_goes_on_with_each_new_one(stub, store, monkeypatch):
    keep(store, 15, 30)
    assert await watched(stub, store, monkeypatch, 0, 3, meanwhile=(45, 60)) == [30, 45, 60]


async def test_a_watch_that_was_away_first_gets_what_it_missed(stub, store, monkeypatch):
    keep(store, 15, 30, 45, 60)
    assert await watched(stub, store, monkeypatch, 15, 4, meanwhile=(75,)) == [30, 45, 60, 75]


@pytest.mark.parametrize("after_ns", [-1, 2**63 - 1])
async def test_a_watch_after_a_time_that_cannot_be_is_refused(stub, after_ns):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in stub.WatchForecast(
            pb.WatchForecastRequest(asset="net", after_issue_time_ns=after_ns), timeout=60
        ):
            pass
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_watch_of_an_asset_that_does_not_exist_is_refused_at_once_with_the_known_names(stub):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in stub.WatchForecast(pb.WatchForecastRequest(asset="nte"), timeout=60):
            pass
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "unknown asset 'nte'; known: net, washer"
