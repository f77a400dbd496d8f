"""Simulated plants behind Modbus TCP, M-Bus and Sparkplug B, read by the adapters of these."""

import math
import sys

import pytest

from uem.hardware_adapters.contract import collected
from uem.hardware_adapters.mbus.client import MbusAdapter
from uem.hardware_adapters.modbus.client import ModbusAdapter
from uem.hardware_adapters.mqtt.client import MqttAdapter
from uem.hardware_adapters.mqtt.security import Credentials
from uem.hardware_adapters.simulator.living import Living
from uem.hardware_adapters.simulator.main import living_servers
from uem.hardware_adapters.simulator.mbus import RECORDS, MbusServer
from uem.hardware_adapters.simulator.modbus import ModbusServer
from uem.hardware_adapters.simulator.mqtt import MqttServer
from uem.territories.schema_tags import METERED
from uem.twin_core.errors import AdapterError, InvalidInput
from uem.twin_core.measurements import (
    BAD_DEVICE_FAILURE,
    BAD_NO_COMMUNICATION,
    BAD_SENSOR_FAILURE,
    BAD_WAITING_FOR_INITIAL_DATA,
    Tag,
    is_bad,
)
from uem.twin_core.plant.addresses import MbusAddress, ModbusAddress, MqttAddress
from uem.twin_core.plant.simulation import Simulation
from uem.twin_core.plant.territory import Plant, TagBinding, Territory

T = 1_768_194_000_000_000_000
SECOND = 1_000_000_000
HERE = {"host": "127.0.0.1", "port": 0}


def binding(name, unit, address, **more):
    return TagBinding(tag=Tag(name=name, unit=unit), plant="p", display_unit=unit, address=address, **more)


REGISTERS = [
    binding("heat", "W", ModbusAddress(table="input", address=0, data_type="float32"), scale=1000.0),
    binding("running", "1", ModbusAddress(table="discrete", address=0)),
    binding("supply", "K", ModbusAddress(device=2, address=5, data_type="int16"), scale=0.1, offset=273.15),
]


async def rows_of(adapter, count):
    return {tag: (value, quality) for tag, _, value, quality in await collected(adapter, count, 60.0)}


async def test_registers_hold_what_instruments_show_and_what_has_no_value_is_bad():
    server = ModbusServer(Plant(name="p", protocol="modbus"), REGISTERS, **HERE)
    async with server, ModbusAdapter(server.endpoint, REGISTERS, response_timeout_s=5.0, ask_silent_s=0.0) as adapter:
        before = await rows_of(adapter, 3)
        assert {tag: quality for tag, (_, quality) in before.items()} == {
            "heat": BAD_SENSOR_FAILURE,
            "running": BAD_DEVICE_FAILURE,
            "supply": BAD_DEVICE_FAILURE,
        }
        rows = [("heat", T, 1.5e6, 0), ("running", T, 1.0, 0), ("supply", T, 363.15, 0), ("other", T, 1.0, 0)]
        await server.tell(rows)
        shown = await rows_of(adapter, 3)
        assert {tag: value for tag, (value, _) in shown.items()} == pytest.approx(
            {"heat": 1.5e6, "running": 1.0, "supply": 363.15}
        )
        await server.tell([("heat", T, math.nan, BAD_SENSOR_FAILURE)], silent={"running", "supply"})
        faulty = await rows_of(adapter, 3)
        assert faulty["heat"][1] == BAD_SENSOR_FAILURE
        assert faulty["running"][1] == BAD_DEVICE_FAILURE
        assert faulty["supply"][1] == BAD_NO_COMMUNICATION  # all of device 2 is silent
        await server.tell(rows)
        assert not any(is_bad(quality) for _, quality in (await rows_of(adapter, 3)).values())


async def test_a_silent_plant_is_lost_to_its_adapter():
    server = ModbusServer(Plant(name="p", protocol="modbus"), REGISTERS, **HERE)
    async with server, ModbusAdapter(server.endpoint, REGISTERS, response_timeout_s=1.0) as adapter:
        await server.tell([], silent={"heat", "running", "supply"})
        with pytest.raises(AdapterError, match="no answer within"):
            await rows_of(adapter, 100)


async def test_a_port_that_is_taken_is_told_with_the_plant():
    for kind, bindings in ((ModbusServer, REGISTERS), (MbusServer, [])):
        async with kind(Plant(name="p"), bindings, **HERE) as server:
            port = int(server.endpoint.rpartition(":")[2])
            with pytest.raises(AdapterError, match="plant q: "):
                await kind(Plant(name="q"), bindings, host="127.0.0.1", port=port).__aenter__()


