"""Alarms of a server of ours: conditions of OPC 10000-9, which asyncua's events tell of.

An alarm is unacknowledged while nobody has said that he has seen it. One that returns is acknowledged by itself, as
those are that a plant does not want anybody to look at afterwards: then it is normal, and retained no more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from asyncua import Server, ua
from asyncua.server.event_generator import EventGenerator
from asyncua.server.internal_session import InternalSession

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a server may raise an alarm of."""

    source: str
    name: str
    severity: int  # 1 to 1000
    active: str  # the message while it is so, and when it is so no more
    normal: str
    type_id: int = ua.ObjectIds.OffNormalAlarmType


class Conditions:
    """The conditions of one server."""

    def __init__(self, conditions: Sequence[Condition], namespace_uri: str, start_ns: int) -> None:
        """Nothing is raised; `start_ns` is the time of the plant until it is told."""
        self._conditions = tuple(conditions)
        self._namespace_uri = namespace_uri
        self._now = _time(start_ns)
        self._by_node: dict[ua.NodeId, _Event] = {}

    async def describe(self, server: Server) -> None:
        """Make a node for each, which methods are called on, and offer these; the server has its subscriptions."""
        session, service = server.iserver.isession, server.iserver.subscription_service
        namespace = await server.register_namespace(self._namespace_uri)
        folder = await server.nodes.objects.add_object(namespace, "Conditions")
        for each in self._conditions:
            its_name = f"{each.name}/{each.source}"
            node = await folder.add_object(ua.NodeId(its_name, namespace), ua.QualifiedName(its_name, namespace))
            event = self._by_node[node.nodeid] = _Event(session, lambda: self._now)
            await event.begin(each, node.nodeid)
        for kind in (ua.ObjectIds.RefreshStartEventType, ua.ObjectIds.RefreshEndEventType):
            refresh = service.standard_events[kind] = _Event(session, lambda: self._now)
            await refresh.init(kind, add_generates_event=False)
        methods = {
            ua.ObjectIds.ConditionType_ConditionRefresh: service.condition_refresh,
            ua.ObjectIds.ConditionType_ConditionRefresh2: service.condition_refresh,
            ua.ObjectIds.AcknowledgeableConditionType_Acknowledge: self._acknowledge,
        }
        for method, does in methods.items():
            session.add_method_callback(ua.NodeId(method), does)

    async def tell(self, active: Sequence[bool], time_ns: int) -> None:
        """Say of each condition whether it is so at `time_ns`; clients hear of what has changed."""
        self._now = _time(time_ns)
        for event, condition, is_active in zip(self._by_node.values(), self._conditions, active, strict=True):
            if event.is_active != is_active:
                message = condition.active if is_active else condition.normal
                await event.change(message, is_active=is_active, is_acknowledged=not is_active)

    async def _acknowledge(self, node: ua.NodeId, event_id: ua.Variant, comment: ua.Variant) -> ua.StatusCode:
        event = self._by_node.get(node)
        if event is None:
            return ua.StatusCode(ua.StatusCodes.BadNodeIdUnknown)
        if not event.event.Retain or event_id.Value != event.told:
            return ua.StatusCode(ua.StatusCodes.BadEventIdUnknown)
        if getattr(event.event, "AckedState/Id"):
            return ua.StatusCode(ua.StatusCodes.BadConditionBranchAlreadyAcked)
        event.event.Comment = comment.Value
        await event.change(event.event.Message.Text, is_active=True, is_acknowledged=True)
        return ua.StatusCode()


class _Event(EventGenerator):
    """Events of one kind, at the time of the plant."""

    def __init__(self, session: InternalSession, now: Callable[[], datetime]) -> None:
        super().__init__(session)
        self._plant_now = now
        self.told = b""
        self.is_active = False

    async def begin(self, condition: Condition, node: ua.NodeId) -> None:
        """How the condition is while it is normal."""
        await self.init(condition.type_id)
        event = self.event
        event.NodeId, event.ConditionName, event.SourceName = node, condition.name, condition.source
        event.Severity = event.LastSeverity = condition.severity
        event.Quality = ua.StatusCode()
        event.ConditionClassId = ua.NodeId(ua.ObjectIds.ProcessConditionClassType)
        event.ConditionClassName = ua.LocalizedText("Process")
        event.BranchId = ua.NodeId()
        event.Retain, event.SuppressedOrShelved = False, False
        self._set("EnabledState", "Enabled", True)

    async def change(self, message: str, *, is_active: bool, is_acknowledged: bool) -> None:
        """Stand otherwise from now on, and say so."""
        self.is_active = self.event.Retain = is_active
        self._set("ActiveState", "Active" if is_active else "Inactive", is_active)
        self._set("AckedState", "Acknowledged" if is_acknowledged else "Unacknowledged", is_acknowledged)
        self.event.Message = ua.LocalizedText(message)
        await self.trigger()

    def _set(self, state: str, text: str, is_true: bool) -> None:
        setattr(self.event, state, ua.LocalizedText(text))
        setattr(self.event, f"{state}/Id", is_true)

    async def trigger(
        self, time_attr: datetime | None = None, message: str | None = None, subscription_id: int | None = None
    ) -> None:
        """Tell everyone, or a subscription that asks how all stands."""
        await super().trigger(self._plant_now() if time_attr is None else time_attr, message, subscription_id)
        self.told = self.event.EventId.Value


def _time(time_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_ns // 1000)
