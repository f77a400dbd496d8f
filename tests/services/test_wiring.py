"""The services as processes of their own, here as servers in one process."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from shipped import shipped

from uem.clients.errors import ClientError
from uem.clients.python import Client
from uem.services.metrics import Metrics
from uem.services.wiring import serving_history, serving_prediction, serving_twin
from uem.v1 import common_pb2, ingestion_pb2, ingestion_pb2_grpc

PONGAU = shipped("pongau")
NOBODY = "127.0.0.1:1"
SECOND = 10**9
ROWS = 20


@pytest.fixture
async def history(tmp_path):
    async with serving_history(PONGAU, tmp_path, Metrics()) as server:
        yield server


@pytest.fixture
async def apart(tmp_path, history):
    """A text with the addresses of all three."""
    async with (
        serving_twin(PONGAU, history.address, Metrics()) as twin,
        serving_prediction(PONGAU, history.address, tmp_path, Metrics()) as prediction,
    ):
        yield f"{history.address},twin={twin.address},prediction={prediction.address}"


async def ingest(address):
    """Some seconds of the washer."""
    values = {
        "washer/state": 1.0,
        "washer/power": 5e3,
        "washer/hall/temperature": 293.0,
        "washer/tank/temperature": 333.0,
    }
    rows = [
        (tag, 10**18 + second * SECOND, value) for second in range(ROWS) for tag, value in enumerate(values.values())
    ]
    tag, time, value = zip(*rows, strict=True)
    samples = common_pb2.Samples(tag_name=values, tag=tag, source_time_ns=time, value=value, quality=[0] * len(tag))
    async with grpc.aio.insecure_channel(address) as channel:
        batch = ingestion_pb2.IngestRequest(producer="p", sequence=1, samples=samples)
        async for response in ingestion_pb2_grpc.IngestionServiceStub(channel).Ingest(iter([batch])):
            assert response.stored_count == len(tag)


async def health(address, service=""):
    async with grpc.aio.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service and f"uem.v1.{service}")
        answer = await health_pb2_grpc.HealthStub(channel).Check(request)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def until_well(client):
    """Health is asked for once a second."""
    for _ in range(600):
        if await client.is_serving():
            return
        await asyncio.sleep(0.1)


async def test_what_goes_in_at_the_history_comes_out_as_states_and_forecasts_of_the_others(history, apart):
    async with asyncio.timeout(60), Client(apart) as client:
        await ingest(history.address)
        async for state in client.watch(["washer"]):
            if state.plant_time_ns >= 10**18 + (ROWS - 1) * SECOND:
                break
        async for forecast in client.watch_forecast("washer"):
            assert forecast.asset == "washer"
            break
        assert (await client.forecast("washer")).issue_time_ns == state.plant_time_ns
        assert len((await client.history(["washer/power"]))["washer/power"].value) == ROWS
        await until_well(client)
        status = await client.status()
        assert [twin.asset for twin in status.twins] == ["branch", "washer"]
        assert status.history_samples == 4 * ROWS
        assert status.problems == {}


async def test_each_process_has_its_services_only(apart):
    for address, service in zip(apart.replace("twin=", "").replace("prediction=", "").split(","), "HTP", strict=True):
        async with Client(address) as client:
            calls = {"H": client.tags(), "T": client.assets(), "P": client.forecasts("branch")}
            for name, call in calls.items():
                if name == service:
                    await call
                else:
                    with pytest.raises(ClientError) as caught:
                        await call
                    assert caught.value.code == "UNIMPLEMENTED"


async def test_without_its_history_a_process_serves_what_it_has_and_says_that_nothing_new_comes(tmp_path):
    async with serving_twin(PONGAU, NOBODY, Metrics()) as server:
        assert await health(server.address, "TwinService") == "SERVING"
        assert await health(server.address) == "NOT_SERVING"
        async with Client(server.address) as client:
            assert NOBODY in (await client.status()).problems["history"]
    async with serving_prediction(PONGAU, NOBODY, tmp_path, Metrics()) as server:
        assert await health(server.address, "PredictionService") == "SERVING"
        assert await health(server.address) == "NOT_SERVING"


async def test_a_process_that_does_not_answer_is_a_problem_of_the_status_and_not_its_end(history):
    async with Client(f"{history.address},twin={NOBODY}", deadline_s=60.0) as client:
        status = await client.status()
    assert status.territory == "pongau"
    assert NOBODY in status.problems["twin"]


async def test_work_that_fails_is_told_in_the_log_and_by_the_health_and_the_process_still_ends(
    tmp_path, history, monkeypatch, caplog
):
    async def fails(self):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("uem.services.feed.Feed.run", fails)
    async with serving_twin(PONGAU, history.address, Metrics()) as twin:
        assert await health(twin.address) == "NOT_SERVING"
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "feed" in record.message
    assert "a fault of ours" in str(record.exc_info[1])
