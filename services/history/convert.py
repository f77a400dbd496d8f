"""Rows and gaps -> what goes over the wire."""

import re
from dataclasses import asdict

from uem.services.history.overview import Method
from uem.services.history.store import Commit, GapKey
from uem.services.status import InvalidField
from uem.twin_core.alarms import Alarm
from uem.twin_core.measurements import Gap, Samples
from uem.v1 import common_pb2
from uem.v1 import history_pb2 as pb
from uem.v1.columns import READ_SAMPLES_RESPONSE, WATCH_SAMPLES_RESPONSE, Columnar

_METHODS = {
    pb.OVERVIEW_METHOD_UNSPECIFIED: Method.MIN_MAX,
    pb.OVERVIEW_METHOD_MIN_MAX: Method.MIN_MAX,
    pb.OVERVIEW_METHOD_LARGEST_TRIANGLE: Method.LARGEST_TRIANGLE,
}


def method(number: int) -> Method:
    """How an overview is made; InvalidField for a number that is not known here."""
    try:
        return _METHODS[pb.OverviewMethod.ValueType(number)]
    except KeyError:
        raise InvalidField("method", f"{number} is not known here") from None


def gap(found: Gap) -> common_pb2.Gap:
    """A gap as a message."""
    reason = common_pb2.GapReason.Value(f"GAP_REASON_{found.reason.name}")
    return common_pb2.Gap(tag_name=found.tag, start_time_ns=found.start_ns, end_time_ns=found.end_ns, reason=reason)


def alarm(found: Alarm) -> common_pb2.Alarm:
    """An alarm as a message."""
    state = common_pb2.AlarmState.Value(f"ALARM_STATE_{found.state.name}")
    return common_pb2.Alarm(**{**asdict(found), "state": state})


def alarm_key(token: str) -> int:
    """The number of a page token of alarms, 0 for an empty one; InvalidField when it was not given out."""
    if token and re.fullmatch(r"[0-9]{1,18}", token) is None:
        raise InvalidField("page_token", f"{token[:50]!r} was not given out by this server; start without a token")
    return int(token or 0)


def frame(samples: Samples) -> Columnar[pb.ReadSamplesResponse]:
    """A frame of rows."""
    names = common_pb2.Samples(tag_name=samples.names)
    return READ_SAMPLES_RESPONSE.columnar(pb.ReadSamplesResponse(samples=names), samples)


def commit(found: Commit, missed: bool = False) -> Columnar[pb.WatchSamplesResponse]:
    """A commit, for a stream."""
    names = common_pb2.Samples(tag_name=found.samples.names)
    message = pb.WatchSamplesResponse(samples=names, cursor=found.number, missed=missed, behind=found.behind)
    return WATCH_SAMPLES_RESPONSE.columnar(message, found.samples)


def whole(samples: Samples) -> common_pb2.Samples:
    """Rows as a message of their own."""
    message, columns = frame(samples)
    for name, column in columns.items():
        getattr(message.samples, name).extend(column.tolist())
    return message.samples


def gap_token(key: GapKey) -> str:
    """The page token behind the gap of this key."""
    return f"{key[0]}.{key[1]}"


def gap_key(token: str) -> GapKey | None:
    """The key of a page token, None for an empty one; InvalidField when it was not given out."""
    if not token:
        return None
    start, _, number = token.partition(".") if re.fullmatch(r"-?[0-9]{1,19}\.[0-9]{1,19}", token) else ("", "", "")
    if not start or not (-(2**63) <= int(start) < 2**63 > int(number)):
        text = f"{token[:50]!r} was not given out by this server; start without a token"
        raise InvalidField("page_token", text)
    return int(start), int(number)
