"""Processes that `uem up` starts: until they are ready, while they run, and how they are ended."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from uem.clients.cli.logtail import LogTail
from uem.clients.errors import ClientError

READY_S = 180.0  # bounds what hangs: a large plant on a busy machine takes a minute
DRAIN_S = 20.0
_LAST_WORDS_S = 2.0  # a process of its own that it left behind may hold the pipe open

Command = Callable[[str], list[str]]  # name of a process -> how it is started
Ready = dict[str, Any]  # what a process says when it is ready


def uem_child(name: str) -> list[str]:
    """The command line of `uem NAME` as a child of this process."""
    return [sys.executable, "-m", "uem.clients.cli.child", str(os.getpid()), name]


class Child:
    """A started process, its log and what it said when it was ready."""

    def __init__(self, name: str, process: Process, log: LogTail) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.ready: Ready = {}
        self._is_killed = False
        self._is_told = False  # that it ended by itself
        assert process.stderr is not None
        self._readers = [asyncio.create_task(log.keep(process.stderr))]

    @classmethod
    async def start(cls, name: str, arguments: Sequence[str], log: Path, command: Command = uem_child) -> "Child":
        """Start a process whose stderr goes to `log`; in a group of its own, so that Ctrl-C reaches only us."""
        process = await asyncio.create_subprocess_exec(
            *command(name), *arguments, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, process_group=0
        )
        return cls(name, process, LogTail(log))

    async def wait_ready(self, timeout_s: float = READY_S) -> Ready:
        """What the process says in its ready line; ClientError when it ends or stays silent instead."""
        try:
            async with asyncio.timeout(timeout_s):
                self.ready = await self._ready_line()
        except TimeoutError:
            raise ClientError(f"uem {self.name} was not ready within {timeout_s:g} s{self.last_words()}") from None
        assert self.process.stdout is not None
        # Whatever else comes on stdout goes to the log, so that the pipe never fills.
        self._readers.append(asyncio.create_task(self.log.keep(self.process.stdout)))
        return self.ready

    async def _ready_line(self) -> Ready:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                said = None
            if isinstance(said, dict) and said.get("ready"):
                return said
            self.log.add(line.rstrip())
        await self.ended()
        raise self.failure()

    async def ended(self) -> None:
        """Wait for the end of the process and for what it said until then."""
        await self.process.wait()
        await asyncio.wait(self._readers, timeout=_LAST_WORDS_S)

    def failure(self) -> ClientError:
        """What to say of a process that ended by itself."""
        self._is_told = True
        return ClientError(f"uem {self.name} {self.how_it_ended()}{self.last_words()}")

    def how_it_ended(self) -> str:
        """The end of the process in words."""
        code = self.process.returncode
        if self._is_killed:
            return "did not end in time and was killed"
        return f"ended with exit code {code}" if code is None or code >= 0 else f"was ended by signal {-code}"

    def last_words(self) -> str:
        """Its own error message if it gave one, else the tail of its log."""
        return self.log.last_words(f"uem {self.name}: error: ")

    async def stop(self, drain_s: float = DRAIN_S) -> bool:
        """Ask it to drain and wait; kill it when it does not. Whether all went well, or it is known that it did not."""
        if self.process.returncode is None:
            self._signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(drain_s):
                    await self.process.wait()
            except TimeoutError:
                self._is_killed = True
                self._signal(signal.SIGKILL)
        await self.ended()
        # Before it is ready a process has nothing to drain, and may not have learnt yet what SIGTERM means to it.
        harmless = (0,) if self.ready else (0, -signal.SIGTERM)
        return self._is_told or self.process.returncode in harmless

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return  # it ended in the meantime


async def first_to_end(children: Sequence[Child]) -> None:
    """Wait until one of the processes ends, and raise what to say of it."""
    waits = {asyncio.ensure_future(child.ended()): child for child in children}
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        raise waits[done.pop()].failure()
    finally:
        for wait in waits:
            wait.cancel()
