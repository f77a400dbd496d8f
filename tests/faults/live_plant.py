"""A washer behind a real OPC UA server that lives in our time, with a gateway, all services and its twin."""

import asyncio
import contextlib
import dataclasses
import time

import numpy as np

from uem.clients.python import Client
from uem.hardware_adapters.clocks import ClockWatch
from uem.hardware_adapters.gateway import Gateway
from uem.hardware_adapters.simulator.server import PlantServer
from uem.hardware_adapters.spool import Spool
from uem.services import standalone
from uem.services.metrics import Metrics
from uem.services.twin import late
from uem.services.twin.worker import Worker
from uem.territories.load import load
from uem.twin_core.plant.territory import Territory

EVERY_S = 0.05
NS_PER_S = 10**9
STATE, POWER, TANK, HALL = range(4)


def territory():
    """The shipped machine, without its recording: so its stamps are held against our clock."""
    pongau = load("pongau")
    plant = next(plant for plant in pongau.plants if plant.name == "machine")
    return Territory(
        name="live",
        machines=pongau.machines,
        plants=(dataclasses.replace(plant, recording=None, publish_interval_ms=50.0),),
        tags=tuple(binding for binding in pongau.tags if binding.plant == "machine"),
    )


class LivePlant:
    """What a test does with the plant, and what it sees of gateway and twin."""

    def __init__(self, territory, server, gateway, client, metrics):
        self.territory, self._metrics = territory, metrics
        self.server, self.gateway, self.client = server, gateway, client
        self.link = gateway.links[0]
        self.shift_s = 0.0  # of the plant's clock
        self.states = []
        self.revised_ticks = []  # of the last state before each time that the twin was estimated again
        self._rng = np.random.default_rng(1)

    def row(self, **changes):
        """Raw values of a machine at work: power is noisy, temperatures nearly constant."""
        values = [3.0, 3340.0 + self._rng.normal(0, 30), 55.0 + self._rng.normal(0, 0.02), 22.0]
        for name, value in changes.items():
            values[{"state": STATE, "power": POWER, "tank": TANK, "hall": HALL}[name]] = value
        return values

    def now_ns(self):
        """Time by the plant's clock."""
        return time.time_ns() + round(self.shift_s * NS_PER_S)

    async def write(self, values=None, quality=(0, 0, 0, 0), time_ns=None):
        """One row, now by default."""
        await self.server.write(time_ns or self.now_ns(), values or self.row(), list(quality))

    async def play(self, seconds, every_s=EVERY_S, **changes):
        """Rows for so long; returns the time of each by our clock."""
        end, times = time.monotonic() + seconds, []
        while time.monotonic() < end:
            times.append(self.now_ns())
            await self.write(self.row(**changes), time_ns=times[-1])
            await asyncio.sleep(every_s)
        return times

    async def play_rows(self, count, **changes):
        """So many rows, however long a slow machine takes for them."""
        for _ in range(count):
            await self.write(self.row(**changes))
            await asyncio.sleep(0.02)

    async def until(self, condition, timeout_s=60.0):
        """Play on until something is true."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, "did not come true in time"
            await self.play(0.2)

    def again(self):
        """How often the twin was estimated again with late samples."""
        samples = [sample for family in self._metrics.collect() for sample in family.samples]
        return sum(sample.value for sample in samples if sample.name == "uem_twin_estimated_again_total")

    def estimate(self, state):
        """Which of the estimates of the twin a state is of: each one counts what was again, with what came late."""
        return sum(tick < state.tick for tick in self.revised_ticks)

    async def watch(self):
        """Note every state of the twin."""
        async for state in self.client.watch(["washer"]):
            self.states.append(state)


@contextlib.asynccontextmanager
async def live_plant(folder, pki, monkeypatch):
    """Everything running; the twin has its first state."""
    monkeypatch.setattr(late, "PAUSE_S", 2.0)
    monkeypatch.setattr(late, "SHARE", 0.5)
    made, metrics = territory(), Metrics()
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(PlantServer(made.plants[0], made.tags, pki.simulator))
        serving = await stack.enter_async_context(standalone.serving(made, folder / "state", metrics))
        spool = stack.enter_context(Spool(folder / "spool.db"))
        gateway = Gateway(made, {"machine": server.endpoint}, pki.gateway, spool, serving.address)
        gateway.links[0].source_clock = ClockWatch(gateway.clock, window_s=0.5)
        client = await stack.enter_async_context(Client(serving.address))
        stop = asyncio.Event()
        plant = LivePlant(made, server, gateway, client, metrics)
        estimate_again = Worker._estimate_again

        async def noted(worker, old, *rest):
            done = await estimate_again(worker, old, *rest)
            if done and old.snapshot is not None:
                plant.revised_ticks.append(old.snapshot.tick)
            return done

        monkeypatch.setattr(Worker, "_estimate_again", noted)
        tasks = [asyncio.create_task(gateway.run(stop)), asyncio.create_task(plant.watch())]
        try:
            while not plant.link.connected:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await plant.until(lambda: plant.states)
            yield plant
            stop.set()
            await tasks[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
