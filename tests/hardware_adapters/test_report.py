"""What a gateway tells the server of itself."""

import asyncio

import grpc
import pytest

from uem.hardware_adapters.report import Rate, report
from uem.twin_core.errors import StorageError
from uem.v1 import status_pb2 as pb
from uem.v1 import status_pb2_grpc


class Listener(status_pb2_grpc.StatusServiceServicer):
    def __init__(self):
        self.names = []

    async def ReportGateway(self, request, context):
        self.names.append(request.gateway.name)
        if len(self.names) == 2:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return pb.ReportGatewayResponse()


async def test_reports_go_on_after_one_that_failed(until):
    listener, server = Listener(), grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    status_pb2_grpc.add_StatusServiceServicer_to_server(listener, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    errors = [StorageError("disk I/O error"), ValueError("what a plant says is no text")]

    def status():
        if len(listener.names) == 3 and errors:
            raise errors.pop()
        return pb.GatewayStatus(name="g")

    task = asyncio.create_task(report(f"127.0.0.1:{port}", status, every_s=0.1))
    await until(lambda: len(listener.names) > 3)
    assert errors == []
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await server.stop(0)
    assert set(listener.names) == {"g"}


def test_a_rate_is_that_of_the_last_seconds():
    now = [0.0]
    rate = Rate(lambda: now[0])
    assert rate.per_s(0) == 0.0
    found = []
    for second in range(1, 31):
        now[0] = float(second)
        found.append(rate.per_s(100 * min(second, 15)))
    assert found[0] == found[13] == 100.0
    assert found[19] == pytest.approx(50.0)
    assert found[-1] == 0.0
