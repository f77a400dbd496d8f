"""The living plants of a territory: networks and factories that run by themselves, all stepped together.

living = Living(territory, speed=60.0)
living.begin()
await living.run(tell)     # once a second: what instruments show, by tag
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

from uem.hardware_adapters.simulator.factory import FactoryTruth
from uem.hardware_adapters.simulator.loop import Loop
from uem.hardware_adapters.simulator.season import Season
from uem.hardware_adapters.simulator.truth import NetworkTruth
from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import NS_PER_S
from uem.twin_core.plant.territory import Territory
from uem.twin_core.units import ZERO_CELSIUS_K

_log = logging.getLogger(__name__)

TICK_S = 1.0  # of our time
SETTLE_S = 12 * 3600.0  # that went by before the epoch, so that every pipe has the water of its day
SETTLE_STEP_S = 300.0
BEGIN_K = 70.0 + ZERO_CELSIUS_K

Row = tuple[str, int, float, int]  # tag, time, SI value, quality
Told = Sequence[Row]  # of each tag in order of time
Thing = tuple[str, str]  # network and unit, or factory and machine


class Living:
    """What the simulated plants of a territory are about, and the plant time."""

    def __init__(self, territory: Territory, speed: float = 1.0, begin_ns: int | None = None) -> None:
        """Nothing moves yet; `speed` is plant time by ours, `begin_ns` when plant time begins if not at the epoch.

        InvalidInput if the territory has no simulation.
        """
        if territory.simulation is None:
            raise InvalidInput(f"territory {territory.name}: nothing says how its plants are simulated")
        self._simulation = territory.simulation
        self.speed = speed
        self.begin_ns = self.time_ns = self._simulation.epoch_ns if begin_ns is None else begin_ns
        self.lag_s = 0.0  # how late the last tick was
        self.at_rest = asyncio.Lock()  # by whom changes something, since steps are made in a thread
        simulated = {plant.name for plant in territory.plants if plant.simulated}
        sensors: dict[str, list[str]] = {}
        for binding in territory.tags:
            if binding.column and binding.plant in simulated:
                sensors.setdefault(binding.column, []).append(binding.tag.name)
        seed = self._simulation.seed
        self.networks = {
            network.name: NetworkTruth(network, sensors, seed=seed + k)
            for k, network in enumerate(territory.networks)
            if network.units
        }
        self.factories = {
            site.name: FactoryTruth(site, sensors, seed=seed + k)
            for k, site in enumerate(territory.factories)
            if site.name in simulated
        }
        self._loops = [
            Loop(factory, stream, self.networks[stream.loop.network])
            for factory in self.factories.values()
            for stream in factory.site.heat
            if stream.loop is not None and stream.loop.network in self.networks
        ]
        self._seasons = [Season(self._simulation, truth) for truth in self.networks.values()]

    def begin(self) -> None:
        """Let half a day go by, so that the network is as it is when plant time begins; takes some seconds."""
        for truth in self.networks.values():
            truth.fill(BEGIN_K)
        for factory in self.factories.values():
            factory.begin(self.begin_ns - round(SETTLE_S) * NS_PER_S)
        steps = round(SETTLE_S / SETTLE_STEP_S)
        for k in range(steps):
            self.time_ns = self.begin_ns - round((steps - k) * SETTLE_STEP_S) * NS_PER_S
            self.step(SETTLE_STEP_S)
        for truth in self.networks.values():
            truth.start()
        self.time_ns = self.begin_ns

    def step(self, dt_s: float) -> None:
        """Let plant time go on: what factories give in a step is in their loops at its end."""
        for factory in self.factories.values():
            factory.step(dt_s)
        for loop in self._loops:
            loop.step(dt_s)
        for season, truth in zip(self._seasons, self.networks.values(), strict=True):
            season.drive(self.time_ns)
            truth.step(dt_s)
        self.time_ns += round(dt_s * NS_PER_S)

    def rows(self) -> Iterator[Row]:
        """What every instrument shows now."""
        for network in self.networks.values():
            yield from network.rows(self.time_ns)
        for factory in self.factories.values():
            yield from factory.rows(self.time_ns)

    def failed(self) -> set[Thing]:
        """Units that have tripped, machines that stand by a fault."""
        units = {(name, unit) for name, truth in self.networks.items() for unit in truth.tripped}
        return units | {(name, machine) for name, truth in self.factories.items() for machine in truth.failed()}

    async def run(self, tell: Callable[[Told], Awaitable[None]], since_s: float | None = None) -> None:
        """Once a second without end; what could not be done in time is done in one longer step.

        Steps leave the event loop to the servers; what is changed meanwhile is so with `at_rest`.
        `since_s` is when plant time began to go, by the clock of the event loop; now if not given.
        """
        clock = asyncio.get_running_loop().time
        start, done = clock() if since_s is None else since_s, 0
        while True:
            await asyncio.sleep(max(0.0, start + (done + 1) * TICK_S - clock()))
            ticks = max(int((clock() - start) / TICK_S), done + 1)  # a timer may be early by its resolution
            self.lag_s = max(0.0, clock() - start - (done + 1) * TICK_S)
            async with self.at_rest:
                await asyncio.to_thread(self.step, (ticks - done) * TICK_S * self.speed)
                done = ticks
                await tell([*self.rows()])
