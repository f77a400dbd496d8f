import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from uem.services.history import chunks
from uem.services.history.chunks import Columns, CorruptChunk


def columns(rows):
    return st.builds(
        Columns,
        arrays(np.int64, rows),
        arrays(np.float64, rows),
        arrays(np.uint32, rows),
    )


def same(a, b):
    for left, right in zip(a, b, strict=True):
        np.testing.assert_array_equal(left.view(np.uint8), right.view(np.uint8))


@given(st.integers(0, 50).flatmap(columns))
def test_a_chunk_gives_back_every_bit(rows):
    same(chunks.unpack(chunks.pack(rows), rows.rows), rows)


@given(st.integers(0, 50).flatmap(lambda n: st.tuples(arrays(np.uint32, n), columns(n))))
def test_a_batch_gives_back_every_bit(batch):
    tag, rows = batch
    found_tag, found = chunks.unpack_batch(chunks.pack_batch(tag, rows), rows.rows)
    np.testing.assert_array_equal(found_tag, tag)
    same(found, rows)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(allow_nan=False))))
def test_the_last_row_of_each_time_wins(rows):
    plain = dict(rows)
    time, value = np.array([t for t, _ in rows], np.int64), np.array([v for _, v in rows])
    found = chunks.newest_wins(Columns(time, value, np.zeros(len(rows), np.uint32)))
    assert list(zip(found.time.tolist(), found.value.tolist(), strict=True)) == sorted(plain.items())


def test_slow_plant_values_take_a_third_of_their_raw_size_or_less():
    time = np.arange(4096, dtype=np.int64) * 100_000_000 + 1_700_000_000_000_000_000
    value = np.round(350 + np.cumsum(np.random.default_rng(3).normal(0, 0.02, 4096)), 2)
    packed = chunks.pack(Columns(time, value, np.zeros(4096, np.uint32)))
    assert len(packed) * 3 < 4096 * 20


@pytest.mark.parametrize("position", [0, 10, -1])
def test_a_flipped_bit_and_a_misplaced_row_fail_the_checksum(position):
    data = bytearray(chunks.pack(Columns(np.arange(9), np.ones(9), np.zeros(9, np.uint32))))
    crc = chunks.checksum(bytes(data), 1, 2)
    chunks.check(bytes(data), crc, 1, 2)
    with pytest.raises(CorruptChunk):
        chunks.check(bytes(data), crc, 1, 3)
    data[position] ^= 4
    with pytest.raises(CorruptChunk):
        chunks.check(bytes(data), crc, 1, 2)


def test_bytes_that_cannot_hold_the_rows_are_corrupt():
    data = chunks.pack(Columns(np.arange(9), np.ones(9), np.zeros(9, np.uint32)))
    for wrong, rows in ((data, 8), (b"nonsense", 9)):
        with pytest.raises(CorruptChunk):
            chunks.unpack(wrong, rows)
    with pytest.raises(CorruptChunk):
        chunks.unpack_batch(b"123", 1)
