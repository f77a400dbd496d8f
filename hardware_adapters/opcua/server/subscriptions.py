"""Subscriptions that publish points straight from their columns, by asyncua's publish machinery.

What asyncua 2.1 leaves out is put right for all nodes: a full queue tells of the value it dropped (OPC 10000-4,
7.22.1), a message is kept until it is acknowledged, and one that is not there is not answered with an empty one.
"""

import asyncio
import copy
import math
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import replace
from itertools import count
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.server.subscription_service import SubscriptionService

from uem.hardware_adapters.opcua.server.monitoring import PointItems, PointTable
from uem.twin_core.measurements import OVERFLOW

LEAST_PUBLISHING_MS = 10.0
MOST_PER_MESSAGE = 20_000  # values: what most clients take in one message
MOST_UNACKNOWLEDGED = 100  # messages kept to be sent again
_DATA_CHANGE = ua.NodeId(ua.ObjectIds.DataChangeNotification_Encoding_DefaultBinary)


class PointSubscription(InternalSubscription):
    """A subscription whose items may be points."""

    monitored_item_srv: PointItems

    def __init__(self, *args: Any, table: PointTable, most_per_message: int, owner: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.owner = owner
        self.monitored_item_srv = PointItems(self, self.monitored_item_srv.aspace, table)
        self.most_per_message = most_per_message

    async def _subscription_loop(self) -> None:
        """Publish at every interval, as it is by now; what a stalled process missed is not made up for."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._closing:
            await self.publish_results()
            due = max(due + self.data.RevisedPublishingInterval / 1000, loop.time())
            await asyncio.sleep(due - loop.time())

    def has_published_results(self) -> bool:
        """Whether there is something to send, a keep-alive included."""
        items = self.monitored_item_srv.items
        items.settle_until(time.time_ns())
        return bool(items.queued and self._publishing_enabled) or super().has_published_results()

    async def publish_results(self, requestdata: Any = None) -> bool:
        """Send what there is, by as many messages as it takes and as there are requests for."""
        sent = await super().publish_results(requestdata)
        more = sent
        while more and self._publishing_enabled and self.monitored_item_srv.items.queued:
            more = await super().publish_results()
        return sent

    def _pop_triggered_datachanges(self, result: ua.PublishResult) -> None:
        items = self.monitored_item_srv.items
        if items.queued:
            body = items.encode(min(self.most_per_message or MOST_PER_MESSAGE, MOST_PER_MESSAGE))
            result.NotificationMessage.NotificationData.append(ua.ExtensionObject(TypeId=_DATA_CHANGE, Body=body))
        super()._pop_triggered_datachanges(result)

    def _pop_publish_result(self) -> ua.PublishResult:
        result = super()._pop_publish_result()
        result.MoreNotifications = self._publishing_enabled and self.monitored_item_srv.items.queued > 0
        return result

    async def enqueue_datachange_event(self, mid: int, eventdata: ua.MonitoredItemNotification, maxsize: int) -> None:
        """Of a node that is no point. A queue of one is no queue but the newest value, and loses nothing."""
        queued = self._triggered_datachanges.get(mid, [])
        drops = 1 < maxsize <= len(queued)
        await super().enqueue_datachange_event(mid, eventdata, maxsize)
        if drops:
            oldest = queued[0]
            queued[0] = replace(oldest, Value=_marked(oldest.Value))  # the value itself is shared by all subscriptions

    def acknowledge(self, sequence: int) -> bool:
        """Forget a message; whether there was one."""
        return self._not_acknowledged_results.pop(sequence, None) is not None

    def republish(self, nb: int) -> ua.NotificationMessage:
        """A message again, which stays until it is acknowledged."""
        result = self._not_acknowledged_results.get(nb)
        if result is None:
            raise ServiceError(ua.StatusCodes.BadMessageNotAvailable)
        return result.NotificationMessage


class _Own(MutableMapping[int, InternalSubscription]):
    """Of all subscriptions those of a session."""

    def __init__(self, everyones: dict[int, InternalSubscription], session_id: ua.NodeId) -> None:
        self._everyones = everyones
        self._session_id = session_id

    def __getitem__(self, its_id: int) -> InternalSubscription:
        subscription = self._everyones[its_id]
        if subscription.session_id != self._session_id:
            raise KeyError(its_id)
        return subscription

    def __setitem__(self, its_id: int, subscription: InternalSubscription) -> None:
        self._everyones[its_id] = subscription

    def __delitem__(self, its_id: int) -> None:
        del self._everyones[its_id]

    def __iter__(self) -> Iterator[int]:
        return iter([its_id for its_id in self._everyones if its_id in self])

    def __len__(self) -> int:
        return sum(1 for _ in self)


class PointSubscriptions(SubscriptionService):
    """All subscriptions of a server, or by `of` those that one session can reach."""

    def __init__(self, aspace: Any, iserver: Any, table: PointTable) -> None:
        super().__init__(aspace, iserver)
        self._table = table
        self._everyones = self.subscriptions
        # Who still uses a number from before a restart must not meet the subscription of somebody else.
        self._ids = count(1 + secrets.randbelow(2**31))

    def of(self, session_id: ua.NodeId) -> "PointSubscriptions":
        """The service for a session: it finds no subscriptions but its own, whatever it asks for."""
        its = copy.copy(self)
        its.subscriptions = _Own(self._everyones, session_id)  # type: ignore[assignment]
        return its

    async def create_subscription(
        self,
        params: ua.CreateSubscriptionParameters,
        callback: Callable[..., Any],
        session_id: ua.NodeId,
        request_callback: Callable[..., Any] | None = None,
    ) -> ua.CreateSubscriptionResult:
        """A subscription of a client; one of the server itself, which takes objects, is the library's."""
        if request_callback is None:
            return await super().create_subscription(params, callback, session_id)
        assert self.iserver is not None
        if len(self._everyones) >= self.iserver.max_subscriptions:
            raise ServiceError(ua.StatusCodes.BadTooManySubscriptions)
        result = ua.CreateSubscriptionResult()
        result.SubscriptionId = its_id = next(self._ids)
        self._revise(params, result)
        subscription = PointSubscription(
            result,
            self.aspace,
            callback,
            session_id,
            request_callback=request_callback,
            delete_callback=lambda: self._everyones.pop(its_id, None),
            no_acks_limit=MOST_UNACKNOWLEDGED,
            max_queue_size=self._table.most_queued,
            publishing_enabled=params.PublishingEnabled,
            table=self._table,
            most_per_message=params.MaxNotificationsPerPublish,
            owner=_user_behind(callback),
        )
        await subscription.start()
        self.subscriptions[its_id] = subscription
        return result

    def _revise(self, params: Any, result: Any) -> None:
        """The intervals and counts as they will be (OPC 10000-4, 5.14.2): a lifetime is at least three keep-alives."""
        asked_ms = params.RequestedPublishingInterval
        asked_ms = LEAST_PUBLISHING_MS if math.isnan(asked_ms) else asked_ms
        result.RevisedPublishingInterval = min(max(asked_ms, LEAST_PUBLISHING_MS), 3.6e6)
        result.RevisedMaxKeepAliveCount = max(self._clamp_keep_alive_count(params.RequestedMaxKeepAliveCount), 1)
        lifetime = self._clamp_lifetime_count(params.RequestedLifetimeCount)
        result.RevisedLifetimeCount = max(lifetime, 3 * result.RevisedMaxKeepAliveCount)

    def modify_subscription(self, params: ua.ModifySubscriptionParameters) -> ua.ModifySubscriptionResult:
        """Other intervals, from the next publishing on."""
        subscription = self._subscription(params.SubscriptionId)
        if not isinstance(subscription, PointSubscription):
            return super().modify_subscription(params)
        self._revise(params, subscription.data)
        subscription.most_per_message = params.MaxNotificationsPerPublish
        result, data = ua.ModifySubscriptionResult(), subscription.data
        result.RevisedPublishingInterval = data.RevisedPublishingInterval
        result.RevisedLifetimeCount = data.RevisedLifetimeCount
        result.RevisedMaxKeepAliveCount = data.RevisedMaxKeepAliveCount
        return result

    def publish(self, acks: Iterable[ua.SubscriptionAcknowledgement]) -> tuple[int, list[ua.StatusCode]]:
        """The number of subscriptions, and a status per acknowledgement."""
        if not self.subscriptions:
            raise ServiceError(ua.StatusCodes.BadNoSubscription)
        return len(self.subscriptions), [ua.StatusCode(self._acknowledge(ack)) for ack in acks]

    def _acknowledge(self, ack: ua.SubscriptionAcknowledgement) -> int:
        subscription = self.subscriptions.get(ack.SubscriptionId)
        if subscription is None:
            return int(ua.StatusCodes.BadSubscriptionIdInvalid)
        if isinstance(subscription, PointSubscription) and not subscription.acknowledge(ack.SequenceNumber):
            return int(ua.StatusCodes.BadSequenceNumberUnknown)
        return int(ua.StatusCodes.Good)

    def republish(self, params: ua.RepublishParameters) -> ua.NotificationMessage:
        """A message again; BadMessageNotAvailable when it is not kept (any more)."""
        return self._subscription(params.SubscriptionId).republish(params.RetransmitSequenceNumber)

    async def transfer_subscriptions(
        self, params: ua.TransferSubscriptionsParameters, session_id: ua.NodeId, callback: Callable[..., Any]
    ) -> list[ua.TransferResult]:
        """Let another session of the same application have subscriptions; they publish there from now on."""
        return [await self._transfer(its_id, params, session_id, callback) for its_id in params.SubscriptionIds]

    async def _transfer(
        self, its_id: int, params: Any, session_id: ua.NodeId, callback: Callable[..., Any]
    ) -> ua.TransferResult:
        subscription = self._everyones.get(its_id)
        if subscription is None:
            return ua.TransferResult(ua.StatusCode(ua.StatusCodes.BadSubscriptionIdInvalid))
        if not isinstance(subscription, PointSubscription) or subscription.owner != _user_behind(callback):
            return ua.TransferResult(ua.StatusCode(ua.StatusCodes.BadUserAccessDenied))
        subscription.session_id = session_id
        subscription.pub_result_callback = callback
        subscription.pub_request_callback = _processor(callback).get_publish_request
        if params.SendInitialValues:
            subscription.monitored_item_srv.send_initial_values()
        return ua.TransferResult(AvailableSequenceNumbers=sorted(subscription._not_acknowledged_results))

    def _subscription(self, its_id: int) -> InternalSubscription:
        subscription = self.subscriptions.get(its_id)
        if subscription is None:
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)
        return subscription


def _processor(callback: Any) -> Any:
    """The connection that a client's answers go through: the library hands its method on as the callback."""
    return callback.__self__


def _user_behind(callback: Any) -> str:
    return str(_processor(callback).session.user.name or "")


def _marked(value: Any) -> Any:
    status = value.StatusCode.value if value.StatusCode else 0
    return replace(value, StatusCode=ua.StatusCode(status | OVERFLOW))
