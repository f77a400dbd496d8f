"""`uem console`: the web console over a running server."""

import argparse
import asyncio
import ipaddress
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from uem.clients.cli import common
from uem.clients.cli.stopping import stop_on_signals, until_stopped
from uem.clients.console.app import make_app
from uem.clients.errors import ClientError
from uem.clients.python import DEFAULT_ADDRESS

PROG = "uem console"
PORT = 7654
CLOSE_S = 2  # for browsers to take leave


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = common.parser(
        PROG,
        "A web page over a running server: the network coloured by temperature, where heat comes from\n"
        "and goes, measured against twin and forecast. For the browsers of this machine.",
        ["uem console", "uem console --server 127.0.0.1:7750 --port 0"],
    )
    parser.add_argument(
        "--server",
        type=common.server,
        default=os.environ.get("UEM_SERVER") or DEFAULT_ADDRESS,
        metavar="HOST:PORT",
        help="the uem server (default: UEM_SERVER or %(default)s)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=common.port, default=PORT, metavar="P", help="of the page; 0 takes a free one (default: 7654)"
    )
    parser.add_argument("--for", dest="limit_s", type=common.span_s, metavar="SPAN", help="end so long after the start")
    options = parser.parse_args(argv)
    return common.run(PROG, _run(options))


async def _run(options: argparse.Namespace) -> int:
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    stop = stop_on_signals()
    async with serving(options.server, options.host, options.port) as (address, page):
        print(json.dumps({"ready": True, "process": "console", "address": address}), flush=True)
        await until_stopped(_end_of(page), stop, options.limit_s)
    return 0


async def _end_of(page: "asyncio.Task[None]") -> None:
    await asyncio.wait([page])


class _Server(uvicorn.Server):
    """Signals are ours: after uvicorn's own way with them a process ends as killed."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def serving(server: str, host: str, port: int) -> AsyncIterator[tuple[str, "asyncio.Task[None]"]]:
    """The console while it runs: its address, and what ends only when it fails.

    Raises ClientError when it cannot listen.
    """
    listening = _listen(host, port)
    named = f"[{host}]" if ":" in host else host
    app = make_app(server, [named, "localhost"])
    # Not deflated: nothing leaves this machine, and it would take more than all the rest of the console.
    config = uvicorn.Config(
        app, log_config=None, access_log=False, ws="websockets-sansio", ws_max_size=4096, ws_ping_interval=10.0,
        ws_per_message_deflate=False, timeout_graceful_shutdown=CLOSE_S, server_header=False, limit_concurrency=200,
    )  # fmt: skip
    running = _Server(config)
    task = asyncio.create_task(running.serve([listening]))
    try:
        yield f"http://{named}:{listening.getsockname()[1]}/", task
    finally:
        running.should_exit = True
        await task
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket; only this machine is let in as long as there are no users and no encryption."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise ClientError(f"--host {host}: only a loopback address such as 127.0.0.1 is allowed, since nobody logs in")
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen()  # who comes before the server is up waits
    except OSError as error:
        made.close()
        raise ClientError(f"cannot listen on {host}:{port}: {error.strerror}; --port 0 takes a free one") from None
    return made


if __name__ == "__main__":
    raise SystemExit(main())
