"""Our server's services as a client meets them."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from asyncua import Client, ua
from asyncua.ua.ua_binary import struct_from_binary

from uem.hardware_adapters.opcua.server.server import PointServer
from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, BAD_WAITING_FOR_INITIAL_DATA

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH_NS = 1_767_225_600_000_000_000
COUNT = 3


async def describe(space):
    index = await space.namespace("urn:uem:test")
    for number in range(COUNT):
        await space.point(space.objects, f"P{number}", index, identifier=f"P{number}", span=200.0)
    await space.objects.add_variable(ua.NodeId("text", index), "text", "first", ua.VariantType.String)


@asynccontextmanager
async def opened(certificates, **options):
    """A server without security, and a client."""
    async with (
        PointServer("test", describe, certificates, policies=["None"], start_ns=EPOCH_NS, **options) as server,
        Client(server.endpoint) as client,
    ):
        index = await client.get_namespace_index("urn:uem:test")
        yield SimpleNamespace(server=server, client=client, node=lambda name: ua.NodeId(name, index))


@pytest.fixture
def open_server(shared_pki):
    def made(**options):
        return opened(shared_pki.open, **options)

    return made


async def subscribe(client, **options):
    request = ua.CreateSubscriptionRequest()
    request.Parameters = ua.CreateSubscriptionParameters(
        **{
            "RequestedPublishingInterval": 20.0,
            "RequestedLifetimeCount": 3000,
            "RequestedMaxKeepAliveCount": 1000,
            "PublishingEnabled": True,
            **options,
        }
    )
    data = await client.uaclient.session._send_request(request)
    response = struct_from_binary(ua.CreateSubscriptionResponse, data)
    return response.Parameters


async def monitor(client, subscription, *nodes, changes=None, **options):
    parameters = ua.CreateMonitoredItemsParameters(
        SubscriptionId=subscription, TimestampsToReturn=ua.TimestampsToReturn.Both
    )
    for handle, node in enumerate(nodes):
        item = ua.MonitoredItemCreateRequest(MonitoringMode=ua.MonitoringMode.Reporting)
        item.ItemToMonitor = ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value)
        item.RequestedParameters = ua.MonitoringParameters(
            ClientHandle=handle, Filter=changes, **{"QueueSize": 10, **options}
        )
        parameters.ItemsToCreate.append(item)
    return await client.uaclient.session.create_monitored_items(parameters)


async def publish(client, *acknowledged):
    """One answer to one request; acknowledgements are (subscription, sequence)."""
    request = ua.PublishRequest()
    request.Parameters.SubscriptionAcknowledgements = [ua.SubscriptionAcknowledgement(*pair) for pair in acknowledged]
    data = await client.uaclient.session._send_request(request, timeout=5)
    return struct_from_binary(ua.PublishResponse, data).Parameters


def rows(message):
    return [
        (item.ClientHandle, item.Value.Value.Value, item.Value.StatusCode.value if item.Value.StatusCode else 0)
        for data in message.NotificationData
        for item in data.MonitoredItems
    ]


async def test_points_and_other_nodes_come_in_one_subscription(open_server):
    async with open_server() as its:
        created = await subscribe(its.client)
        for result in await monitor(its.client, created.SubscriptionId, its.node("P0"), its.node("text")):
            result.StatusCode.check()
        found = rows((await publish(its.client)).NotificationMessage)
    assert sorted(found) == [(0, None, BAD_WAITING_FOR_INITIAL_DATA), (1, "first", 0)]


async def test_a_read_says_the_same_as_the_subscription(open_server):
    async with open_server() as its:
        created = await subscribe(its.client)
        its.server.write([1.5, 2.5, 3.5], [0, BAD_SENSOR_FAILURE, 0x40000000], EPOCH_NS + 1_234_567)
        nodes = [its.node(f"P{i}") for i in range(COUNT)]
        await monitor(its.client, created.SubscriptionId, *nodes)
        (data,) = (await publish(its.client)).NotificationMessage.NotificationData
        for item, node in zip(data.MonitoredItems, nodes, strict=True):
            read = await its.client.get_node(node).read_data_value(raise_on_bad_status=False)
            assert (read.Value.Value, read.StatusCode.value if read.StatusCode else 0) == (
                item.Value.Value.Value,
                item.Value.StatusCode.value if item.Value.StatusCode else 0,
            )
            assert read.SourceTimestamp == item.Value.SourceTimestamp
            assert read.ServerTimestamp == item.Value.ServerTimestamp
    assert data.MonitoredItems[0].Value.SourceTimestamp.replace(tzinfo=UTC) == EPOCH + timedelta(microseconds=1234)


async def test_a_message_can_be_had_again_until_it_is_acknowledged(open_server):
    async with open_server() as its:
        its.server.write([1.0, 2.0, 3.0], [0] * COUNT, EPOCH_NS)
        created = await subscribe(its.client)
        subscription = created.SubscriptionId
        await monitor(its.client, subscription, its.node("P1"))
        sent = await publish(its.client)
        sequence = sent.NotificationMessage.SequenceNumber
        again = ua.RepublishParameters(SubscriptionId=subscription, RetransmitSequenceNumber=sequence)
        for _ in range(2):
            message = await republish(its.client, again)
            assert (message.SequenceNumber, rows(message)) == (sequence, [(0, 2.0, 0)])
        its.server.write([9.0] * COUNT, [0] * COUNT, EPOCH_NS)
        answer = await publish(its.client, (subscription, sequence), (subscription, 99), (7, 1))
        assert [status.value for status in answer.Results] == [
            ua.StatusCodes.Good,
            ua.StatusCodes.BadSequenceNumberUnknown,
            ua.StatusCodes.BadSubscriptionIdInvalid,
        ]
        with pytest.raises(ua.uaerrors.BadMessageNotAvailable):
            await republish(its.client, again)
        with pytest.raises(ua.uaerrors.BadSubscriptionIdInvalid):
            await republish(its.client, ua.RepublishParameters(7, 1))


async def republish(client, parameters):
    request = ua.RepublishRequest()
    request.Parameters = parameters
    response = struct_from_binary(ua.RepublishResponse, await client.uaclient.session._send_request(request))
    response.ResponseHeader.ServiceResult.check()
    return response.NotificationMessage


async def test_a_message_has_as_many_rows_as_the_client_wants_and_the_others_follow(open_server):
    async with open_server() as its:
        created = await subscribe(its.client, MaxNotificationsPerPublish=2)
        await monitor(its.client, created.SubscriptionId, *[its.node(f"P{i}") for i in range(COUNT)])
        first, second = await asyncio.gather(publish(its.client), publish(its.client))
    assert [len(rows(answer.NotificationMessage)) for answer in (first, second)] == [2, 1]
    assert [answer.MoreNotifications for answer in (first, second)] == [True, False]
    assert second.NotificationMessage.SequenceNumber == first.NotificationMessage.SequenceNumber + 1


async def test_a_keep_alive_comes_when_nothing_changes_and_takes_no_number(open_server):
    async with open_server() as its:
        await subscribe(its.client, RequestedMaxKeepAliveCount=2)
        answers = [await publish(its.client) for _ in range(3)]
    assert all(not answer.NotificationMessage.NotificationData for answer in answers)
    assert {answer.NotificationMessage.SequenceNumber for answer in answers} == {1}


async def test_a_paused_subscription_keeps_its_rows(open_server):
    async with open_server() as its:
        created = await subscribe(its.client, PublishingEnabled=False, RequestedMaxKeepAliveCount=3)
        await monitor(its.client, created.SubscriptionId, its.node("P0"))
        answers = [await publish(its.client) for _ in range(2)]
        assert all(not answer.NotificationMessage.NotificationData for answer in answers)
        parameters = ua.SetPublishingModeParameters(True, [created.SubscriptionId])
        await its.client.uaclient.session.set_publishing_mode(parameters)
        found = rows((await publish(its.client)).NotificationMessage)
    assert found == [(0, None, BAD_WAITING_FOR_INITIAL_DATA)]


@pytest.mark.parametrize(
    ("deadband", "value", "status"),
    [
        (ua.DeadbandType.Percent, 10.0, 0),
        (ua.DeadbandType.Percent, 101.0, ua.StatusCodes.BadDeadbandFilterInvalid),
        (ua.DeadbandType.Absolute, -1.0, ua.StatusCodes.BadDeadbandFilterInvalid),
    ],
)
async def test_deadbands_are_held_against_the_range_or_refused(open_server, deadband, value, status):
    async with open_server() as its:
        created = await subscribe(its.client)
        changes = ua.DataChangeFilter()
        changes.Trigger, changes.DeadbandType, changes.DeadbandValue = (
            ua.DataChangeTrigger.StatusValue,
            deadband,
            value,
        )
        its.server.write([0.0] * COUNT, [0] * COUNT, EPOCH_NS)
        (result,) = await monitor(its.client, created.SubscriptionId, its.node("P0"), changes=changes)
        assert result.StatusCode.value == status
        if status == 0:
            for raw in (19.0, 21.0, 40.0, 42.0):  # a tenth of 200 is 20
                its.server.write([raw] * COUNT, [0] * COUNT, EPOCH_NS)
            assert [row[1] for row in rows((await publish(its.client)).NotificationMessage)] == [0.0, 21.0, 42.0]


@pytest.mark.parametrize(("samples", "revised"), [(True, 250.0), (False, 0.0)])
async def test_the_revised_sampling_interval_is_the_truth(open_server, samples, revised):
    async with open_server(samples=samples) as its:
        created = await subscribe(its.client)
        (result,) = await monitor(its.client, created.SubscriptionId, its.node("P0"), SamplingInterval=250.0)
        its.server.write([1.0] * COUNT, [0] * COUNT, EPOCH_NS)
        found = rows((await publish(its.client)).NotificationMessage)
    assert result.RevisedSamplingInterval == revised
    assert len(found) == (1 if samples else 2)


async def test_items_are_changed_paused_and_deleted(open_server):
    async with open_server() as its:
        created = await subscribe(its.client)
        subscription, session = created.SubscriptionId, its.client.uaclient.session
        first, second = await monitor(its.client, subscription, its.node("P0"), its.node("P1"))
        change = ua.ModifyMonitoredItemsParameters(subscription, ua.TimestampsToReturn.Both, [])
        for its_id in (first.MonitoredItemId, 99):
            asked = ua.MonitoringParameters(ClientHandle=42, QueueSize=1)
            change.ItemsToModify.append(ua.MonitoredItemModifyRequest(its_id, asked))
        modified = await session.modify_monitored_items(change)
        assert [result.StatusCode.value for result in modified] == [0, ua.StatusCodes.BadMonitoredItemIdInvalid]
        gone = ua.DeleteMonitoredItemsParameters(subscription, [second.MonitoredItemId, second.MonitoredItemId])
        statuses = await session.delete_monitored_items(gone)
        assert [status.value for status in statuses] == [0, ua.StatusCodes.BadMonitoredItemIdInvalid]
        its.server.write([1.0] * COUNT, [0] * COUNT, EPOCH_NS)
        found = rows((await publish(its.client)).NotificationMessage)
    assert found == [(42, 1.0, 0)]


async def test_another_session_takes_a_subscription_over(open_server):
    async with open_server() as its:
        its.server.write([1.0] * COUNT, [0] * COUNT, EPOCH_NS)
        created = await subscribe(its.client)
        await monitor(its.client, created.SubscriptionId, its.node("P0"))
        await publish(its.client)
        async with Client(its.server.endpoint) as other:
            request = ua.TransferSubscriptionsRequest()
            request.Parameters = ua.TransferSubscriptionsParameters([created.SubscriptionId, 7], True)
            data = await other.uaclient.session._send_request(request)
            results = struct_from_binary(ua.TransferSubscriptionsResponse, data).Parameters.Results
            assert [r.StatusCode.value for r in results] == [0, ua.StatusCodes.BadSubscriptionIdInvalid]
            assert results[0].AvailableSequenceNumbers == [1]
            answer = await publish(other)
            assert rows(answer.NotificationMessage) == [(0, 1.0, 0)]
            its.server._server.iserver.subscription_service.subscriptions[created.SubscriptionId].owner = "another"
            data = await its.client.uaclient.session._send_request(request)
            (result, _) = struct_from_binary(ua.TransferSubscriptionsResponse, data).Parameters.Results
            assert result.StatusCode.value == ua.StatusCodes.BadUserAccessDenied


async def test_history_gives_what_a_client_missed(open_server):
    async with open_server(history_rows=12) as its:
        for second in range(5):  # 15 rows: the first write is no longer there
            its.server.write([second, -second, 0.0], [0, 0x40000000, 0], EPOCH_NS + second * 10**9)
        node = its.client.get_node(its.node("P1"))
        found = await node.read_raw_history(EPOCH + timedelta(seconds=2), EPOCH + timedelta(seconds=4))
        assert [(dv.Value.Value, dv.StatusCode.value) for dv in found] == [(-2.0, 0x40000000), (-3.0, 0x40000000)]
        assert found[0].SourceTimestamp.replace(tzinfo=UTC) == EPOCH + timedelta(seconds=2)
        everything = await node.read_raw_history(EPOCH, EPOCH + timedelta(seconds=9))
        assert [dv.Value.Value for dv in everything] == [-1.0, -2.0, -3.0, -4.0]
        newest = await node.read_raw_history(None, EPOCH + timedelta(seconds=9), numvalues=2)
        assert [dv.Value.Value for dv in newest] == [-4.0, -3.0]
        assert await node.read_raw_history(EPOCH + timedelta(days=1), EPOCH + timedelta(days=2)) == []
        level = await node.read_attribute(ua.AttributeIds.AccessLevel)
    assert level.Value.Value == 0b101


async def test_history_goes_on_where_an_answer_ended(open_server):
    async with open_server(history_rows=100) as its:
        for second in range(5):
            its.server.write([second] * COUNT, [0] * COUNT, EPOCH_NS + second * 10**9)
        value = ua.HistoryReadValueId(NodeId=its.node("P0"))
        details = ua.ReadRawModifiedDetails(
            IsReadModified=False,
            StartTime=EPOCH,
            EndTime=EPOCH + timedelta(days=1),
            NumValuesPerNode=2,
            ReturnBounds=False,
        )
        found = []
        for _ in range(3):
            parameters = ua.HistoryReadParameters(
                HistoryReadDetails=details,
                TimestampsToReturn=ua.TimestampsToReturn.Source,
                ReleaseContinuationPoints=False,
                NodesToRead=[value],
            )
            (result,) = await its.client.uaclient.session.history_read(parameters)
            found.append([dv.Value.Value for dv in result.HistoryData.DataValues])
            value.ContinuationPoint = result.ContinuationPoint
        assert found == [[0.0, 1.0], [2.0, 3.0], [4.0]]
        assert not result.ContinuationPoint
        value.ContinuationPoint = b"\xff" * 4
        (result,) = await its.client.uaclient.session.history_read(parameters)
        assert result.StatusCode.value == ua.StatusCodes.BadContinuationPointInvalid


def test_a_server_without_security_is_for_this_machine_alone(shared_pki):
    with pytest.raises(InvalidInput, match=r"for loopback addresses .* only, not for '0\.0\.0\.0'"):
        PointServer("test", describe, shared_pki.open, host="0.0.0.0", policies=["None"])
    with pytest.raises(InvalidInput, match="'Basic128Rsa15'"):
        PointServer("test", describe, shared_pki.simulator, policies=["Basic128Rsa15"])


async def test_what_the_library_cannot_place_is_told_of_overflows_too(open_server):
    async with open_server() as its:
        created = await subscribe(its.client, RequestedPublishingInterval=300.0)
        await monitor(its.client, created.SubscriptionId, its.node("text"), QueueSize=2)
        await publish(its.client)
        text = its.server._server.get_node(its.node("text"))
        for word in ("second", "third", "fourth"):
            await text.write_value(word)
        found = rows((await publish(its.client)).NotificationMessage)
    assert found == [(0, "third", 0x480), (0, "fourth", 0)]
