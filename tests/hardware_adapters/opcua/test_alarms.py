"""Alarms and conditions of a plant of an independent stack."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from asyncua import ua

from uem.hardware_adapters.base import Alarms
from uem.hardware_adapters.gateway import Gateway
from uem.hardware_adapters.opcua import alarms as alarms_module
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.conditions import Signal, event_filter, event_of, name_of, node_of, state_of
from uem.hardware_adapters.open_alarms import OpenAlarms
from uem.hardware_adapters.spooled import Batch
from uem.hardware_adapters.uplink import request
from uem.twin_core.alarms import Alarm, AlarmState
from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import UNCERTAIN, Samples
from uem.twin_core.plant.territory import Plant, Territory
from uem.v1 import common_pb2

TRUNK = "nsu=urn:uem:test:peer;s=Alarm"


class Seen:
    """What comes of an adapter, and what is new of it."""

    def __init__(self, adapter):
        self.adapter = adapter
        self.alarms = []
        self.refreshes = 0
        self.open_alarms = OpenAlarms("plant")
        self._reading = asyncio.create_task(self._read())

    async def _read(self):
        async for batch in self.adapter.batches():
            if isinstance(batch, Alarms):
                self.refreshes += batch.is_whole
                self.alarms += self.open_alarms.follow(batch)

    @property
    def states(self):
        return [(bool(each.branch), each.state.value) for each in self.alarms]

    def __await__(self):
        self._reading.cancel()
        return asyncio.gather(self._reading, return_exceptions=True).__await__()


@pytest.fixture
def setpoint(node_tags):
    return [replace(each, writable=True) for each in node_tags("Setpoint")]


async def test_an_alarm_comes_is_acknowledged_returns_and_is_confirmed(node_plant, node_certificates, setpoint, until):
    async with (
        node_plant() as plant,
        OpcUaAdapter(plant.endpoint, setpoint, node_certificates, alarms=True) as opened,
    ):
        seen = Seen(opened)
        await until(lambda: seen.refreshes)
        await opened.write({"Setpoint": 90.0})
        await until(lambda: seen.states == [(False, "unacknowledged")])
        (alarm,) = seen.alarms
        assert (alarm.condition, alarm.source, alarm.name) == (TRUNK, "2:Setpoint", "Setpoint out of limits")
        assert "90" in alarm.message
        assert abs(alarm.time_ns - seen.alarms[0].time_ns) < 60 * 10**9
        await opened.alarms.acknowledge(alarm, "seen")
        await until(lambda: seen.states[-1] == (False, "acknowledged"))
        await opened.alarms.confirm(seen.alarms[-1], "done")
        await opened.write({"Setpoint": 50.0})
        await until(lambda: seen.states[-1] == (False, "normal"))
        assert seen.open_alarms.open_count == 0
        with pytest.raises(AdapterError, match="out of limits"):
            await opened.alarms.acknowledge(alarm)
        await seen


async def test_an_alarm_that_returned_before_anybody_saw_it_stays_as_a_branch(
    node_plant, node_certificates, setpoint, until
):
    async with (
        node_plant() as plant,
        OpcUaAdapter(plant.endpoint, setpoint, node_certificates, alarms=True) as opened,
    ):
        seen = Seen(opened)
        await until(lambda: seen.refreshes)
        for value in (90.0, 50.0):
            await opened.write({"Setpoint": value})
            await asyncio.sleep(0.5)
        await until(lambda: seen.open_alarms.open_count == 1 and any(branch for branch, _ in seen.states))
        branch = next(each for each in seen.alarms if each.branch)
        await opened.alarms.acknowledge(branch)
        await until(lambda: seen.states[-1] == (True, "normal") or seen.states[-1] == (True, "acknowledged"))
        await seen


@pytest.mark.parametrize("how", ["refused", "half open"])
async def test_what_an_outage_hid_is_told_afterwards_and_nothing_twice(
    node_plant, node_certificates, setpoint, chaos, until, how
):
    async with (
        node_plant() as plant,
        chaos(plant.endpoint) as line,
        OpcUaAdapter(plant.endpoint, setpoint, node_certificates) as hand,
        OpcUaAdapter(line.endpoint, setpoint, node_certificates, alarms=True) as opened,
    ):
        seen = Seen(opened)
        await until(lambda: seen.refreshes == 1)
        await hand.write({"Setpoint": 90.0})
        await until(lambda: seen.states == [(False, "unacknowledged")])
        for value, state in ((90.0, None), (99.0, "unacknowledged")):
            refreshes, count = seen.refreshes, len(seen.alarms)
            if how == "refused":
                await line.refuse()
                line.abort()
                await until(lambda: not opened.alarms.connected)
            else:
                line.swallow("<>")
                await asyncio.sleep(1.5)
            await hand.write({"Setpoint": value})
            if how == "refused":
                await line.listen()
            else:
                line.pass_again("half open")
            await until(lambda before=refreshes: seen.refreshes > before)
            await asyncio.sleep(0.5)
            assert [each for _, each in seen.states[count:]] == ([] if state is None else [state])
        await seen


async def test_an_alarm_that_was_gone_after_a_restart_is_normal_since_an_uncertain_time(
    node_plant, node_certificates, setpoint, until
):
    async with (
        node_plant() as plant,
        OpcUaAdapter(plant.endpoint, setpoint, node_certificates, alarms=True) as opened,
    ):
        seen = Seen(opened)
        await until(lambda: seen.refreshes == 1)
        await opened.write({"Setpoint": 90.0})
        await until(lambda: seen.states == [(False, "unacknowledged")])
        await plant.kill()
        await until(lambda: not opened.alarms.connected)
        with pytest.raises(AdapterError, match="not connected"):
            await opened.alarms.acknowledge(seen.alarms[0])
        await plant.start()
        await until(lambda: seen.refreshes == 2)
        assert seen.states[-1] == (False, "normal")
        assert seen.alarms[-1].quality == UNCERTAIN
        assert opened.alarms.outages == 1
        await seen


async def test_alarms_reach_the_ingestion_service_through_the_gateway_once(
    node_plant, node_certificates, setpoint, spool, service, serving, until
):
    async with node_plant() as plant, serving(service) as at:
        place = Territory(
            name="t",
            plants=(Plant(name="plant", endpoint=plant.endpoint, alarms=True),),
            tags=tuple(setpoint),
        )
        stop = asyncio.Event()
        gateway = Gateway(place, {"plant": plant.endpoint}, node_certificates, spool, at.address)
        running = asyncio.create_task(gateway.run(stop))
        async with OpcUaAdapter(plant.endpoint, setpoint, node_certificates) as hand:
            await until(lambda: gateway.links[0].connected)
            await hand.write({"Setpoint": 90.0})
            await until(lambda: service.alarms)
            service.break_after = 0  # what is acknowledged no more comes again
            await hand.write({"Setpoint": 99.0})
            await until(lambda: len(service.alarms) == 2)
        stop.set()
        await running
    assert [(each.plant, each.condition, each.state) for each in service.alarms] == [
        ("plant", TRUNK, common_pb2.ALARM_STATE_UNACKNOWLEDGED)
    ] * 2
    assert gateway.links[0].open_alarms.open_count == 1


_IDLE = dict.fromkeys(
    ("enabled", "out_of_service", "branch", "retain", "shelving", "suppressed", "acked", "active")
) | {"enabled": True}


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({"active": True, "acked": False}, AlarmState.UNACKNOWLEDGED),
        ({"active": True, "acked": True}, AlarmState.ACKNOWLEDGED),
        ({"active": False, "acked": False, "retain": True}, AlarmState.RETURNED),
        ({"active": False, "acked": True}, AlarmState.NORMAL),
        ({"active": True, "acked": False, "suppressed": True}, AlarmState.SUPPRESSED),
        ({"active": True, "shelving": ua.NodeId(2932)}, AlarmState.SHELVED),
        ({"active": True, "acked": True, "shelving": ua.NodeId(2930)}, AlarmState.ACKNOWLEDGED),
        ({"active": True, "acked": False, "enabled": False}, AlarmState.OUT_OF_SERVICE),
        ({"active": True, "acked": False, "out_of_service": True}, AlarmState.OUT_OF_SERVICE),
        ({"active": False, "acked": False, "branch": ua.NodeId("b", 1), "retain": False}, AlarmState.NORMAL),
        ({"retain": True}, AlarmState.ACKNOWLEDGED),  # neither an alarm nor to be acknowledged
        ({"retain": True, "acked": False}, AlarmState.UNACKNOWLEDGED),
        ({"retain": False}, AlarmState.NORMAL),
    ],
)
def test_states_are_those_of_the_standard(said, state):
    assert state_of(_IDLE | said) is state


def test_a_condition_is_named_by_the_uri_of_its_namespace():
    for node in (ua.NodeId("a;b", 1), ua.NodeId(7, 1), ua.NodeId(7)):
        there, then = ["ua", "urn:x:y"], ["ua", "other", "urn:x:y"]
        back = node_of(name_of(node, there), then)
        assert (back.Identifier, back.NamespaceIndex) == (node.Identifier, 2 * node.NamespaceIndex)
    with pytest.raises(AdapterError, match="urn:x:y"):
        node_of("nsu=urn:x:y;i=7", ["ua"])
    with pytest.raises(AdapterError, match="names no condition"):
        node_of("words", ["ua"])


def test_events_about_no_condition_are_let_go_and_those_of_another_shape_refused():
    empty = [ua.Variant() for _ in event_filter().SelectClauses]
    assert event_of(empty, []) == (None, 0)
    empty[1] = ua.Variant(ua.NodeId(ua.ObjectIds.EventQueueOverflowEventType))
    assert event_of(empty, [])[0] is Signal.REFRESH_REQUIRED
    with pytest.raises(AdapterError, match="1 fields where 17"):
        event_of(empty[:1], [])


@pytest.mark.parametrize("time", [datetime(1601, 1, 1), datetime(9999, 12, 31, tzinfo=UTC), None])
def test_an_alarm_of_a_careless_plant_can_be_sent(time):
    fields = [ua.Variant() for _ in event_filter().SelectClauses]
    fields[2] = ua.Variant("x" * 10_000)
    fields[3] = SimpleNamespace(Value=time)
    fields[4] = ua.Variant(ua.LocalizedText("W\udce4rme " * 10_000))
    fields[6] = ua.Variant(ua.NodeId("W\udce4rme", 1))
    fields[12] = ua.Variant(False)
    alarm, _ = event_of(fields, ["ua", "urn:x"])
    sent = request("me", Batch(1, Samples.from_rows(()), (), 0, (alarm,))).message.alarms[0]
    assert (sent.condition, sent.time_ns) == ("nsu=urn:x;s=Wärme", 0)
    assert sent.message.startswith("Wärme ")
    assert sent.ByteSize() < 10_000


class Line:
    """What a watch asks of its line: how often it was asked how all conditions stand."""

    is_open = True

    def __init__(self):
        self.session = self
        self.asked = 0

    async def call(self, requests):
        self.asked += 1
        result = ua.CallMethodResult()
        result.StatusCode = ua.StatusCode(ua.StatusCodes.Good)
        return [result]


@pytest.fixture
def watch(monkeypatch):
    """A watch without a server: `tell(...)` what comes, `told` what it hands on."""
    told = []
    monkeypatch.setattr(alarms_module, "_AGAIN_S", 0.01)
    monkeypatch.setattr(alarms_module, "event_of", lambda fields, _: (fields[0], 1))
    made = alarms_module.AlarmWatch(SimpleNamespace(endpoint="opc.tcp://plant"), told.append)
    line = Line()

    def tell(*found):
        events = [ua.EventFieldList(1, [each]) for each in found]
        made._take(line, ua.EventNotificationList(events))

    return SimpleNamespace(watch=made, line=line, tell=tell, told=told)


ONE = Alarm(condition="c", source="tank", name="Level", state=AlarmState.UNACKNOWLEDGED, severity=500, time_ns=1)


async def test_what_was_lost_while_all_conditions_are_told_makes_the_list_no_whole(watch, until):
    watch.watch._refresh(watch.line)
    await until(lambda: watch.line.asked == 1)
    watch.tell(Signal.REFRESH_START, ONE)
    watch.watch._refresh(watch.line)  # a number of the sequence is missing
    watch.tell(Signal.REFRESH_END)
    assert not any(each.is_whole for each in watch.told)
    await until(lambda: watch.line.asked == 2)
    watch.tell(Signal.REFRESH_START, ONE, Signal.REFRESH_END)
    assert watch.told[-1].is_whole
    assert watch.told[-1].reports == (ONE,)


async def test_a_server_that_always_loses_something_is_asked_ever_more_slowly_and_it_is_told(watch, until, caplog):
    for _ in range(4):
        before = watch.line.asked
        watch.watch._refresh(watch.line)
        await until(lambda before=before: watch.line.asked > before)
    assert "events are lost while it says how its alarms stand" in caplog.text
    asked = watch.line.asked
    watch.watch._refresh(watch.line)
    await asyncio.sleep(0.02)
    assert watch.line.asked == asked
    watch.watch._refreshing.cancel()
