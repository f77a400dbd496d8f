"""The client against real asyncua servers: the simulator's, and bare ones that misbehave."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from asyncua import Client, Server, ua

from uem.hardware_adapters.base import Break
from uem.hardware_adapters.contract import collected
from uem.hardware_adapters.opcua import notifications
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.services import in_chunks
from uem.hardware_adapters.simulator.server import PlantServer
from uem.twin_core.errors import AdapterError, NotTrusted, UnknownTag
from uem.twin_core.measurements import UNCERTAIN_SENSOR_NOT_ACCURATE, GapReason

pytestmark = pytest.mark.slow
EPOCH_NS = 1_669_213_388_000_000_000


@pytest.fixture
def adapter(bindings, shared_pki):
    def made(endpoint, tags=bindings, certificates=shared_pki.gateway, **options):
        options = {"silence_s": 15.0, **options}
        return OpcUaAdapter(endpoint, tags, certificates, publish_interval_ms=50.0, **options)

    return made


async def test_status_value_and_both_times_arrive_as_the_server_wrote_them(open_hall, adapter, shared_pki, monkeypatch):
    seen = []
    decode = notifications.decode
    monkeypatch.setattr(notifications, "decode", lambda body, _: seen.append(decode(body)) or seen[-1])
    async with open_hall() as hall, adapter(hall.server.endpoint) as opened:
        before = time.time_ns()
        await hall.server.write(EPOCH_NS + 123_456_000, [21.5, 2.0, 1.0], [UNCERTAIN_SENSOR_NOT_ACCURATE, 0, 0])
        rows = await collected(opened, 3, 60)
    assert rows == [
        ("hall/temperature", EPOCH_NS + 123_456_000, 294.65, UNCERTAIN_SENSOR_NOT_ACCURATE),
        ("hall/power", EPOCH_NS + 123_456_000, 2000.0, 0),
        ("hall/state", EPOCH_NS + 123_456_000, 1.0, 0),
    ]
    written = [n.server_time_ns[n.source_time_ns == EPOCH_NS + 123_456_000] for n in seen if len(n.handle)]
    assert sum(len(times) for times in written) == 3
    assert all(before - 1000 <= t <= time.time_ns() for times in written for t in times.tolist())


async def test_a_second_stack_reads_the_same_times_from_the_server(open_hall, shared_pki):
    """asyncua's own client, to be sure that server and decoder do not agree on the same mistake."""
    async with open_hall() as hall:
        await hall.server.write(EPOCH_NS, [21.5, 2.0, 1.0], [0, 0, 0])
        client = Client(hall.server.endpoint)
        client.application_uri = shared_pki.gateway.application_uri
        await client.set_security_string(
            f"Basic256Sha256,SignAndEncrypt,{shared_pki.gateway.certificate_path},{shared_pki.gateway.key_path}"
        )
        async with client:
            index = await client.get_namespace_index("urn:uem:test:hall")
            node = await client.nodes.objects.get_child([f"{index}:Hall", f"{index}:Air", f"{index}:Temperature"])
            value = await node.read_data_value()
            clock = await client.get_node(ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime)).read_value()
    assert value.Value.Value == 21.5
    assert abs(clock - datetime.now(UTC)) < timedelta(seconds=20)
    assert value.SourceTimestamp == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=EPOCH_NS // 1000)
    assert abs(value.ServerTimestamp - datetime.now(UTC)) < timedelta(seconds=20)


async def test_a_server_that_we_do_not_trust_is_refused_with_the_remedy(open_hall, adapter, tmp_path):
    alone = CertificateStore(tmp_path, "gateway")
    alone.ensure()
    async with open_hall() as hall:
        with pytest.raises(NotTrusted) as refused:
            async with adapter(hall.server.endpoint, certificates=alone):
                pass
    (kept,) = (alone.folder / "rejected").iterdir()
    assert str(kept) in str(refused.value)
    assert str(alone.folder / "trusted") in str(refused.value)


