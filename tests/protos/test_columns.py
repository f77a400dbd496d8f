"""Packed columns written and read by memcpy, against what the generated classes write and read."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError, EncodeError
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from uem.v1 import ingestion_pb2, twin_pb2, wire
from uem.v1.columns import INGEST_REQUEST, READ_SAMPLES_RESPONSE, WATCH_STATE_RESPONSE, Columnar
from uem.v1.common_pb2 import Samples

KINDS = {"tag": np.uint32, "source_time_ns": np.int64, "value": np.float64, "quality": np.uint32}
TEXTS = st.text(max_size=6)
UNSIGNED = st.integers(0, 2**64 - 1)
TIMES = st.integers(-(2**63), 2**63 - 1)
BITS = {4: np.uint32, 8: np.uint64}


def columns_of(kinds):
    """Columns of any bits, NaN with any payload too, each of a length of its own."""
    lengths = st.one_of(st.integers(0, 5), st.integers(0, 700))
    return st.fixed_dictionaries(
        {
            name: lengths.flatmap(lambda n, kind=kind: arrays(BITS[np.dtype(kind).itemsize], n)).map(
                lambda bits, kind=kind: bits.view(kind)
            )
            for name, kind in kinds.items()
        }
    )


@st.composite
def ingest_requests(draw):
    samples = Samples(tag_name=draw(st.lists(TEXTS, max_size=4)))
    request = ingestion_pb2.IngestRequest(producer=draw(TEXTS), sequence=draw(UNSIGNED), samples=samples)
    return Columnar(request, draw(columns_of(KINDS)))


@st.composite
def states(draw):
    state = twin_pb2.State(
        asset=draw(TEXTS),
        tick=draw(UNSIGNED),
        plant_time_ns=draw(TIMES),
        published_time_ns=draw(TIMES),
        ledger_since_ns=draw(TIMES),
        signals_revision=draw(st.integers(0, 2**32 - 1)),
        run_id=draw(TEXTS),
    )
    kinds = {"value": np.float64, "standard_deviation": np.float64, "quality": np.uint32, "age_s": np.float64}
    return Columnar(twin_pb2.WatchStateResponse(state=state, missed_count=draw(UNSIGNED)), draw(columns_of(kinds)))


CASES = st.one_of(
    ingest_requests().map(lambda columnar: (INGEST_REQUEST, "samples", columnar)),
    states().map(lambda columnar: (WATCH_STATE_RESPONSE, "state", columnar)),
)


def whole(part, columnar):
    """The message with the columns in its lists, as anybody would write it."""
    message = type(columnar.message)()
    message.CopyFrom(columnar.message)
    for name, column in columnar.columns.items():
        getattr(getattr(message, part), name).extend(column.tolist())
    return message


def assert_same(found, expected):
    assert found.message == expected.message
    assert found.message.SerializeToString() == expected.message.SerializeToString()
    assert found.columns.keys() == expected.columns.keys()
    for name, column in expected.columns.items():
        assert found.columns[name].dtype == column.dtype
        assert found.columns[name].tobytes() == column.tobytes(), name


def read_by_protobuf(codec, data):
    """What the generated class reads, or its error."""
    try:
        return codec.split(codec._type.FromString(data))
    except DecodeError as error:
        return error


def assert_reads_as_protobuf(codec, data):
    expected = read_by_protobuf(codec, data)
    if isinstance(expected, DecodeError):
        with pytest.raises(DecodeError):
            codec.decode(data)
    else:
        assert_same(codec.decode(data), expected)


def field(number, content):
    """A sized field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number):
    found = b""
    while number > 0x7F:
        found += bytes([number & 0x7F | 0x80])
        number >>= 7
    return found + bytes([number])


@given(CASES)
def test_what_is_written_are_the_bytes_of_protobuf(case):
    codec, part, columnar = case
    assert codec.encode(columnar) == whole(part, columnar).SerializeToString()


@given(CASES)
def test_what_is_written_is_read_again(case):
    codec, _, columnar = case
    data = codec.encode(columnar)
    assert codec._layout.take(data) is not None
    assert_same(codec.decode(data), columnar)


@given(ingest_requests())
def test_columns_that_were_read_belong_to_the_reader(columnar):
    found = INGEST_REQUEST.decode(INGEST_REQUEST.encode(columnar)).columns
    assert all(column.flags.owndata and column.flags.writeable and column.flags.aligned for column in found.values())


def test_columns_of_any_stride_are_written_as_they_read():
    column = np.arange(20, dtype=np.float64)
    empty = {name: np.empty(0, kind) for name, kind in KINDS.items()}
    request = ingestion_pb2.IngestRequest(samples=Samples())
    for view in (column[::2], column[::-1], column[3:7], np.broadcast_to(column[:1], 6)):
        columnar = Columnar(request, empty | {"value": view})
        assert INGEST_REQUEST.encode(columnar) == whole("samples", columnar).SerializeToString()


