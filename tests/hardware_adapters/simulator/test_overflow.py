"""Which values bear the Overflow bit, by the size of the queue."""

from unittest.mock import AsyncMock, Mock

import pytest
from asyncua import ua
from asyncua.server.internal_subscription import InternalSubscription

from uem.hardware_adapters.simulator.overflow import tell_of_overflows
from uem.twin_core.measurements import OVERFLOW


@pytest.mark.parametrize(
    ("size", "kept"), [(0, [1, 2, 3, 4]), (1, [4]), (2, [3, 4]), (3, [2, 3, 4]), (4, [1, 2, 3, 4])]
)
async def test_the_value_behind_a_drop_is_marked_but_never_in_a_queue_of_one(size, kept):
    created = ua.CreateSubscriptionResult(SubscriptionId=1, RevisedPublishingInterval=3.6e6)
    subscription = InternalSubscription(created, Mock(), AsyncMock(), ua.NodeId(1))
    server = Mock()
    service = server.iserver.subscription_service
    service.subscriptions, service.create_subscription = {1: subscription}, AsyncMock(return_value=created)
    tell_of_overflows(server)
    await service.create_subscription()
    for value in (1, 2, 3, 4):
        row = ua.MonitoredItemNotification(ClientHandle=7, Value=ua.DataValue(ua.Variant(value)))
        await subscription.enqueue_datachange_event(1, row, size)
    queued = [item.Value for item in subscription._triggered_datachanges[1]]
    assert [item.Value.Value for item in queued] == kept
    first = OVERFLOW if 1 < size < 4 else 0
    assert [item.StatusCode.value for item in queued] == [first, *[0] * (len(kept) - 1)]
