"""What the processes of this part have in common: arguments, logs, the ready line, signals, the exit code."""

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from uem.territories.load import load
from uem.twin_core.errors import InvalidInput, TwinError
from uem.twin_core.plant.territory import Territory


def parser(prog: str, description: str, metrics_port: int) -> argparse.ArgumentParser:
    """The options that every process has."""
    made = argparse.ArgumentParser(prog=prog, description=description)
    made.add_argument("territory", nargs="?", default="vallee", help="shipped name, folder or file (default: vallee)")
    made.add_argument("--state", type=Path, metavar="DIR", help="what survives a restart (default: .uem/TERRITORY)")
    made.add_argument("--pki", type=Path, metavar="DIR", help="certificates (default: pki in the state folder)")
    made.add_argument(
        "--allow-insecure-loopback",
        action="store_true",
        help='take the OPC UA security policy "None", which plants on this machine may have',
    )
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    made.add_argument(
        "--metrics-port",
        type=int,
        default=metrics_port,
        metavar="PORT",
        help="Prometheus endpoint; 0 takes a free port, -1 switches it off (default: %(default)s)",
    )
    return made


def folders(options: argparse.Namespace, territory: Territory) -> tuple[Path, Path]:
    """The state folder and the folder of certificates."""
    state: Path = options.state or Path(".uem") / territory.name
    return state, options.pki or state / "pki"


def run(prog: str, options: argparse.Namespace, work: Callable[[Territory, asyncio.Event], Awaitable[None]]) -> int:
    """Run `work` for a territory until it ends, soon after the event is set by SIGTERM or SIGINT; the exit code."""

    async def with_territory(stop: asyncio.Event) -> None:
        await work(load(options.territory), stop)

    return run_alone(prog, with_territory)


def run_alone(prog: str, work: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """The same for a process that needs no territory."""
    with _logs_on_stderr():
        try:
            asyncio.run(_until_signal(work))
        except TwinError as error:
            print(f"{prog}: error: {error}", file=sys.stderr)
            return 1
    return 0


@contextmanager
def _logs_on_stderr() -> Iterator[None]:
    root, libraries = logging.getLogger(), [logging.getLogger(name) for name in ("asyncua", "pymodbus", "mqtt")]
    before = root.level, [library.level for library in libraries]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for library in libraries:
        library.setLevel(logging.CRITICAL)  # our adapters say in one line what they say in thirty
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        for library, level in zip(libraries, before[1], strict=True):
            library.setLevel(level)


async def _until_signal(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await work(stop)


def announce(process: str, **facts: object) -> None:
    """The one line on stdout that says: ready. Facts that are empty, such as metrics that are off, are left out."""
    print(json.dumps({"ready": True, "process": process} | {k: v for k, v in facts.items() if v}), flush=True)


def named_values(pairs: list[str], option: str) -> dict[str, str]:
    """NAME=VALUE arguments as a dictionary; InvalidInput names the wrong one."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise InvalidInput(f"{option} {pair!r}: write it as PLANT=URL")
        found[name] = value
    return found