FRAME = {"tag": [0, 1], "source_time_ns": [-1, 5], "value": [0.5, float("inf")], "quality": [0, 2**31]}
PARTS = [
    field(1, b"a"),
    field(1, "Wärme".encode()),
    field(2, np.array([1, 0], np.uint32).tobytes()),
    field(3, np.array([1, -1], np.int64).tobytes()),
    field(4, np.array([1.5, -0.0], np.float64).tobytes()),
    field(5, b""),
    field(5, np.array([7], np.uint32).tobytes()),
    varint(2 << 3 | 5) + b"\x01\x02\x03\x04",  # a value of a column by itself
    varint(4 << 3 | 1) + bytes(8),
    varint(4 << 3 | 0) + b"\x05",  # a column's number with another type
    field(9, b"unknown"),
    field(2**29 - 1, b"unknown"),
    varint(8 << 3 | 0) + varint(2**64 - 1),
    varint(8 << 3 | 1) + bytes(8),
    varint(8 << 3 | 3) + varint(9 << 3 | 0) + b"\x01" + varint(8 << 3 | 4),  # a group
    b"\xa2\x80\x00" + varint(8) + bytes(8),  # a key with bytes to spare
    b"\x22\x88\x00" + bytes(8),  # a length with bytes to spare
    field(4, bytes(7)),  # no whole number of values
    field(1, b"\xff"),  # no text
    b"\x22\x09" + bytes(8),  # one byte short, or at the cost of what follows
    b"\x00",
    b"\x07",
    b"\x24",
    b"\xff" * 10,
]


@given(st.lists(st.lists(st.sampled_from(PARTS), max_size=8), max_size=3), st.lists(st.sampled_from(PARTS), max_size=2))
@example([[PARTS[4], PARTS[4]]], [])
@example([[PARTS[4]], [PARTS[4]]], [])
@example([[PARTS[7]]], [])
@example([[PARTS[9]]], [])
@example([], [])
def test_fields_in_any_order_and_form_are_read_as_by_protobuf(frames, around):
    samples = [field(1, b"".join(frame)) for frame in frames]
    for data in (b"".join([*around, *samples]), b"".join([*samples, *around])):
        assert_reads_as_protobuf(READ_SAMPLES_RESPONSE, data)


@given(CASES, st.data())
def test_bytes_that_were_changed_or_cut_are_read_as_by_protobuf(case, data):
    codec, _, columnar = case
    found = bytearray(codec.encode(columnar))
    assume(found)
    for _ in range(data.draw(st.integers(1, 3))):
        # Most bytes are values that may be any: keys and lengths are at the front.
        at = data.draw(st.one_of(st.integers(0, min(40, len(found) - 1)), st.integers(0, len(found) - 1)))
        found[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(found)))
    for changed in (bytes(found), bytes(found[:cut])):
        assert_reads_as_protobuf(codec, changed)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_by_protobuf(data):
    for codec in (INGEST_REQUEST, WATCH_STATE_RESPONSE):
        assert_reads_as_protobuf(codec, data)


def test_a_frame_cut_anywhere_is_read_as_by_protobuf():
    data = ingestion_pb2.IngestRequest(
        producer="p", sequence=300, samples=Samples(tag_name=["a", "b"], **FRAME)
    ).SerializeToString()
    for end in range(len(data) + 1):
        assert_reads_as_protobuf(INGEST_REQUEST, data[:end])


@given(ingest_requests())
def test_fields_that_this_version_does_not_know_are_kept(columnar):
    data = INGEST_REQUEST.encode(columnar)
    found = INGEST_REQUEST.decode(field(77, b"later") + data)
    assert (
        INGEST_REQUEST.encode(found)
        == ingestion_pb2.IngestRequest.FromString(field(77, b"later") + data).SerializeToString()
    )


@pytest.mark.parametrize(
    ("message", "changed", "expected"),
    [
        (Samples(), {"value": np.zeros(2, np.float32)}, "float32"),
        (Samples(), {"value": np.zeros(2, ">f8")}, "a column of float64"),
        (Samples(), {"value": np.zeros((2, 2))}, "2-dimensional"),
        (Samples(), {"values": np.zeros(2)}, "columns"),
        (Samples(value=[1.0]), {}, "already"),
        (None, {}, "without the field 3"),
    ],
    ids=["kind", "byte order", "table", "unknown", "twice", "no part"],
)
def test_columns_that_do_not_fit_the_message_are_refused(message, changed, expected):
    columns = {name: np.zeros(2, kind) for name, kind in KINDS.items()} | changed
    with pytest.raises(ValueError, match=expected):
        INGEST_REQUEST.encode(Columnar(ingestion_pb2.IngestRequest(samples=message), columns))


def test_a_message_beyond_two_gigabytes_is_an_encode_error():
    columns = {name: np.empty(0, kind) for name, kind in KINDS.items()}
    columns["value"] = np.empty(2**28)  # untouched, so it takes no memory
    with pytest.raises(EncodeError, match="2147483647"):
        INGEST_REQUEST.encode(Columnar(ingestion_pb2.IngestRequest(samples=Samples()), columns))


def test_a_layout_has_columns_in_the_order_of_their_fields():
    with pytest.raises(ValueError, match="ascending"):
        wire.Layout(1, [3, 2], [np.float64, np.float64])
