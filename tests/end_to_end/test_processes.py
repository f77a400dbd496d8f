"""The services as three processes behind simulated plants and a gateway; each is killed, then all at once."""

import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import numpy as np
import pytest

from uem.clients.errors import ClientError
from uem.clients.python import Client
from uem.offline.series import read_recording
from uem.territories.load import load
from uem.twin_core.measurements import Samples
from uem.twin_core.twin import make_twins

pytestmark = pytest.mark.slow
UEM = [sys.executable, "-m", "uem.clients.cli"]
PARTS = ("history", "twin", "prediction")
ASSETS = ("branch", "washer")
SOON_S = 60.0  # by then whatever has to go on goes on


class Process:
    """One of our processes; started again it has the port that it had."""

    def __init__(self, log, *arguments):
        self._log = log
        self._arguments = arguments
        self._port = "0" if arguments[0] == "serve" else None

    async def start(self):
        port = ["--port", self._port] if self._port else []
        with self._log.open("a") as log:
            self._process = await asyncio.create_subprocess_exec(
                *UEM, *self._arguments, *port, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        async with asyncio.timeout(SOON_S):
            self.ready = json.loads(await self._process.stdout.readline())
        if self._port:
            self.address = self.ready["address"]
            self._port = self.address.rpartition(":")[2]

    async def end(self, how=signal.SIGTERM):
        """Its exit code."""
        if self._process.returncode is None:
            self._process.send_signal(how)
        async with asyncio.timeout(SOON_S):
            return await self._process.wait()


@asynccontextmanager
async def running(folder):
    """Simulator, gateway and the three processes by name; all drain at the end and leave no exception in their logs."""
    shared = ["pongau", "--state", str(folder), "--metrics-port", "0"]
    made = {}

    async def start(name, *arguments):
        made[name] = Process(folder / f"{name}.log", *arguments)
        await made[name].start()
        return made[name]

    try:
        history = (await start("history", "serve", "history", *shared)).address
        await start("twin", "serve", "twin", "pongau", "--metrics-port", "0", "--history", history)
        await start("prediction", "serve", "prediction", *shared, "--history", history)
        simulator = await start("simulator", "simulator", *shared, "--port", "0")
        plants = [f"--endpoint={plant}={url}" for plant, url in simulator.ready["endpoints"].items()]
        await start("gateway", "gateway", *shared, "--server", history, *plants)
        yield made
        for name in ("gateway", "prediction", "twin", "history", "simulator"):
            assert await made[name].end() == 0, (name, (folder / f"{name}.log").read_text())
            assert "Traceback" not in (folder / f"{name}.log").read_text(), name
    finally:
        for process in made.values():
            await process.end(signal.SIGKILL)


class Readers:
    """Clients that only follow; none is told of a kill."""

    def __init__(self):
        self.states = {}
        self.issued = []
        self.grown = asyncio.Condition()

    async def watch(self, client):
        async with aclosing(client.watch(reconnect_s=SOON_S)) as states:
            async for state in states:
                self.states[state.asset.name] = state
                async with self.grown:
                    self.grown.notify_all()

    async def watch_forecast(self, client):
        async with aclosing(client.watch_forecast("branch", reconnect_s=SOON_S)) as forecasts:
            async for forecast in forecasts:
                self.issued.append(forecast.issue_time_ns)
                async with self.grown:
                    self.grown.notify_all()

    def now(self):
        """Plant times that are known now."""
        times = {asset: state.plant_time_ns for asset, state in self.states.items()}
        return {**times, "forecast": self.issued[-1] if self.issued else 0}

    async def newer_than(self, before, keys=(*ASSETS, "forecast")):
        """Wait until every asset and the forecasts have gone on."""
        async with asyncio.timeout(SOON_S), self.grown:
            await self.grown.wait_for(lambda: all(self.now().get(key, 0) > before.get(key, 0) for key in keys))


async def answers(client):
    """Which processes answer."""
    calls = {"history": client.tags(), "twin": client.state("branch"), "prediction": client.forecasts("branch")}
    found = await asyncio.gather(*calls.values(), return_exceptions=True)
    assert all(isinstance(each, list | ClientError) or each.asset.name == "branch" for each in found)
    return {part for part, each in zip(calls, found, strict=True) if not isinstance(each, ClientError)}


async def until_well(client):
    """Health is asked for once a second."""
    for _ in range(600):
        if await client.is_serving():
            return
        await asyncio.sleep(0.1)


async def stored(client, twin):
    """All that the history has of the tags of a twin."""
    found = await client.history(list(twin.tags))
    return {tag: found[tag] for tag in twin.tags}


def assert_complete(territory, twin, found):
    """No row of the recording is missing between the first and the last that came, and none is different."""
    plant = next(p for p in territory.plants if p.name == next(b.plant for b in territory.tags if b.tag.name in found))
    rows = [row for _, row in read_recording(territory, twin.tags).rows()]
    shift_ns = plant.recording.epoch_ns - int(rows[0].source_time_ns[0])
    recorded = Samples.concatenate(rows)
    for tag, history in found.items():
        mine = recorded.tag == recorded.names.index(tag)
        times, values = recorded.source_time_ns[mine] + shift_ns, recorded.value[mine]
        first, last = np.searchsorted(times, history.source_time_ns[[0, -1]])
        assert last - first >= 5, tag
        np.testing.assert_array_equal(history.source_time_ns, times[first : last + 1], tag)
        np.testing.assert_allclose(history.value, values[first : last + 1], rtol=1e-12, err_msg=tag)


def undisturbed(twin, found):
    """The newest snapshot of a twin that got everything in time."""
    tags = list(found)
    number = np.repeat(np.arange(len(tags), dtype=np.uint32), [len(found[tag].value) for tag in tags])
    columns = [
        np.concatenate([getattr(h, name) for h in found.values()]) for name in ("source_time_ns", "value", "quality")
    ]
    order = np.argsort(columns[0], kind="stable")
    twin.take(Samples(tuple(tags), number, *columns).take(order))
    return twin.advance()[-1]


@pytest.mark.timeout(420)
async def test_each_process_is_killed_and_the_others_serve_and_nothing_is_lost(tmp_path):
    territory = load("pongau")
    async with AsyncExitStack() as stack:
        processes = await stack.enter_async_context(running(tmp_path))
        at = {part: processes[part].address for part in PARTS}
        address = f"{at['history']},twin={at['twin']},prediction={at['prediction']}"
        client = await stack.enter_async_context(Client(address))
        readers = Readers()
        following = await stack.enter_async_context(asyncio.TaskGroup())
        tasks = [following.create_task(work) for work in (readers.watch(client), readers.watch_forecast(client))]
        await readers.newer_than({})
        for killed in (["history"], ["twin"], ["prediction"], PARTS):
            for part in killed:
                await processes[part].end(signal.SIGKILL)
            await asyncio.sleep(3.0)  # plants and gateway go on
            assert await answers(client) == set(PARTS) - set(killed)
            for part in killed:
                await processes[part].start()
            await readers.newer_than(readers.now())
        await until_well(client)
        status = await client.status()
        assert {twin.asset for twin in status.twins} == set(ASSETS)
        assert status.problems == {}
        assert await processes["gateway"].end() == 0  # it has sent all that it read
        for twin in make_twins(territory):
            found = await stored(client, twin)
            assert_complete(territory, twin, found)
            expected = undisturbed(twin, found)
            await readers.newer_than({twin.name: expected.plant_time_ns - 1}, [twin.name])
            state = await client.state(twin.name)
            assert state.plant_time_ns == expected.plant_time_ns
            np.testing.assert_array_equal(state.value, expected.value)
        kept = [forecast.issue_time_ns for forecast in await client.forecasts("branch")]
        assert readers.issued == kept[kept.index(readers.issued[0]) :][: len(readers.issued)]
        for task in tasks:
            task.cancel()
