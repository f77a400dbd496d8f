"""Columns -> what goes over the wire."""

from typing import Any

from numpy.typing import NDArray

from uem.twin_core.measurements import Samples
from uem.v1 import common_pb2
from uem.v1 import history_pb2 as pb

_LENGTH_DELIMITED = 2


def frame(samples: Samples) -> pb.ReadSamplesResponse:
    """A frame of rows.

    A packed column of fixed width is the bytes of the array behind a key and a length. Building these bytes and
    parsing them copies memory; assigning a list would make an object per value.
    """
    wire = (
        _packed(common_pb2.Samples.TAG_FIELD_NUMBER, samples.tag, "<u4"),
        _packed(common_pb2.Samples.SOURCE_TIME_NS_FIELD_NUMBER, samples.source_time_ns, "<i8"),
        _packed(common_pb2.Samples.VALUE_FIELD_NUMBER, samples.value, "<f8"),
        _packed(common_pb2.Samples.QUALITY_FIELD_NUMBER, samples.quality, "<u4"),
    )
    response = pb.ReadSamplesResponse()
    response.samples.MergeFromString(b"".join(wire))
    response.samples.tag_name.extend(samples.names)
    return response


def _packed(number: int, column: NDArray[Any], wire_type: str) -> bytes:
    data = column.astype(wire_type, copy=False).tobytes()
    return bytes([number << 3 | _LENGTH_DELIMITED]) + _varint(len(data)) + data if data else b""


def _varint(number: int) -> bytes:
    """Seven bits per byte, the lowest first; the eighth bit says that more follow."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
