"""The decoder of publish responses against asyncua's encoder."""

import math
import struct
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from uem.hardware_adapters.opcua.notifications import BAD_TYPE_MISMATCH, NO_TIME, OVERFLOW, decode
from uem.twin_core.errors import AdapterError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
times = st.one_of(
    st.none(), st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))
)
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
    full += struct.pack("<qHqH", at + source, 4200, at + server, 100)
    body = body.replace(plain, full)
    length_at = body.index(struct.pack("<i", len(plain) + 8), 40)
    body = body[:length_at] + struct.pack("<i", len(full) + 8) + body[length_at + 4 :]
    found = decode(body)
    assert found.source_time_ns.tolist() == [1000 + 42]
    assert found.server_time_ns.tolist() == [3000 + 1]


@pytest.mark.parametrize("ticks", [0, -5, 2**63 - 1], ids=["null", "negative", "end of time"])
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


def test_the_overflow_bit_counts_as_a_loss():
    value = ua.DataValue(ua.Variant(2.5, ua.VariantType.Double), StatusCode=ua.StatusCode(OVERFLOW))
    assert decode(response([(1, value), (1, value), (1, ua.DataValue(ua.Variant(1.0)))])).overflow_count == 2


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


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_bytes_either_decode_or_raise_our_error(changes):
    body = bytearray(SAMPLE)
    for at, byte in changes:
        body[at] = byte
    with suppress(AdapterError):
        decode(bytes(body))
