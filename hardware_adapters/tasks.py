"""Ending asyncio tasks for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any

# Longer than any task takes to close politely once it was cancelled.
PATIENCE_S = 3.0


async def end(tasks: Iterable[asyncio.Task[Any]], patience_s: float = PATIENCE_S) -> None:
    """Cancel tasks and wait until all have ended; their errors have been seen or come from the cancellation.

    A task is cancelled again when it goes on: before Python 3.12 `asyncio.wait_for` swallows a cancellation that comes
    while its own future ends, and the library below the adapters uses it.
    """
    running = set(tasks)
    ended: list[asyncio.Task[Any]] = list(running)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=patience_s)
    await asyncio.gather(*ended, return_exceptions=True)
