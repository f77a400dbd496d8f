"""The decoder of publish responses against asyncua's encoder and its decoder."""

import math
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from hypothesis import given, settings
from hypothesis import strategies as st

from uem.hardware_adapters.opcua.notifications import BAD_TYPE_MISMATCH, NO_TIME, Columns, decode, variant
from uem.hardware_adapters.tags import TagTable
from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import OVERFLOW

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))
times = st.one_of(st.none(), moments)
NUMBERS = {
    ua.VariantType.Boolean: st.booleans(),
    ua.VariantType.SByte: st.integers(-128, 127),
    ua.VariantType.Byte: st.integers(0, 255),
    ua.VariantType.Int16: st.integers(-(2**15), 2**15 - 1),
    ua.VariantType.UInt16: st.integers(0, 2**16 - 1),
    ua.VariantType.Int32: st.integers(-(2**31), 2**31 - 1),
    ua.VariantType.UInt32: st.integers(0, 2**32 - 1),
    ua.VariantType.Int64: st.integers(-(2**63), 2**63 - 1),
    ua.VariantType.UInt64: st.integers(0, 2**64 - 1),
    ua.VariantType.Float: st.floats(width=32),
    ua.VariantType.Double: st.floats(),
}
texts = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=20))
numerics = st.builds(ua.NodeId, st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1))
node_ids = st.one_of(
    numerics,
    st.builds(ua.NodeId, st.text(st.characters(codec="utf-8"), max_size=9), st.integers(0, 2**16 - 1)),
    st.builds(ua.NodeId, st.uuids(), st.integers(0, 2**16 - 1)),
    st.builds(ua.NodeId, st.binary(min_size=1, max_size=9), st.integers(0, 2**16 - 1)),
)
status_codes = st.integers(0, 2**32 - 1).map(ua.StatusCode)
OTHERS = {
    ua.VariantType.String: texts,
    ua.VariantType.DateTime: moments,
    ua.VariantType.Guid: st.uuids(),
    ua.VariantType.ByteString: st.one_of(st.none(), st.binary(max_size=20)),
    ua.VariantType.XmlElement: texts.map(ua.XmlElement),
    ua.VariantType.NodeId: node_ids,
    ua.VariantType.ExpandedNodeId: st.one_of(
        node_ids, st.builds(ua.ExpandedNodeId, st.integers(0, 9), NamespaceUri=texts, ServerIndex=st.integers(0, 9))
    ),
    ua.VariantType.StatusCode: status_codes,
    ua.VariantType.QualifiedName: st.builds(ua.QualifiedName, texts, st.integers(0, 2**15 - 1)),
    ua.VariantType.LocalizedText: st.builds(ua.LocalizedText, texts, texts),
    ua.VariantType.ExtensionObject: st.one_of(
        st.none(),
        st.builds(ua.Range, st.floats(), st.floats()),
        st.builds(ua.EUInformation, texts, st.integers(0, 9), st.builds(ua.LocalizedText, texts)),
        st.builds(
            ua.ExtensionObject, st.builds(ua.NodeId, st.integers(60_000, 65_535), st.just(3)), st.binary(min_size=1)
        ),
    ),
    ua.VariantType.DataValue: st.builds(ua.DataValue, st.floats(), status_codes, times, times),
    ua.VariantType.Variant: st.lists(st.integers(0, 9), min_size=1).map(lambda v: ua.Variant(v, ua.VariantType.Int32)),
    ua.VariantType.DiagnosticInfo: st.builds(
        ua.DiagnosticInfo, *[st.one_of(st.none(), st.integers(0, 9))] * 4, texts, st.one_of(st.none(), status_codes)
    ),
}
BUILT_IN = {ua.VariantType.Null: st.none()} | NUMBERS | OTHERS


