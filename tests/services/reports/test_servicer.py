"""The status of a real server, and the reports that gateways leave with it."""

import grpc
import pytest

from uem.services.metrics import Metrics
from uem.services.reports import servicer
from uem.services.standalone import serving
from uem.territories.load import load
from uem.v1 import common_pb2, ingestion_pb2, ingestion_pb2_grpc, status_pb2_grpc
from uem.v1 import status_pb2 as pb

OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 16 * 1024 * 1024))


@pytest.fixture
async def channel(tmp_path):
    async with (
        serving(load("pongau"), tmp_path, Metrics()) as server,
        grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel,
    ):
        yield channel


@pytest.fixture
def stub(channel):
    return status_pb2_grpc.StatusServiceStub(channel)


async def test_a_server_tells_its_twins_its_history_and_that_it_is_well(channel, stub):
    samples = common_pb2.Samples(
        tag_name=["branch/1/temperature"], tag=[0], source_time_ns=[10**18], value=[350.0], quality=[0]
    )
    batch = ingestion_pb2.IngestRequest(producer="me", sequence=1, samples=samples)
    async for _ in ingestion_pb2_grpc.IngestionServiceStub(channel).Ingest(iter([batch])):
        pass
    server = (await stub.GetStatus(pb.GetStatusRequest())).server
    assert (server.territory, dict(server.problems)) == ("pongau", {})
    assert [twin.asset for twin in server.twins] == [asset.name for asset in load("pongau").assets]
    assert server.twins[0].waits_for
    assert server.twins[0].plant_time_ns == 0
    assert (server.history.sample_count, server.history.newest_sample_ns) == (1, 10**18)
    assert server.history.byte_count > 0


async def test_the_newest_report_of_each_gateway_is_kept_and_tells_its_age(stub):
    for rows in (5, 7):
        for name in ("b", "a"):
            gateway = pb.GatewayStatus(name=name, backlog=pb.Backlog(row_count=rows))
            await stub.ReportGateway(pb.ReportGatewayRequest(gateway=gateway))
    found = (await stub.GetStatus(pb.GetStatusRequest())).gateways
    assert [(each.gateway.name, each.gateway.backlog.row_count) for each in found] == [("a", 7), ("b", 7)]
    assert all(0 <= each.age_s < 60 for each in found)


async def test_a_report_without_a_name_is_refused(stub):
    with pytest.raises(grpc.aio.AioRpcError, match=r"gateway\.name"):
        await stub.ReportGateway(pb.ReportGatewayRequest())


async def test_all_reports_together_fit_into_one_message(stub):
    for number in range(servicer.MOST_GATEWAYS):
        gateway = pb.GatewayStatus(name=f"{number}", version="x" * (servicer.MOST_REPORT_BYTES - 20))
        await stub.ReportGateway(pb.ReportGatewayRequest(gateway=gateway))
    assert len((await stub.GetStatus(pb.GetStatusRequest())).gateways) == servicer.MOST_GATEWAYS
    gateway = pb.GatewayStatus(name="a", version="x" * servicer.MOST_REPORT_BYTES)
    with pytest.raises(grpc.aio.AioRpcError, match="a report has at most"):
        await stub.ReportGateway(pb.ReportGatewayRequest(gateway=gateway))


async def test_of_too_many_gateways_the_one_that_was_silent_for_longest_goes(stub, monkeypatch):
    monkeypatch.setattr(servicer, "MOST_GATEWAYS", 2)
    for name in ("a", "b", "a", "c"):
        await stub.ReportGateway(pb.ReportGatewayRequest(gateway=pb.GatewayStatus(name=name)))
    found = (await stub.GetStatus(pb.GetStatusRequest())).gateways
    assert [each.gateway.name for each in found] == ["a", "c"]
