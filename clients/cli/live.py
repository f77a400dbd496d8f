"""The live view that `uem watch` and `uem up` share: newest states and forecasts, drawn or printed."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from uem.clients.cli import view
from uem.clients.errors import ClientError
from uem.clients.python import Client
from uem.clients.records import State

_FRAME_S = 0.25
_FORECAST_EVERY_S = 3.0
BLOCK_EVERY_S = 5.0


class LiveView:
    """What is newest of each asset, and how it is shown."""

    def __init__(self, header: str = "", notes: Callable[[], list[str]] = list) -> None:
        """`notes` tells what is wrong at the moment, a line each."""
        self.header = header
        self.notes = notes
        self.states: dict[str, State] = {}
        self.forecasts: dict[str, list[str]] = {}

    def screen(self, width: int) -> Group:
        """For a terminal."""
        waiting = "" if self.states else "  waiting for the first measurements"
        return view.screen(self.header + waiting, list(self.states.values()), self.forecasts, width, self.notes())

    def block(self) -> str:
        """For logs and pipes."""
        notes = [f"! {note}" for note in self.notes()]
        return "\n".join([*notes, view.plain(list(self.states.values()), self.forecasts)])

    async def follow(self, client: Client, assets: Sequence[str], count: int = 0) -> None:
        """Keep the states until `count` of them came (0: without end)."""
        async with aclosing(client.watch(assets)) as states:
            async for state in states:
                self.states[state.asset.name] = state
                count -= 1
                if count == 0:
                    return

    async def follow_forecasts(self, client: Client) -> None:
        """Ask for the forecasts of the assets on view every few seconds."""
        while True:
            for name in list(self.states):
                try:
                    self.forecasts[name] = view.forecast_lines(await client.forecast(name))
                except ClientError as error:
                    self.forecasts[name] = [f"not available: {str(error).splitlines()[0]}"]
            await asyncio.sleep(_FORECAST_EVERY_S if self.states else _FRAME_S)

    async def draw(self, console: Console) -> None:
        """Draw in a terminal, without end."""
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(self.screen(console.width), refresh=True)
                await asyncio.sleep(_FRAME_S)

    async def print_blocks(self) -> None:
        """Print a block every few seconds once there are states, without end."""
        while True:
            if self.states or self.notes():
                print(self.block(), flush=True)
            await asyncio.sleep(BLOCK_EVERY_S if self.states else _FRAME_S)


async def show(live_view: LiveView, client: Client, assets: Sequence[str], count: int = 0) -> None:
    """Follow and show until `count` states came or the task is cancelled; errors of the connection come out."""
    if sys.stdout.isatty():
        console = Console()
        try:
            await _together(live_view, client, assets, count, live_view.draw(console))
        finally:
            console.print(live_view.screen(console.width))  # the drawn screen is gone, its last picture stays
    else:
        await _together(live_view, client, assets, count, live_view.print_blocks())


async def _together(
    live_view: LiveView, client: Client, assets: Sequence[str], count: int, showing: Coroutine[Any, Any, None]
) -> None:
    """Run until the states end; what fails first comes out and ends the others."""
    helpers = [asyncio.ensure_future(work) for work in (showing, live_view.follow_forecasts(client))]
    following = asyncio.ensure_future(live_view.follow(client, assets, count))
    try:
        done, _ = await asyncio.wait([following, *helpers], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (following, *helpers):
            task.cancel()
        await asyncio.gather(following, *helpers, return_exceptions=True)
