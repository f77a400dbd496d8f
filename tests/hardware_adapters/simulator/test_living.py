"""A valley that runs by itself, and what its plants show of it."""

import asyncio
import time

import pytest
from shipped import shipped

from uem.hardware_adapters.contract import collected
from uem.hardware_adapters.plant_time import PlantTime
from uem.hardware_adapters.protocols import PROTOCOLS
from uem.hardware_adapters.simulator import living
from uem.hardware_adapters.simulator.living import Living
from uem.hardware_adapters.simulator.main import living_servers
from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import NS_PER_S, is_good
from uem.twin_core.units import ZERO_CELSIUS_K

VALLEE = shipped("vallee")
EPOCH_NS = VALLEE.simulation.epoch_ns


@pytest.fixture
def valley(monkeypatch):
    monkeypatch.setattr(living, "SETTLE_S", 3600.0)
    found = Living(VALLEE)
    found.begin()
    return found


def shown(valley):
    return {tag: value for tag, _, value, _ in valley.rows()}


def test_every_tag_is_told_and_meters_with_the_plant_time(valley):
    told, times = set(), set()
    for _ in range(10):  # some instruments are silent at times
        valley.step(60.0)
        rows = list(valley.rows())
        told |= {tag for tag, *_ in rows}
        times |= {time_ns for tag, time_ns, *_ in rows if tag.startswith("station/")}
    assert told == {binding.tag.name for binding in VALLEE.tags}
    assert times == {EPOCH_NS + k * 60 * NS_PER_S for k in range(1, 11)}


def test_values_are_within_the_limits_of_their_tags(valley):
    valley.step(60.0)
    limits = {binding.tag.name: binding.tag for binding in VALLEE.tags}
    good = {tag: value for tag, _, value, quality in valley.rows() if is_good(quality)}
    outside = {tag: value for tag, value in good.items() if not limits[tag].low <= value <= limits[tag].high}
    assert len(good) > 0.9 * len(limits)
    assert outside == {}


def test_weather_and_demand_follow_the_hour(valley):
    truth, simulation = valley.networks["valley"], VALLEE.simulation
    for _ in range(3):
        valley.step(1800.0)
    began_ns = EPOCH_NS + 3600 * NS_PER_S  # of the last step
    assert truth.outdoor_k == pytest.approx(simulation.outdoor_temp_c(began_ns) + ZERO_CELSIUS_K)
    station = truth.network.units[[unit.name for unit in truth.network.units].index("residence-01")]
    hot_water_w = simulation.shape("residence-01", "hot_water", began_ns) * station.hot_water_w
    k = [unit.name for unit in truth.network.units if "heating_w" in truth.inputs.unit_commands[unit.name]].index(
        "residence-01"
    )
    assert truth.demand_w[1, k] == pytest.approx(hot_water_w)
    assert 85.0 < truth.inputs.unit_commands["gas-1"]["supply_temp_k"][0] - ZERO_CELSIUS_K < 105.0


def test_meters_count_what_flows(valley):
    truth, heat_j, before = valley.networks["valley"], 0.0, {}
    for k in range(10):
        valley.step(60.0)
        if k == 0:
            before = truth.values()
        else:
            heat_j += 60.0 * abs(truth.values()["unit/school-01/heat"])
    after = truth.values()
    assert after["unit/school-01/energy"] - before["unit/school-01/energy"] == pytest.approx(heat_j, rel=1e-12)
    assert after["unit/school-01/volume"] > before["unit/school-01/volume"] > 0.0


def test_what_tripped_stands_until_it_is_resumed(valley):
    truth = valley.networks["valley"]
    valley.step(60.0)
    fuel_w = shown(valley)["unit/incinerator/fuel"]
    truth.trip("incinerator")
    for _ in range(10):
        valley.step(60.0)
    assert truth.values()["unit/incinerator/running"] == 0.0
    assert shown(valley)["unit/incinerator/fuel"] < 0.7 * fuel_w  # what lies on the grate burns out
    truth.resume("incinerator")
    for _ in range(10):
        valley.step(60.0)
    assert truth.values()["unit/incinerator/running"] == 1.0
    with pytest.raises(InvalidInput, match="'school-01' is no unit of valley that can trip; they are heat-pump"):
        truth.trip("school-01")


