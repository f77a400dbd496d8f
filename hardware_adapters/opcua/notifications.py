"""PublishResponse and RepublishResponse of OPC UA -> columns.

asyncua decodes every value into objects and its times into `datetime`, which loses the last digit of the 100 ns ticks.
Here the kernel `binary` writes columns straight from the bytes: times stay integers and nothing is raised for a bad
quality. A value that is no number is NaN with a bad quality; what it is, `variant` asks asyncua.
"""

from dataclasses import dataclass

import numpy as np
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary
from numpy.typing import NDArray

from uem.hardware_adapters.opcua.binary import BAD_TYPE_MISMATCH, NO_TIME, Columns, publish_response, republish_response
from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import is_bad

__all__ = [
    "BAD_TYPE_MISMATCH",
    "NO_TIME",
    "Columns",
    "Notification",
    "decode",
    "decode_repeated",
    "variant",
]


@dataclass(slots=True)  # one is made for every message, which being frozen would make thrice as dear
class Notification:
    """What one message says; a row per value, times in ns UTC or NO_TIME, values raw.

    The rows are in `columns`, which they were decoded into. `others` has the encoded values that are no numbers, by
    row; `available` the sequence numbers that can be sent again; `acknowledged` a status per acknowledgement.
    """

    subscription: int
    sequence: int
    is_keep_alive: bool
    status_changes: list[int]
    columns: Columns
    available: list[int]
    acknowledged: list[int]

    @property
    def handle(self) -> NDArray[np.uint32]:
        """By row, the number that was given to the tag."""
        return self.columns.handle

    @property
    def value(self) -> NDArray[np.float64]:
        """By row; NaN for what is no number."""
        return self.columns.value

    @property
    def quality(self) -> NDArray[np.uint32]:
        """By row, the status code."""
        return self.columns.quality

    @property
    def source_time_ns(self) -> NDArray[np.int64]:
        """By row."""
        return self.columns.source_time_ns

    @property
    def server_time_ns(self) -> NDArray[np.int64]:
        """By row."""
        return self.columns.server_time_ns

    @property
    def others(self) -> dict[int, bytes]:
        """Encoded values that are no numbers, by row."""
        return self.columns.others


def decode(body: bytes | memoryview, columns: Columns | None = None) -> Notification:
    """Decode the body of a PublishResponse message, into columns of its own or into those of the message before.

    Raises:
        AdapterError: it is not one, or it is cut short or malformed, or the server refuses to publish.
    """
    if columns is None:
        columns = Columns()
    result, subscription, available, _, acknowledged, sequence, parts, changes = publish_response(body, columns)
    if is_bad(result):
        raise AdapterError(f"the server refuses to publish: {ua.StatusCode(result).name}")
    return Notification(subscription, sequence, parts == 0, changes, columns, available, acknowledged)


def decode_repeated(body: bytes, subscription: int) -> Notification:
    """Decode the body of a RepublishResponse message: a notification of `subscription` that was sent before.

    Raises:
        AdapterError: it is not one, or it is cut short or malformed, or the server refuses to send it again.
    """
    columns = Columns()
    result, sequence, parts, changes = republish_response(body, columns)
    if is_bad(result):
        raise AdapterError(f"the server refuses to publish again: {ua.StatusCode(result).name}")
    return Notification(subscription, sequence, parts == 0, changes, columns, [], [])


def variant(encoded: bytes) -> ua.Variant:
    """The object that asyncua makes of one of `others`.

    Raises:
        AdapterError: it cannot.
    """
    try:
        return variant_from_binary(Buffer(encoded))
    except Exception as error:  # the library raises many kinds
        raise AdapterError(f"a value that the library cannot decode: {error}") from None
