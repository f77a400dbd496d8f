"""Messages with packed columns <-> bytes, with the columns as numpy arrays.

The generated classes hold a number per value. Here only what is left of a message goes through its class: the kernel
`wire` copies the columns. The bytes are those that protobuf writes, and all that protobuf reads is read, with the same
result or the same error; what is written in an unusual way (a column in chunks or value by value, groups, a part in
pieces) is left to protobuf as a whole.
"""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import EncodeError, Message
from numpy.typing import NDArray

from uem.v1 import history_pb2, ingestion_pb2, twin_pb2
from uem.v1.wire import Layout

M = TypeVar("M", bound=Message)
Columns: TypeAlias = dict[str, NDArray[Any]]

_KINDS = {
    FieldDescriptor.TYPE_DOUBLE: np.float64,
    FieldDescriptor.TYPE_FLOAT: np.float32,
    FieldDescriptor.TYPE_FIXED64: np.uint64,
    FieldDescriptor.TYPE_SFIXED64: np.int64,
    FieldDescriptor.TYPE_FIXED32: np.uint32,
    FieldDescriptor.TYPE_SFIXED32: np.int32,
}


class Columnar(NamedTuple, Generic[M]):
    """A message without the columns of its part, and these columns by the names of their fields."""

    message: M
    columns: Columns


class Codec(Generic[M]):
    """Writes and reads messages of one class whose field `part` is a message with columns."""

    def __init__(self, message_type: type[M], part: str) -> None:
        field = message_type.DESCRIPTOR.fields_by_name[part]
        assert field.message_type is not None, f"{part} is no message"
        fields: list[Any] = sorted(field.message_type.fields, key=lambda f: f.number)
        columns = [f for f in fields if f.type in _KINDS and f.is_packed]
        self._type = message_type
        self._part = part
        self._kinds = {f.name: np.dtype(_KINDS[f.type]) for f in columns}
        self._layout = Layout(field.number, [f.number for f in columns], list(self._kinds.values()))

    def encode(self, columnar: Columnar[M]) -> bytes:
        """The bytes that SerializeToString would give with the columns in the message.

        Raises:
            ValueError: a message without its part, a column that is missing, unknown, or of another dtype.
            EncodeError: more than 2 GiB.
        """
        message, columns = columnar
        if columns.keys() != self._kinds.keys():
            raise ValueError(f"columns {', '.join(columns)}; {self._part} has {', '.join(self._kinds)}")
        try:
            return self._layout.put(message.SerializeToString(), [columns[name] for name in self._kinds])
        except OverflowError as error:
            raise EncodeError(str(error)) from None

    def columnar(self, message: M, rows: object) -> Columnar[M]:
        """A message without its columns, and `rows`, whose attributes are columns named as the fields."""
        return Columnar(message, {name: getattr(rows, name) for name in self._kinds})

    def split(self, message: M) -> Columnar[M]:
        """A message with its columns in the lists of its class -> the message without them, and the columns."""
        part = getattr(message, self._part)
        columns = {name: np.array(getattr(part, name), kind) for name, kind in self._kinds.items()}
        if message.HasField(self._part):
            for name in self._kinds:
                part.ClearField(name)
        return Columnar(message, columns)

    def decode(self, data: bytes) -> Columnar[M]:
        """What FromString would read, with the columns beside it; DecodeError if the bytes are no such message."""
        taken = self._layout.take(data)
        if taken is None:
            return self.split(self._type.FromString(data))
        rest, columns = taken
        return Columnar(self._type.FromString(rest), dict(zip(self._kinds, columns, strict=True)))


INGEST_REQUEST = Codec(ingestion_pb2.IngestRequest, "samples")
READ_SAMPLES_RESPONSE = Codec(history_pb2.ReadSamplesResponse, "samples")
WATCH_SAMPLES_RESPONSE = Codec(history_pb2.WatchSamplesResponse, "samples")
WATCH_STATE_RESPONSE = Codec(twin_pb2.WatchStateResponse, "state")

# Streams whose messages a server reads and writes with these codecs, by method.
READERS: dict[str, Callable[[bytes], Columnar[Any]]] = {"/uem.v1.IngestionService/Ingest": INGEST_REQUEST.decode}
WRITERS: dict[str, Callable[[Columnar[Any]], bytes]] = {
    "/uem.v1.HistoryService/ReadSamples": READ_SAMPLES_RESPONSE.encode,
    "/uem.v1.HistoryService/WatchSamples": WATCH_SAMPLES_RESPONSE.encode,
    "/uem.v1.TwinService/WatchState": WATCH_STATE_RESPONSE.encode,
}


def ingest(channel: Any) -> Any:
    """The method Ingest of a channel, which takes Columnar requests."""
    return channel.stream_stream(
        "/uem.v1.IngestionService/Ingest",
        request_serializer=INGEST_REQUEST.encode,
        response_deserializer=ingestion_pb2.IngestResponse.FromString,
    )


def read_samples(channel: Any) -> Any:
    """The method ReadSamples of a channel, which gives Columnar responses."""
    return channel.unary_stream(
        "/uem.v1.HistoryService/ReadSamples",
        request_serializer=history_pb2.ReadSamplesRequest.SerializeToString,
        response_deserializer=READ_SAMPLES_RESPONSE.decode,
    )


def watch_samples(channel: Any) -> Any:
    """The method WatchSamples of a channel, which gives Columnar responses."""
    return channel.unary_stream(
        "/uem.v1.HistoryService/WatchSamples",
        request_serializer=history_pb2.WatchSamplesRequest.SerializeToString,
        response_deserializer=WATCH_SAMPLES_RESPONSE.decode,
    )


def watch_state(channel: Any) -> Any:
    """The method WatchState of a channel, which gives Columnar responses."""
    return channel.unary_stream(
        "/uem.v1.TwinService/WatchState",
        request_serializer=twin_pb2.WatchStateRequest.SerializeToString,
        response_deserializer=WATCH_STATE_RESPONSE.decode,
    )
