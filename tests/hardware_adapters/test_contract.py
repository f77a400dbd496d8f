"""One contract, every adapter."""

import dataclasses
import json
import math
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import aiomqtt
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from pymodbus.constants import ExcCodes

from uem.hardware_adapters.base import Break, SampleQueue
from uem.hardware_adapters.contract import CHECKS, Case, every_row_arrives_once_and_in_order
from uem.hardware_adapters.mbus.client import MbusAdapter
from uem.hardware_adapters.modbus.client import ModbusAdapter
from uem.hardware_adapters.mqtt.client import MqttAdapter
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.redundancy import RedundantAdapter
from uem.hardware_adapters.replay import ReplayAdapter
from uem.hardware_adapters.simulator.mbus import MbusPlant, digits, integer
from uem.hardware_adapters.simulator.modbus import ModbusPlant
from uem.hardware_adapters.simulator.mqtt import SparkplugPlant
from uem.twin_core.errors import AdapterError, UnknownTag
from uem.twin_core.measurements import (
    BAD_DEVICE_FAILURE,
    BAD_SENSOR_FAILURE,
    BAD_WAITING_FOR_INITIAL_DATA,
    GapReason,
    Samples,
)
from uem.twin_core.plant.addresses import MbusAddress, ModbusAddress, MqttAddress


async def _nothing():
    pass


