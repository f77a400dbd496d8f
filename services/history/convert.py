"""Rows and gaps -> what goes over the wire."""

import re

from uem.services.history.store import GapKey
from uem.services.status import InvalidField
from uem.twin_core.measurements import Gap, Samples
from uem.v1 import common_pb2
from uem.v1 import history_pb2 as pb
from uem.v1.columns import READ_SAMPLES_RESPONSE, Columnar


def gap(found: Gap) -> common_pb2.Gap:
    """A gap as a message."""
    reason = common_pb2.GapReason.Value(f"GAP_REASON_{found.reason.name}")
    return common_pb2.Gap(tag_name=found.tag, start_time_ns=found.start_ns, end_time_ns=found.end_ns, reason=reason)


def frame(samples: Samples) -> Columnar[pb.ReadSamplesResponse]:
    """A frame of rows."""
    names = common_pb2.Samples(tag_name=samples.names)
    return READ_SAMPLES_RESPONSE.columnar(pb.ReadSamplesResponse(samples=names), samples)


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
    if re.fullmatch(r"-?[0-9]{1,19}\.[0-9]{1,19}", token) is None:
        text = f"{token[:50]!r} was not given out by this server; start without a token"
        raise InvalidField("page_token", text)
    start, number = token.split(".")
    return min(int(start), 2**63 - 1), min(int(number), 2**63 - 1)