def shapes(kind, values):
    """Scalars, arrays and matrices of a built-in type."""
    scalars = values.map(lambda v: ua.Variant(v, kind))
    if kind in (ua.VariantType.Null, ua.VariantType.Variant):  # asyncua's Variant takes a variant for a copy of it
        return scalars
    some = {"min_size": 2, "max_size": 2}
    arrays = st.lists(values, max_size=4).map(lambda v: ua.Variant(v, kind, is_array=True))
    matrices = st.lists(st.lists(values, **some), **some).map(lambda v: ua.Variant(v, kind))
    return st.one_of(scalars, arrays, matrices)


variants = st.one_of(*(values.map(lambda v, kind=kind: ua.Variant(v, kind)) for kind, values in NUMBERS.items()))
data_values = st.builds(
    ua.DataValue,
    Value=st.one_of(variants, st.just(ua.Variant(None, ua.VariantType.Null))),
    StatusCode=st.sampled_from([0, 0x40900000, 0x808C0000, 0x80320000, OVERFLOW]).map(ua.StatusCode),
    SourceTimestamp=times,
    ServerTimestamp=times,
)


def response(items=(), statuses=(), subscription=7, sequence=3):
    message = ua.PublishResponse()
    message.ResponseHeader.StringTable = ["one", "two"]
    message.Parameters.SubscriptionId = subscription
    message.Parameters.AvailableSequenceNumbers = [1, 2, sequence]
    message.Parameters.NotificationMessage.SequenceNumber = sequence
    parts = message.Parameters.NotificationMessage.NotificationData
    if items:
        data = ua.DataChangeNotification()
        data.MonitoredItems = [ua.MonitoredItemNotification(handle, value) for handle, value in items]
        parts.append(data)
    for status in statuses:
        parts.append(ua.StatusChangeNotification(Status=ua.StatusCode(status)))
    return struct_to_binary(message)


def ns(time):
    return NO_TIME if time is None else (time - EPOCH) // timedelta(microseconds=1) * 1000


def expected_value(value):
    number = value.Value.Value
    return math.nan if number is None else float(number)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), data_values), max_size=8))
def test_columns_equal_what_the_server_encoded(items):
    found = decode(response(items))
    assert (found.subscription, found.sequence, found.is_keep_alive) == (7, 3, not items)
    assert found.handle.tolist() == [handle for handle, _ in items]
    np.testing.assert_array_equal(found.value, np.array([expected_value(value) for _, value in items], float))
    assert found.quality.tolist() == [value.StatusCode.value for _, value in items]
    assert found.source_time_ns.tolist() == [ns(v.SourceTimestamp) for _, v in items]
    assert found.server_time_ns.tolist() == [ns(v.ServerTimestamp) for _, v in items]


def as_asyncua(value):
    """A value as asyncua decodes it -> what its row has to be: number, quality, and whether it is kept aside."""
    status = 0 if value.StatusCode is None else value.StatusCode.value
    inside = value.Value
    if inside.VariantType in NUMBERS and not inside.is_array:
        return float(inside.Value), status, False
    if inside.VariantType == ua.VariantType.Null and not inside.is_array:
        return math.nan, status, False
    return math.nan, status if status & 0x80000000 else BAD_TYPE_MISMATCH, True


COLUMNS = Columns()  # used again and again


@pytest.mark.parametrize("kind", BUILT_IN, ids=lambda kind: kind.name)
@settings(max_examples=30)
@given(data=st.data())
def test_every_built_in_type_is_what_asyncua_decodes_from_the_same_bytes(kind, data):
    some = st.one_of(shapes(kind, BUILT_IN[kind]), variants)
    values = st.builds(ua.DataValue, some, st.one_of(st.none(), status_codes), times, times)
    body = response(data.draw(st.lists(st.tuples(st.integers(0, 2**32 - 1), values), max_size=5)))
    found = decode(body, COLUMNS)
    (*parts,) = struct_from_binary(ua.PublishResponse, Buffer(body)).Parameters.NotificationMessage.NotificationData
    theirs = [item for part in parts for item in part.MonitoredItems]
    rows = [as_asyncua(item.Value) for item in theirs]
    assert found.handle.tolist() == [item.ClientHandle for item in theirs]
    np.testing.assert_array_equal(found.value, [row[0] for row in rows])
    assert found.quality.tolist() == [row[1] for row in rows]
    assert found.source_time_ns.tolist() == [ns(item.Value.SourceTimestamp) for item in theirs]
    assert found.server_time_ns.tolist() == [ns(item.Value.ServerTimestamp) for item in theirs]
    kept = {i: repr(item.Value.Value) for i, (item, row) in enumerate(zip(theirs, rows, strict=True)) if row[2]}
    assert {i: repr(variant(encoded)) for i, encoded in found.others.items()} == kept


