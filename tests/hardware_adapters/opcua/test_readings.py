"""The decoder of read responses against asyncua's encoder, and against a real server."""

import math
import struct
import uuid
from datetime import UTC, datetime

import numpy as np
import pytest
from asyncua import Client, Server, ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from uem.hardware_adapters.opcua.notifications import BAD_TYPE_MISMATCH, NO_TIME, Columns, decode, variant
from uem.hardware_adapters.opcua.readings import decode as decode_readings
from uem.twin_core.errors import AdapterError

TIME, TIME_NS = datetime(2022, 11, 23, 14, 23, 8, 123456, UTC), 1_669_213_388_123_456_000
NUMBERS = {
    ua.VariantType.Boolean: True,
    ua.VariantType.SByte: -7,
    ua.VariantType.Byte: 200,
    ua.VariantType.Int16: -30_000,
    ua.VariantType.UInt16: 60_000,
    ua.VariantType.Int32: -(2**31),
    ua.VariantType.UInt32: 2**32 - 1,
    ua.VariantType.Int64: -(2**63),
    ua.VariantType.UInt64: 2**64 - 1,
    ua.VariantType.Float: 0.5,
    ua.VariantType.Double: 0.1,
}
OTHERS = {
    ua.VariantType.String: "text",
    ua.VariantType.DateTime: TIME,
    ua.VariantType.Guid: uuid.UUID(int=7),
    ua.VariantType.ByteString: b"bytes",
    ua.VariantType.NodeId: ua.NodeId("a", 2),
    ua.VariantType.StatusCode: ua.StatusCode(0x808C0000),
    ua.VariantType.LocalizedText: ua.LocalizedText("hall", "en"),
    ua.VariantType.ExtensionObject: ua.Range(0.0, 100.0),
}


def response(values):
    message = ua.ReadResponse()
    message.Results = list(values)
    message.DiagnosticInfos = [ua.DiagnosticInfo(SymbolicId=3)]
    return struct_to_binary(message)


def test_numbers_of_all_types_are_read_with_status_and_both_times():
    values = [ua.DataValue(ua.Variant(v, kind), None, TIME, None) for kind, v in NUMBERS.items()]
    values += [ua.DataValue(ua.Variant(1.5), ua.StatusCode(0x808C0000), None, TIME)]
    found = decode_readings(response(values))
    np.testing.assert_array_equal(found.value, [*map(float, NUMBERS.values()), 1.5])
    assert found.quality.tolist() == [0] * len(NUMBERS) + [0x808C0000]
    assert found.source_time_ns.tolist() == [TIME_NS] * len(NUMBERS) + [NO_TIME]
    assert found.server_time_ns.tolist() == [NO_TIME] * len(NUMBERS) + [TIME_NS]
    assert found.others == {}


def test_what_is_no_number_is_kept_and_is_what_asyncua_decodes():
    body = response(ua.DataValue(ua.Variant(v, kind)) for kind, v in OTHERS.items())
    found = decode_readings(body)
    theirs = struct_from_binary(ua.ReadResponse, Buffer(body)).Results
    assert np.isnan(found.value).all()
    assert found.quality.tolist() == [BAD_TYPE_MISMATCH] * len(OTHERS)
    assert [variant(found.others[i]) for i in range(len(OTHERS))] == [value.Value for value in theirs]


def test_a_node_that_cannot_be_read_is_a_bad_row():
    found = decode_readings(response([ua.DataValue(None, ua.StatusCode(ua.StatusCodes.BadNodeIdUnknown))]))
    assert math.isnan(found.value[0])
    assert found.quality.tolist() == [ua.StatusCodes.BadNodeIdUnknown]


def test_columns_serve_both_kinds_of_messages():
    columns = Columns()
    message = ua.PublishResponse()
    decode(struct_to_binary(message), columns)
    assert decode_readings(response([ua.DataValue(ua.Variant(1.5))]), columns).value.tolist() == [1.5]
    assert len(decode(struct_to_binary(message), columns).value) == 0


def test_a_service_that_failed_is_named():
    message = ua.ReadResponse()
    message.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadTooManyOperations)
    with pytest.raises(AdapterError, match="BadTooManyOperations"):
        decode_readings(struct_to_binary(message))


@pytest.mark.parametrize(
    "body",
    [b"", struct_to_binary(ua.PublishResponse()), response([ua.DataValue()])[:-3]],
    ids=["nothing", "another message", "cut short"],
)
def test_other_messages_and_pieces_are_refused(body):
    with pytest.raises(AdapterError, match="malformed read response"):
        decode_readings(body)


def test_a_count_that_the_bytes_cannot_hold_is_refused_before_room_is_made():
    body = response([ua.DataValue(ua.Variant(1.5), None)])
    at = body.index(struct.pack("<iBBd", 1, 1, 11, 1.5))
    with pytest.raises(AdapterError, match="malformed read response"):
        decode_readings(body[:at] + struct.pack("<i", 2**31 - 1) + body[at + 4 :])


def test_more_rows_than_were_asked_are_refused_before_room_is_made():
    message = ua.ReadResponse()
    message.Results = [ua.DataValue(ua.Variant(1.0))] * 3
    body = struct_to_binary(message)
    assert len(decode_readings(body, most_rows=3).value) == 3
    with pytest.raises(AdapterError, match="3 values where 2 were asked"):
        decode_readings(body, most_rows=2)


async def test_values_of_a_real_server_are_what_its_client_reads():
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/readings")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    nodes = []
    for i, (kind, value) in enumerate((NUMBERS | OTHERS).items()):
        nodes.append(await server.nodes.objects.add_variable(2, f"v{i}", ua.Variant(value, kind)))
        await nodes[-1].write_value(ua.DataValue(ua.Variant(value, kind), SourceTimestamp=TIME))
    async with server, Client(f"opc.tcp://127.0.0.1:{server.bserver.port}/readings") as client:
        request = ua.ReadRequest()
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.Parameters.NodesToRead = [ua.ReadValueId(n.nodeid, ua.AttributeIds.Value) for n in nodes]
        found = decode_readings(bytes(await client.uaclient.session._send_request(request)))
        theirs = await client.uaclient.session.read_attributes([n.nodeid for n in nodes], ua.AttributeIds.Value)
    count = len(NUMBERS)
    np.testing.assert_array_equal(found.value[:count], [float(value.Value.Value) for value in theirs[:count]])
    assert found.source_time_ns.tolist() == [TIME_NS] * len(nodes)
    assert {i + count: value.Value for i, value in enumerate(theirs[count:])} == {
        i: variant(encoded) for i, encoded in found.others.items()
    }