async def test_a_server_that_does_not_trust_us_refuses_and_keeps_our_certificate(
    open_hall, adapter, tmp_path, shared_pki, caplog
):
    stranger = CertificateStore(tmp_path / "gateway", "gateway")
    stranger.ensure()
    stranger.trust(shared_pki.simulator.certificate)
    async with open_hall() as hall:
        with pytest.raises(NotTrusted, match=r"refuses our certificate.*own/certificate\.der"):
            async with adapter(hall.server.endpoint, certificates=stranger):
                pass
    rejected = [path.read_bytes() for path in (shared_pki.simulator.folder / "rejected").iterdir()]
    assert stranger.certificate_path.read_bytes() in rejected
    assert any("is not trusted; to trust it, copy" in record.message for record in caplog.records)


async def test_a_tag_that_is_not_there_is_explained_by_its_neighbours(open_hall, adapter, bindings, make_binding):
    strays = (
        make_binding("hall/humidity", "Hall/Air/Humidity", ""),
        make_binding("yard/wind", "Yard/Wind", ""),
        make_binding("far/flow", "Far/Flow", "", namespace="urn:elsewhere"),
    )
    async with open_hall() as hall, adapter(hall.server.endpoint, (*strays, *bindings)) as opened:
        missing = opened.missing
    assert missing.keys() == {"hall/humidity", "yard/wind", "far/flow"}
    assert missing["hall/humidity"] == "no node at 'Hall/Air/Humidity' below Objects; Hall/Air has Temperature"
    assert "Objects has Aliases, Hall" in missing["yard/wind"]
    assert "'urn:elsewhere' is not on the server; it has" in missing["far/flow"]


async def test_a_plant_with_none_of_the_tags_is_refused(open_hall, adapter, make_binding):
    stray = make_binding("hall/humidity", "Hall/Air/Humidity", "")
    async with open_hall() as hall:
        with pytest.raises(UnknownTag, match=r"none of the 1 tags: hall/humidity: no node at 'Hall/Air/Humidity'"):
            async with adapter(hall.server.endpoint, (stray,)):
                pass


async def test_nobody_there_is_an_error_and_no_wait(adapter):
    with pytest.raises(AdapterError, match=r"opc\.tcp://127\.0\.0\.1:1/x"):
        async with adapter("opc.tcp://127.0.0.1:1/x"):
            pass


async def test_a_listener_that_never_answers_ends_by_the_wall_clock(adapter):
    gone = asyncio.Event()

    async def silent(reader, writer):
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    began = time.monotonic()
    with pytest.raises(AdapterError):
        async with adapter(f"opc.tcp://127.0.0.1:{port}/x", connect_timeout_s=0.5):
            pass
    assert time.monotonic() - began < 30
    await asyncio.wait_for(gone.wait(), 60)
    listener.close()
    await listener.wait_closed()


async def test_a_black_hole_is_left_although_the_line_stands(open_hall, adapter, proxy, until):
    async with (
        open_hall() as hall,
        proxy(hall.server.endpoint) as line,
        adapter(line["endpoint"], silence_s=1.0) as opened,
    ):
        await hall.server.write(EPOCH_NS, [1.0, 2.0, 3.0], [0, 0, 0])
        assert len(await collected(opened, 3, 60)) == 3
        line["swallow"] = True
        await hall.server.write(EPOCH_NS + 10**9, [4.0, 5.0, 6.0], [0, 0, 0])
        await asyncio.sleep(1.5)
        line["swallow"] = False
        await until(lambda: opened.outages and opened.connected)
        assert {row[2] for row in await collected(opened, 3, 60)} == {277.15, 5000.0, 6.0}


