"""`uem up`: start a territory's processes, show it live, drain them at the end."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from uem.clients.cli import common
from uem.clients.cli.children import DRAIN_S, READY_S, Child, Command, Ready, first_to_end, uem_child
from uem.clients.cli.folders import StateFolder, claim_port, describe, state_folder
from uem.clients.cli.live import LiveView, show
from uem.clients.cli.stopping import stop_on_signals, until_stopped
from uem.clients.errors import ClientError
from uem.clients.python import DEFAULT_ADDRESS, Client

PROG = "uem up"
_HEALTH_EVERY_S = 2.0
_TITLES = {
    "simulator": "plants behind their protocols",
    "serve": "twins, forecasts and history",
    "gateway": "reads the plants",
    "opcua": "twins for control systems",
    "console": "web page",
}
OPCUA_PORT = 4855
PAGE_PORT = 7654
_OF_A_TERRITORY = ("simulator", "serve", "gateway")  # the others ask the server for what there is
_METRICS_OF_OPCUA = 4  # behind those of the server


def main(argv: list[str] | None = None, command: Command = uem_child, drain_s: float = DRAIN_S) -> int:
    """The command; the exit code. `command` says how a process is started, `drain_s` how long it may drain."""
    parser = common.parser(
        PROG,
        "Start a territory and show it live, measured against twin: recorded or simulated plants\n"
        "behind real protocols, the twins, and the gateway between them. Ctrl-C drains everything\n"
        "and ends.",
        [
            "uem up",
            "uem up pongau --speed 4 --for 60",
            "uem up --opcua",
            "uem up site/territory.toml --no-plant --state /var/lib/uem",
        ],
    )
    parser.add_argument("territory", nargs="?", default="vallee", help="shipped name, folder or file (default: vallee)")
    parser.add_argument("--for", dest="limit_s", type=common.span_s, metavar="SPAN", help="end so long after the start")
    parser.add_argument(
        "--speed",
        type=common.factor,
        default=1.0,
        metavar="X",
        help="times each recording's own speed, or real time of what is simulated",
    )
    parser.add_argument(
        "--no-plant", action="store_true", help="start no recorded or simulated plants: read the endpoints as given"
    )
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="what survives (default: below UEM_STATE or ~/.local/state/uem)"
    )
    parser.add_argument(
        "--port", type=common.port, default=7650, metavar="P", help="gRPC; 0 takes a free one (default: 7650)"
    )
    parser.add_argument(
        "--opcua",
        type=common.port,
        nargs="?",
        const=OPCUA_PORT,
        metavar="P",
        help=f"also show the twins to control systems by OPC UA, at port P (default: {OPCUA_PORT}, 0: a free one)",
    )
    parser.add_argument(
        "--metrics-port",
        type=common.metrics_port,
        default=7651,
        metavar="P",
        help="Prometheus: server, then gateway, plants, OPC UA on ports behind it; 0 free ones, -1 off (default: 7651)",
    )
    parser.add_argument(
        "--console-port",
        type=partial(common.port, least=-1),
        default=None,
        metavar="P",
        help="of the web page; 0 takes a free one, -1 for none (default: 7654, with --port 0 a free one)",
    )
    return common.run(PROG, up(parser.parse_args(argv), command, drain_s))


@dataclass
class Running:
    """The processes of a run, in the order of their start, and where things are."""

    territory: str
    folder: StateFolder
    children: list[Child]
    command: Command
    drain_s: float  # for each process

    async def start(self, name: str, arguments: Sequence[str]) -> Ready:
        """Start one process and wait until it is ready."""
        began = time.monotonic()
        print(f"starting {name:<9} ({_TITLES[name]}) ...", end=" ", flush=True)
        shared = [self.territory, "--state", str(self.folder.path)] if name in _OF_A_TERRITORY else []
        log = self.folder.path / "logs" / f"{name}.log"
        ends = "\n"
        try:
            child = await Child.start(name, [*shared, *arguments], log, self.command)
            self.children.append(child)
            ready = await child.wait_ready(READY_S)
            ends = f"ready in {time.monotonic() - began:.1f} s\n"
        finally:
            print(end=ends, flush=True)
        return ready

    async def stop(self) -> list[str]:
        """Drain against the stream, so that what was read is still sent and stored.

        Names of the processes that did not drain cleanly.
        """
        order = ("console", "opcua", "gateway", "serve", "simulator")
        unclean = []
        for child in sorted(self.children, key=lambda child: order.index(child.name)):
            if not await child.stop(self.drain_s):
                unclean.append(child.name)
                why = f"{child.how_it_ended()}{child.last_words()}"
                print(f"uem {child.name} did not drain cleanly: {why}", file=sys.stderr)
        self.folder.release()
        return unclean


async def up(options: argparse.Namespace, command: Command, drain_s: float) -> int:
    """Start, show, drain; the exit code. ClientError when a process does not start or ends by itself."""
    stop = stop_on_signals()
    name, recorded = describe(options.territory)
    recorded = recorded and not options.no_plant
    with (claim_port(options.port) if options.port else None) or nullcontext():
        return await _run(options, name, recorded, command, drain_s, stop)


async def _run(
    options: argparse.Namespace, name: str, recorded: bool, command: Command, drain_s: float, stop: asyncio.Event
) -> int:
    running = Running(options.territory, state_folder(name, options.state, recorded), [], command, drain_s)
    try:
        address = await until_stopped(_start(running, options, recorded), stop, None)
        if address is not None:
            running.folder.has_started()
            await until_stopped(_live(running, name, address), stop, options.limit_s)
    finally:
        began = time.monotonic()
        try:
            print("draining ...", flush=True)
        finally:  # a reader that went away must not keep the processes from draining
            unclean = await running.stop()
    took = f"{time.monotonic() - began:.1f} s; state and logs: {running.folder.path}"
    if unclean:
        raise ClientError(f"not drained: {', '.join(unclean)}; ended after {took}")
    print(f"drained in {took}", flush=True)
    return 0


async def _start(running: Running, options: argparse.Namespace, recorded: bool) -> str:
    """Start everything and say where it is; the server's address."""
    base = options.metrics_port
    metrics = [base + i if base > 0 else base for i in (0, 1, 2, _METRICS_OF_OPCUA)]
    endpoints: dict[str, str] = {}
    ready: dict[str, Ready] = {}
    pki = ["--pki", str(running.folder.pki)]
    if recorded:
        plants = [*pki, "--speed", str(options.speed), "--port", "0", "--metrics-port", str(metrics[2])]
        ready["simulator"] = await running.start("simulator", plants)
        endpoints = ready["simulator"]["endpoints"]
    ready["serve"] = await running.start("serve", ["--port", str(options.port), "--metrics-port", str(metrics[0])])
    address = str(ready["serve"]["address"])
    reading = [part for plant, url in endpoints.items() for part in ("--endpoint", f"{plant}={url}")]
    gateway = [*pki, "--server", address, *reading, "--metrics-port", str(metrics[1])]
    ready["gateway"] = await running.start("gateway", gateway)
    if options.opcua is not None:
        ready["opcua"] = await running.start("opcua", _opcua(running, options, address, metrics[3]))
    page_port = options.console_port if options.console_port is not None else PAGE_PORT if options.port else 0
    if page_port >= 0:
        page = ["--server", address, "--port", str(page_port)]
        ready["console"] = await running.start("console", page)
    print(f"gRPC     {address}")
    for process, said in ready.items():
        if said.get("metrics"):
            print(f"metrics  http://{said['metrics']}/metrics ({process})")
    for plant, url in endpoints.items():
        print(f"plant    {plant}: {url}")
    if "opcua" in ready:
        print(f"OPC UA   {ready['opcua']['endpoint']}  lets in the certificates in {running.folder.pki}/twin/trusted")
    print(f"state    {running.folder.path}", flush=True)
    if "console" in ready:
        print(f"page     {ready['console']['address']}", flush=True)
    return address


