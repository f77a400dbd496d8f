"""The live view that `uem watch` and `uem up` share: newest states and forecasts, drawn or printed."""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from uem.clients.cli import alarms, screen
from uem.clients.cli.screen import Choice, Scene, demand_of
from uem.clients.cli.summary import NetworkReader, is_closed
from uem.clients.errors import ClientError
from uem.clients.python import Client
from uem.clients.records import Kind, State

_FRAME_S = 0.25
_DRAWN_EVERY_S = 0.5  # a frame of a valley takes 12 ms of processor
_FORECAST_EVERY_S = 3.0
_LONG_FORECAST_EVERY_S = 60.0  # of factories and of demand: a day ahead, kept every quarter of an hour
_ALARMS_EVERY_S = 2.0
BLOCK_EVERY_S = 5.0


class LiveView:
    """What is newest of each asset, and how it is shown."""

    def __init__(
        self,
        header: str = "",
        notes: Callable[[], list[str]] = list,
        choice: Choice = Choice(),  # noqa: B008 - frozen
    ) -> None:
        """`notes` tells what is wrong at the moment, a line each."""
        self.scene = Scene(header, choice)
        self.notes = notes
        self._header = header
        self._came_s: dict[str, float] = {}  # when the state of an asset came, by the clock of the loop
        self._due: dict[str, float] = {}  # when the forecast of an asset is asked for again
        self._unknown: set[str] = set()  # assets without forecasts here

    def screen(self, width: int, height: int) -> Group:
        """For a terminal."""
        self.scene.header = self._header + ("" if self.scene.states else "  waiting for the first measurements")
        self._count_silence()
        return screen.screen(self.scene, width, height, self.notes())

    def block(self) -> str:
        """For logs and pipes."""
        self._count_silence()
        return screen.block(self.scene, self.notes())

    async def take(self, client: Client, state: State) -> None:
        """Keep a state; of a network that is seen for the first time, or was changed, the layout is asked for."""
        name = state.asset.name
        before = self.scene.states.get(name)
        if is_closed(state) if before is None else before.asset is not state.asset:
            self.scene.readers.pop(name, None)
            with suppress(ClientError):  # without a layout it is shown signal by signal
                self.scene.readers[name] = NetworkReader(state.asset, await client.layout(name))
        self.scene.states[name] = state
        self._came_s[name] = time.monotonic()
        self._count_silence()

    def _count_silence(self) -> None:
        """How long each twin has told nothing; the state of a plant that is gone was old when it came.

        States are published by the clock of the server, and the newest of all tells what time it is there.
        """
        now_s = time.monotonic()
        published_s = {name: state.published_time_ns / 1e9 for name, state in self.scene.states.items()}
        there_s = max((published_s[name] + now_s - came_s for name, came_s in self._came_s.items()), default=0.0)
        self.scene.silent_s = {name: there_s - told_s for name, told_s in published_s.items()}

    async def follow(self, client: Client, assets: Sequence[str], count: int = 0) -> None:
        """Keep the states until `count` of them came (0: without end)."""
        async with aclosing(client.watch(assets)) as states:
            async for state in states:
                await self.take(client, state)
                count -= 1
                if count == 0:
                    return

    async def follow_forecasts(self, client: Client) -> None:
        """Ask for the forecasts of what is on view, again and again."""
        while True:
            for asset, every_s in self._forecasts_on_view():
                now = asyncio.get_running_loop().time()
                if now >= self._due.get(asset, 0.0):
                    found = await self._ask(client, asset)
                    self._due[asset] = now + (every_s if found else _FORECAST_EVERY_S)
            await asyncio.sleep(1.0 if self.scene.states else _FRAME_S)

    async def _ask(self, client: Client, asset: str) -> bool:
        """Keep the forecast of an asset, or why there is none; whether there is one."""
        try:
            self.scene.forecasts[asset] = await client.forecast(asset)
        except ClientError as error:
            if error.code == "NOT_FOUND":
                self._unknown.add(asset)
            else:
                self.scene.forecasts[asset] = f"not available: {str(error).splitlines()[0]}"
            return False
        return True

    def _forecasts_on_view(self) -> list[tuple[str, float]]:
        found = []
        for name, state in self.scene.states.items():
            demand = demand_of(name)
            if name in self.scene.readers and demand not in self._unknown and not self.scene.choice.is_detailed(state):
                found.append((demand, _LONG_FORECAST_EVERY_S))
            else:
                factory = state.asset.kind is Kind.FACTORY
                found.append((name, _LONG_FORECAST_EVERY_S if factory else _FORECAST_EVERY_S))
        return [(asset, every_s) for asset, every_s in found if asset not in self._unknown]

    async def follow_alarms(self, client: Client) -> None:
        """Keep the active alarms, without end."""
        while True:
            with suppress(ClientError):  # the states tell when the server is gone
                self.scene.alarms = alarms.active(await client.alarms())
            await asyncio.sleep(_ALARMS_EVERY_S)

    async def draw(self, console: Console) -> None:
        """Draw in a terminal, without end."""
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(self.screen(console.width, console.height), refresh=True)
                await asyncio.sleep(_DRAWN_EVERY_S if self.scene.states else _FRAME_S)

    async def print_blocks(self) -> None:
        """Print a block every few seconds once there are states, without end."""
        while True:
            if self.scene.states or self.notes():
                print(self.block(), flush=True)
            await asyncio.sleep(BLOCK_EVERY_S if self.scene.states else _FRAME_S)


async def show(live_view: LiveView, client: Client, assets: Sequence[str], count: int = 0) -> None:
    """Follow and show until `count` states came or the task is cancelled; errors of the connection come out."""
    if sys.stdout.isatty():
        console = Console()
        try:
            await _together(live_view, client, assets, count, live_view.draw(console))
        finally:  # the drawn screen is gone, its last picture stays
            console.print(live_view.screen(console.width, console.height - 1))
    else:
        await _together(live_view, client, assets, count, live_view.print_blocks())


async def _together(
    live_view: LiveView, client: Client, assets: Sequence[str], count: int, showing: Coroutine[Any, Any, None]
) -> None:
    """Run until the states end; what fails first comes out and ends the others."""
    beside = (showing, live_view.follow_forecasts(client), live_view.follow_alarms(client))
    helpers = [asyncio.ensure_future(work) for work in beside]
    following = asyncio.ensure_future(live_view.follow(client, assets, count))
    try:
        done, _ = await asyncio.wait([following, *helpers], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (following, *helpers):
            task.cancel()
        await asyncio.gather(following, *helpers, return_exceptions=True)
