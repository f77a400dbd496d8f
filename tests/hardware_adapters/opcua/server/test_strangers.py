"""Who has no trusted certificate and no session of its own gets nothing from a server of ours, and disturbs nobody."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from asyncua import Client, ua

from uem.hardware_adapters.opcua.server.server import PointServer


async def describe(space):
    await space.point(space.objects, "P", await space.namespace("urn:uem:test"), identifier="P")


@asynccontextmanager
async def control_room(shared_pki, endpoint):
    """A client that is trusted and has a session."""
    client = Client(endpoint)
    client.application_uri = shared_pki.gateway.application_uri
    keys = f"{shared_pki.gateway.certificate_path},{shared_pki.gateway.key_path}"
    await client.set_security_string(f"Basic256Sha256,SignAndEncrypt,{keys}")
    async with client:
        yield client


@asynccontextmanager
async def stranger(endpoint):
    """A client on the open channel that is there for discovery alone."""
    client = Client(endpoint)
    await client.connect_socket()
    try:
        await client.send_hello()
        await client.open_secure_channel()
        yield client
    finally:
        client.disconnect_socket()
        await asyncio.sleep(0.05)


async def read(client):
    (value,) = await client.uaclient.session.read_attributes([ua.NodeId("P", 2)], ua.AttributeIds.Value)
    return value


async def test_a_stranger_who_guesses_the_token_of_a_session_does_not_get_it(shared_pki):
    async with PointServer("test", describe, shared_pki.simulator) as server:
        server.write([7.0], [0], 1)
        async with control_room(shared_pki, server.endpoint) as its, stranger(server.endpoint) as other:
            token = its.uaclient.session.authentication_token
            guesses = [ua.NodeId(number) for number in range(900, 1100)]
            if isinstance(token.Identifier, int):  # as easily guessed as counted up
                guesses.append(token)
            for guess in guesses:
                other.uaclient.session.restore_authentication_token(guess)
                with pytest.raises(ua.UaError):
                    await other.activate_session()
                with pytest.raises(ua.UaError):
                    await read(other)
            assert (await read(its)).Value.Value == 7.0


async def _refused(asked):
    with pytest.raises(ua.uaerrors.BadSubscriptionIdInvalid):
        await asked


async def test_a_session_cannot_reach_the_subscription_of_another(shared_pki):
    async with PointServer("test", describe, shared_pki.simulator) as server:
        server.write([7.0], [0], 1)
        async with control_room(shared_pki, server.endpoint) as its, control_room(shared_pki, server.endpoint) as other:
            seen = asyncio.Queue()
            handler = type("", (), {"datachange_notification": lambda _, node, value, data: seen.put_nowait(value)})()
            subscription = await its.create_subscription(20, handler)
            (item,) = await subscription.subscribe_data_change([its.get_node(ua.NodeId("P", 2))])
            assert await asyncio.wait_for(seen.get(), 60) == 7.0
            number, session = subscription.subscription_id, other.uaclient.session
            invalid = ua.StatusCode(ua.StatusCodes.BadSubscriptionIdInvalid)
            assert await session.delete_subscriptions([number]) == [invalid]
            changed = ua.ModifySubscriptionParameters(number, 3.6e6, 1000, 1000, 1, 0)
            await _refused(session.modify_subscription(changed))
            await _refused(session.delete_monitored_items(ua.DeleteMonitoredItemsParameters(number, [item])))
            await _refused(session.republish(number, 1))
            await _refused(session.create_monitored_items(ua.CreateMonitoredItemsParameters(number)))
            await _refused(session.modify_monitored_items(ua.ModifyMonitoredItemsParameters(number)))
            nothing = type("", (), {"datachange_notification": lambda *_: None})()
            await other.create_subscription(20, nothing)  # without one of its own nothing can be acknowledged
            acknowledged = await session.publish([ua.SubscriptionAcknowledgement(number, 1)])
            assert acknowledged.Parameters.Results == [invalid]
            mode = ua.SetPublishingModeParameters(False, [number])
            assert await session.set_publishing_mode(mode) == [invalid]
            kinds = ua.NodeId(ua.ObjectIds.ConditionType)
            for refresh in (ua.ObjectIds.ConditionType_ConditionRefresh, ua.ObjectIds.ConditionType_ConditionRefresh2):
                arguments = [ua.Variant(number, ua.VariantType.UInt32)]
                call = ua.CallMethodRequest(kinds, ua.NodeId(refresh), arguments)
                assert not (await session.call([call]))[0].StatusCode.is_good()
            server.write([8.0], [0], 2)
            assert await asyncio.wait_for(seen.get(), 60) == 8.0
            assert await its.uaclient.session.delete_subscriptions([number]) == [ua.StatusCode()]


async def test_numbers_of_subscriptions_do_not_begin_anew_with_the_server(shared_pki):
    numbers = set()
    for _ in range(3):
        async with (
            PointServer("test", describe, shared_pki.simulator) as server,
            control_room(shared_pki, server.endpoint) as its,
        ):
            numbers.add((await its.create_subscription(20, None)).subscription_id)
    assert len(numbers) == 3


async def test_a_stranger_cannot_list_servers_of_his_own_among_ours(shared_pki):
    async with PointServer("test", describe, shared_pki.simulator) as server, stranger(server.endpoint) as other:
        registered = ua.RegisteredServer(ServerUri="urn:trap", DiscoveryUrls=["opc.tcp://192.0.2.1"], IsOnline=True)
        with pytest.raises(ua.uaerrors.BadServiceUnsupported):
            await other.uaclient.register_server(registered)
        with pytest.raises(ua.uaerrors.BadServiceUnsupported):
            await other.uaclient.register_server2(ua.RegisterServer2Parameters(Server=registered))
        found = await other.find_servers()
        assert "urn:trap" not in [each.ApplicationUri for each in found]