async def test_keep_alives_of_a_plant_at_rest_count_as_heard(open_hall, adapter):
    async with open_hall() as hall, adapter(hall.server.endpoint, silence_s=2.0) as opened:
        with pytest.raises(TimeoutError):
            await collected(opened, 1, 6.0)
        assert opened.outages == 0


async def test_a_line_that_is_cut_is_replaced_and_what_came_before_is_kept(open_hall, adapter, proxy, until):
    async with (
        open_hall() as hall,
        proxy(hall.server.endpoint) as line,
        adapter(line["endpoint"]) as opened,
    ):
        await hall.server.write(EPOCH_NS, [1.0, 2.0, 3.0], [0, 0, 0])
        await until(lambda: opened._queue._rows == 6)  # of each tag what was there, and what was written
        line["cut"]()
        await until(lambda: opened.outages == 1 and opened.connected)
        await hall.server.write(EPOCH_NS + 10**9, [4.0, 5.0, 6.0], [0, 0, 0])
        rows = await collected(opened, 6, 60)
    assert [row[2] for row in rows] == [274.15, 2000.0, 3.0, 277.15, 5000.0, 6.0]


async def test_a_server_that_stops_is_noticed_soon_and_its_adapter_can_be_left(open_hall, adapter, until):
    async with open_hall() as hall:
        opened = await adapter(hall.server.endpoint).__aenter__()
    await until(lambda: not opened.connected)
    assert opened.outages == 1
    async with asyncio.timeout(60):
        await opened.__aexit__()


async def test_a_server_without_encryption_is_refused_and_told_what_it_offers(adapter):
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/open")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    async with server:
        with pytest.raises(AdapterError, match=r"does not offer Basic256Sha256/SignAndEncrypt; it offers None/None_"):
            async with adapter(f"opc.tcp://127.0.0.1:{server.bserver.port}/open"):
                pass


async def test_the_other_policy_works_as_well(plant, bindings, shared_pki, adapter):
    import dataclasses

    strong = dataclasses.replace(plant, security_policy="Aes256Sha256RsaPss")
    async with (
        PlantServer(strong, bindings, shared_pki.simulator) as server,
        adapter(server.endpoint, security_policy="Aes256Sha256RsaPss") as opened,
    ):
        await server.write(EPOCH_NS, [1.0, 2.0, 3.0], [0, 0, 0])
        assert len(await collected(opened, 3, 60)) == 3


async def test_chunks_are_halved_for_a_server_with_small_limits():
    sizes = []

    async def call(items):
        sizes.append(len(items))
        if len(items) > 3:
            raise ua.uaerrors.BadTooManyOperations
        return [item * 2 for item in items]

    assert await in_chunks(list(range(10)), call, 10) == [2 * n for n in range(10)]
    assert max(sizes[3:]) <= 3

    async def refuses(items):
        raise ua.uaerrors.BadTooManyOperations

    with pytest.raises(ua.uaerrors.BadTooManyOperations):
        await in_chunks([1, 2], refuses)


async def test_a_server_without_the_filter_is_used_without_it(open_hall, adapter, monkeypatch, caplog):
    from uem.hardware_adapters.opcua.server.monitoring import PointItems

    create = PointItems._create

    def without_filters(self, request, *others):
        if getattr(request.RequestedParameters.Filter, "Trigger", None) is not None:
            return ua.MonitoredItemCreateResult(ua.StatusCode(ua.StatusCodes.BadMonitoredItemFilterUnsupported))
        return create(self, request, *others)

    monkeypatch.setattr(PointItems, "_create", without_filters)
    async with open_hall() as hall, adapter(hall.server.endpoint) as opened:
        assert not opened.missing
        await hall.server.write(EPOCH_NS, [1.0, 2.0, 3.0], [0, 0, 0])
        assert len(await collected(opened, 3, 60)) == 3
    assert any("does not report unchanged values of 3 tags" in record.message for record in caplog.records)


