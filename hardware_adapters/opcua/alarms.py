"""Watches the alarms and conditions of an OPC UA server, through outages, over a session of its own.

Events are few and every one is an object of its own, so that asyncua's decoder does; the session that carries samples
is left alone. What a line that broke has swallowed is not asked for again: after each new beginning, and whenever
events were lost, the server tells how all of its conditions stand (ConditionRefresh). What came twice, `OpenAlarms`
leaves out.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary

from uem.hardware_adapters.base import Alarms
from uem.hardware_adapters.opcua.channel import CONNECTION_ERRORS, PACE_S, Channel, Opener, text_of
from uem.hardware_adapters.opcua.conditions import Signal, event_filter, event_of, node_of
from uem.hardware_adapters.opcua.line import Body
from uem.hardware_adapters.tasks import end
from uem.twin_core.alarms import Alarm
from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import is_bad

_log = logging.getLogger(__name__)

PUBLISH_MS = 250.0
KEEP_ALIVE_S = 1.0
SILENCE_S = 3.0  # after so long without a message the line counts as dead
IN_FLIGHT = 2
MOST_QUEUED = 1000  # events at the server
SESSION_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 1.0
_REFUSED_WAIT_S = 10.0
# Between two times that all conditions are asked for in vain: the queue of a server may be too short for them.
_AGAIN_S, _LONGEST_AGAIN_S, _MOST_IN_VAIN = 1.0, 60.0, 3


class AlarmWatch:
    """The conditions of one server."""

    def __init__(self, opener: Opener, put: Callable[[Alarms], None]) -> None:
        """`put` takes what comes in; nothing is opened yet."""
        self.connected = False
        self.outages = 0
        self._opener = opener
        self._put = put
        self._channel: Channel | None = None
        self._older: Channel | None = None  # for its session
        self._subscription = 0
        self._namespaces: list[str] = []
        self._collected: dict[tuple[str, str], Alarm] | None = None  # between begin and end of a refresh
        self._refreshing: asyncio.Task[None] | None = None
        self._lost = False  # something since the last time that it was asked
        self._in_vain = 0  # how often it was asked since all conditions were told
        self._problem = ""

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            wait_s = PACE_S
            try:
                channel = self._channel = await self._opener.race()
                await self._begin(channel)
                self.connected, self._problem = True, ""
                await self._follow(channel)
            except (*CONNECTION_ERRORS, AdapterError) as error:
                wait_s = PACE_S if isinstance(error, OSError | TimeoutError) else _REFUSED_WAIT_S
                self._report(text_of(error))
            except Exception:  # the alarms must not end before the samples
                wait_s = _REFUSED_WAIT_S
                _log.exception("%s: alarms: unexpected fault", self._opener.endpoint)
            finally:
                await self._leave()
            await asyncio.sleep(wait_s)

    async def acknowledge(self, alarm: Alarm, comment: str = "") -> None:
        """Tell the server that somebody has seen an alarm.

        Raises:
            AdapterError: the server is out of reach or refuses it, as when the alarm has changed meanwhile.
        """
        await self._call(alarm, ua.ObjectIds.AcknowledgeableConditionType_Acknowledge, comment)

    async def confirm(self, alarm: Alarm, comment: str = "") -> None:
        """Tell the server that somebody has done what the alarm asks for; raises as `acknowledge`."""
        await self._call(alarm, ua.ObjectIds.AcknowledgeableConditionType_Confirm, comment)

    async def _call(self, alarm: Alarm, method: int, comment: str) -> None:
        channel = self._channel
        if channel is None or not self.connected:
            raise AdapterError(f"{self._opener.endpoint}: not connected; alarm {alarm.name} was not told anything")
        request = ua.CallMethodRequest()
        request.ObjectId, request.MethodId = node_of(alarm.condition, self._namespaces), ua.NodeId(method)
        request.InputArguments = [ua.Variant(bytes.fromhex(alarm.event)), ua.Variant(ua.LocalizedText(comment))]
        try:
            (result,) = await channel.session.call([request])
            result.StatusCode.check()
        except CONNECTION_ERRORS as error:
            raise AdapterError(f"{self._opener.endpoint}: alarm {alarm.name}: {text_of(error)}") from None

    # --- a line from its begin to its end ---

    async def _begin(self, channel: Channel) -> None:
        """Session, subscription, one item for the events of the whole server, and how everything stands."""
        await self._take_session(channel)
        (namespaces,) = await channel.session.read_attributes(
            [ua.NodeId(ua.ObjectIds.Server_NamespaceArray)], ua.AttributeIds.Value
        )
        self._namespaces = list(namespaces.Value.Value or ()) if namespaces.Value is not None else []
        self._subscription = await _subscribe(channel)
        await _monitor(channel, self._subscription)
        self._refresh(channel)

    async def _take_session(self, channel: Channel) -> None:
        """The session of the line before, else a new one: servers have few."""
        older, self._older = self._older, channel
        if older is not None:
            channel.adopt(older)
            try:
                await channel.client._activate_with_credentials()
                await channel.session.delete_subscriptions([self._subscription])
                return
            except ua.UaStatusCodeError as error:
                if not channel.is_open:
                    raise ConnectionError(text_of(error)) from None
        await channel.client.create_session()
        await channel.client._activate_with_credentials()

    async def _follow(self, channel: Channel) -> None:
        """Take events until the line or the subscription is lost."""
        waiting: deque[asyncio.Future[bytes]] = deque()
        acknowledge: list[int] = []
        expected = 0
        try:
            while True:
                while len(waiting) < IN_FLIGHT:
                    waiting.append(_publish(channel, self._subscription, acknowledge))
                    acknowledge = []
                async with asyncio.timeout(SILENCE_S):
                    await asyncio.wait([waiting[0]])
                answer = struct_from_binary(ua.PublishResponse, Buffer(waiting.popleft().result())).Parameters
                if answer.SubscriptionId != self._subscription:
                    continue
                message = answer.NotificationMessage
                if expected and message.SequenceNumber not in (expected, expected - 1):
                    self._refresh(channel)  # something is lost
                if message.NotificationData:
                    acknowledge.append(message.SequenceNumber)
                    expected = message.SequenceNumber + 1
                for part in message.NotificationData or ():
                    self._take(channel, part)
        finally:
            for each in waiting:
                each.cancel()

    def _take(self, channel: Channel, part: Any) -> None:
        if isinstance(part, ua.StatusChangeNotification) and is_bad(part.Status.value):
            raise ConnectionError(f"the server ends the subscription: {part.Status.name}")
        if not isinstance(part, ua.EventNotificationList):
            return
        for each in part.Events:
            found, time_ns = event_of(each.EventFields, self._namespaces)
            if isinstance(found, Alarm):
                if self._collected is not None:
                    self._collected[found.condition, found.branch] = found
                self._put(Alarms((found,)))
            elif found is Signal.REFRESH_START:
                self._collected = {}
            elif found is Signal.REFRESH_END and self._collected is not None:
                self._put(Alarms(tuple(self._collected.values()), True, time_ns))
                self._collected, self._in_vain = None, 0
            elif found is Signal.REFRESH_REQUIRED:
                self._refresh(channel)

    def _refresh(self, channel: Channel) -> None:
        """Ask how all conditions stand; what is being told of them now may lack something, and counts no more."""
        self._collected, self._lost = None, True
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._ask_refresh(channel))

    async def _ask_refresh(self, channel: Channel) -> None:
        """Until nothing is lost any more while it is asked, ever more slowly."""
        request = ua.CallMethodRequest()
        request.ObjectId = ua.NodeId(ua.ObjectIds.ConditionType)
        request.MethodId = ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh)
        request.InputArguments = [ua.Variant(self._subscription, ua.VariantType.UInt32)]
        try:
            while self._lost:
                if self._in_vain:
                    await asyncio.sleep(min(_AGAIN_S * 2.0 ** (self._in_vain - 1), _LONGEST_AGAIN_S))
                if self._in_vain == _MOST_IN_VAIN:
                    self._report(
                        f"events are lost while it says how its alarms stand; is its queue of {MOST_QUEUED} full?"
                    )
                self._lost, self._in_vain = False, self._in_vain + 1
                (result,) = await channel.session.call([request])
                result.StatusCode.check()
        except ua.UaStatusCodeError as error:
            if channel.is_open:
                self._report(f"it does not say how its alarms stand ({text_of(error)}); changes are told")
        except CONNECTION_ERRORS as error:
            _log.debug("%s: no refresh: %s", self._opener.endpoint, text_of(error))

    async def _leave(self) -> None:
        """Let go of the line, politely when it stands."""
        self.outages += self.connected
        self.connected, self._collected, self._in_vain = False, None, 0
        channel, self._channel = self._channel, None
        if self._refreshing is not None:
            await end([self._refreshing])
            self._refreshing = None
        if channel is None:
            return
        task = asyncio.current_task()
        try:
            if channel.is_open and task is not None and task.cancelling():  # for good
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await channel.client.uaclient.close_session(True)
        except CONNECTION_ERRORS as error:
            _log.debug("%s: closing: %s", self._opener.endpoint, text_of(error))
        finally:
            channel.drop()

    def _report(self, problem: str) -> None:
        if problem != self._problem:
            _log.warning("%s: alarms: %s", self._opener.endpoint, problem)
        self._problem = problem


async def _subscribe(channel: Channel) -> int:
    request = ua.CreateSubscriptionRequest()
    parameters = request.Parameters
    parameters.RequestedPublishingInterval = PUBLISH_MS
    parameters.RequestedMaxKeepAliveCount = round(KEEP_ALIVE_S * 1000 / PUBLISH_MS)
    parameters.RequestedLifetimeCount = round(20 * KEEP_ALIVE_S * 1000 / PUBLISH_MS)
    parameters.MaxNotificationsPerPublish = 0
    parameters.PublishingEnabled = True
    response = struct_from_binary(ua.CreateSubscriptionResponse, await channel.session._send_request(request))
    response.ResponseHeader.ServiceResult.check()
    return int(response.Parameters.SubscriptionId)


async def _monitor(channel: Channel, subscription: int) -> None:
    item = ua.MonitoredItemCreateRequest()
    item.ItemToMonitor.NodeId = ua.NodeId(ua.ObjectIds.Server)
    item.ItemToMonitor.AttributeId = ua.AttributeIds.EventNotifier
    item.MonitoringMode = ua.MonitoringMode.Reporting
    item.RequestedParameters.ClientHandle = 1
    item.RequestedParameters.SamplingInterval = 0.0
    item.RequestedParameters.QueueSize = MOST_QUEUED
    item.RequestedParameters.DiscardOldest = True
    item.RequestedParameters.Filter = event_filter()
    parameters = ua.CreateMonitoredItemsParameters()
    parameters.SubscriptionId = subscription
    parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
    parameters.ItemsToCreate = [item]
    (result,) = await channel.session.create_monitored_items(parameters)
    result.StatusCode.check()


def _publish(channel: Channel, subscription: int, acknowledge: list[int]) -> "asyncio.Future[bytes]":
    """Let a publish request wait at the server."""
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def done(found: Body | Exception) -> None:
        if answer.done():  # let go
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(bytes(found))

    channel.publish(subscription, acknowledge, done)
    return answer
