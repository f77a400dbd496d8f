"""Values written to devices behind a real Modbus TCP server, and what is told of them."""

import math

import pytest
from pymodbus.constants import ExcCodes

from uem.hardware_adapters.base import WriteOutcome, Writes
from uem.hardware_adapters.modbus import writing
from uem.hardware_adapters.modbus.client import ModbusAdapter
from uem.hardware_adapters.modbus.registers import Block, Decoder, width
from uem.hardware_adapters.modbus.writing import words
from uem.hardware_adapters.simulator.modbus import ModbusPlant
from uem.hardware_adapters.writing import Refused
from uem.twin_core.errors import UnknownName
from uem.twin_core.measurements import Tag
from uem.twin_core.plant.addresses import ModbusAddress
from uem.twin_core.plant.territory import TagBinding


def binding(name, address, *, low=-math.inf, high=math.inf, scale=1.0, offset=0.0, writable=True, **more):
    return TagBinding(
        tag=Tag(name=name, unit="K", low=low, high=high),
        plant="p",
        display_unit="K",
        scale=scale,
        offset=offset,
        sampling_ms=10.0,
        writable=writable,
        address=ModbusAddress(address=address, **more),
    )


BOILER = (
    binding("setpoint", 0, data_type="float32", byte_order="CDAB", low=300.0, high=370.0, offset=273.15),
    binding("speed", 2, scale=0.5),
    binding("pump", 0, table="coil"),
    binding("measured", 4, writable=False),
    binding("input", 0, table="input"),
    binding("flag", 6, bit=3),
    binding("fan", 0, device=2),
)


async def outcomes(adapter, values):
    return {its.tag: its for its in await adapter.write(values, timeout_s=5.0)}


async def test_what_is_written_is_read_back_in_si():
    async with ModbusPlant(BOILER) as plant, ModbusAdapter(plant.endpoint, BOILER) as adapter:
        assert isinstance(adapter, Writes)
        found = await outcomes(adapter, {"setpoint": 353.15, "speed": 12.6, "pump": 1.0})
        assert {its.outcome for its in found.values()} == {WriteOutcome.WRITTEN}
        assert found["setpoint"].read == pytest.approx(353.15)
        assert found["speed"].read == 12.5  # whole raw values, of half a unit each
        assert plant.writes == [(1, "holding", 0, 2), (1, "holding", 2, 1), (1, "coil", 0, 1)]
        rows = {name: value for name, _, value, _ in (await anext(adapter.batches())).rows()}
        assert (rows["setpoint"], rows["speed"], rows["pump"]) == (pytest.approx(353.15), 12.5, 1.0)


async def test_what_must_not_be_sent_is_refused_before():
    values = {"setpoint": 400.0, "speed": -1.0, "pump": 2.0, "measured": 1.0, "input": 1.0, "flag": 1.0}
    async with ModbusPlant(BOILER) as plant, ModbusAdapter(plant.endpoint, BOILER) as adapter:
        found = await outcomes(adapter, values)
        assert {its.outcome for its in found.values()} == {WriteOutcome.REFUSED}
        assert all(its.status >= 0x80000000 and its.text for its in found.values())
        assert "outside of the limits" in found["setpoint"].text
        with pytest.raises(UnknownName):
            await adapter.write({"pump": 1.0, "nothing": 1.0})
        assert plant.writes == []
    (its,) = await adapter.write({"pump": 1.0})
    assert (its.outcome, its.text) == (WriteOutcome.REFUSED, "the plant is not connected; nothing was sent")


async def test_a_device_that_refuses_says_why():
    async with ModbusPlant(BOILER) as plant, ModbusAdapter(plant.endpoint, BOILER) as adapter:
        plant.failing[1, "holding"] = ExcCodes.DEVICE_BUSY
        (its,) = await adapter.write({"speed": 1.0})
        assert (its.outcome, its.text) == (WriteOutcome.REFUSED, "the device refuses it: device busy")


async def test_a_device_that_keeps_what_it_has_is_not_confirmed(monkeypatch):
    monkeypatch.setattr(writing, "CONFIRM_S", 1.0)
    async with ModbusPlant(BOILER) as plant, ModbusAdapter(plant.endpoint, BOILER) as adapter:
        plant.stuck = True
        (its,) = await adapter.write({"speed": 3.0})
        assert (its.outcome, its.read, its.text) == (
            WriteOutcome.NOT_CONFIRMED,
            0.0,
            "the device took it; it reads 0 K",
        )


async def test_without_an_answer_nobody_knows_and_it_is_not_sent_again():
    async with (
        ModbusPlant(BOILER) as plant,
        ModbusAdapter(plant.endpoint, BOILER, response_timeout_s=1.0) as adapter,
    ):
        plant.silent.add(2)
        (its,) = await adapter.write({"fan": 3.0})
        assert its.outcome is WriteOutcome.UNKNOWN
        assert plant.writes == [(2, "holding", 0, 1)]


@pytest.mark.parametrize("byte_order", ["ABCD", "CDAB", "BADC", "DCBA"])
@pytest.mark.parametrize("data_type", ["uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"])
def test_registers_are_those_that_the_decoder_reads(data_type, byte_order):
    its = ModbusAddress(address=0, data_type=data_type, byte_order=byte_order)
    block = Block(1, "holding", 0, width(its), ((0, its),))
    for value in (0.0, 1.0, 12_345.0) + ((-2.0,) if not data_type.startswith("u") else ()):
        assert Decoder(block).values(words(value, its)) == [value]
    if not data_type.startswith("float64"):
        with pytest.raises(Refused, match=f"none of a {data_type}"):
            words(1e300, its)