def _opcua(running: Running, options: argparse.Namespace, address: str, metrics_port: int) -> list[str]:
    folders = ["--state", str(running.folder.path / "opcua"), "--pki", str(running.folder.pki)]
    return [*folders, "--server", address, "--port", str(options.opcua), "--metrics-port", str(metrics_port)]


async def _live(running: Running, name: str, address: str) -> None:
    """Show until the end; a process that ends by itself ends the view with its last words."""
    async with Client(address) as client:
        assets = await _assets(client, running)
        server = "" if address == DEFAULT_ADDRESS else f" --server {address}"
        words = ["watch", *(f"forecast {asset}" for asset in assets[:1]), "history"]
        tries = ", ".join(f"uem {command}{server}" for command in words)
        print(f"try in a second terminal: {tries}", flush=True)
        unwell: list[str] = []
        view = LiveView(
            f"uem up {name}  gRPC {address}  Ctrl-C drains and ends", lambda: [*unwell, *_errors(running.children)]
        )
        asking = asyncio.ensure_future(_ask_health(client, running, unwell))
        showing = asyncio.ensure_future(show(view, client, ()))
        ended = asyncio.ensure_future(first_to_end(running.children))
        try:
            await asyncio.wait([showing, ended], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():  # the stream broke: give the process behind it a moment to be seen as the cause
                await asyncio.wait([ended], timeout=1.0)
            (ended if ended.done() else showing).result()
        finally:
            for task in (asking, showing, ended):
                task.cancel()
            await asyncio.gather(asking, showing, ended, return_exceptions=True)


async def _assets(client: Client, running: Running) -> list[str]:
    """Names of the assets; when the server does not tell them, the process that has ended is named as the cause."""
    try:
        return [asset.name for asset in await client.assets()]
    except Exception:
        with suppress(TimeoutError):
            await asyncio.wait_for(first_to_end(running.children), 1.0)
        raise


def _errors(children: Sequence[Child]) -> list[str]:
    """The newest error of each process that logged one."""
    return [f"{child.name}: {child.log.error}" for child in children if child.log.error]


async def _ask_health(client: Client, running: Running, unwell: list[str]) -> None:
    """Keep in `unwell` whether the server complains, without end."""
    while True:
        try:
            well = await client.is_serving()
            reason = next(child.log.warning for child in running.children if child.name == "serve")
            unwell[:] = [] if well else [f"serve: not well (gRPC health). {reason}".rstrip()]
        except ClientError as error:
            unwell[:] = [f"serve: {error}"]
        await asyncio.sleep(_HEALTH_EVERY_S)
