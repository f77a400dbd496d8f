"""What a queue of a monitored item drops is told: the value behind the gap has the Overflow bit (OPC 10000-4, 7.22.1).

A queue of one is no queue but the newest value: what it drops is nobody's loss and bears no bit (5.13.1.5).

asyncua's server drops the oldest value of a full queue and says nothing, so that a client could not tell a plant that
stood still from one that was not heard.
"""

from dataclasses import replace
from typing import Any, cast

from asyncua import Server, ua
from asyncua.server.internal_subscription import InternalSubscription

from uem.twin_core.measurements import OVERFLOW


def tell_of_overflows(server: Server) -> None:
    """Let the subscriptions that clients of `server` make from now on mark the value behind each dropped one."""
    service = server.iserver.subscription_service
    create = service.create_subscription

    async def create_telling(*args: Any, **options: Any) -> Any:
        result = await create(*args, **options)
        _mark_overflows(service.subscriptions[result.SubscriptionId])
        return result

    cast(Any, service).create_subscription = create_telling


def _mark_overflows(subscription: InternalSubscription) -> None:
    enqueue = subscription.enqueue_datachange_event

    async def enqueue_marking(item: int, notification: Any, most: int) -> None:
        queued = subscription._triggered_datachanges.get(item, [])
        drops = 1 < most <= len(queued)
        await enqueue(item, notification, most)
        if drops:
            oldest = queued[0]
            queued[0] = replace(oldest, Value=_marked(oldest.Value))  # the value itself is shared by all subscriptions

    cast(Any, subscription).enqueue_datachange_event = enqueue_marking


def _marked(value: Any) -> Any:
    status = value.StatusCode.value if value.StatusCode else 0
    return replace(value, StatusCode=ua.StatusCode(status | OVERFLOW))