@pytest.fixture
def cases(plant, bindings, rows, open_hall, shared_pki, make_binding, tmp_path, open_broker):
    stray = make_binding("hall/humidity", "Hall/Air/Humidity", "humidity")

    @asynccontextmanager
    async def opc_ua():
        async with open_hall() as hall:
            yield Case(
                make=lambda: OpcUaAdapter(
                    hall.server.endpoint, (*bindings, stray), shared_pki.gateway, publish_interval_ms=50.0
                ),
                start=hall.start,
                make_small=lambda: OpcUaAdapter(
                    hall.server.endpoint,
                    (*bindings, stray),
                    shared_pki.gateway,
                    publish_interval_ms=20.0,
                    most_queued_rows=4,
                ),
                rows=rows,
                missing={"hall/humidity"},
            )

    @asynccontextmanager
    async def redundant():
        """Two lines to one server, which has the same data as itself."""
        async with open_hall() as hall:

            def made(interval_ms, **options):
                return RedundantAdapter(
                    [hall.server.endpoint] * 2,
                    (*bindings, stray),
                    lambda at, tags: OpcUaAdapter(at, tags, shared_pki.gateway, publish_interval_ms=interval_ms),
                    **options,
                )

            yield Case(
                make=lambda: made(50.0),
                start=hall.start,
                make_small=lambda: made(20.0, most_queued_rows=4),
                rows=rows,
                missing={"hall/humidity"},
            )

    @asynccontextmanager
    async def replay():
        yield Case(
            make=lambda: ReplayAdapter(plant.recording, (*bindings, stray), rows_per_batch=7),
            start=_nothing,
            rows=rows,
            missing={"hall/humidity"},
        )

    @asynccontextmanager
    async def replay_of_parquet():
        path = _as_parquet(plant.recording.path, tmp_path)
        recording = replace(plant.recording, path=str(path))
        yield Case(
            make=lambda: ReplayAdapter(recording, (*bindings, stray), rows_per_batch=7),
            start=_nothing,
            rows=rows,
            missing={"hall/humidity"},
        )

    @asynccontextmanager
    async def modbus():
        """The clock of the adapter is that of the plant, whose next row is there when the next poll begins."""
        at = [
            ModbusAddress(address=100, data_type="float32", byte_order="CDAB"),
            ModbusAddress(address=2, data_type="float64", device=7),
            ModbusAddress(address=3, table="input", data_type="int16"),
        ]
        tags = [replace(b, address=address) for b, address in zip(bindings, at, strict=True)]
        nowhere = replace(stray, address=ModbusAddress(address=9))
        by_time = groupby(_of_meters(rows), key=lambda row: row[1])
        async with ModbusPlant(tags) as device:

            def clock():
                time_ns, its = next(by_time)
                device.failing.clear()
                for binding, (_, _, value, quality) in zip(tags, its, strict=True):
                    raw = (value - binding.offset) / binding.scale
                    if quality == BAD_DEVICE_FAILURE:
                        device.failing[binding.address.device, binding.address.table] = ExcCodes.DEVICE_FAILURE
                    else:
                        device.set(binding.tag.name, raw)
                return time_ns

            yield Case(
                make=lambda: ModbusAdapter(device.endpoint, (*tags, nowhere), clock=clock),
                start=_nothing,
                rows=_of_meters(rows),
                missing={"hall/humidity"},
            )

    @asynccontextmanager
    async def mbus():
        """The records of the one meter are those of the next row when it is asked; an error of one makes it bad."""
        quantities = ("temperature_difference", "power", "volume")
        tags = [replace(b, address=MbusAddress(meter=5, quantity=q)) for b, q in zip(bindings, quantities, strict=True)]
        nowhere = replace(stray, address=MbusAddress(meter=5, quantity="energy"))
        its_rows = [(tag, t, value, BAD_SENSOR_FAILURE if quality else 0) for tag, t, value, quality in rows]
        by_time = groupby(its_rows, key=lambda row: row[1])

        async with MbusPlant({5: [_of_meter(0.0, 0.0, 0.0)]}) as plant:

            def clock():
                time_ns, its = next(by_time)
                raw = [(value - b.offset) / b.scale for b, (_, _, value, _) in zip(tags, its, strict=True)]
                plant.meters[5] = [_of_meter(*raw)]
                return time_ns

            yield Case(
                make=lambda: MbusAdapter(plant.endpoint, (*tags, nowhere), clock=clock),
                start=_nothing,
                rows=its_rows,
                missing={"hall/humidity"},
            )

    @asynccontextmanager
    async def mqtt():
        """One JSON message with all values at each time; whether a plain topic exists cannot be known."""
        tags = [
            replace(b, address=MqttAddress(topic="hall", field=f"values.{b.column}", time_field="t")) for b in bindings
        ]
        async with open_broker() as broker, aiomqtt.Client("127.0.0.1", broker.port) as device:

            async def start():
                for time_ns, values in _told(tags, rows):
                    message = json.dumps({"t": time_ns // 1_000_000, "values": values})
                    await device.publish("hall", message, 1)

            yield Case(
                make=lambda: MqttAdapter(broker.endpoint, tags, broker.credentials),
                start=start,
                make_small=lambda: MqttAdapter(broker.endpoint, tags, broker.credentials, most_queued_rows=4),
                rows=[row for row in rows if row[3] != BAD_WAITING_FOR_INITIAL_DATA],
                missing=set(),
            )

    @asynccontextmanager
    async def sparkplug():
        """A birth comes first, without values."""
        where = "works/edge/hall"
        tags = [replace(b, address=MqttAddress(topic=where, metric=b.column)) for b in (*bindings, stray)]
        waiting = [(b.tag.name, 0, math.nan, BAD_WAITING_FOR_INITIAL_DATA) for b in bindings]
        async with (
            open_broker() as broker,
            SparkplugPlant(broker.port, [b.column for b in bindings], where=where) as device,
        ):

            async def start():
                for time_ns, values in _told(tags, rows):
                    await device.tell(time_ns, values)

            yield Case(
                make=lambda: MqttAdapter(broker.endpoint, tags, broker.credentials),
                start=start,
                make_small=lambda: MqttAdapter(broker.endpoint, tags, broker.credentials, most_queued_rows=4),
                rows=waiting + [row for row in rows if row[3] != BAD_WAITING_FOR_INITIAL_DATA],
                missing={"hall/humidity"},
            )

    return {
        "opc_ua": opc_ua,
        "redundant": redundant,
        "replay": replay,
        "replay_of_parquet": replay_of_parquet,
        "modbus": modbus,
        "mbus": mbus,
        "mqtt": mqtt,
        "sparkplug": sparkplug,
    }


def _told(tags, rows):
    """(time, raw value by column) of what there is to tell; None is a bad value."""
    by_name = {b.tag.name: b for b in tags}
    for time_ns, its in groupby(rows, key=lambda row: row[1]):
        values = {}
        for name, _, value, quality in its:
            b = by_name[name]
            if quality != BAD_WAITING_FOR_INITIAL_DATA:
                values[b.column] = None if quality else (value - b.offset) / b.scale
        yield time_ns, values


def _of_meter(difference, power, volume):
    """The records of a meter: mK in an integer, mW in digits, m3 in a byte; NaN is an error that the meter tells."""
    temperature = integer(b"\xe0\x15", 0) if math.isnan(difference) else integer(b"\x60", round(difference * 1000))
    state = integer(b"\x96\x18", 0, size=1) if math.isnan(volume) else integer(b"\x16", int(volume), size=1)
    return temperature + digits(b"\x28", f"{round(power * 1000):08}") + state


def _as_parquet(csv_path, folder):
    lines = [line.split(",") for line in Path(csv_path).read_text().splitlines()]
    columns = {
        name: [float(cell) if cell else None for cell in cells]
        for name, cells in zip(lines[0], zip(*lines[1:], strict=True), strict=True)
    }
    parquet.write_table(pyarrow.table(columns), folder / "hall.parquet")
    return folder / "hall.parquet"


def _of_meters(rows):
    """The rows as a plant tells them that knows no "no value yet", and whose bad states are failures of a device."""
    told = {"hall/temperature": BAD_SENSOR_FAILURE, "hall/state": BAD_DEVICE_FAILURE}
    return [(tag, t, value, told[tag] if quality else 0) for tag, t, value, quality in rows]


@pytest.mark.parametrize(
    "adapter", ["opc_ua", "redundant", "replay", "replay_of_parquet", "modbus", "mbus", "mqtt", "sparkplug"]
)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_each_adapter_keeps_the_contract(check, adapter, cases):
    async with cases[adapter]() as case:
        await check(case)


@pytest.mark.parametrize("fault", ["lost row", "wrong unit", "doubled row", "good instead of bad"])
async def test_the_contract_finds_an_adapter_that_breaks_it(fault, plant, bindings, rows):
    class Broken(ReplayAdapter):
        async def batches(self):
            async for samples in super().batches():
                if fault == "lost row":
                    samples = samples.take(slice(None, -1))
                elif fault == "wrong unit":
                    samples = Samples(
                        samples.names, samples.tag, samples.source_time_ns, samples.value - 273.15, samples.quality
                    )
                elif fault == "doubled row":
                    samples = samples.take(np.sort(np.append(np.arange(len(samples)), len(samples) - 1)))
                else:
                    samples = Samples(
                        samples.names, samples.tag, samples.source_time_ns, samples.value, samples.quality * 0
                    )
                yield samples

    case = Case(make=lambda: Broken(plant.recording, bindings), start=_nothing, rows=rows, missing=set())
    with pytest.raises(AssertionError):
        await every_row_arrives_once_and_in_order(case)


async def test_a_recording_that_cannot_be_replayed_is_an_error_of_the_adapter(plant, bindings, make_binding, tmp_path):
    async def open_(recording, tags):
        async with ReplayAdapter(recording, tags):
            pass

    with pytest.raises(UnknownTag, match="none of the tags: no column 'x'"):
        await open_(plant.recording, (make_binding("hall/x", "X", "x"),))
    with pytest.raises(AdapterError, match="nowhere"):
        await open_(dataclasses.replace(plant.recording, path=str(tmp_path / "nowhere.csv")), bindings)
    with pytest.raises(AdapterError, match="unknown column"):
        await open_(dataclasses.replace(plant.recording, time_column="noon"), bindings)


async def test_a_slow_reader_loses_the_oldest_batches_and_they_are_counted():
    queue = SampleQueue(most_rows=3)
    for n in range(5):
        queue.put(Samples.from_rows([("a", n, float(n), 0)]))
    queue.end()
    batches = [batch async for batch in queue.batches()]
    assert batches.pop(0) == Break(GapReason.QUEUE_OVERFLOW, frozenset({"a"}))
    assert [row for batch in batches for row in batch.rows()] == [("a", n, float(n), 0) for n in (2, 3, 4)]
    assert queue.dropped == 2


async def test_a_batch_larger_than_the_queue_is_still_delivered():
    queue = SampleQueue(most_rows=1)
    queue.put(Samples.from_rows([("a", 1, math.nan, 0), ("a", 2, 0.0, 0)]))
    queue.end()
    assert [len(batch) async for batch in queue.batches()] == [2]
