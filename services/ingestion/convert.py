"""Batches on the wire -> columns, checked as far as their form goes."""

from collections.abc import Sequence
from typing import TypeAlias

from uem.services.status import InvalidField
from uem.twin_core.alarms import Alarm, AlarmState
from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import Gap, GapReason, Samples
from uem.v1 import common_pb2, ingestion_pb2
from uem.v1.columns import Columns

MOST_ROWS = 65_536
LONGEST_NAME = 200
# No sender counts so far; one that begins at the end of the numbers could never go on.
MOST_SEQUENCE = 2**62
LONGEST_ALARM_NAME, LONGEST_ALARM_TEXT = 1_000, 4_000
_ALARM_STATES: dict[int, AlarmState] = {
    common_pb2.AlarmState.Value(f"ALARM_STATE_{state.name}"): state for state in AlarmState
}
_GAP_REASONS: dict[int, GapReason] = {
    common_pb2.GapReason.Value(f"GAP_REASON_{reason.name}"): reason for reason in GapReason
}


def samples(names: Sequence[str], columns: Columns) -> Samples:
    """The rows of a batch.

    Raises:
        InvalidField: too many rows, columns of unequal length, an index without a name.
    """
    rows = len(columns["tag"])
    if rows > MOST_ROWS:
        raise InvalidField("samples.tag", f"{rows} rows; a batch has at most {MOST_ROWS}")
    if len(names) > MOST_ROWS:
        raise InvalidField("samples.tag_name", f"{len(names)} names; a batch has at most {MOST_ROWS}")
    for field, length in ((name, len(column)) for name, column in columns.items()):
        if length != rows:
            raise InvalidField(f"samples.{field}", f"{length} rows, but samples.tag has {rows}")
    try:
        return Samples(tuple(names), **columns)
    except InvalidInput as error:
        raise InvalidField("samples.tag", str(error)) from None


def gap(message: common_pb2.Gap) -> Gap | None:
    """A gap; None for one without an inside or with a reason that is not known here."""
    reason = _GAP_REASONS.get(message.reason)
    if reason is None or message.start_time_ns >= message.end_time_ns:
        return None
    return Gap(message.tag_name, message.start_time_ns, message.end_time_ns, reason)


def gaps(messages: Sequence[common_pb2.Gap]) -> list[Gap | None]:
    """The gaps of a batch, None in the place of each that is wrong.

    Raises:
        InvalidField: too many.
    """
    if len(messages) > MOST_ROWS:
        raise InvalidField("gaps", f"{len(messages)}; a batch has at most {MOST_ROWS}")
    return [gap(message) for message in messages]


def alarm(message: common_pb2.Alarm) -> Alarm | None:
    """An alarm; None for one without a condition, of a state that is not known here or an impossible severity."""
    state = _ALARM_STATES.get(message.state)
    texts = (message.plant, message.condition, message.branch, message.source, message.name, message.event)
    if state is None or any(len(text) > LONGEST_ALARM_NAME for text in texts):
        return None
    try:
        return Alarm(
            plant=message.plant,
            condition=message.condition,
            branch=message.branch,
            source=message.source,
            name=message.name,
            message=message.message[:LONGEST_ALARM_TEXT],
            state=state,
            severity=message.severity,
            time_ns=message.time_ns,
            quality=message.quality,
            event=message.event,
        )
    except InvalidInput:
        return None


def alarms(messages: Sequence[common_pb2.Alarm]) -> list[Alarm | None]:
    """The alarms of a batch, None in the place of each that is wrong.

    Raises:
        InvalidField: too many.
    """
    if len(messages) > MOST_ROWS:
        raise InvalidField("alarms", f"{len(messages)}; a batch has at most {MOST_ROWS}")
    return [alarm(message) for message in messages]


def producer(name: str) -> str:
    """The name of a producer, 1 to 200 characters."""
    if not 1 <= len(name) <= LONGEST_NAME:
        raise InvalidField("producer", f"a name of {len(name)} characters; 1 to {LONGEST_NAME} are allowed")
    return name


def sequence(number: int) -> int:
    """The sequence of a batch, 1 to MOST_SEQUENCE."""
    if not 1 <= number <= MOST_SEQUENCE:
        raise InvalidField("sequence", f"{number}; sequences count up from 1")
    return number


Reason: TypeAlias = "ingestion_pb2.RejectionReason.ValueType"


def reason_name(reason: Reason) -> str:
    """A reason as the label of a metric: "unknown_tag"."""
    return ingestion_pb2.RejectionReason.Name(reason).removeprefix("REJECTION_REASON_").lower()