async def test_a_meter_tells_each_quantity_in_its_digits():
    assert set(RECORDS) == set(METERED)
    true = {quantity: 1234.567 * digit + zero for quantity, (_, digit, zero) in RECORDS.items()}
    meters = [
        binding(f"{meter}/{quantity}", METERED[quantity], MbusAddress(meter=meter, quantity=quantity), sampling_ms=50)
        for meter in (1, 2)
        for quantity in RECORDS
    ]
    server = MbusServer(Plant(name="p", protocol="mbus"), meters, **HERE)
    async with server, MbusAdapter(server.endpoint, meters, response_timeout_s=5.0, ask_silent_s=0.0) as adapter:
        assert adapter.missing == {}  # records without a value are records
        assert {quality for _, quality in (await rows_of(adapter, 26)).values()} == {BAD_SENSOR_FAILURE}
        rows = [(b.tag.name, T, true[b.address.quantity], 0) for b in meters]
        await server.tell(rows)
        shown = await rows_of(adapter, 26)
        for b in meters:
            _, digit, zero = RECORDS[b.address.quantity]
            assert shown[b.tag.name][0] == pytest.approx(1235 * digit + zero, rel=1e-12), b.tag.name
        second = {b.tag.name for b in meters if b.address.meter == 2}
        await server.tell([], silent={"1/power", *second})
        faulty = await rows_of(adapter, 26)
        assert {tag: quality for tag, (_, quality) in faulty.items() if quality} == {
            "1/power": BAD_SENSOR_FAILURE,
            **dict.fromkeys(second, BAD_NO_COMMUNICATION),
        }
        await server.tell([("1/power", T, 1e12, 0)])  # more than the record can say
        assert (await rows_of(adapter, 13))["1/power"][1] == BAD_SENSOR_FAILURE


async def test_a_device_at_a_broker_tells_with_the_time_of_the_plant_and_when_asked_what_it_told_last(tmp_path):
    where = "valley/dairy/plc"
    metrics = [
        binding("state", "1", MqttAddress(topic=where, metric="Filler/State")),
        binding("power", "W", MqttAddress(topic=where, metric="Filler/Power"), scale=1000.0),
    ]
    server = MqttServer(Plant(name="p", protocol="mqtt"), metrics, lambda: T, **HERE)

    def adapter():
        return MqttAdapter(server.endpoint, metrics, Credentials("p", tmp_path), clock=lambda: T)

    async with server:
        async with adapter() as first:
            assert [row[:2] + row[3:] async for batch in _first(first) for row in batch.rows()] == [
                ("state", T, BAD_WAITING_FOR_INITIAL_DATA),
                ("power", T, BAD_WAITING_FOR_INITIAL_DATA),
            ]
            rows = [("power", T + 3 * SECOND, 5e3, 0), ("state", T + SECOND, 6.0, 0), ("state", T + 2 * SECOND, 5.0, 0)]
            await server.tell(rows)
            assert await collected(first, 3, 60.0) == sorted(rows, key=lambda row: row[1])
            await server.tell([("power", T + 4 * SECOND, math.nan, BAD_SENSOR_FAILURE)])
            (bad,) = await collected(first, 1, 60.0)
            assert bad[3] == BAD_SENSOR_FAILURE
            await server.tell([("power", T + 5 * SECOND, 6e3, 0)])
        async with adapter() as second:  # who comes later is told what there is, with its time
            assert await collected(second, 2, 60.0) == [
                ("state", T + 2 * SECOND, 5.0, 0),
                ("power", T + 5 * SECOND, 6e3, 0),
            ]


async def _first(adapter):
    async for batch in adapter.batches():
        yield batch
        return


def test_a_package_that_is_missing_is_told_with_the_extra_that_brings_it(monkeypatch, shared_pki):
    monkeypatch.setitem(sys.modules, "pymodbus", None)
    simulation = Simulation(epoch_ns=T, outdoor_c=(0.0,), shapes={}, groups={})
    plant = Plant(name="p", protocol="modbus", simulated=True)
    territory = Territory(name="t", plants=(plant,), simulation=simulation)
    with pytest.raises(InvalidInput, match=r"pip install 'uem\[modbus\]'"):
        list(living_servers(territory, Living(territory), shared_pki.simulator, None, **HERE))
