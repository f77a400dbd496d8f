"""`uem simulator` over restarts: its plants go on in a time of their own, and a gateway knows it."""

import asyncio
import json
from argparse import Namespace
from contextlib import asynccontextmanager

import pytest

from uem.hardware_adapters.contract import collected
from uem.hardware_adapters.modbus.client import ModbusAdapter
from uem.hardware_adapters.plant_time import PlantClock, PlantTime
from uem.hardware_adapters.simulator import main
from uem.twin_core.measurements import NS_PER_S, Tag
from uem.twin_core.plant.addresses import ModbusAddress
from uem.twin_core.plant.simulation import Simulation
from uem.twin_core.plant.territory import Plant, TagBinding, Territory

EPOCH_NS = 1_768_194_000 * NS_PER_S
BINDING = TagBinding(tag=Tag(name="heat", unit="W"), plant="p", display_unit="W", address=ModbusAddress(address=0))
TERRITORY = Territory(
    name="t",
    plants=(Plant(name="p", protocol="modbus", simulated=True),),
    tags=(BINDING,),
    simulation=Simulation(epoch_ns=EPOCH_NS, outdoor_c=(0.0,), shapes={}, groups={}),
)


@pytest.fixture
def simulating(tmp_path, capsys):
    """A context in which plants are simulated at a speed; gives the endpoint of the one that there is."""

    @asynccontextmanager
    async def running(speed):
        options = Namespace(
            state=tmp_path,
            pki=None,
            allow_insecure_loopback=False,
            host="127.0.0.1",
            port=0,
            metrics_port=-1,
            speed=speed,
        )
        stop, told = asyncio.Event(), ""
        task = asyncio.create_task(main._run(options, TERRITORY, stop))
        async with asyncio.timeout(60):
            while not told and not task.done():
                await asyncio.sleep(0.01)
                told = capsys.readouterr().out
        try:
            yield json.loads(told)["endpoints"]["p"]
        finally:
            stop.set()
            await task

    return running


async def test_plants_go_on_in_their_time_when_the_simulator_starts_anew(tmp_path, simulating):
    async with simulating(60.0):
        first = PlantTime.read(tmp_path)
    assert (first.epoch_ns, first.speed) == (EPOCH_NS, 60.0)
    clock = PlantClock(tmp_path)
    before_ns = clock()
    async with simulating(2.0) as endpoint:
        second = PlantTime.read(tmp_path)
        async with ModbusAdapter(endpoint, [BINDING], clock=clock) as adapter:
            ((_, time_ns, *_),) = await collected(adapter, 1, 60.0)
    assert second.speed == 2.0
    assert before_ns <= second.epoch_ns <= first.at(second.start_ns) + NS_PER_S
    assert second.epoch_ns <= time_ns <= second.now_ns()
