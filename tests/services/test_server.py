import asyncio

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from uem.services import health, server
from uem.services.metrics import Metrics
from uem.twin_core.errors import InvalidInput, UnknownName
from uem.v1 import history_pb2, history_pb2_grpc, ingestion_pb2, twin_pb2, twin_pb2_grpc
from uem.v1.columns import READ_SAMPLES_RESPONSE
from uem.v1.common_pb2 import Samples

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
HISTORY = "uem.v1.HistoryService"
LIST_TAGS = f"/{HISTORY}/ListTags"


async def eventually(condition):
    """Wait for what the server does after the client has its answer."""
    for _ in range(6000):
        if condition():
            break
        await asyncio.sleep(0.01)
    assert condition()


async def read_all(call):
    return [response async for response in call]


EMPTY = READ_SAMPLES_RESPONSE.split(history_pb2.ReadSamplesResponse(samples=Samples()))


class Talkative(history_pb2_grpc.HistoryServiceServicer):
    """Streams until it is stopped; lists tags as its `act` says."""

    frame = EMPTY

    async def act(self):
        return history_pb2.ListTagsResponse()

    async def ListTags(self, request, context):
        return await self.act()

    async def ReadSamples(self, request, context):
        while True:
            yield self.frame
            await asyncio.sleep(0.01)


class Running:
    async def start(self, **options):
        self.metrics = Metrics()
        self.checks = health.Checks(self.metrics)
        self.servicer = Talkative()
        service = server.Service(
            name=HISTORY, add=history_pb2_grpc.add_HistoryServiceServicer_to_server, servicer=self.servicer
        )
        self.server = await server.start([service], metrics=self.metrics, checks=self.checks, **options)
        self.channel = grpc.aio.insecure_channel(self.server.address, options=(("grpc.use_local_subchannel_pool", 1),))
        self.stub = history_pb2_grpc.HistoryServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)
        return self

    def handled(self, method=LIST_TAGS):
        counter = self.metrics._metrics["uem_rpc_handled_total"]
        return {code: count for (its, code), count in counter.values.items() if its == method}

    def open_streams(self):
        return self.metrics._metrics["uem_rpc_open_streams"].collect().samples[0].value

    async def status(self, service=""):
        return (await self.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=60)).status

    async def close(self):
        await self.channel.close()
        await self.server.drain(0.5)


@pytest.fixture
async def running():
    running = await Running().start(needs_deadline=[])
    yield running
    await running.close()


async def test_reflection_lists_the_services_and_describes_them(site):
    stub = reflection_pb2_grpc.ServerReflectionStub(site.channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="uem.v1.HistoryService"),
    ]
    listed, described = [answer async for answer in stub.ServerReflectionInfo(iter(requests), timeout=60)]
    names = {service.name for service in listed.list_services_response.service}
    assert {"uem.v1.IngestionService", "uem.v1.HistoryService", "grpc.health.v1.Health"} <= names
    pool = DescriptorPool()
    for data in reversed(described.file_descriptor_response.file_descriptor_proto):
        pool.AddSerializedFile(data)
    methods = pool.FindServiceByName("uem.v1.HistoryService").methods_by_name
    assert set(methods) == {"ReadSamples", "WatchSamples", "ListTags", "ListGaps", "ListAlarms", "GetOverview"}


async def test_calls_are_counted_by_method_and_code(running):
    await running.stub.ListTags(history_pb2.ListTagsRequest(), timeout=60)

    async def unknown():
        raise UnknownName("tag", "x")

    running.servicer.act = unknown
    with pytest.raises(grpc.aio.AioRpcError):
        await running.stub.ListTags(history_pb2.ListTagsRequest(), timeout=60)
    await eventually(lambda: running.handled() == {"OK": 1, "NOT_FOUND": 1})
    assert running.metrics._metrics["uem_rpc_duration_seconds"].count(LIST_TAGS) == 2


async def test_an_error_of_any_servicer_becomes_a_status_with_details(running, caplog):
    async def broken():
        raise ZeroDivisionError("secret")

    running.servicer.act = broken
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.ListTags(history_pb2.ListTagsRequest(), timeout=60)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.details()
    assert "secret" in caplog.text


async def test_an_unknown_method_is_unimplemented(running):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await twin_pb2_grpc.TwinServiceStub(running.channel).GetAsset(twin_pb2.GetAssetRequest(), timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", [LIST_TAGS, f"/{HISTORY}/ReadSamples", "/uem.v1.IngestionService/Ingest"])
async def test_bytes_that_are_no_request_are_refused_as_such(method, site, caplog):
    channel = site.channel
    if method.endswith("Ingest"):
        call = channel.stream_stream(method)(iter([b"\xff" * 9]), timeout=60)
    elif method.endswith("ReadSamples"):
        call = channel.unary_stream(method)(b"\xff" * 9, timeout=60)
    else:
        call = channel.unary_unary(method)(b"\xff" * 9, timeout=60)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call if method == LIST_TAGS else read_all(call))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "9 bytes that are no request of this method"
    assert not caplog.records


async def test_a_costly_method_without_deadline_is_refused():
    running = await Running().start(needs_deadline=[LIST_TAGS])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.ListTags(history_pb2.ListTagsRequest())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "deadline" in caught.value.details()
    await running.stub.ListTags(history_pb2.ListTagsRequest(), timeout=60)
    await running.close()


