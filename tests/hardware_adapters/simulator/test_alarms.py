"""Alarms of simulated plants, from the thing that fails to the client that watches them."""

import asyncio
import time

import pytest
from shipped import shipped

from uem.hardware_adapters.base import Alarms
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.open_alarms import OpenAlarms
from uem.hardware_adapters.plant_time import PlantTime
from uem.hardware_adapters.simulator import living, main
from uem.hardware_adapters.simulator.alarms import watched
from uem.hardware_adapters.simulator.faults import Faults
from uem.hardware_adapters.simulator.living import Living
from uem.twin_core.alarms import AlarmState, Priority
from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import NS_PER_S

VALLEE = shipped("vallee")
WORKS = "graphite-works"


@pytest.fixture
def valley(monkeypatch):
    monkeypatch.setattr(living, "SETTLE_S", 1800.0)
    found = Living(VALLEE)
    found.begin()
    return found


class Plants:
    """Servers of some plants, told as the simulator tells them."""

    def __init__(self, valley, servers):
        self.valley, self.servers, self.faults = valley, servers, Faults(VALLEE, valley)

    async def pass_by(self, seconds):
        self.valley.step(seconds)
        await main._tell(self.servers.values(), self.valley, self.faults, [*self.valley.rows()])


@pytest.fixture
async def plants(valley, shared_pki):
    begun = PlantTime(valley.time_ns, time.time_ns(), 1.0)
    made = main.living_servers(VALLEE, valley, shared_pki.simulator, begun, host="127.0.0.1", port=0)
    servers = {server.plant.name: server for server in made if server.plant.name in ("energy-plant", WORKS)}
    async with servers["energy-plant"], servers[WORKS]:
        yield Plants(valley, servers)


class Seen:
    """What an adapter that watches the alarms of a plant tells of them; without repetitions, as the gateway does."""

    def __init__(self, plants, plant, pki):
        bindings = [binding for binding in VALLEE.tags if binding.plant == plant][:1]
        self.adapter = OpcUaAdapter(plants.servers[plant].endpoint, bindings, pki.gateway, alarms=True)
        self.reports, self.refreshes, self._open = [], [], OpenAlarms(plant)

    async def __aenter__(self):
        await self.adapter.__aenter__()
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *exc):
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self.adapter.__aexit__(*exc)

    async def _read(self):
        async for batch in self.adapter.batches():
            if isinstance(batch, Alarms):
                self.refreshes += [batch.time_ns] if batch.is_whole else []
                self.reports += self._open.follow(batch)

    @property
    def told(self):
        return [(alarm.source, alarm.state) for alarm in self.reports]


def test_units_are_watched_by_the_plant_and_machines_by_their_factory(valley):
    found = {plant: [each.thing for each in its] for plant, its in watched(VALLEE, valley).items()}
    assert [*found] == ["energy-plant", WORKS, "chemical-site", "machining-shop"]
    units = ("heat-pump", "incinerator", "graphite-fumes", "dump-cooler", "wood-1", "wood-2", "gas-1", "gas-2")
    assert set(found["energy-plant"]) == {("valley", unit) for unit in units}
    for name in (WORKS, "chemical-site", "machining-shop"):
        assert set(found[name]) == {(name, machine) for machine in valley.factories[name].plan.machines}


async def test_a_trip_is_an_alarm_until_the_unit_is_ready_again(plants, shared_pki, until):
    async with Seen(plants, "energy-plant", shared_pki) as seen:
        await until(lambda: seen.refreshes)
        plants.faults.inject("trip", "gas-1")  # which speaks Modbus, and has no alarms of its own
        await plants.pass_by(1.0)
        tripped_ns = plants.valley.time_ns
        await until(lambda: seen.told == [("gas-1", AlarmState.UNACKNOWLEDGED)])
        await plants.pass_by(1.0)
        plants.faults.clear()
        await plants.pass_by(1.0)
        await until(lambda: len(seen.told) > 1)
        assert seen.told[1:] == [("gas-1", AlarmState.NORMAL)]
    first, last = seen.reports
    assert (first.name, first.priority, first.message) == ("Trip", Priority.HIGH, "unit has tripped")
    assert (first.time_ns, last.time_ns) == (tripped_ns, tripped_ns + 2 * NS_PER_S)
    assert first.quality == last.quality == 0
    assert first.condition == last.condition == "nsu=urn:uem:plant:energy-plant;s=Trip/gas-1"


async def test_a_machine_that_fails_is_an_alarm_of_its_factory(plants, shared_pki, until):
    async with Seen(plants, WORKS, shared_pki) as seen:
        await until(lambda: seen.refreshes)
        plants.faults.inject("stop", f"{WORKS}/furnace-2")
        await plants.pass_by(1.0)
        await until(lambda: ("furnace-2", AlarmState.UNACKNOWLEDGED) in seen.told)
        alarm = next(each for each in seen.reports if each.source == "furnace-2")
        assert (alarm.priority, alarm.message) == (Priority.MEDIUM, "machine is down")
        plants.faults.clear()
        await plants.pass_by(5.0)
        await until(lambda: ("furnace-2", AlarmState.NORMAL) in seen.told)


async def test_who_comes_later_hears_what_stands_in_the_time_of_the_plant(plants, shared_pki, until):
    plants.faults.inject("trip", "incinerator")
    plants.faults.inject("trip", "wood-1")
    await plants.pass_by(1.0)
    plants.faults.clear()
    plants.faults.inject("trip", "incinerator")
    await plants.pass_by(1.0)
    async with Seen(plants, "energy-plant", shared_pki) as seen:
        await until(lambda: seen.refreshes)
        assert seen.told == [("incinerator", AlarmState.UNACKNOWLEDGED)]
        assert seen.refreshes == [plants.valley.time_ns]


async def test_an_alarm_can_be_acknowledged_once_and_by_its_newest_report(plants, shared_pki, until):
    async with Seen(plants, "energy-plant", shared_pki) as seen:
        await until(lambda: seen.refreshes)
        plants.faults.inject("trip", "heat-pump")
        await plants.pass_by(1.0)
        await until(lambda: seen.reports)
        (first,) = seen.reports
        await seen.adapter.alarms.acknowledge(first, "on my way")
        await until(lambda: seen.told[1:] == [("heat-pump", AlarmState.ACKNOWLEDGED)])
        with pytest.raises(AdapterError, match="Trip"):
            await seen.adapter.alarms.acknowledge(first)
        with pytest.raises(AdapterError, match="Trip"):
            await seen.adapter.alarms.acknowledge(seen.reports[1])
        plants.faults.clear()
        await plants.pass_by(1.0)
        await until(lambda: seen.told[2:] == [("heat-pump", AlarmState.NORMAL)])


async def test_a_plant_that_is_silent_tells_no_alarms_either(plants, shared_pki, until):
    async with Seen(plants, "energy-plant", shared_pki) as seen:
        await until(lambda: seen.refreshes)
        plants.faults.inject("silence", "energy-plant")
        plants.faults.inject("trip", "gas-2")
        await plants.pass_by(1.0)
        await asyncio.sleep(1.0)
        assert seen.told == []
        plants.faults.clear()
        plants.faults.inject("trip", "gas-2")
        await plants.pass_by(1.0)
        await until(lambda: seen.told == [("gas-2", AlarmState.UNACKNOWLEDGED)])
