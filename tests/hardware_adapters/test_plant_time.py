"""The time of simulated plants, told from process to process, and what it does to samples that have no time."""

import os

import pytest
from shipped import shipped

from uem.hardware_adapters import gateway, plant_time
from uem.hardware_adapters.plant_time import FILE, PlantClock, PlantTime
from uem.hardware_adapters.simulator.main import _begin_ns
from uem.hardware_adapters.spool import Spool
from uem.twin_core.errors import AdapterError, StorageError
from uem.twin_core.measurements import NS_PER_S

EPOCH_NS, START_NS = 1_768_194_000 * NS_PER_S, 1_795_000_000 * NS_PER_S
VALLEE = shipped("vallee")


@pytest.fixture
def ours(monkeypatch):
    """Our time, which a test can set."""
    now = {"ns": START_NS}
    monkeypatch.setattr(plant_time.time, "time_ns", lambda: now["ns"])
    return now


def rewritten(folder, told, at):
    told.write(folder)
    os.utime(folder / FILE, (at, at))  # file systems with coarse times would need a wait


def test_the_clock_goes_as_fast_as_the_plants_and_follows_a_simulator_that_starts_anew(tmp_path, ours):
    rewritten(tmp_path, PlantTime(EPOCH_NS, START_NS, 60.0), at=1)
    clock = PlantClock(tmp_path)
    ours["ns"] = START_NS + 2 * NS_PER_S
    assert clock() == EPOCH_NS + 120 * NS_PER_S
    rewritten(tmp_path, PlantTime(EPOCH_NS + 200 * NS_PER_S, ours["ns"], 1.0), at=2)
    ours["ns"] += 5 * NS_PER_S
    assert clock() == EPOCH_NS + 205 * NS_PER_S
    (tmp_path / FILE).unlink()
    assert clock() == EPOCH_NS + 205 * NS_PER_S
    rewritten(tmp_path, PlantTime(EPOCH_NS, ours["ns"], 1.0), at=3)
    (tmp_path / FILE).write_text("{")
    assert clock() == EPOCH_NS + 205 * NS_PER_S


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        PlantTime(EPOCH_NS, START_NS, 1.0).write(tmp_path / "file")


def test_plant_time_goes_on_while_nobody_simulates(ours):
    epoch_ns = VALLEE.simulation.epoch_ns
    assert _begin_ns(VALLEE, None) == epoch_ns
    before = PlantTime(epoch_ns, START_NS, 60.0)
    ours["ns"] = START_NS + 10 * NS_PER_S + 1
    assert _begin_ns(VALLEE, before) == epoch_ns + 601 * NS_PER_S  # whole seconds, never back
    assert _begin_ns(VALLEE, PlantTime(epoch_ns - 10**15, START_NS, 1.0)) == epoch_ns


async def test_a_gateway_stamps_simulated_plants_with_their_time_and_has_no_adapter_before_it_is_told(
    tmp_path, shared_pki, ours
):
    endpoints = {
        "boilers": "modbus.tcp://127.0.0.1:1",
        "heat-meters": "mbus.tcp://127.0.0.1:1",
        "dairy": "mqtt://127.0.0.1:1",
    }
    endpoints |= {plant.name: "opc.tcp://127.0.0.1:1" for plant in VALLEE.plants if plant.protocol == "opcua"}
    with Spool(tmp_path / "spool.db") as spool:
        made = gateway.Gateway(VALLEE, endpoints, shared_pki.gateway, spool, "127.0.0.1:1")
        links = {link.plant: link for link in made.links}
        links["energy-plant"]._make()  # its server has a clock
        with pytest.raises(AdapterError, match=r"no simulator has told its time in .*plant_time\.json"):
            links["boilers"]._make()
        PlantTime(EPOCH_NS, START_NS, 60.0).write(tmp_path)
        ours["ns"] += NS_PER_S
        for name in ("boilers", "heat-meters", "dairy"):
            assert links[name]._make()._clock() == EPOCH_NS + 60 * NS_PER_S, name
        made.lanes.close()
