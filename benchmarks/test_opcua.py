"""Decoding of OPC UA responses next to asyncua's decoder on the same bytes, per value."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from uem.hardware_adapters.opcua import notifications, readings
from uem.hardware_adapters.opcua.notifications import Columns

TIME = datetime(2026, 1, 1, tzinfo=UTC)
PLANT = (
    ua.VariantType.Float,
    ua.VariantType.Double,
    ua.VariantType.Int16,
    ua.VariantType.UInt32,
    ua.VariantType.Boolean,
)
Compare = Callable[..., None]


def values(count: int, kinds: tuple[ua.VariantType, ...]) -> list[ua.DataValue]:
    """Readings with status and both times, of types that follow each other by chance."""
    rng = np.random.default_rng(7)
    numbers = {ua.VariantType.Float: 1.5, ua.VariantType.Double: 0.1, ua.VariantType.Boolean: True}
    found = []
    for i in range(count):
        kind = kinds[rng.integers(len(kinds))]
        time = TIME + timedelta(milliseconds=i)
        found.append(ua.DataValue(ua.Variant(numbers.get(kind, i % 1000), kind), ua.StatusCode(0), time, time))
    return found


def publish(found: list[ua.DataValue]) -> bytes:
    """The bytes of a PublishResponse."""
    message = ua.PublishResponse()
    items = [ua.MonitoredItemNotification(i, value) for i, value in enumerate(found)]
    message.Parameters.NotificationMessage.NotificationData.append(ua.DataChangeNotification(items))
    encoded: bytes = struct_to_binary(message)
    return encoded


@pytest.mark.parametrize(
    ("count", "kinds"),
    [(1000, (ua.VariantType.Double,)), (1000, PLANT), (100, PLANT)],
    ids=["1000 doubles", "1000 of five types", "100 of five types"],
)
def test_notification_decoded(compare: Compare, count: int, kinds: tuple[ua.VariantType, ...]) -> None:
    body, columns = publish(values(count, kinds)), Columns()
    assert len(notifications.decode(body, columns).value) == count
    compare(
        lambda: notifications.decode(body, columns),
        lambda: struct_from_binary(ua.PublishResponse, Buffer(body)),
        peer="asyncua",
        unit="ns/value",
        scale=1e9 / count,
    )


def test_read_response_decoded(compare: Compare) -> None:
    message, columns, count = ua.ReadResponse(), Columns(), 1000
    message.Results = values(count, PLANT)
    body: bytes = struct_to_binary(message)
    assert len(readings.decode(body, columns).value) == count
    compare(
        lambda: readings.decode(body, columns),
        lambda: struct_from_binary(ua.ReadResponse, Buffer(body)),
        peer="asyncua",
        unit="ns/value",
        scale=1e9 / count,
    )
