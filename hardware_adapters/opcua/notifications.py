"""PublishResponse of OPC UA -> columns, straight from the bytes.

asyncua decodes every value into objects and its times into `datetime`, which loses the last digit of the 100 ns ticks.
Here times stay integers, nothing is raised for a bad quality, and a value that is no number is kept as NaN with a bad
quality. Encoding: OPC 10000-6, 5.2. A value of a type that is rare in plants goes through asyncua's decoder.

Malformed bytes raise AdapterError; every read is checked against the end of the message.
"""

import struct
from dataclasses import dataclass, field

import numpy as np
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary
from numpy.typing import NDArray

from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import is_bad

TICKS_1601_TO_1970 = 116_444_736_000_000_000  # 100 ns ticks between the epochs of OPC UA and Unix
NO_TIME = np.iinfo(np.int64).min
BAD_TYPE_MISMATCH = 0x80740000
OVERFLOW = 0x00000480  # info bits: data value, and at least one value before this one was lost (OPC 10000-4, 7.39)
_OVERFLOW_MASK = 0x00000C80

_PUBLISH_RESPONSE = 829  # numeric identifiers of the binary encodings in namespace 0
_DATA_CHANGE = 811
_STATUS_CHANGE = 820

_SCALARS = {
    1: struct.Struct("<?"),
    2: struct.Struct("<b"),
    3: struct.Struct("<B"),
    4: struct.Struct("<h"),
    5: struct.Struct("<H"),
    6: struct.Struct("<i"),
    7: struct.Struct("<I"),
    8: struct.Struct("<q"),
    9: struct.Struct("<Q"),
    10: struct.Struct("<f"),
    11: struct.Struct("<d"),
}
_U8, _U16, _U32 = struct.Struct("<B"), struct.Struct("<H"), struct.Struct("<I")
_I32, _I64 = struct.Struct("<i"), struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class Notification:
    """What one PublishResponse says; a row per value, times in ns UTC or NO_TIME, values raw."""

    subscription: int
    sequence: int
    is_keep_alive: bool
    status_changes: list[int]
    handle: NDArray[np.uint32]
    value: NDArray[np.float64]
    quality: NDArray[np.uint32]
    source_time_ns: NDArray[np.int64]
    server_time_ns: NDArray[np.int64]

    @property
    def overflow_count(self) -> int:
        """Rows before which the server dropped at least one value."""
        return int(np.count_nonzero((self.quality & _OVERFLOW_MASK) == OVERFLOW))


def decode(body: bytes) -> Notification:
    """Decode the body of a PublishResponse message.

    Raises:
        AdapterError: it is not one, or it is cut short or malformed.
    """
    try:
        return _publish_response(_Reader(body))
    except (struct.error, IndexError, ValueError, ua.UaError, OverflowError) as error:
        raise AdapterError(f"the server sent a malformed publish response: {error}") from None


@dataclass(slots=True)
class _Columns:
    handle: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    quality: list[int] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    server: list[int] = field(default_factory=list)