async def test_tags_that_may_not_be_monitored_are_missing(open_hall, adapter, monkeypatch):
    from uem.hardware_adapters.opcua.server.monitoring import PointItems

    def refuse(self, *request):
        return ua.MonitoredItemCreateResult(ua.StatusCode(ua.StatusCodes.BadUserAccessDenied))

    monkeypatch.setattr(PointItems, "_create", refuse)
    async with open_hall() as hall:
        with pytest.raises(UnknownTag, match="refuses to monitor it: BadUserAccessDenied"):
            async with adapter(hall.server.endpoint):
                pass


async def test_a_time_that_the_source_does_not_say_is_the_servers_then_ours(adapter):
    from asyncua.ua.ua_binary import struct_to_binary

    server_time = datetime(2022, 11, 23, tzinfo=UTC)
    message = ua.PublishResponse()
    data = ua.DataChangeNotification()
    data.MonitoredItems = [
        ua.MonitoredItemNotification(0, ua.DataValue(ua.Variant(1.0), ServerTimestamp=server_time)),
        ua.MonitoredItemNotification(1, ua.DataValue(ua.Variant(2.0))),
        ua.MonitoredItemNotification(99, ua.DataValue(ua.Variant(2.0))),
    ]
    message.Parameters.NotificationMessage.NotificationData.append(data)
    opened = adapter("opc.tcp://127.0.0.1:1/x")
    before = time.time_ns()
    await opened._take(notifications.decode(struct_to_binary(message)))
    opened._queue.end()
    (samples,) = [batch async for batch in opened.batches()]
    (first, second) = samples.rows()
    assert first[:2] == ("hall/temperature", int(server_time.timestamp()) * 10**9)
    assert second[0] == "hall/power"
    assert before <= second[1] <= time.time_ns()


@pytest.fixture
def second_notification(monkeypatch):
    """second_notification(change): the second one that has values is changed before anyone sees it."""

    def made(change):
        decode, count = notifications.decode, [0]

        def changing(body, columns):
            found = decode(body, columns)
            count[0] += len(found.handle) > 0
            if count[0] == 2 and len(found.handle):
                change(found)
            return found

        monkeypatch.setattr(notifications, "decode", changing)

    return made


async def test_notifications_that_are_lost_are_a_break_and_counted(
    open_hall, adapter, second_notification, until, caplog
):
    def five_later(found):
        found.sequence += 5

    second_notification(five_later)
    async with open_hall() as hall, adapter(hall.server.endpoint) as opened:
        await hall.start()
        await until(lambda: opened.outages and opened.connected)
        found, later = [], asyncio.create_task(_write_on(hall))
        async with asyncio.timeout(60):
            async for each in opened.batches():
                found.append(each)
                if Break(GapReason.LINK_DOWN) in found and len(found) > 10:
                    break
        later.cancel()
        assert opened.dropped == 4  # of the five, the server still has the one whose number was raised
    assert any("4 notifications before number 7 are lost" in record.message for record in caplog.records)


async def _write_on(hall):
    """The recording may end before the new subscription is there."""
    while True:
        await hall.server.write(time.time_ns() + 1000, [21.0, 1.5, 4.0], [0, 0, 0])
        await asyncio.sleep(0.05)


async def test_a_subscription_that_the_server_ends_is_made_anew(open_hall, adapter, second_notification, until, caplog):
    second_notification(lambda found: found.status_changes.append(ua.StatusCodes.BadTimeout))
    async with open_hall() as hall, adapter(hall.server.endpoint) as opened:
        await hall.start()
        await until(lambda: opened.outages == 1 and opened.connected)
        begin_ns, later = time.time_ns(), asyncio.create_task(_write_on(hall))
        async with asyncio.timeout(60):
            async for samples in opened.batches():
                if not isinstance(samples, Break) and samples.source_time_ns.max() >= begin_ns:
                    break
        later.cancel()
    assert any("the server ends the subscription: BadTimeout" in record.getMessage() for record in caplog.records)