def test_heat_of_factories_warms_the_loops_that_the_network_cools(valley):
    truth, (fumes, water) = valley.networks["valley"], valley._loops
    before_k, given_j, taken_j = fumes.temp_k, 0.0, 0.0
    for _ in range(30):
        taken_j += truth.taken_j("graphite-fumes", "heat_j")  # in the step before, which the loop knows in this one
        valley.step(60.0)
        given_j += 60.0 * valley.factories["graphite-works"].heat_w()["fumes"]
    assert given_j > 0.0
    assert taken_j > 0.0
    assert fumes.temp_k - before_k == pytest.approx((given_j - taken_j) / fumes._loop.content_j_k, rel=1e-9)
    assert truth.inputs.unit_commands["graphite-fumes"]["stream_temp_k"][0] == fumes.temp_k
    assert truth.inputs.unit_commands["heat-pump"]["source_temp_k"][0] == water.temp_k


def test_what_a_recooler_takes_is_in_the_ledger_of_its_loop(valley):
    _, water = valley._loops
    begin_k, before_j, given_j, taken_j = water.temp_k, water.recooled_j, 0.0, 0.0
    for _ in range(30):
        taken_j += valley.networks["valley"].taken_j("heat-pump", "source_heat_j")
        valley.step(60.0)
        given_j += 60.0 * valley.factories["chemical-site"].heat_w()["cooling-water"]
    recooled_j = water.recooled_j - before_j
    assert recooled_j > 0.0
    held_j = water._loop.content_j_k * (water.temp_k - begin_k)
    assert given_j - taken_j - recooled_j == pytest.approx(held_j, abs=1e-9 * given_j)


async def test_plant_time_never_stands_though_a_timer_is_early(valley, monkeypatch):
    steps, sleep = [], asyncio.sleep

    async def early(seconds):
        await sleep(0.0)

    async def tell(rows):
        if len(steps) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(living.asyncio, "sleep", early)
    monkeypatch.setattr(valley, "step", steps.append)
    with pytest.raises(asyncio.CancelledError):
        await valley.run(tell)
    assert steps == [1.0, 1.0, 1.0]


async def test_the_event_loop_is_free_while_plants_are_stepped(valley, monkeypatch):
    lags, loop = [], asyncio.get_running_loop()

    async def watch():
        while True:
            begin = loop.time()
            await asyncio.sleep(0.01)
            lags.append(loop.time() - begin)

    async def tell(rows):
        await asyncio.sleep(0.1)
        raise asyncio.CancelledError

    monkeypatch.setattr(valley, "step", lambda dt_s: time.sleep(1.0))
    monkeypatch.setattr(valley, "rows", list)
    watching = asyncio.create_task(watch())
    with pytest.raises(asyncio.CancelledError):
        await valley.run(tell)
    watching.cancel()
    assert max(lags) < 0.9


async def test_time_goes_on_at_its_speed_and_is_never_lost(valley):
    valley.speed, told = 60.0, []

    async def tell(rows):
        told.append(max(time_ns for _, time_ns, *_ in rows))
        if len(told) == 1:
            await asyncio.sleep(2.2)  # somebody takes long: the next step is longer
        if len(told) == 2:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await valley.run(tell)
    ticks = [(time_ns - EPOCH_NS) / NS_PER_S / 60.0 for time_ns in told]
    assert ticks[0] >= 1.0
    assert ticks[1] - ticks[0] >= 2.0
    assert all(tick == int(tick) for tick in ticks)


async def test_what_instruments_show_is_read_by_the_protocol_of_each_plant(valley, shared_pki, tmp_path):
    begun = PlantTime(EPOCH_NS, time.time_ns(), 1.0)
    made = living_servers(VALLEE, valley, shared_pki.simulator, begun, host="127.0.0.1", port=0)
    servers = {server.plant.name: server for server in made}
    assert [*servers] == [plant.name for plant in VALLEE.plants]
    valley.step(1.0)
    rows = [*valley.rows()]
    told = {tag: value for tag, _, value, quality in rows if is_good(quality)}
    for name, digit in {"energy-plant": 0.0, "boilers": 1e-6, "heat-meters": 1e-2, "dairy": 0.0}.items():
        plant, server = next(plant for plant in VALLEE.plants if plant.name == name), servers[name]
        bindings = [binding for binding in VALLEE.tags if binding.plant == name]
        its = {binding.tag.name for binding in bindings} & told.keys()
        async with server:
            await server.tell(rows)
            adapter = PROTOCOLS[plant.protocol].make(
                plant, server.endpoint, bindings, shared_pki.gateway, lambda: EPOCH_NS + NS_PER_S
            )
            async with adapter:
                assert adapter.missing == {}
                found = await collected(adapter, len(bindings) if name != "energy-plant" else len(its), 60.0)
        read = {tag: value for tag, _, value, quality in found if is_good(quality)}
        assert read == pytest.approx({tag: told[tag] for tag in its}, rel=digit or 1e-9), name
        if name != "dairy":  # states are told when they change, with the time of the controller
            assert {time_ns for _, time_ns, *_ in found} == {EPOCH_NS + NS_PER_S}