class _Reader:
    """A position in bytes; every read moves it and fails at the end of the bytes."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0
        self.end = len(data)

    def unpack(self, kind: struct.Struct) -> int:
        value: int = kind.unpack_from(self.data, self.pos)[0]
        self.pos += kind.size
        return value

    def skip(self, count: int) -> None:
        if count < 0 or self.pos + count > self.end:
            raise ValueError(f"{count} bytes at {self.pos} of {self.end}")
        self.pos += count

    def skip_string(self) -> None:
        self.skip(max(self.unpack(_I32), 0))

    def count(self, least_size: int) -> int:
        """Length of an array whose elements take at least `least_size` bytes."""
        n = self.unpack(_I32)
        if n * least_size > self.end - self.pos:
            raise ValueError(f"array of {n} in {self.end - self.pos} bytes")
        return max(n, 0)

    def node_identifier(self) -> int | None:
        """Numeric identifier of a NodeId of namespace 0, None for any other."""
        kind = self.unpack(_U8)
        if kind == 0:
            return self.unpack(_U8)
        if kind == 1:
            namespace, identifier = self.unpack(_U8), self.unpack(_U16)
            return identifier if namespace == 0 else None
        if kind == 2:
            namespace, identifier = self.unpack(_U16), self.unpack(_U32)
            return identifier if namespace == 0 else None
        self.unpack(_U16)
        if kind == 4:
            self.skip(16)
        elif kind in (3, 5):
            self.skip_string()
        else:
            raise ValueError(f"node id of kind {kind}")
        return None

    def skip_diagnostics(self) -> None:
        mask = self.unpack(_U8)
        self.skip(4 * ((mask & 0x01) + (mask >> 1 & 1) + (mask >> 2 & 1) + (mask >> 3 & 1)))
        if mask & 0x10:
            self.skip_string()
        if mask & 0x20:
            self.skip(4)
        if mask & 0x40:
            self.skip_diagnostics()

    def time_ns(self) -> int:
        ticks = self.unpack(_I64)
        if ticks <= 0 or ticks == _I64_MAX:  # "no time" and "later than every time"
            return NO_TIME
        ns = (ticks - TICKS_1601_TO_1970) * 100
        return ns if -_I64_MAX <= ns <= _I64_MAX else NO_TIME


_I64_MAX = 2**63 - 1


def _publish_response(r: _Reader) -> Notification:
    identifier = r.node_identifier()
    if identifier != _PUBLISH_RESPONSE:
        raise ValueError(f"type {identifier} instead of PublishResponse")
    r.skip(12)  # time of the response and request handle
    result = r.unpack(_U32)
    if is_bad(result):
        raise AdapterError(f"the server refuses to publish: {ua.StatusCode(result).name}")
    r.skip_diagnostics()
    for _ in range(r.count(4)):
        r.skip_string()
    _skip_extension_object(r)
    subscription = r.unpack(_U32)
    r.skip(4 * r.count(4))  # sequence numbers that could be sent again
    r.skip(1)  # "more notifications": the next request is on its way anyway
    sequence = r.unpack(_U32)
    r.skip(8)
    columns, status_changes = _Columns(), []
    parts = r.count(3)
    for _ in range(parts):
        identifier, end = _extension_object(r)
        if identifier == _DATA_CHANGE:
            _data_change(r, columns)
        elif identifier == _STATUS_CHANGE:
            status_changes.append(r.unpack(_U32))
        r.pos = end
    r.skip(4 * r.count(4))  # what became of our acknowledgements
    for _ in range(r.count(1)):
        r.skip_diagnostics()
    return Notification(
        subscription,
        sequence,
        parts == 0,
        status_changes,
        np.array(columns.handle, np.uint32),
        np.array(columns.value, np.float64),
        np.array(columns.quality, np.uint32),
        np.array(columns.source, np.int64),
        np.array(columns.server, np.int64),
    )


def _extension_object(r: _Reader) -> tuple[int | None, int]:
    """Type and end of an extension object; the position is at its body."""
    identifier = r.node_identifier()
    if r.unpack(_U8) == 0:
        return identifier, r.pos
    length = r.unpack(_I32)
    start = r.pos
    r.skip(max(length, 0))
    end, r.pos = r.pos, start
    return identifier, end


def _skip_extension_object(r: _Reader) -> None:
    _, r.pos = _extension_object(r)


def _data_change(r: _Reader, columns: _Columns) -> None:
    for _ in range(r.count(5)):
        columns.handle.append(r.unpack(_U32))
        mask = r.unpack(_U8)
        value, quality = _variant(r) if mask & 0x01 else (np.nan, 0)
        status = r.unpack(_U32) if mask & 0x02 else 0
        source = r.time_ns() if mask & 0x04 else NO_TIME
        if mask & 0x10:  # counted in 10 ps
            picoseconds = r.unpack(_U16)
            source += picoseconds // 100 if source != NO_TIME else 0
        server = r.time_ns() if mask & 0x08 else NO_TIME
        if mask & 0x20:
            picoseconds = r.unpack(_U16)
            server += picoseconds // 100 if server != NO_TIME else 0
        columns.value.append(value)
        columns.quality.append(status if is_bad(status) else quality or status)
        columns.source.append(source)
        columns.server.append(server)


def _variant(r: _Reader) -> tuple[float, int]:
    """A number and quality 0, or NaN and why not."""
    start = r.pos
    encoding = r.unpack(_U8)
    scalar = _SCALARS.get(encoding)
    if scalar is not None:
        return float(r.unpack(scalar)), 0
    if encoding == 0:  # null: the status says why
        return np.nan, 0
    rest = Buffer(r.data, start)
    variant_from_binary(rest)
    r.skip(rest.cur_pos - r.pos)
    return np.nan, BAD_TYPE_MISMATCH