async def test_a_unary_call_ends_at_the_longest_time(running, monkeypatch):
    monkeypatch.setattr(server, "LONGEST_UNARY_S", 0.05)
    running.servicer.act = lambda: asyncio.sleep(30)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.ListTags(history_pb2.ListTagsRequest())
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_client_that_goes_away_cancels_its_stream(running):
    call = running.stub.ReadSamples(history_pb2.ReadSamplesRequest())
    await call.read()
    call.cancel()
    await eventually(lambda: running.handled(f"/{HISTORY}/ReadSamples") == {"CANCELLED": 1})


async def test_the_drain_ends_streams_with_unavailable_and_finishes_unary_calls(running):
    ready = asyncio.Event()

    async def slow():
        ready.set()
        await asyncio.sleep(0.2)
        return history_pb2.ListTagsResponse(next_page_token="done")

    running.servicer.act = slow
    stream = running.stub.ReadSamples(history_pb2.ReadSamplesRequest())
    responses = aiter(stream)
    await anext(responses)
    unary = asyncio.ensure_future(running.stub.ListTags(history_pb2.ListTagsRequest(), timeout=60))
    await ready.wait()
    draining = asyncio.create_task(running.server.drain(600.0))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read_all(responses)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    kinds = [packed.TypeName() for packed in rpc_status.from_call(caught.value).details]
    assert error_details_pb2.RetryInfo.DESCRIPTOR.full_name in kinds
    assert (await unary).next_page_token == "done"
    await asyncio.wait_for(draining, 60)
    await asyncio.wait_for(running.server.wait(), 60)


async def test_the_drain_says_not_serving_to_those_who_watch_health(running):
    watch = running.health.Watch(health_pb2.HealthCheckRequest(service=HISTORY))
    assert (await watch.read()).status == SERVING
    draining = asyncio.create_task(running.server.drain(2.0))
    assert (await watch.read()).status == NOT_SERVING
    with pytest.raises(grpc.aio.AioRpcError):
        await watch.read()
    await draining


async def test_a_call_during_the_drain_is_refused_with_a_hint_to_try_again(running):
    running.server._gate.close()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.ListTags(history_pb2.ListTagsRequest(), timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_health_follows_a_named_check_and_logs_its_reason(running, monkeypatch, caplog):
    monkeypatch.setattr(health, "PERIOD_S", 0.02)
    problem = ["no space left"]
    assert await running.status() == SERVING
    running.checks.register("history", lambda: problem[0])
    for _ in range(3000):
        if await running.status(HISTORY) == NOT_SERVING:
            break
        await asyncio.sleep(0.02)
    assert await running.status(HISTORY) == NOT_SERVING
    assert await running.status() == NOT_SERVING
    assert running.checks.reasons == {"history": "no space left"}
    assert "history: no space left" in caplog.text
    problem[0] = None
    for _ in range(3000):
        if await running.status(HISTORY) == SERVING:
            break
        await asyncio.sleep(0.02)
    assert await running.status() == SERVING


async def test_a_port_in_use_is_named_with_the_option_that_helps(running, capfd):
    with pytest.raises(InvalidInput, match=f"port {running.server.port} .*in use.*--port"):
        await server.start([], metrics=Metrics(), port=running.server.port)
    with pytest.raises(InvalidInput, match=r"port 70000 .*--port"):
        await server.start([], metrics=Metrics(), port=70000)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "example.org", ""])
async def test_a_host_that_others_can_reach_is_refused(host):
    with pytest.raises(InvalidInput, match=r"--host 127\.0\.0\.1"):
        await server.start([], metrics=Metrics(), host=host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2"])
async def test_loopback_hosts_are_served(host):
    started = await server.start([], metrics=Metrics(), host=host)
    assert started.address == f"{host}:{started.port}"
    await started.drain(0.1)


async def test_a_message_above_the_limit_is_refused_and_one_of_full_size_is_not(site, samples, batch, t0_ns):
    request = ingestion_pb2.IngestRequest(producer="p", sequence=1)
    request.samples.tag_name.append("branch/flow")
    rows = 65_536
    request.samples.tag.extend([0] * rows)
    request.samples.source_time_ns.extend(range(t0_ns, t0_ns + rows))
    request.samples.value.extend([1.0] * rows)
    request.samples.quality.extend([0] * rows)
    (response,) = await site.ingest(request)
    assert response.stored_count == rows
    request.samples.tag_name.append("x" * server.MAX_RECEIVE_BYTES)
    request.sequence = 2
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.ingest(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_client_that_leaves_without_having_read_is_a_cancelled_call_and_no_error(running, caplog):
    names = history_pb2.ReadSamplesResponse(samples=Samples(tag_name=["x" * 1_000_000]))
    running.servicer.frame = READ_SAMPLES_RESPONSE.split(names)
    method = f"/{HISTORY}/ReadSamples"
    call = running.stub.ReadSamples(history_pb2.ReadSamplesRequest())
    await call.read()
    await asyncio.sleep(0.3)  # its window is full
    call.cancel()
    await eventually(lambda: running.handled(method) == {"CANCELLED": 1})
    assert "unexpected" not in caplog.text


async def test_a_client_with_all_the_calls_it_may_have_open_leaves_room_for_others(running):
    calls = [running.health.Watch(health_pb2.HealthCheckRequest()) for _ in range(server.MAX_CALLS + 50)]
    await eventually(lambda: running.open_streams() == server.MAX_CALLS_OF_A_CLIENT)
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(running.server.address, options=options) as other:
        await history_pb2_grpc.HistoryServiceStub(other).ListTags(history_pb2.ListTagsRequest(), timeout=60)
    for call in calls:
        call.cancel()