@pytest.mark.parametrize("kind", range(26, 64))
def test_types_that_are_not_defined_are_bytes(kind):
    encoded = bytes([kind]) + struct.pack("<i", 3) + b"abc"
    body = response(
        [(1, ua.DataValue(ua.Variant(b"abc", ua.VariantType.ByteString))), (2, ua.DataValue(ua.Variant(1.5)))]
    )
    found = decode(body.replace(bytes([15]) + encoded[1:], encoded))
    assert found.others == {0: encoded}
    assert variant(encoded).Value == b"abc"
    assert found.value[1] == 1.5


def test_a_value_that_the_library_cannot_decode_is_our_error():
    with pytest.raises(AdapterError, match="cannot decode"):
        variant(bytes([12]) + struct.pack("<i", 3) + b"ab")


def nested(depth):
    """The bytes of a variant that holds a variant that ... holds a null."""
    return bytes([24]) * depth + bytes([0])


@pytest.mark.parametrize(("depth", "follows"), [(99, True), (100, False), (100_000, False)])
def test_nesting_is_followed_as_deep_as_the_standard_asks_and_no_deeper(depth, follows):
    marker = ua.Variant(b"here" * 3, ua.VariantType.ByteString)
    body = response([(1, ua.DataValue(marker, StatusCode=None))])
    there = bytes([15]) + struct.pack("<i", 12) + b"here" * 3
    begin = body.index(there)
    grown = body.replace(there, nested(depth))
    length_at = begin - 4 - 4 - 1 - 4  # of the part, before the count, the handle and the mask
    (length,) = struct.unpack_from("<i", body, length_at)
    grown = grown[:length_at] + struct.pack("<i", length + depth + 1 - len(there)) + grown[length_at + 4 :]
    if follows:
        assert decode(grown).others == {0: nested(depth)}
        assert variant(nested(depth)).Value is None
    else:
        with pytest.raises(AdapterError, match="malformed"):
            decode(grown)


def test_columns_are_used_again_and_new_ones_stay():
    values = [(i, ua.DataValue(ua.Variant(float(i)))) for i in range(200)]
    columns = Columns()
    alone = decode(response(values))
    first = decode(response(values), columns)
    address = first.value.ctypes.data
    second = decode(response(values[5:7]), columns)
    assert second.value.ctypes.data == address
    assert second.value.tolist() == [5.0, 6.0]
    assert alone.value.tolist() == [float(i) for i in range(200)]


