"""Servers of one process begin with the same standard nodes and keep to themselves what they change."""

from asyncua import Server, ua
from asyncua.server.internal_server import InternalServer

from uem.hardware_adapters.opcua.server.standard import OwnInternalServer


async def told(internal):
    """What all nodes say that a server begins with, without the times at which they were made."""
    await internal.load_standard_address_space()
    return contents(internal)


def contents(internal):
    return {
        node_id: (
            {attribute: kept.value.Value for attribute, kept in internal.aspace[node_id].attributes.items()},
            internal.aspace[node_id].references,
        )
        for node_id in list(internal.aspace.keys())
    }


async def test_the_nodes_are_those_that_asyncua_makes():
    expected = await told(InternalServer())
    assert len(expected) > 5000
    assert [await told(OwnInternalServer()) == expected for _ in range(2)] == [True, True]


async def test_what_one_server_changes_no_other_sees():
    server, other = Server(OwnInternalServer()), Server(OwnInternalServer())
    await server.init()
    await other.init()
    begun, others = await told(OwnInternalServer()), contents(other.iserver)
    assert await server.nodes.objects.add_object(1, "furnace") in await server.nodes.objects.get_children()
    await server.nodes.server.set_event_notifier({ua.EventNotifier.SubscribeToEvents, ua.EventNotifier.HistoryRead})
    await server.get_node(ua.ObjectIds.Server_ServerStatus_State).write_value(ua.Variant(4, ua.VariantType.Int32))
    await server.get_node(ua.ObjectIds.Server_ServerCapabilities_OperationLimits).delete(recursive=True)
    assert contents(server.iserver) != others
    assert contents(other.iserver) == others
    assert await told(OwnInternalServer()) == begun
