"""Events of alarms and conditions (OPC 10000-9) as alarms of ours: what is asked for, and what an answer means."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any

from asyncua import ua

from uem.hardware_adapters.texts import readable
from uem.twin_core.alarms import MOST_SEVERITY, Alarm, AlarmState
from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import UNCERTAIN_LAST_USABLE_VALUE

_LONGEST_NAME, _LONGEST_MESSAGE = 1_000, 4_000  # in characters; one alarm must not fill a message of its own
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BASE = ua.ObjectIds.BaseEventType
_CONDITION = ua.ObjectIds.ConditionType
_ACKNOWLEDGEABLE = ua.ObjectIds.AcknowledgeableConditionType
_ALARM = ua.ObjectIds.AlarmConditionType
# Name here, type that declares it, browse path in namespace 0; an empty path is the condition itself.
_FIELDS = (
    ("event", _BASE, "EventId"),
    ("type", _BASE, "EventType"),
    ("source", _BASE, "SourceName"),
    ("time", _BASE, "Time"),
    ("message", _BASE, "Message"),
    ("severity", _BASE, "Severity"),
    ("condition", _CONDITION, ""),
    ("name", _CONDITION, "ConditionName"),
    ("branch", _CONDITION, "BranchId"),
    ("retain", _CONDITION, "Retain"),
    ("enabled", _CONDITION, "EnabledState/Id"),
    ("quality", _CONDITION, "Quality"),
    ("acked", _ACKNOWLEDGEABLE, "AckedState/Id"),
    ("active", _ALARM, "ActiveState/Id"),
    ("suppressed", _ALARM, "SuppressedState/Id"),
    ("out_of_service", _ALARM, "OutOfServiceState/Id"),
    ("shelving", _ALARM, "ShelvingState/CurrentState/Id"),
)


class Signal(Enum):
    """What an event says that is about no condition but about the events themselves."""

    REFRESH_START = auto()
    REFRESH_END = auto()
    REFRESH_REQUIRED = auto()  # some were lost


_SIGNALS = {
    ua.ObjectIds.RefreshStartEventType: Signal.REFRESH_START,
    ua.ObjectIds.RefreshEndEventType: Signal.REFRESH_END,
    ua.ObjectIds.RefreshRequiredEventType: Signal.REFRESH_REQUIRED,
    ua.ObjectIds.EventQueueOverflowEventType: Signal.REFRESH_REQUIRED,
}
_SHELVED = (ua.ObjectIds.ShelvedStateMachineType_TimedShelved, ua.ObjectIds.ShelvedStateMachineType_OneShotShelved)


def event_filter() -> ua.EventFilter:
    """What of each event is to come.

    There is no condition on the type: few servers take one that lets the events of a refresh through.
    """
    asked = ua.EventFilter()
    for _, declared_by, path in _FIELDS:
        operand = ua.SimpleAttributeOperand()
        operand.TypeDefinitionId = ua.NodeId(declared_by)
        operand.BrowsePath = [ua.QualifiedName(name) for name in path.split("/") if name]
        operand.AttributeId = ua.AttributeIds.Value if path else ua.AttributeIds.NodeId
        asked.SelectClauses.append(operand)
    return asked


def event_of(fields: Sequence[Any], namespaces: Sequence[str]) -> tuple[Alarm | Signal | None, int]:
    """What an event says and its time in ns; None when it is about no condition.

    Raises:
        AdapterError: its fields are not those that were asked for.
    """
    if len(fields) != len(_FIELDS):
        raise AdapterError(f"an event with {len(fields)} fields where {len(_FIELDS)} were asked")
    got = {name: field.Value for (name, _, _), field in zip(_FIELDS, fields, strict=True)}
    time_ns = nanoseconds(got["time"])
    kind = got["type"]
    if isinstance(kind, ua.NodeId) and kind.NamespaceIndex == 0 and kind.Identifier in _SIGNALS:
        return _SIGNALS[kind.Identifier], time_ns
    condition = got["condition"]
    if not isinstance(condition, ua.NodeId) or condition.is_null():
        return None, time_ns
    branch = got["branch"]
    event = got["event"]
    alarm = Alarm(
        condition=name_of(condition, namespaces),
        branch=name_of(branch, namespaces) if isinstance(branch, ua.NodeId) and not branch.is_null() else "",
        source=readable(str(got["source"] or ""))[:_LONGEST_NAME],
        name=readable(str(got["name"] or ""))[:_LONGEST_NAME],
        message=readable(str(getattr(got["message"], "Text", None) or ""))[:_LONGEST_MESSAGE],
        state=state_of(got),
        severity=min(max(int(got["severity"] or 1), 1), MOST_SEVERITY),
        time_ns=time_ns,
        quality=_quality(got["quality"]),
        event=event.hex() if isinstance(event, bytes) else "",
    )
    return alarm, time_ns


def state_of(got: dict[str, Any]) -> AlarmState:
    """Where a condition stands; one without ActiveState is active as long as it is retained."""
    if got["enabled"] is False or got["out_of_service"]:
        return AlarmState.OUT_OF_SERVICE
    if got["branch"] is not None and not got["branch"].is_null() and not got["retain"]:
        return AlarmState.NORMAL  # the end of a branch
    shelving = got["shelving"]
    if isinstance(shelving, ua.NodeId) and shelving.NamespaceIndex == 0 and shelving.Identifier in _SHELVED:
        return AlarmState.SHELVED
    if got["suppressed"]:
        return AlarmState.SUPPRESSED
    acknowledged = got["acked"] is not False  # a condition that nobody has to acknowledge has no such state
    if got["retain"] if got["active"] is None else got["active"]:
        return AlarmState.ACKNOWLEDGED if acknowledged else AlarmState.UNACKNOWLEDGED
    return AlarmState.NORMAL if acknowledged else AlarmState.RETURNED


def name_of(node: ua.NodeId, namespaces: Sequence[str]) -> str:
    """A node by the URI of its namespace, since the server may number it otherwise tomorrow: nsu=urn:a:b;s=Alarm."""
    index = node.NamespaceIndex
    text = str(node.to_string())
    if index == 0 or index >= len(namespaces):
        return readable(text)
    return readable(f"nsu={namespaces[index]};{text.partition(';')[2]}")


def node_of(name: str, namespaces: Sequence[str]) -> ua.NodeId:
    """The node that `name_of` names.

    Raises:
        AdapterError: the server does not have its namespace, or it is no name of a node.
    """
    uri, found, rest = name.removeprefix("nsu=").partition(";") if name.startswith("nsu=") else ("", "", name)
    if uri and uri not in namespaces:
        raise AdapterError(f"namespace {uri!r} of condition {name!r} is not on the server")
    try:
        return ua.NodeId.from_string(f"ns={namespaces.index(uri)};{rest}" if found else rest)
    except ua.UaError as error:
        raise AdapterError(f"{name!r} names no condition: {error}") from None


def nanoseconds(when: object) -> int:
    """A time of asyncua, whole microseconds, as ns since 1970; 0 for none, which servers say with year 1601 or 9999."""
    if not isinstance(when, datetime):
        return 0
    since = (when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH
    time_ns = ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
    return time_ns if abs(time_ns) < 2**63 else 0


def _quality(found: object) -> int:
    """The quality of a condition; uncertain for a server that does not say it."""
    value = getattr(found, "value", None)
    return int(value) if isinstance(value, int) else UNCERTAIN_LAST_USABLE_VALUE