def test_several_parts_of_a_notification_are_one_after_the_other():
    message = ua.PublishResponse()
    parts = message.Parameters.NotificationMessage.NotificationData
    for first in (0, 300, 301):
        items = [ua.MonitoredItemNotification(first + i, ua.DataValue(ua.Variant(1.5))) for i in range(first // 3 + 1)]
        parts.append(ua.DataChangeNotification(items, [ua.DiagnosticInfo(SymbolicId=3)]))
    found = decode(struct_to_binary(message))
    assert found.handle.tolist() == [0, *range(300, 401), *range(301, 402)]


def test_what_can_be_sent_again_and_what_became_of_acknowledgements_is_told():
    message = ua.PublishResponse()
    message.Parameters.AvailableSequenceNumbers = [4, 5]
    message.Parameters.Results = [ua.StatusCode(0), ua.StatusCode(ua.StatusCodes.BadSequenceNumberUnknown)]
    found = decode(struct_to_binary(message))
    assert found.available == [4, 5]
    assert found.acknowledged == [0, ua.StatusCodes.BadSequenceNumberUnknown]


def test_a_part_whose_length_is_not_told_ends_where_its_fields_end():
    """As servers of the first years of OPC UA wrote them."""
    body = response([(1, ua.DataValue(ua.Variant(2.5)))], [ua.StatusCodes.BadTimeout])
    at = body.index(struct.pack("<HB", 811, 1)) + 3
    found = decode(body[:at] + struct.pack("<i", -1) + body[at + 4 :])
    assert found.value.tolist() == [2.5]
    assert found.status_changes == [ua.StatusCodes.BadTimeout]


def test_the_last_digit_of_the_ticks_is_kept():
    time = datetime(2022, 11, 23, 14, 23, 8, 123456, UTC)
    ticks = ((time - EPOCH) // timedelta(microseconds=1)) * 10 + 116_444_736_000_000_000
    body = response([(1, ua.DataValue(ua.Variant(1.0, ua.VariantType.Double), SourceTimestamp=time))])
    body = body.replace(struct.pack("<q", ticks), struct.pack("<q", ticks + 7))
    assert decode(body).source_time_ns.tolist() == [ns(time) + 700]


def test_picoseconds_follow_their_timestamp():
    """As OPC 10000-6, 5.2.2.17 says; asyncua's encoder puts them after both times."""
    mask, double, source, server = 0x3D, b"\x0b" + struct.pack("<d", 2.5), 10, 30
    body = response([(1, ua.DataValue(ua.Variant(2.5, ua.VariantType.Double)))])
    plain = struct.pack("<I", 1) + b"\x01" + double
    if plain not in body:
        plain = struct.pack("<I", 1) + b"\x03" + double + bytes(4)
    at = 116_444_736_000_000_000
    full = struct.pack("<IB", 1, mask) + double
    full += struct.pack("<qHqH", at + source, 4200, at + server, 65535)
    body = body.replace(plain, full)
    length_at = body.index(struct.pack("<i", len(plain) + 8), 40)
    body = body[:length_at] + struct.pack("<i", len(full) + 8) + body[length_at + 4 :]
    found = decode(body)
    assert found.source_time_ns.tolist() == [1000 + 42]
    assert found.server_time_ns.tolist() == [3000 + 99]  # more than 9999 counts as 9999


@pytest.mark.parametrize(
    "ticks",
    [0, -5, 2**63 - 1, 2**62, 116_444_736_000_000_000 + 92_233_720_368_547_758],
    ids=["null", "negative", "end of time", "year 16214", "more ns than 63 bits"],
)
def test_times_that_mean_no_time_stay_out(ticks):
    time = datetime(2022, 11, 23, tzinfo=UTC)
    there = struct.pack("<q", ((time - EPOCH) // timedelta(microseconds=1)) * 10 + 116_444_736_000_000_000)
    body = response([(1, ua.DataValue(ua.Variant(1.0, ua.VariantType.Double), SourceTimestamp=time))])
    assert decode(body.replace(there, struct.pack("<q", ticks))).source_time_ns.tolist() == [NO_TIME]


@pytest.mark.parametrize(
    "variant",
    [
        ua.Variant("text", ua.VariantType.String),
        ua.Variant([1.0, 2.0], ua.VariantType.Double),
        ua.Variant(ua.LocalizedText("hall"), ua.VariantType.LocalizedText),
        ua.Variant(ua.NodeId("a", 2), ua.VariantType.NodeId),
    ],
    ids=["text", "array", "localized text", "node id"],
)
def test_what_is_no_number_is_bad_and_the_rest_goes_on(variant):
    good = ua.DataValue(ua.Variant(2.5, ua.VariantType.Double))
    found = decode(response([(1, ua.DataValue(variant)), (2, good)]))
    assert found.quality.tolist() == [BAD_TYPE_MISMATCH, 0]
    assert math.isnan(found.value[0])
    assert found.value[1] == 2.5


def test_an_overflow_is_told_of_the_message_that_has_it():
    columns, good = Columns(), (1, ua.DataValue(ua.Variant(2.5)))
    lossy = (1, ua.DataValue(ua.Variant(2.5), StatusCode=ua.StatusCode(OVERFLOW)))
    told = [decode(response([*items, good]), columns).columns.has_overflow for items in ([good], [lossy], [good])]
    assert told == [False, True, False]


def test_a_status_change_of_the_subscription_is_seen():
    found = decode(response(statuses=[ua.StatusCodes.BadTimeout]))
    assert found.status_changes == [ua.StatusCodes.BadTimeout]
    assert not found.is_keep_alive


def test_diagnostics_and_other_messages_are_understood():
    body = struct_to_binary(ua.PublishResponse())
    at = 4 + 8 + 4 + 4  # type, time, handle, result: here the diagnostics begin
    assert body[at] == 0
    text = struct.pack("<i", 4) + b"more"
    full = bytes([0x7F]) + bytes(16) + text + bytes(4) + bytes([0])  # all fields, one of them diagnostics again
    assert decode(body[:at] + full + body[at + 1 :]).is_keep_alive
    with pytest.raises(AdapterError, match="malformed"):
        decode(struct_to_binary(ua.ReadResponse()))


def test_a_service_that_failed_is_named():
    message = ua.PublishResponse()
    message.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadNoSubscription)
    with pytest.raises(AdapterError, match="BadNoSubscription"):
        decode(struct_to_binary(message))


SAMPLE = response(
    [
        (1, ua.DataValue(ua.Variant(2.5, ua.VariantType.Double), SourceTimestamp=EPOCH + timedelta(days=9999))),
        (2, ua.DataValue(ua.Variant("text", ua.VariantType.String), StatusCode=ua.StatusCode(0x808C0000))),
    ],
    [ua.StatusCodes.BadTimeout],
)


@given(st.integers(0, len(SAMPLE) - 1))
def test_a_message_cut_anywhere_raises_our_error(end):
    with pytest.raises(AdapterError):
        decode(SAMPLE[:end])


def timed(handle, value, second):
    return handle, ua.DataValue(ua.Variant(value), SourceTimestamp=datetime(2022, 11, 23, 0, 0, second, tzinfo=UTC))


def test_rows_in_order_are_scaled_by_tag_into_columns_of_their_own(make_binding):
    table = TagTable([replace(make_binding(f"t{i}", f"T{i}", ""), scale=1.5 + i, offset=10.0 * i) for i in range(3)])
    columns = Columns()
    items = [timed(2, 1.0, 1), timed(0, 2.0, 1), timed(1, float("nan"), 2), timed(2, 4.0, 3)]
    found = decode(response(items), columns)
    scaled = columns.scaled(table.scale, table.offset)
    wanted = table.samples(found.handle, found.source_time_ns, found.value, found.quality)
    kept = [column.copy() for column in scaled]
    decode(response([timed(1, 9.0, 9)] * 4), columns)
    for column, copy, name in zip(scaled, kept, ("tag", "source_time_ns", "value", "quality"), strict=True):
        np.testing.assert_array_equal(column, copy)
        np.testing.assert_array_equal(column, getattr(wanted, name))


@pytest.mark.parametrize(
    "items",
    [
        [],
        [timed(0, 1.0, 2), timed(1, 1.0, 1)],
        [timed(0, 1.0, 1), timed(2, 1.0, 2)],
        [timed(0, 1.0, 1), (1, ua.DataValue(ua.Variant(1.0)))],
    ],
    ids=["no row", "back in time", "an unknown tag", "no time"],
)
def test_rows_that_are_not_in_order_are_not_scaled(items):
    columns = Columns()
    decode(response(items), columns)
    assert columns.scaled(np.ones(2), np.zeros(2)) is None
    decode(response([timed(0, 1.0, 1)]), columns)
    assert columns.scaled(np.ones(2), np.zeros(2)) is not None
