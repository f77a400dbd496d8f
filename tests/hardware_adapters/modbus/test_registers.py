import math

import numpy as np
import pytest

from uem.hardware_adapters.modbus.registers import MOST_REGISTERS, Block, Decoder, blocks
from uem.hardware_adapters.simulator.modbus import words
from uem.twin_core.plant.addresses import ModbusAddress

RANGES = {
    "uint16": [0, 1, 0x1234, 0xFFFF],
    "int16": [-32768, -2, 0x1234],
    "uint32": [0, 0x12345678, 2**32 - 1],
    "int32": [-(2**31), -2, 0x12345678],
    "uint64": [0, 2**53, 0x0012345678ABCDEF],
    "int64": [-(2**53), -2, 0x0012345678ABCDEF],
    "float32": [0.0, -1.5, 2.0**127, 1.401298464324817e-45],
    "float64": [0.0, -1.5, math.pi, 1e308],
}


def at(address, **more):
    return ModbusAddress(address=address, **more)


@pytest.mark.parametrize("byte_order", ["ABCD", "CDAB", "BADC", "DCBA"])
def test_every_type_in_every_order_is_what_struct_says(byte_order):
    tags, registers, expected = [], [], []
    for data_type, values in RANGES.items():
        for value in values:
            tags.append((len(tags), at(len(registers), data_type=data_type, byte_order=byte_order)))
            registers += words(value, data_type, byte_order)
            expected.append(float(value))
    (block,) = blocks(tags)
    assert Decoder(block).tag.tolist() == list(range(len(tags)))
    assert Decoder(block).values(registers).tolist() == expected


def test_the_four_orders_are_those_that_manuals_mean():
    orders = {"ABCD": [0x3FC0, 0x0001], "CDAB": [0x0001, 0x3FC0], "BADC": [0xC03F, 0x0100], "DCBA": [0x0100, 0xC03F]}
    for byte_order, registers in orders.items():
        (block,) = blocks([(0, at(0, data_type="uint32", byte_order=byte_order))])
        assert Decoder(block).values(registers).tolist() == [0x3FC00001]


def test_numbers_that_are_none_become_nan():
    tags = [(i, at(2 * i, data_type="float32")) for i in range(3)]
    (block,) = blocks(tags)
    registers = [word for value in (math.nan, math.inf, -math.inf) for word in words(value, "float32", "ABCD")]
    assert np.isnan(Decoder(block).values(registers)).all()


def test_bits_of_a_register_and_bits_of_a_table():
    (block,) = blocks([(i, at(7, bit=i)) for i in range(16)])
    assert block.count == 1
    assert Decoder(block).values([0b1000_0000_0000_0101]).tolist() == [1, 0, 1] + 12 * [0] + [1]
    (block,) = blocks([(0, at(3, table="coil")), (1, at(9, table="coil"))])
    assert (block.start, block.count) == (3, 7)
    assert Decoder(block).values([True, False, False, False, False, False, False, True]).tolist() == [1, 0]


def test_neighbours_share_a_request_and_strangers_do_not():
    tags = [
        (0, at(10, data_type="float32")),
        (1, at(12)),
        (2, at(29)),  # 16 in between
        (3, at(47)),  # 17 in between
        (4, at(10, table="input")),
        (5, at(10, device=2)),
    ]
    found = {(b.device, b.table, b.start, b.count): [tag for tag, _ in b.tags] for b in blocks(tags)}
    assert found == {
        (1, "holding", 10, 20): [0, 1, 2],
        (1, "holding", 47, 1): [3],
        (1, "input", 10, 1): [4],
        (2, "holding", 10, 1): [5],
    }


def test_no_request_is_larger_than_an_answer_may_be_and_no_number_is_cut():
    tags = [(i, at(2 * i, data_type="float32")) for i in range(1000)]
    found = blocks(tags)
    assert max(block.count for block in found) == MOST_REGISTERS - 1  # 125 is odd
    assert [tag for block in found for tag, _ in block.tags] == list(range(1000))
    assert all(
        block.start <= a.address and a.address + 2 <= block.start + block.count
        for block in found
        for _, a in block.tags
    )
    assert len(found) == math.ceil(2000 / (MOST_REGISTERS - 1))


def test_tags_that_overlap_are_read_once():
    (block,) = blocks([(0, at(5, data_type="float64")), (1, at(6)), (2, at(5))])
    assert isinstance(block, Block)
    assert (block.start, block.count, len(block.tags)) == (5, 4, 3)
